"""The demo as a newcomer runs it: every step passes, it leaks no secret and leaves nothing behind."""

import asyncio
import base64
import html
import json
import os
import signal
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from email import message_from_string, policy
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.clients.zoom import SCOPES
from app.core import metrics
from app.demo.walk import SCOPES_OF_LATER_STEPS, STEPS
from tests.demo.live_event_scenario import StreamEvent, run_live_event, scrape_metrics
from tests.support.timeouts import PYTHON_COMMAND, TIMEOUT

ROOT = Path(__file__).parents[2]
# Metrics that do not change where nothing fails, or only for a moment. Each has a test of its own in tests/core.
UNMOVED = {
    "kindryn_zoom_rate_limited": "Zoom refuses a call for its limits",
    "kindryn_zoom_token_refreshes": "a token lasts an hour, the demo minutes",
    "kindryn_zoom_outbox_oldest_due_seconds": "a row is due for milliseconds",
    "kindryn_zoom_database_connections_busy": "a connection is in use for milliseconds",
}
SHORTEST = 12  # characters; a six-digit passcode would be found in any log by chance


pytestmark = pytest.mark.timeout(1500)  # a whole walk


@dataclass
class DemoRun:
    """A demo that was walked, kept up, inspected, and ended by Ctrl-C."""

    lines: list[str]
    report: dict[str, Any]
    info: dict[str, Any]
    pages: dict[str, httpx.Response]
    streams: tuple[list[StreamEvent], list[StreamEvent]]
    metrics: list[str]
    status: int
    children: dict[int, str]
    file_left: bool


@pytest.fixture(scope="module")
async def demo_run(tmp_path_factory: pytest.TempPathFactory) -> DemoRun:
    folder = tmp_path_factory.mktemp("walk")
    command = [*PYTHON_COMMAND, "-m", "app.demo", "demo", "--keep", "--report", str(folder / "report.json")]
    # Elsewhere than in the project, so that its var/demo.json is not overwritten.
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    demo = await asyncio.create_subprocess_exec(*command, cwd=folder, env=environment, stdout=PIPE, stderr=STDOUT)
    try:
        lines = await until_line(demo, "Ctrl-C ends everything.")
        file = folder / "var" / "demo.json"
        info = json.loads(file.read_text())
        children = dict(children_of(demo.pid))
        pages = await look_around(info)
        early, late, during = await run_live_event(info)
        metrics_texts = during + await scrape_metrics(info)
        demo.send_signal(signal.SIGINT)
        rest, _ = await demo.communicate()
    finally:
        with suppress(ProcessLookupError):
            demo.kill()
    lines += rest.decode().splitlines()
    report = json.loads((folder / "report.json").read_text())
    return DemoRun(
        lines, report, info, pages, (early, late), metrics_texts, demo.returncode or 0, children, file.exists()
    )


async def until_line(demo: asyncio.subprocess.Process, last: str) -> list[str]:
    assert demo.stdout is not None
    lines: list[str] = []
    while last not in lines:
        line = await demo.stdout.readline()
        assert line, "the demo ended early:\n" + "\n".join(lines)
        lines.append(line.decode().rstrip("\n"))
    return lines


async def look_around(info: dict[str, Any]) -> dict[str, httpx.Response]:
    """Return what a person and a program find there with nothing but var/demo.json."""
    admin = {"Authorization": f"Bearer {info['tokens']['admin']}"}
    spa = info["spa"]
    async with httpx.AsyncClient(trust_env=False, timeout=TIMEOUT) as http:
        minted = await http.post(info["mint"]["url"], json={"who": "member2", "claims": {"sub": "somebody-new"}})
        somebody = {"Authorization": f"Bearer {minted.json()['token']}"}
        return {
            "card": await http.get(f"{info['api']}/api/communities/zoom-reviewer/integrations/zoom", headers=admin),
            "event": await http.get(f"{info['api']}/api/events/{info['event_id']}", headers=somebody),
            "ready": await http.get(f"{info['api']}/readyz"),
            "docs": await http.get(info["docs"]),
            "integrations": await http.get(f"{spa}/zoom-reviewer/admin/integrations?zoom=confirm&handle=h"),
            "install": await http.get(f"{spa}/install/zoom"),
            "consent": await http.get(info["consent"]),
            **{name: await http.get(url) for name, url in info["metrics"].items()},
        }


