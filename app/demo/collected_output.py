"""A report of everything the demo answered and stored, in one file. A test searches it for secrets."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from app.devstack.environment import DemoEnvironment
from app.devstack.http_clients import ApiClient, SimulatorClient
from app.devstack.server_process import StartError, postgres_programs


async def collect(environment: DemoEnvironment, api: ApiClient, zoom: SimulatorClient) -> str:
    """Return the report as a JSON object.

    It has `answers` of the API, `mails` and `logs` by name, a `database` dump as SQL (binary columns in hex), and from
    Zoom its `journal`, its `deliveries` and the `secrets` it issued.
    """
    report = {
        "answers": api.recorded_responses(),
        "mails": {mail.path.name: mail.content.decode("utf-8", "replace") for mail in environment.mailbox.all()},
        "logs": {name: log.read_text(errors="replace") for name, log in environment.logs.items()},
        "database": await _dump(environment.settings["DATABASE_URL"], environment.stack.folder),
        "journal": await zoom.journal(),
        "deliveries": await zoom.deliveries(),
        "secrets": await zoom.control("GET", "secrets"),
    }
    return json.dumps(report, indent=1)


async def _dump(database_url: str, folder: Path) -> str:
    url = urlsplit(database_url)
    # A file, because `ps` shows arguments to everybody.
    passfile = folder / "passfile"
    passfile.touch(mode=0o600)
    passfile.write_text(f"*:*:*:*:{url.password}\n")
    target = f"{url._replace(netloc=f'{url.username}@{url.hostname}:{url.port}').geturl()}?passfile={passfile}"
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(postgres_programs() / "pg_dump", target, stdout=pipe, stderr=pipe)
    dump, errors = await program.communicate()
    if program.returncode != 0:
        raise StartError(f"pg_dump failed: {errors.decode(errors='replace')}")
    return dump.decode("utf-8", "replace")
