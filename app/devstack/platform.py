"""A stand-in for the platform: public keys, sign-in, a receiver of hooks, and one page as the SPA."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse

from app.devstack.personas import COMMUNITY, PERSONAS, TokenSigner
from app.devstack.server_process import LOOPBACK
from app.devstack.webhook_receiver import BadSignature, WebhookReceiver

HOOKS_PATH = "/hooks"
SPA_PAGE = Path(__file__).with_name("spa.html")


class Platform:
    """The stand-in at `url`. Its page calls the service at `api_url`, which is set once the service runs."""

    def __init__(self, url: str, cookie: str) -> None:
        self.url = url
        self.cookie = cookie
        self.api_url = ""
        self.signer = TokenSigner(issuer=url)
        self.hooks = WebhookReceiver()

    def app(self) -> FastAPI:
        """Build the stand-in as an ASGI app."""
        app = FastAPI(title="A stand-in for the platform", openapi_url=None)
        app.add_api_route("/jwks.json", self.jwks)
        app.add_api_route("/mint", self.mint, methods=["POST"])
        app.add_api_route(HOOKS_PATH, self.hook, methods=["POST"], status_code=204)
        app.add_api_route("/{page:path}", self.page, response_class=HTMLResponse)
        return app

    async def jwks(self) -> dict[str, Any]:
        """Return the platform's public keys."""
        return self.signer.jwks

    async def mint(
        self, who: Annotated[str, Body()] = "member", claims: Annotated[dict[str, Any] | None, Body()] = None
    ) -> dict[str, str]:
        """Return a persona's token. `claims` replace its claims; a null value removes one."""
        if who not in PERSONAS:
            raise HTTPException(422, f"who: is none of {', '.join(PERSONAS)}")
        return {"token": self.signer.token(who, claims)}

    async def hook(self, request: Request) -> None:
        """Receive a hook of the service."""
        try:
            await self.hooks.receive(request.headers, await request.body())
        except BadSignature as reason:
            raise HTTPException(401, str(reason)) from None

    async def page(self) -> str:
        """Return the page. It serves every address of the SPA; its script reads from the address what to show."""
        people = "".join(
            f'<option value="{who}">{person.name} ({person.role or "of no community"})</option>'
            for who, person in PERSONAS.items()
        )
        placeholders = {"API": self.api_url, "COOKIE": self.cookie, "SLUG": COMMUNITY["slug"], "PEOPLE": people}
        text = SPA_PAGE.read_text()
        for name, value in placeholders.items():
            text = text.replace(f"%{name}%", value)
        return text


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handlers alone: they belong to the demo, which runs in this process."""
        yield


@contextlib.asynccontextmanager
async def open_platform(cookie: str) -> AsyncIterator[Platform]:
    """Run the stand-in on a free port in this process."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        platform = Platform(f"http://{LOOPBACK}:{listener.getsockname()[1]}", cookie)
        server = _Server(uvicorn.Config(platform.app(), log_config=None, access_log=False, timeout_keep_alive=60))
        serving = asyncio.create_task(server.serve([listener]), name="platform")
        try:
            yield platform
        finally:
            server.should_exit = True
            await serving
