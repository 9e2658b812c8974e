"""The table of scopes, and which a grant lacks."""

import pytest

from app.clients.zoom import SCOPES, allows, is_admin_grant, missing_scopes
from app.clients.zoom.operations import OPERATIONS
from app.clients.zoom.scopes import BY_NAME

FOURTEEN = {
    "meeting:write:meeting",
    "meeting:write:registrant",
    "meeting:update:meeting",
    "meeting:update:livestream",
    "meeting:update:livestream_status",
    "meeting:update:registrant_status",
    "meeting:delete:meeting",
    "meeting:read:meeting",
    "meeting:read:participant",
    "cloud_recording:read:recording",
    "cloud_recording:delete:meeting_recording",
    "user:read:user",
    "user:read:settings",
    "user:read:list_users:admin",
}
CLASSIC = {"meeting:read", "meeting:write", "recording:read", "recording:write", "user:read"}


def admin(names: set[str]) -> set[str]:
    return {f"{name.removesuffix(':admin')}:admin" for name in names}


def test_the_product_documents_scopes_and_one_more_are_required() -> None:
    assert {scope.name for scope in SCOPES if scope.required} == FOURTEEN


def test_each_scope_stands_once_and_says_what_it_is_for() -> None:
    assert len(BY_NAME) == len(SCOPES)
    assert all(scope.serves and scope.feature for scope in SCOPES)
    assert all((scope.step is not None) == scope.required for scope in SCOPES)
    assert {scope.step for scope in SCOPES if scope.required} == {1, 2, 3, 4, 5, 6, 7}


def test_every_operation_stands_beside_its_scope() -> None:
    for operation in OPERATIONS.values():
        assert f"{operation.method} {operation.path}" in BY_NAME[operation.scope].serves


@pytest.mark.parametrize("granted", [FOURTEEN, admin(FOURTEEN), admin(CLASSIC), CLASSIC | {"user:read:admin"}])
def test_a_complete_grant_lacks_nothing_in_either_family(granted: set[str]) -> None:
    assert missing_scopes(granted) == []


@pytest.mark.parametrize("name", sorted(FOURTEEN))
def test_what_is_missing_is_named(name: str) -> None:
    assert [scope.name for scope in missing_scopes(admin(FOURTEEN) - admin({name}))] == [name]


def test_an_empty_grant_lacks_all_fourteen() -> None:
    assert {scope.name for scope in missing_scopes(frozenset())} == FOURTEEN


def test_extras_are_never_missing_but_may_be_asked_for() -> None:
    assert not allows(FOURTEEN, "meeting:read:list_registrants")
    assert allows(FOURTEEN | {"meeting:read:list_registrants:admin"}, "meeting:read:list_registrants")
    assert not allows(FOURTEEN, "meeting:write:batch_registrants")
    assert allows(FOURTEEN | {"meeting:write:batch_registrants:admin"}, "meeting:write:batch_registrants")
    assert allows({"report:read:admin"}, "report:read:list_meeting_participants:admin")
    assert not allows({"report:read"}, "report:read:list_meeting_participants:admin")


def test_a_classic_scope_covers_no_more_than_it_did() -> None:
    assert allows({"meeting:write"}, "meeting:delete:meeting")
    assert not allows({"meeting:write"}, "meeting:read:meeting")
    assert not allows({"user:read"}, "user:read:list_users:admin")
    assert not allows({"meeting:write:meeting"}, "meeting:update:meeting")


def test_only_an_admin_grant_reaches_other_users() -> None:
    assert is_admin_grant(admin(FOURTEEN))
    assert is_admin_grant(admin(CLASSIC))
    assert not is_admin_grant(FOURTEEN)
    assert not is_admin_grant(FOURTEEN - {"user:read:list_users:admin"})
    assert not is_admin_grant({"user:read:list_users:admin"})
    assert not is_admin_grant({"meeting:write:meeting:admin"})
    assert not is_admin_grant(CLASSIC)
    assert not is_admin_grant(frozenset())


def test_a_scope_that_is_not_in_the_table_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        allows(FOURTEEN, "meeting:write:everything")
