"""`make demo KEEP=1`: after the walk, a fresh workspace and everything a person or a program needs to try it."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.demo import steps
from app.demo.calls import StepFailed
from app.demo.cast import CAST, COMMUNITY, KEY_ID
from app.demo.house import House
from app.demo.scene import EVENTS, SLUG, Scene, schedule

FILE = Path("var/demo.json")


@contextlib.asynccontextmanager
async def open_doors(scene: Scene, space_id: str) -> AsyncIterator[None]:
    """Connects the account again, makes a fresh event, and says where things are: to people, and in var/demo.json."""
    event_id = await _fresh(scene, space_id)
    told = _demo_json(scene.house, space_id, event_id)
    _write(told)
    print(_welcome(scene.house, event_id), flush=True)
    try:
        yield
    finally:
        _remove(told)


def _write(told: dict[str, Any]) -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    unfinished = FILE.with_suffix(f".{told['port']}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(told, indent=2))
    unfinished.replace(FILE)


def _remove(told: dict[str, Any]) -> None:
    """A demo started later has its own there by now, and keeps it."""
    with contextlib.suppress(FileNotFoundError):
        if json.loads(FILE.read_text())["port"] == told["port"]:
            FILE.unlink()


async def _fresh(scene: Scene, space_id: str) -> str:
    """The workspace as the reviewer finds it, but with Zoom already connected; the id of its event."""
    for event in (await scene.api.get("owner", f"{EVENTS}?limit=200"))["items"]:
        await scene.api.call("owner", "DELETE", f"/api/events/{event['id']}", status=204)
    try:
        await steps.connect(replace(scene, tell=lambda _: None))
    except StepFailed as failure:
        scene.tell(f"the account could not be connected again: {failure}")
    return await schedule(scene.api, "Demo event — switch delivery to Zoom", space_id)


def _demo_json(house: House, space_id: str, event_id: str) -> dict[str, Any]:
    signature = house.platform.signature
    return {
        "api": house.api_url,
        "docs": f"{house.api_url}/docs",
        "port": house.api_url.rpartition(":")[2],
        "zoom": house.zoom_url,
        "consent": _consent(house),
        "s3": house.stack.s3.endpoint_url,
        "spa": house.platform.url,
        "mail_folder": str(house.mailbox.folder),
        "metrics": dict(_metrics(house)),
        "logs": {name: str(log) for name, log in house.logs.items()},
        "community": COMMUNITY,
        "space_id": space_id,
        "event_id": event_id,
        "settings": house.settings,
        "worker_settings": house.worker_settings,
        "tokens": {who: signature.token(who) for who in CAST},
        "mint": {
            "url": f"{house.platform.url}/mint",
            "body": {"who": "member", "claims": {"sub": "member-17", "email": "somebody@members.example"}},
            "kid": KEY_ID,
            "private_key": signature.pem,
            "claims": signature.claims("member"),
        },
    }


def _consent(house: House) -> str:
    """Zoom's consent page as its Marketplace opens it, which knows no state; Connect Zoom opens it with one."""
    asked = {
        "response_type": "code",
        "client_id": house.settings["ZOOM_CLIENT_ID"],
        "redirect_uri": house.settings["ZOOM_REDIRECT_URI"],
    }
    return f"{house.zoom_url}/oauth/authorize?{urlencode(asked)}"


def _metrics(house: House) -> list[tuple[str, str]]:
    processes = (("api", house.settings), ("worker", house.worker_settings))
    return [(name, f"http://{own['METRICS_HOST']}:{own['METRICS_PORT']}/metrics") for name, own in processes]


def _welcome(house: House, event_id: str) -> str:
    spa = f"{house.platform.url}/{SLUG}"
    lines = {
        "Click through it": f"{spa}/admin/integrations",
        "The event": f"{spa}/events/{event_id}",
        "API": house.api_url,
        "API by hand": f"{house.api_url}/docs",
        "Zoom's consent page": _consent(house),
        "Inside Zoom": f"{house.zoom_url}/docs",
        "S3": house.stack.s3.endpoint_url,
        "Mails": str(house.mailbox.folder),
        **{f"Metrics of the {name}": url for name, url in _metrics(house)},
        "Tokens, settings": str(FILE.resolve()),
    }
    width = max(map(len, lines))
    return "\n".join([*(f"{name:<{width}}  {value}" for name, value in lines.items()), "Ctrl-C ends everything."])
