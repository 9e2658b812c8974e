"""Everything the demo said and stored, in one file: for a search that must find no secret in it."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from app.demo.calls import Api, Zoom
from app.demo.house import House
from app.demo.servers import StartError, postgres_programs


async def gathered(house: House, api: Api, zoom: Zoom) -> str:
    """A JSON object: `answers` of the API, `mails` and `logs` by name, a `database` dump as SQL (binary columns in
    hex), and from Zoom its `journal`, its `deliveries` and the `secrets` it issued."""
    said = {
        "answers": api.report(),
        "mails": {mail.path.name: mail.content.decode("utf-8", "replace") for mail in house.mailbox.all()},
        "logs": {name: log.read_text(errors="replace") for name, log in house.logs.items()},
        "database": await _dump(house.settings["DATABASE_URL"], house.stack.folder),
        "journal": await zoom.journal(),
        "deliveries": await zoom.deliveries(),
        "secrets": await zoom.control("GET", "secrets"),
    }
    return json.dumps(said, indent=1)


async def _dump(database_url: str, folder: Path) -> str:
    where = urlsplit(database_url)
    # A file, for `ps` shows arguments to everybody.
    passfile = folder / "passfile"
    passfile.touch(mode=0o600)
    passfile.write_text(f"*:*:*:*:{where.password}\n")
    target = f"{where._replace(netloc=f'{where.username}@{where.hostname}:{where.port}').geturl()}?passfile={passfile}"
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(postgres_programs() / "pg_dump", target, stdout=pipe, stderr=pipe)
    dump, complaint = await program.communicate()
    if program.returncode != 0:
        raise StartError(f"pg_dump failed: {complaint.decode(errors='replace')}")
    return dump.decode("utf-8", "replace")
