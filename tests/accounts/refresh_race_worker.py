"""One process of the refresh race: signals "ready", then lets 20 tasks ask for a token on command."""

import asyncio
import hashlib
import json
import sys
from uuid import UUID

from app.accounts import grants
from app.accounts.grants import AccountTokens
from app.resources import open_resources
from tests.accounts.harness import JOBS, settings_for
from tests.support.timeouts import TIMEOUT

TASKS = 20


async def main(database_url: str, zoom_url: str, account_id: str, rejected: str | None) -> None:
    """Print one line of JSON: the digests of the tokens that the tasks got."""
    grants.REFRESH_TIMEOUT = TIMEOUT  # sixty tasks may take longer on a slow machine
    async with open_resources(settings_for(database_url, zoom_url), JOBS) as resources:
        print("ready", flush=True)  # noqa: T201 - the test waits for this line
        await asyncio.to_thread(sys.stdin.readline)
        sources = [AccountTokens(resources, UUID(account_id)) for _ in range(TASKS)]
        tokens = await asyncio.gather(*(source.access_token(rejected=rejected) for source in sources))
        print(json.dumps([hashlib.sha256(token.encode()).hexdigest() for token in tokens]), flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    arguments = json.loads(sys.stdin.readline())
    asyncio.run(main(**arguments))