def children_of(parent: int) -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent:
                yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")


def test_every_step_of_the_reviewer_plan_passes(demo_run: DemoRun) -> None:
    assert demo_run.lines[-1] == f"reviewer plan: {len(STEPS)} of {len(STEPS)} steps passed", "\n".join(demo_run.lines)
    assert demo_run.status == 0
    assert [step.number for step in STEPS] == [1, 2, 3, 5, 7, 8]


def test_each_step_names_the_scopes_it_exercised(demo_run: DemoRun) -> None:
    scope_lines = [line for line in demo_run.lines if line.strip().startswith("scopes ")]
    steps = [step for step in STEPS if step.scopes]
    assert len(scope_lines) == len(steps)
    for line, step in zip(scope_lines, steps, strict=True):
        assert all(name in line for name in step.scopes)


def test_only_scopes_of_steps_to_come_are_left_out(demo_run: DemoRun) -> None:
    walked_steps = {step.number for step in STEPS}
    used = {name for step in STEPS for name in step.scopes}
    assert {scope.name for scope in SCOPES if scope.required and scope.step in walked_steps} - used == set(
        SCOPES_OF_LATER_STEPS
    )
    assert all(
        any(name in line and SCOPES_OF_LATER_STEPS[name] in line for line in demo_run.lines)
        for name in SCOPES_OF_LATER_STEPS
    )


def test_what_starts_is_shown_with_its_time(demo_run: DemoRun) -> None:
    for name in ("PostgreSQL", "Redis", "S3", "simulator", "API", "worker"):
        assert any(line.startswith(name) and line.endswith(" s") for line in demo_run.lines), name


def forms(secret: str) -> set[str]:
    """Return a secret's forms in JSON, HTML, a URL inside a URL, base64, or a dump of binary columns."""
    raw = secret.encode()
    return {
        secret,
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        html.escape(secret),
        json.dumps(secret)[1:-1],
        secret.replace("/", r"\/"),
        raw.hex(),
        base64.b64encode(raw).decode().rstrip("=")[:-1],
    }


def texts_of(mail: str) -> str:
    """Return a mail as it was sent, and the decoded content of its parts."""
    parts = [part.get_payload(decode=True) for part in message_from_string(mail, policy=policy.default).walk()]
    return mail + "".join(part.decode(errors="replace") for part in parts if isinstance(part, bytes))


def all_texts(demo_run: DemoRun) -> Iterator[tuple[str, str]]:
    for answer in demo_run.report["answers"]:
        yield f"{answer['method']} {answer['path']}", json.dumps(answer["headers"]) + answer["body"]
    for name, mail in demo_run.report["mails"].items():
        yield name, texts_of(mail)
    yield from demo_run.report["logs"].items()
    yield "database", demo_run.report["database"]
    yield "the demo's own output", "\n".join(demo_run.lines)


def test_no_secret_of_zoom_is_in_any_answer_mail_log_line_or_the_database(demo_run: DemoRun) -> None:
    issued = {secret["value"]: secret["kind"] for secret in demo_run.report["secrets"]}
    assert {"registrant_join_url", "join_url", "access_token", "refresh_token", "tk"} <= set(issued.values())
    sought = {form: kind for value, kind in issued.items() if len(value) >= SHORTEST for form in forms(value)}
    texts = list(all_texts(demo_run))
    assert len(demo_run.report["mails"]) >= 6
    assert all(demo_run.report["logs"].values())
    assert [(place, kind) for place, text in texts for form, kind in sought.items() if form in text] == []


