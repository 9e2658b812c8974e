"""Parsing of Zoom's responses."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from app.clients.zoom import Meeting, Registrant, Token, User, UserSettings
from app.clients.zoom.models import UserPage

TOKEN = {
    "access_token": "the-access-token",
    "token_type": "bearer",
    "refresh_token": "the-refresh-token",
    "expires_in": 3599,
    "scope": "meeting:read:meeting  user:read:user:admin",
    "api_url": "https://api-eu.zoom.us",
}
MEETING: dict[str, Any] = {
    "id": 85746065432,
    "uuid": "/abc==",
    "host_id": "host",
    "topic": "Topic",
    "type": 2,
    "start_time": "2026-12-01T09:00:00Z",
    "duration": 60,
    "timezone": "Europe/Berlin",
    "join_url": "https://zoom.us/j/1?pwd=the-join-secret",
    "start_url": "https://zoom.us/s/1?zak=the-start-secret",
    "registration_url": "https://zoom.us/meeting/register/the-form",
    "password": "the-pass",
    "settings": {"approval_type": 1, "alternative_hosts": "co@example.com", "new_in_2027": {}},
    "new_in_2027": True,
}


def test_a_token_is_read_with_its_scopes() -> None:
    token = Token.model_validate(TOKEN)
    assert token.scope == {"meeting:read:meeting", "user:read:user:admin"}
    assert (token.expires_in, token.api_url) == (3599, "https://api-eu.zoom.us")


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "expires_in"])
def test_a_token_answer_without_its_parts_is_none(name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        Token.model_validate({**TOKEN, name: None})


def test_a_meeting_is_read_and_unknown_fields_are_ignored() -> None:
    meeting = Meeting.model_validate(MEETING)
    assert meeting.start_time == datetime(2026, 12, 1, 9, tzinfo=UTC)
    assert (meeting.id, meeting.settings.approval_type, meeting.settings.waiting_room) == (85746065432, 1, None)


@pytest.mark.parametrize("value", [9007199254740993, "9007199254740993"])
def test_ids_keep_all_their_digits(value: object) -> None:
    assert Meeting.model_validate({**MEETING, "id": value}).id == 9007199254740993


@pytest.mark.parametrize("value", [9007199254740993.0, True, 0, -1, 2**63, "x", None])
def test_what_is_no_id_is_refused(value: object) -> None:
    with pytest.raises(ValidationError, match="id"):
        Meeting.model_validate({**MEETING, "id": value})


def test_a_user_says_whether_it_is_licensed() -> None:
    assert User.model_validate({"id": "u", "type": 2}).licensed
    assert not User.model_validate({"id": "u", "type": 1, "first_name": None}).licensed


def test_people_who_were_only_invited_are_no_users_yet() -> None:
    page = UserPage.model_validate({"users": [{"email": "new@example.com", "type": 1}, {"id": "u", "type": 1}]})
    assert [user.id for user in page.users] == ["u"]


def test_settings_that_are_not_told_are_zooms_defaults() -> None:
    settings = UserSettings.model_validate({"recording": {"cloud_recording": True}, "in_meeting": None})
    assert (settings.recording.cloud_recording, settings.recording.auto_recording) == (True, "local")
    assert (settings.in_meeting.waiting_room, settings.feature.meeting_capacity) == (False, None)


def test_a_registrant_is_the_same_from_adding_and_from_the_list() -> None:
    added = Registrant.model_validate({"id": 85746065432, "registrant_id": "r1", "join_url": "https://zoom.us/w/1"})
    listed = Registrant.model_validate({"id": "r1", "email": "m@example.com", "status": "approved"})
    assert (added.registrant_id, listed.registrant_id, listed.join_url) == ("r1", "r1", None)


def test_an_answer_without_a_registrant_id_does_not_pass_for_the_meetings() -> None:
    with pytest.raises(ValidationError, match="id"):
        Registrant.model_validate({"id": 85746065432, "join_url": "https://zoom.us/w/1"})


PERSON = {"id": "u", "type": 2, "email": "m@example.com", "first_name": "Maria", "display_name": "Maria M"}
ADDED = {"registrant_id": "r", "join_url": "https://zoom.us/w/1?tk=the-secret", "email": "m@example.com"}


@pytest.mark.parametrize(
    ("model", "data", "hidden"),
    [
        (Token, TOKEN, ["the-access-token", "the-refresh-token"]),
        (Meeting, MEETING, ["the-join-secret", "the-start-secret", "the-pass", "the-form", "co@example.com"]),
        (User, PERSON, ["example", "Maria"]),
        (Registrant, ADDED, ["the-secret", "example"]),
    ],
)
def test_secrets_and_people_do_not_show(model: type[BaseModel], data: dict[str, Any], hidden: list[str]) -> None:
    record = model.model_validate(data)
    with pytest.raises(ValidationError) as caught:
        model.model_validate({**data, "id": [data], "registrant_id": [data], "access_token": [data]})
    assert [secret for secret in hidden if secret in f"{record!r} {record} {caught.value}"] == []
