"""Reactions to what Zoom says of participants."""

from collections.abc import Sequence

from app.attendance import missed, service, settling
from app.attendance.listening import Listener
from app.core import db, together
from app.core.together import Batch
from app.core.work import Work
from app.resources import Resources

NOTE = "attendance.note_participant"


async def note_participant(work: Work[Resources]) -> None:
    """Take down what Zoom said of a participant (the key is a delivery), and what waits beside it: when a meeting ends,
    a thousand leave at once. Order and repetition make no difference."""
    held = work.resources

    async def note_all(tx: db.Tx, keys: Sequence[str]) -> Batch:
        said, batch = await Listener(tx, held.seal).hear_all(keys)
        await service.note(tx, said)
        return batch

    async with together.beside(work, held.db.hot, NOTE, note_all), work.done() as tx:
        own = await Listener(tx, held.seal).hear(work.id)
        await service.note(tx, [own] if own else [])


async def settle(work: Work[Resources]) -> None:
    """An event (the key) ended: complete its attendance by what Zoom reports, and say when nothing more is to come."""
    await settling.settle(work)


async def miss_holdings(work: Work[Resources]) -> None:
    """The sweep over events that should be over and of whose meeting neither start nor end was told."""
    async with work.done() as tx:
        await missed.miss(tx)


async def ask_holding(work: Work[Resources]) -> None:
    """Ask Zoom whether the meeting of an event (the key) was held."""
    await missed.ask(work)