def test_a_join_url_leaves_only_in_the_location_of_a_pass(demo_run: DemoRun) -> None:
    links = {s["value"] for s in demo_run.report["secrets"] if s["kind"] in {"registrant_join_url", "join_url"}}
    led = [answer for answer in demo_run.report["answers"] if answer["location"] in links]
    assert led
    assert all(answer["path"].startswith("/j/") and answer["status"] == 303 for answer in led)
    assert len({answer["path"] for answer in led}) == len(led), "a pass was good twice"
    others = [answer["location"] for answer in demo_run.report["answers"] if answer["location"] and answer not in led]
    assert not [location for location in others if any(link in location for link in links)]


def test_what_is_kept_can_be_used_with_its_tokens(demo_run: DemoRun) -> None:
    assert {name: answer.status_code for name, answer in demo_run.pages.items()} == dict.fromkeys(demo_run.pages, 200)
    assert demo_run.pages["card"].json()["accounts"][0]["status"] == "connected"
    event = demo_run.pages["event"].json()
    assert (event["status"], event["delivery_mode"], event["is_virtual"]) == ("scheduled", "native", True)
    assert "Finish connecting" in demo_run.pages["integrations"].text
    assert set(demo_run.info["tokens"]) == {"owner", "admin", "coach", "member", "member2", "stranger"}
    assert demo_run.info["settings"]["PUBLIC_URL"] == demo_run.info["api"]


def test_an_evening_there_is_read_from_its_beginning_and_in_whole_by_who_comes_late(demo_run: DemoRun) -> None:
    early, late = demo_run.streams
    events = iter([(kind, data.get("status"), data.get("participants")) for kind, data in early])
    expected = [
        ("state", "scheduled", 0),
        ("state", "live", 1),
        ("state", "live", 2),
        ("message", None, None),
        ("question", None, None),
        ("answer", None, None),
        ("state", "ended", 0),
        ("closed", "ended", None),
    ]
    assert all(each in events for each in expected), "whatever comes in between, in this order"
    # A late client receives only the present state, and a question comes with its answer.
    assert {data["status"] for kind, data in late if kind == "state"} == {"ended"}
    assert late[0][0] == "state"
    assert [kind for kind, _ in late if kind != "state"] == ["message", "question", "answer", "closed"]


def moved(texts: list[str]) -> set[str]:
    """Return the metrics that any process showed with a value other than zero."""
    return {
        family.name
        for text in texts
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value and not sample.name.endswith("_created")
    }


def test_every_metric_moves_in_a_whole_demo_or_is_known_to_move_only_otherwise(demo_run: DemoRun) -> None:
    ours = {family.name for family in metrics.REGISTRY.collect() if family.name.startswith("kindryn_zoom_")}
    assert ours - moved(demo_run.metrics) - set(UNMOVED) == set()
    assert set(UNMOVED) <= ours


def test_calls_to_each_vendor_are_counted_in_a_whole_demo(demo_run: DemoRun) -> None:
    vendors = {
        sample.labels["vendor"]
        for text in demo_run.metrics
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "kindryn_zoom_vendor_calls_total"
    }
    assert vendors == {"zoom", "mail", "hooks", "jwks"}


def test_what_is_counted_for_the_whole_database_is_shown_by_one_process(demo_run: DemoRun) -> None:
    assert [text.count('kindryn_zoom_accounts{status="connected"}') for text in demo_run.metrics] == [0, 1] * 2


def test_every_metric_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    ours = {family.name for family in metrics.REGISTRY.collect() if family.name.startswith("kindryn_zoom_")}
    assert [name for name in sorted(ours) if f"`{name.removeprefix('kindryn_zoom_')}" not in readme] == []


def test_ctrl_c_leaves_no_process_no_folder_and_no_file(demo_run: DemoRun) -> None:
    assert len(demo_run.children) >= 6
    assert not [name for pid, name in demo_run.children.items() if Path(f"/proc/{pid}").exists()]
    assert not Path(demo_run.info["mail_folder"]).parent.exists()
    assert not demo_run.file_left
