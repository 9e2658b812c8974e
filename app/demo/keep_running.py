"""`make demo KEEP=1`: a fresh workspace after the walk, for people and programs to try."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from app.demo import steps
from app.demo.walkthrough_state import Walkthrough, schedule_event
from app.devstack.environment import DemoEnvironment
from app.devstack.http_clients import EVENTS, SLUG, StepFailed
from app.devstack.personas import COMMUNITY, KEY_ID, PERSONAS

FILE = Path("var/demo.json")


@contextlib.asynccontextmanager
async def keep_open(walkthrough: Walkthrough, space_id: str) -> AsyncIterator[None]:
    """Connect the account again, create a fresh event, and report the addresses.

    They are printed and written to var/demo.json.
    """
    event_id = await _prepare_fresh_workspace(walkthrough, space_id)
    document = _demo_json(walkthrough.environment, space_id, event_id)
    _write(document)
    print(_welcome(walkthrough.environment, event_id), flush=True)
    try:
        yield
    finally:
        _remove(document)


def _write(document: dict[str, Any]) -> None:
    FILE.parent.mkdir(parents=True, exist_ok=True)
    unfinished = FILE.with_suffix(f".{document['port']}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(document, indent=2))
    unfinished.replace(FILE)


def _remove(document: dict[str, Any]) -> None:
    """Delete var/demo.json, unless a demo that started later has written its own there."""
    with contextlib.suppress(FileNotFoundError):
        if json.loads(FILE.read_text())["port"] == document["port"]:
            FILE.unlink()


async def _prepare_fresh_workspace(walkthrough: Walkthrough, space_id: str) -> str:
    """Prepare the workspace as the reviewer finds it, but with Zoom connected.

    Returns the id of its event.
    """
    for event in (await walkthrough.api.get("owner", f"{EVENTS}?limit=200"))["items"]:
        await walkthrough.api.call("owner", "DELETE", f"/api/events/{event['id']}", status=204)
    try:
        await steps.connect(replace(walkthrough, report=lambda _: None))
    except StepFailed as failure:
        walkthrough.report(f"the account could not be connected again: {failure}")
    return await schedule_event(walkthrough.api, "Demo event — switch delivery to Zoom", space_id)


def _demo_json(environment: DemoEnvironment, space_id: str, event_id: str) -> dict[str, Any]:
    signer = environment.platform.signer
    return {
        "api": environment.api_url,
        "docs": f"{environment.api_url}/docs",
        "port": environment.api_url.rpartition(":")[2],
        "zoom": environment.zoom_url,
        "consent": _consent_url(environment),
        "s3": environment.stack.s3.endpoint_url,
        "spa": environment.platform.url,
        "mail_folder": str(environment.mailbox.folder),
        "metrics": dict(_metrics_urls(environment)),
        "logs": {name: str(log) for name, log in environment.logs.items()},
        "community": COMMUNITY,
        "space_id": space_id,
        "event_id": event_id,
        "settings": environment.settings,
        "worker_settings": environment.worker_settings,
        "tokens": {who: signer.token(who) for who in PERSONAS},
        "mint": {
            "url": f"{environment.platform.url}/mint",
            "body": {"who": "member", "claims": {"sub": "member-17", "email": "somebody@members.example"}},
            "kid": KEY_ID,
            "private_key": signer.pem,
            "claims": signer.claims("member"),
        },
    }


def _consent_url(environment: DemoEnvironment) -> str:
    """Return the URL of Zoom's consent page as Zoom's Marketplace opens it, without a state.

    The button *Connect Zoom* opens the page with a state.
    """
    query = {
        "response_type": "code",
        "client_id": environment.settings["ZOOM_CLIENT_ID"],
        "redirect_uri": environment.settings["ZOOM_REDIRECT_URI"],
    }
    return f"{environment.zoom_url}/oauth/authorize?{urlencode(query)}"


def _metrics_urls(environment: DemoEnvironment) -> list[tuple[str, str]]:
    processes = (("api", environment.settings), ("worker", environment.worker_settings))
    return [
        (name, f"http://{settings['METRICS_HOST']}:{settings['METRICS_PORT']}/metrics") for name, settings in processes
    ]


def _welcome(environment: DemoEnvironment, event_id: str) -> str:
    spa = f"{environment.platform.url}/{SLUG}"
    lines = {
        "Click through it": f"{spa}/admin/integrations",
        "The event": f"{spa}/events/{event_id}",
        "API": environment.api_url,
        "API by hand": f"{environment.api_url}/docs",
        "Zoom's consent page": _consent_url(environment),
        "Inside Zoom": f"{environment.zoom_url}/docs",
        "S3": environment.stack.s3.endpoint_url,
        "Mails": str(environment.mailbox.folder),
        **{f"Metrics of the {name}": url for name, url in _metrics_urls(environment)},
        "Tokens, settings": str(FILE.resolve()),
    }
    width = max(map(len, lines))
    return "\n".join([*(f"{name:<{width}}  {value}" for name, value in lines.items()), "Ctrl-C ends everything."])
