"""The two Zoom accounts every simulator begins with, and functions to create further ones."""

from collections.abc import Sequence
from datetime import UTC, datetime

from app.simulator.ids import stable_id
from app.simulator.state import BASIC, LICENSED, Account, Json, Plan, Role, User, ZoomState

_CREATED_AT = datetime(2021, 3, 8, 9, 30, tzinfo=UTC)


def initial_state() -> ZoomState:
    """Return the state a simulator begins with: two accounts with users.

    *Riverside* is on Business with two licensed hosts and a basic one. *Willow* is free with one basic host.
    """
    state = ZoomState()
    riverside = new_account(state, "Riverside", "business")
    for email, first, last, kind, role in (
        ("ada@riverside.example", "Ada", "Marsh", LICENSED, "owner"),
        ("ben@riverside.example", "Ben", "Okoye", LICENSED, "member"),
        ("cleo@riverside.example", "Cleo", "Lindqvist", BASIC, "member"),
    ):
        add_user(riverside, email, (first, last), kind, "owner" if role == "owner" else "member", cloud_recording=True)
    willow = new_account(state, "Willow", "free")
    add_user(willow, "wil@willow.example", ("Wil", "Tanaka"), BASIC, "owner", cloud_recording=False)
    return state


def new_account(state: ZoomState, name: str, plan: Plan) -> Account:
    """Create a Zoom account without users. Its id follows from the name."""
    number = 10_000_000 + int.from_bytes(stable_id(name).encode()[:3]) % 89_999_999
    account = Account(stable_id(f"account:{name}"), number, name, plan)
    state.accounts[account.id] = account
    return account


def add_user(
    account: Account,
    email: str,
    names: Sequence[str],
    kind: int,
    role: Role,
    *,
    cloud_recording: bool,
    status: str = "active",
) -> User:
    """Add a user to an account. The personal meeting id follows from the e-mail address."""
    pmi = 1_000_000_000 + int.from_bytes(stable_id(email).encode()[:4]) % 8_999_999_999
    settings = user_settings(account.plan, kind, cloud_recording=cloud_recording)
    user_id = stable_id(f"user:{email}")
    user = User(user_id, account.id, email, names[0], names[1], kind, role, pmi, _CREATED_AT, settings, status=status)
    account.users.append(user)
    return user


def user_settings(plan: Plan, kind: int, *, cloud_recording: bool) -> dict[str, Json]:
    """Return the settings of contract 4.3 that matter to a client.

    A basic user has neither recording nor streaming.
    """
    licensed = kind == LICENSED
    return {
        "schedule_meeting": {
            "host_video": False,
            "participants_video": False,
            "join_before_host": False,
            "require_password_for_scheduling_new_meetings": True,
            "meeting_password_requirement": {"length": 6, "have_letter": False, "have_number": False},
            "use_pmi_for_scheduled_meetings": False,
        },
        "in_meeting": {
            "allow_live_streaming": licensed,
            "custom_live_streaming_service": licensed,
            "custom_service_instructions": "",
            "live_streaming_facebook": False,
            "live_streaming_youtube": False,
            "waiting_room": False,
        },
        "recording": _recording(enabled=licensed and cloud_recording),
        "feature": {
            "meeting_capacity": 300 if licensed and plan == "business" else 100,
            "large_meeting": False,
            "large_meeting_capacity": 0,
            "webinar": False,
        },
    }


def _recording(*, enabled: bool) -> Json:
    return {
        "cloud_recording": enabled,
        "local_recording": True,
        "auto_recording": "none",
        "recording_audio_transcript": enabled,
        "record_speaker_view": enabled,
        "record_gallery_view": False,
        "record_audio_file": enabled,
        "save_chat_text": enabled,
        "auto_delete_cmr": False,
        "auto_delete_cmr_days": 30,
        "host_pause_stop_recording": True,
        "recording_password_requirement": {"length": 8, "only_allow_numeric": False},
        "ip_address_access_control": {"enable": False, "ip_addresses_or_ranges": ""},
    }
