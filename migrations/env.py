"""How Alembic reaches the database, and which tables it compares with."""

import asyncio

from alembic import context
from sqlalchemy import Connection

from app.accounts import models as accounts
from app.attendance import models as attendance
from app.core import models as core
from app.core.database import Model, create_engine
from app.events import models as events
from app.hooks import models as hooks
from app.inbox import models as inbox
from app.invitations import models as invitations
from app.joining import models as joining
from app.live import models as live
from app.meetings import models as meetings
from app.reconciling import models as reconciling
from app.registrants import models as registrants
from app.registrations import models as registrations

# Importing a room's models is what puts its tables on the metadata.
ROOMS = (
    core,
    accounts,
    inbox,
    events,
    meetings,
    registrations,
    registrants,
    invitations,
    joining,
    attendance,
    live,
    hooks,
    reconciling,
)


def run(connection: Connection) -> None:
    """Run the migrations in one transaction."""
    context.configure(
        connection=connection, target_metadata=Model.metadata, compare_type=True, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()


async def connect() -> None:
    """Connect with the URL of `migrate(url)`, or of `alembic -x url=...`."""
    url = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True)["url"]
    engine = create_engine(url)
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


asyncio.run(connect())
