"""The command that runs a simulated Zoom.

It is `kindryn-zoom-dev simulator` or `python -m app.devstack.simulator_process`.

The demo and chaos runs start it as a process of its own. This module imports little, so the process starts fast.
"""

import socket
from typing import Annotated

import typer

from app import simulator as zoom
from app.clients.zoom import SCOPES

# The default scopes of the simulated app: those the service cannot do without, in the form for the whole account that
# Zoom's Marketplace gives to an app managed by admins.
APP_SCOPES = tuple(f"{scope.name.removesuffix(':admin')}:admin" for scope in SCOPES if scope.required)


def simulator(
    port: Annotated[int, typer.Option(help="0 is a free one.")] = 8900,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    client_id: Annotated[str, typer.Option(help="ZOOM_CLIENT_ID")] = "kindryn-client",
    client_secret: Annotated[str, typer.Option(help="ZOOM_CLIENT_SECRET")] = "kindryn-client-secret",  # noqa: S107 - of a Zoom that does not exist
    redirect_uri: Annotated[list[str] | None, typer.Option(help="ZOOM_REDIRECT_URI; may be repeated.")] = None,
    webhook_url: Annotated[str | None, typer.Option(help="Where notifications go; nowhere if not given.")] = None,
    webhook_secret: Annotated[str, typer.Option(help="ZOOM_WEBHOOK_SECRET_TOKEN")] = "kindryn-webhook-secret",  # noqa: S107 - likewise
    scope: Annotated[list[str] | None, typer.Option(help="A scope of the app, instead of all required ones.")] = None,
    public_url: Annotated[str | None, typer.Option(help="The base of links, if not that of the request.")] = None,
    retry_compression: Annotated[float, typer.Option(min=1, help="Divides Zoom's waits between deliveries.")] = 1.0,
    limits: Annotated[bool, typer.Option(help="Whether Zoom's limits on calls hold.")] = True,
) -> None:
    """Run a simulated Zoom with two accounts in it; ZOOM_OAUTH_URL and ZOOM_API_URL are its address."""
    config = zoom.Config(
        client_id=client_id,
        client_secret=client_secret,
        redirect_uris=redirect_uri or [],
        webhook_url=webhook_url,
        webhook_secret=webhook_secret,
        scopes=scope or APP_SCOPES,
        public_url=public_url,
        retry_compression=retry_compression,
        enforce_limits=limits,
    )
    with socket.create_server((host, port)) as listener:
        # The kernel accepts connections from here on, so a reader of this line can call at once.
        print(f"the simulator answers on http://{host}:{listener.getsockname()[1]}", flush=True)
        zoom.server(config, host, port).run([listener])


if __name__ == "__main__":
    typer.run(simulator)
