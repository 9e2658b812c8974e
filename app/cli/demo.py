"""Commands for trying the service out: a simulated Zoom, the reviewer plan as a walk, the bench, a run under faults."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Annotated

import typer

from app import simulator as zoom
from app.chaos import run as chaos_run
from app.clients.zoom import SCOPES
from app.demo import bench as benchmark
from app.demo import burst as burst_benchmark
from app.demo import walk
from app.devstack.environment import ExternalServers

INTERRUPTED = 130
# What an admin-managed app of Zoom's Marketplace has: the scopes the service cannot do without, for the whole account.
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
        # From here on the kernel takes connections, so whoever reads this line can call.
        print(f"the simulator answers on http://{host}:{listener.getsockname()[1]}", flush=True)
        zoom.server(config, host, port).run([listener])


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards, for people and programs to try.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write everything that was said and stored to this JSON file.")
    ] = None,
    database_url: Annotated[str | None, typer.Option(envvar="DATABASE_URL", help="Use this PostgreSQL.")] = None,
    redis_url: Annotated[str | None, typer.Option(envvar="REDIS_URL", help="Use this Redis.")] = None,
    s3_endpoint_url: Annotated[str | None, typer.Option(envvar="S3_ENDPOINT_URL", help="Use this S3.")] = None,
    s3_access_key_id: Annotated[str | None, typer.Option(envvar="S3_ACCESS_KEY_ID")] = None,
    s3_secret_access_key: Annotated[str | None, typer.Option(envvar="S3_SECRET_ACCESS_KEY")] = None,
) -> None:
    """Start everything on this machine and walk the reviewer plan; the exit status tells whether every step passed."""
    servers = ExternalServers(database_url, redis_url, s3_endpoint_url, s3_access_key_id, s3_secret_access_key)
    status = INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        status = asyncio.run(walk.run(servers, keep=keep, report=report))
    raise typer.Exit(status)


def bench() -> None:
    """Measure the hot paths against their floors; writes var/bench.json."""
    raise typer.Exit(benchmark.run())


def burst(
    rsvps: Annotated[int, typer.Option(min=500, help="In whole events of 500 members each.")] = 5000,
) -> None:
    """Measure how much of Zoom's limit a burst of RSVPs uses; writes var/burst.json."""
    raise typer.Exit(burst_benchmark.run(rsvps))


def chaos(
    seconds: Annotated[
        float, typer.Option("--for", min=20, help="Seconds of faults; coming to rest takes longer.")
    ] = 1800,
    seed: Annotated[int, typer.Option(help="The same seed, the same faults and the same workload.")] = 7,
) -> None:
    """Kill, freeze, restart and cut off whatever there is while a community uses it; then nothing accepted may be lost.

    Writes var/chaos.json, and the processes' logs to var/chaos-logs. The status is 1 where an invariant does not hold.
    """
    raise typer.Exit(chaos_run.run_command(seed, seconds))
