"""Describe a plan to an operator: the action, its object, and the reason. The text names no person."""

from collections.abc import Iterator, Sequence

from app.reconciling import meeting_plan, registrant_plan
from app.reconciling.inventory import Inventory
from app.reconciling.planning import AccountPlan


def describe(plans: Sequence[AccountPlan]) -> Iterator[tuple[str, str, str]]:
    """Yield (action, object, reason) for each action of the plans."""
    for one in plans:
        for action in one.meetings:
            yield _describe_meeting(action, one.inventory)
        for batch in one.registrants:
            for each in batch.actions:
                action_text, reason = _describe_registrant(each)
                yield action_text, f"meeting {batch.number}, event {batch.event_id}", reason


def _describe_meeting(action: meeting_plan.Action, inventory: Inventory) -> tuple[str, str, str]:
    if isinstance(action, meeting_plan.Adopt):
        return "adopt", f"meeting {action.number}", f"event {action.event_id} lacks a meeting, and this is its own"
    if isinstance(action, meeting_plan.Retire):
        return "delete", f"meeting {action.number}", f"event {action.event_id} has another, or wants none"
    if isinstance(action, meeting_plan.Delete):
        return "delete", f"meeting {action.number}", "nobody knows its event, which was made after the backup"
    if isinstance(action, meeting_plan.ClearOrphan):
        return "delete", f"meeting {action.number}", "an attempt to create it had been given up"
    if isinstance(action, meeting_plan.Leave):
        return "leave", f"meeting {action.number}", action.reason
    if isinstance(action, meeting_plan.Recreate):
        return "make anew", f"meeting of event {action.event_id}", "it is gone at Zoom"
    names = ", ".join(sorted(inventory.changed[action.number]))
    return "correct", f"meeting {action.number}", f"Zoom has it otherwise than event {action.event_id}: {names}"


def _describe_registrant(action: registrant_plan.Action) -> tuple[str, str]:
    if isinstance(action, registrant_plan.Adopt):
        return "take the link", f"registration {action.registration_id} is coming, and had none here"
    if isinstance(action, registrant_plan.CancelRegistrant):
        return "cancel registrant", f"registration {action.registration_id} is not coming"
    if isinstance(action, registrant_plan.AddAgain):
        return "add registrant", f"registration {action.registration_id} is coming, and Zoom has it no more"
    if isinstance(action, registrant_plan.MarkDenied):
        return "note as denied", f"registration {action.registration_id} was denied inside Zoom"
    return "cancel registrant", "the answer was given after the backup, and is lost"
