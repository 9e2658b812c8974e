"""The floors of the benchmark: the least work a request needs, done with the same libraries.

`python -m app.demo.bench_floor FLOOR.json PORT` serves them on loopback, with the platform's keys beside them.
"""

import contextlib
import hashlib
import hmac
import json
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from app.clients.jwks import read_keys
from app.core import identity
from app.devstack.server_process import LOOPBACK

MAX_TOKEN_AGE = timedelta(hours=24)
SCHEMA = """
CREATE TABLE floor_clicks (
    id uuid PRIMARY KEY, event_id uuid NOT NULL, member_id text NOT NULL, clicked_at timestamptz NOT NULL
);
CREATE TABLE floor_deliveries (digest bytea PRIMARY KEY, body bytea NOT NULL, received_at timestamptz NOT NULL);
"""
CLICK = "INSERT INTO floor_clicks VALUES (gen_random_uuid(), $1, $2, $3)"
DELIVERY = "INSERT INTO floor_deliveries VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


@dataclass(frozen=True)
class Floor:
    """What the server of the floors needs to know. `jwks` is a JSON Web Key Set (RFC 7517)."""

    database_url: str
    jwks: Mapping[str, Any]
    issuer: str
    audience: str
    webhook_secret: str

    def write(self, file: Path) -> None:
        """Write it to a file for the process that serves the floors."""
        file.write_text(json.dumps(asdict(self)))


def create_floor_app(floor: Floor) -> FastAPI:
    """Build the floors, at the same paths as the routes that are compared with them.

    `join` verifies a token and inserts one row. `inbox` verifies a signature and inserts one row.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncpg.create_pool(floor.database_url) as pool:
            await pool.execute(SCHEMA)
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=lifespan)
    keys = {key.key_id: key for key in read_keys(orjson.dumps(floor.jwks))}
    verify = partial(identity.verify, issuer=floor.issuer, audience=floor.audience, max_age=MAX_TOKEN_AGE)

    @app.get("/jwks.json")
    async def jwks() -> Mapping[str, Any]:
        return floor.jwks

    @app.post("/api/events/{event_id}/zoom-join")
    async def join(event_id: UUID, request: Request) -> dict[str, str]:
        token = request.headers["authorization"].removeprefix("Bearer ")
        now = datetime.now(UTC)
        caller = verify(token, keys[identity.kid_of(token)], now=now)
        await app.state.pool.execute(CLICK, event_id, caller.member_id, now)
        return {"url": "https://api.example/j/a-ticket", "expires_at": now.isoformat()}

    @app.post("/api/integrations/zoom/webhooks", status_code=204)
    async def receive(request: Request) -> Response:
        body = await request.body()
        timestamp = request.headers["x-zm-request-timestamp"]
        signed = hmac.new(floor.webhook_secret.encode(), f"v0:{timestamp}:".encode() + body, hashlib.sha256)
        if not hmac.compare_digest(f"v0={signed.hexdigest()}", request.headers["x-zm-signature"]):
            return Response(status_code=401)
        await app.state.pool.execute(DELIVERY, hashlib.sha256(body).digest(), body, datetime.now(UTC))
        return Response(status_code=204)

    return app


if __name__ == "__main__":
    _, file, port = sys.argv
    uvicorn.run(
        create_floor_app(Floor(**json.loads(Path(file).read_text()))), host=LOOPBACK, port=int(port), access_log=False
    )
