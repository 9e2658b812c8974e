"""Snapshots of a service in which a Zoom account is connected, or that has an event as well.

Tests about something else begin with a snapshot, because connecting takes long. The service itself makes the state in
one of the tests that ask for it. The tests that ask within a minute restore the snapshot of it. A test that did
anything before that may matter makes the state itself.
"""

import copy
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from app.jobs import JOBS
from app.resources import Resources
from app.simulator.simulator import Simulator

MAX_AGE = 60.0  # seconds
_TABLES = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY relname
"""
_SEQUENCES = (
    "SELECT schemaname || '.' || sequencename AS name, last_value FROM pg_sequences WHERE schemaname = 'public'"
)
# Attributes of the simulator that a step changes, and those that only a test changes.
_SIMULATOR_STATE = ("state", "tally", "page_tokens", "codes", "zaks", "secrets", "journal")
_SIMULATOR_SETTINGS = ("config", "switches", "faults", "clock", "endpoints")


@dataclass
class Snapshot:
    """The result of a step: all rows and sequences, Zoom's state, and what the step returned."""

    result: str
    statements: str
    zoom: dict[str, Any]
    deliveries: Sequence[Any]
    created_at: float = field(default_factory=time.monotonic)

    @property
    def fresh(self) -> bool:
        """Whether it is less than a minute old."""
        return time.monotonic() - self.created_at < MAX_AGE


@dataclass
class SnapshotStore:
    """The snapshots of one database, by their steps."""

    connection: Any
    tables: Sequence[str]
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    @classmethod
    async def open(cls, url: str) -> "SnapshotStore":
        """Return an empty store for the database at `url`."""
        connection = await asyncpg.connect(url)
        return cls(connection, [row[0] for row in await connection.fetch(_TABLES)])

    async def fingerprint(self) -> tuple[Any, ...]:
        """Return a value that changes with the content of the tables."""
        each = (f"(SELECT (count(*), max(xmin::text::bigint)) FROM {table})::text" for table in self.tables)  # noqa: S608 - names from the catalogue
        return tuple(await self.connection.fetchrow("SELECT " + ", ".join(each)))

    async def is_empty(self) -> bool:
        """Return whether the only rows are those of the periodic jobs."""
        each = (f"(SELECT count(*) FROM {table})" for table in self.tables)  # noqa: S608 - as above
        counts = dict(zip(self.tables, await self.connection.fetchrow("SELECT " + ", ".join(each)), strict=True))
        return counts.pop("outbox") == len(JOBS.periodic) and not any(counts.values())

    async def take(self, result: Any, simulator: Simulator) -> Snapshot:
        """Return a snapshot of the present."""
        each = (f"(SELECT jsonb_agg(t) FROM {table} AS t)" for table in self.tables)  # noqa: S608 - as above
        contents = await self.connection.fetchrow("SELECT " + ", ".join(each))
        statements = ["SET LOCAL session_replication_role = replica"]
        for table, rows in zip(self.tables, contents, strict=True):
            statements.append(f"DELETE FROM {table}")  # noqa: S608 - as above
            if rows:
                literal = "'" + rows.replace("'", "''") + "'"
                recordset = f"SELECT * FROM jsonb_populate_recordset(NULL::{table}, {literal})"  # noqa: S608 - as above
                statements.append(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE {recordset}")
        for name, last in await self.connection.fetch(_SEQUENCES):
            if last is not None:
                statements.append(f"SELECT setval('{name}', {last})")
        zoom = copy.deepcopy({name: getattr(simulator, name) for name in _SIMULATOR_STATE})
        deliveries = copy.deepcopy(simulator.sender.deliveries)
        return Snapshot(json.dumps(result), "; ".join(statements), zoom, deliveries)

    async def restore(self, snapshot: Snapshot, simulator: Simulator) -> Any:
        """Replace the present by a snapshot. Returns what its step returned."""
        await self.connection.execute(snapshot.statements)
        vars(simulator).update(copy.deepcopy(snapshot.zoom))
        simulator.sender.deliveries[:] = copy.deepcopy(snapshot.deliveries)
        return json.loads(snapshot.result)


class StepRunner:
    """Runs the first steps of one test, and restores their snapshots where there are any."""

    def __init__(
        self, store: SnapshotStore, resources: Resources, simulator: Simulator, is_untouched: Callable[[], bool]
    ) -> None:
        self._store = store
        self._resources = resources
        self._simulator = simulator
        self._is_untouched = is_untouched
        self._initial_clients = self._client_state()
        self._initial_settings = self._simulator_settings()
        self._path = ""  # the steps so far
        self._fingerprint: tuple[Any, ...] = ()
        self._zoom_requests = self._count_zoom_requests()
        self.restored = 0

    async def run(self, name: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Run a step, or restore its snapshot if the test did nothing else before.

        A snapshot belongs to a step with the steps before it. Returns what `make` returns.
        """
        if not await self._did_nothing_else():
            return await make()
        store = self._store
        path = f"{self._path}; {name}"
        snapshot = store.snapshots.get(path)
        if snapshot and snapshot.fresh:
            result = await store.restore(snapshot, self._simulator)
            self.restored += 1
        else:
            result = await make()
            if not self._is_untouched():  # a snapshot would not send the mails of the step again
                return result
            store.snapshots = {key: each for key, each in store.snapshots.items() if each.fresh}
            store.snapshots[path] = await store.take(result, self._simulator)
        self._path = path
        self._fingerprint = await store.fingerprint()
        self._zoom_requests = self._count_zoom_requests()
        return result

    async def _did_nothing_else(self) -> bool:
        """Return whether everything is as the last step left it, or as it was at the start."""
        if not self._is_untouched() or self._zoom_requests != self._count_zoom_requests():
            return False
        if (self._initial_clients, self._initial_settings) != (self._client_state(), self._simulator_settings()):
            return False
        if not self._path and await self._store.is_empty():
            return True
        return self._fingerprint == await self._store.fingerprint()

    def _client_state(self) -> list[dict[str, Any]]:
        return [dict(vars(each)) for each in (self._resources.zoom, self._resources.oauth, self._resources.hooks)]

    def _simulator_settings(self) -> dict[str, Any]:
        settings = {name: copy.deepcopy(getattr(self._simulator, name)) for name in _SIMULATOR_SETTINGS}
        return settings | {"names": sorted(vars(self._simulator))}

    def _count_zoom_requests(self) -> tuple[int, int]:
        return len(self._simulator.journal), len(self._simulator.sender.deliveries)
