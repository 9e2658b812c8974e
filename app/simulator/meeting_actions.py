"""What people do in a meeting: start, join, admit, move to the waiting room or a breakout room, leave, end.

Each action returns Zoom's notifications about it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from app.simulator import notifications
from app.simulator.ids import meeting_uuid, random_id
from app.simulator.notifications import Notification
from app.simulator.scheduling import alternative_hosts
from app.simulator.simulator import Simulator
from app.simulator.state import Instance, Meeting, Participant, Registrant, User

FIRST_USER_ID = 16_778_240  # of a participant in an instance


class NotPossibleError(Exception):
    """Zoom shows a message instead of the meeting.

    The text of the error is that message. The notifications are those that Zoom sends nevertheless.
    """

    def __init__(self, reason: str, notifications_to_send: Sequence[Notification] = ()) -> None:
        super().__init__(reason)
        self.notifications_to_send = notifications_to_send


def start(simulator: Simulator, meeting: Meeting, *, host_joins: bool = True) -> list[Notification]:
    """Start a meeting as its host, which creates an instance. Raises `NotPossibleError` if it is running."""
    if meeting.running_instance is not None:
        raise NotPossibleError("The meeting is already running.")
    host = simulator.state.host(meeting)
    outgoing = _open(simulator, meeting)
    if host_joins:
        _, entry_notifications = _enter(simulator, meeting, host.name, host.email, user=host)
        outgoing += entry_notifications
    return outgoing


def join_by_link(
    simulator: Simulator, meeting: Meeting, registrant: Registrant, *, waits: bool = False
) -> tuple[Participant, list[Notification]]:
    """Join by a registrant's personal link.

    A link works for one device at a time, unless the meeting allows several. A participant who `waits` stays in the
    waiting room.
    """
    if registrant.status != "approved":
        raise NotPossibleError(f"The registration is {registrant.status}.")
    participants = meeting.running_instance.participants if meeting.running_instance else []
    is_inside = any(
        participant.registrant_id == registrant.id and participant.leave_time is None for participant in participants
    )
    if is_inside and not meeting.settings["allow_multiple_devices"]:
        raise NotPossibleError("This link is in use on another device.")
    outgoing = _open_without_host(simulator, meeting, registrant)
    name = f"{registrant.first_name} {registrant.last_name}".strip()
    user = simulator.state.user(registrant.email)
    account_user = user if user is not None and user.account_id == meeting.account_id else None
    participant, entry_notifications = _enter(
        simulator, meeting, name, registrant.email, registrant=registrant, user=account_user, waits=waits
    )
    return participant, outgoing + entry_notifications


def join_by_name(
    simulator: Simulator, meeting: Meeting, name: str, email: str, *, waits: bool = False
) -> tuple[Participant, list[Notification]]:
    """Join without a personal link: as a possible host, or as anybody if there is no registration.

    A participant who `waits` stays in the waiting room. Zoom reports an e-mail address only for users of the host's
    account (contract 11.5).
    """
    account = simulator.state.accounts[meeting.account_id]
    user = next((user for user in account.users if user.email.lower() == email.lower()), None)
    hosts = [simulator.state.host(meeting), *alternative_hosts(meeting, account)]
    if meeting.requires_registration and user not in hosts:
        raise NotPossibleError("The meeting requires registration.")
    outgoing = [] if meeting.running_instance else _open(simulator, meeting) if user in hosts else []
    outgoing += _open_without_host(simulator, meeting)
    participant, entry_notifications = _enter(
        simulator, meeting, name, user.email if user else "", user=user, waits=waits
    )
    return participant, outgoing + entry_notifications


def admit(simulator: Simulator, meeting: Meeting, someone: Participant) -> list[Notification]:
    """Admit a participant from the waiting room. Raises `NotPossibleError` if they are not in it."""
    instance = meeting.running_instance
    if instance is None or someone not in instance.waiting or someone.leave_time is not None:
        raise NotPossibleError("Nobody like that is waiting.")
    instance.waiting.remove(someone)
    instance.participants.append(someone)
    someone.join_time = simulator.now()
    return [
        notifications.waiting_room("admitted", meeting, instance, someone),
        notifications.waiting_room("left_waiting_room", meeting, instance, someone),
        notifications.participant_joined(meeting, instance, someone, simulator.switches),
    ]


def send_to_waiting_room(simulator: Simulator, meeting: Meeting, someone: Participant) -> list[Notification]:
    """Send a participant back to the waiting room. They keep their `user_id`."""
    instance = meeting.running_instance
    if instance is None or someone.leave_time is not None:
        raise NotPossibleError("Nobody to send back.")
    now = simulator.now()
    someone.leave_time, someone.leave_reason = now, ""
    waiting = replace(someone, join_time=now, leave_time=None, leave_reason=None, waited_from=now)
    instance.waiting.append(waiting)
    return [notifications.waiting_room("put_in_waiting_room", meeting, instance, waiting)]


def toggle_breakout_room(
    simulator: Simulator, meeting: Meeting, someone: Participant
) -> tuple[Participant, list[Notification]]:
    """Move a participant into a breakout room or back.

    For Zoom they leave and join in the same second, with another `user_id` of the same connection.
    """
    instance = meeting.running_instance
    if instance is None or someone.leave_time is not None:
        raise NotPossibleError("Nobody to go there.")
    now = simulator.now()
    someone.leave_time, someone.leave_reason = now, f"{someone.name} left the meeting."
    moved = replace(
        someone,
        user_id=_next_user_id(instance),
        join_time=now,
        leave_time=None,
        leave_reason=None,
        waited_from=None,
        breakout=None if someone.breakout else random_id(),
    )
    instance.participants.append(moved)
    return moved, [
        notifications.participant_left(meeting, instance, someone),
        notifications.participant_joined(meeting, instance, moved, simulator.switches),
        notifications.breakout_room(meeting, instance, someone, moved),
    ]


def leave(
    simulator: Simulator, meeting: Meeting, someone: Participant, reason: str | None = None
) -> list[Notification]:
    """Leave the meeting, from inside or from the waiting room."""
    instance = meeting.running_instance
    if instance is None or someone.leave_time is not None:
        raise NotPossibleError("Nobody to leave.")
    someone.leave_time = simulator.now()
    waits = any(someone is each for each in instance.waiting)
    someone.leave_reason = reason or ("Leave waiting room." if waits else f"{someone.name} left the meeting.")
    return [notifications.participant_left(meeting, instance, someone)]


def end(simulator: Simulator, meeting: Meeting) -> list[Notification]:
    """End the meeting for all. The next instance gets another UUID. Returns nothing if it is not running."""
    instance = meeting.running_instance
    if instance is None:
        return []
    now = simulator.now()
    outgoing = []
    for someone in instance.participants:
        if someone.leave_time is None:
            someone.leave_time, someone.leave_reason = now, "Host ended the meeting."
            outgoing.append(notifications.participant_left(meeting, instance, someone))
    instance.ended_at = now
    meeting.uuid = meeting_uuid(simulator.state.next_serial())
    return [*outgoing, notifications.meeting_ended(meeting, simulator.state.host(meeting), instance, now)]


def _open(simulator: Simulator, meeting: Meeting) -> list[Notification]:
    instance = Instance(meeting.uuid, simulator.now())
    meeting.instances.append(instance)
    return [notifications.meeting_started(meeting, simulator.state.host(meeting), instance)]


def _next_user_id(instance: Instance) -> int:
    return FIRST_USER_ID + 1024 * (len(instance.participants) + len(instance.waiting))


def _open_without_host(
    simulator: Simulator, meeting: Meeting, registrant: Registrant | None = None
) -> list[Notification]:
    if meeting.running_instance is not None:
        return []
    if not meeting.settings["join_before_host"] or not _early_enough(meeting, simulator.now()):
        outgoing = [notifications.waiting_for_host(meeting, registrant, simulator.now())] if registrant else []
        raise NotPossibleError("The meeting has not started: please wait for the host.", outgoing)
    return _open(simulator, meeting)


def _early_enough(meeting: Meeting, now: datetime) -> bool:
    minutes = meeting.settings["jbh_time"]
    return not minutes or meeting.start_time is None or (meeting.start_time - now).total_seconds() <= minutes * 60


def _enter(
    simulator: Simulator,
    meeting: Meeting,
    name: str,
    email: str,
    registrant: Registrant | None = None,
    user: User | None = None,
    *,
    waits: bool = False,
) -> tuple[Participant, list[Notification]]:
    instance = meeting.running_instance
    if instance is None:
        raise NotPossibleError("The meeting has not started.")
    someone = Participant(
        user_id=_next_user_id(instance),
        name=name,
        email=email,
        join_time=simulator.now(),
        participant_uuid=random_id(),
        registrant_id=registrant.id if registrant else None,
        participant_user_id=user.id if user else "",
    )
    if waits:
        someone.waited_from = someone.join_time
        instance.waiting.append(someone)
        return someone, [notifications.waiting_room("joined_waiting_room", meeting, instance, someone)]
    instance.participants.append(someone)
    return someone, [notifications.participant_joined(meeting, instance, someone, simulator.switches)]
