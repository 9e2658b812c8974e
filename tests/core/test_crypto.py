"""What is sealed opens only with its key, for its row, unaltered."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.crypto import CannotOpen, Seal, new_token, token_digest

# Always the same, because they are part of the names of tests.
OLD, NEW = bytes(range(32)), bytes(range(100, 132))
ROW = "grants/42/refresh_token"


def written(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


@given(st.text(), st.text())
def test_a_text_opens_for_the_row_it_was_sealed_for(text: str, row: str) -> None:
    seal = Seal({"new": NEW})
    assert seal.open(seal.seal(text, row), row) == text


@given(st.binary())
def test_bytes_open_as_the_bytes_they_were(body: bytes) -> None:
    seal = Seal({"new": NEW})
    assert seal.open_bytes(seal.seal(body, ROW), ROW) == body


@given(st.text(), st.text(), st.text())
def test_a_value_copied_to_another_row_does_not_open(text: str, row: str, other: str) -> None:
    seal = Seal({"new": NEW})
    sealed = seal.seal(text, row)
    if other != row:
        with pytest.raises(CannotOpen, match="altered or is not that of"):
            seal.open(sealed, other)
    assert seal.open(sealed, row) == text


@given(st.data())
def test_a_value_with_any_bit_turned_does_not_open(data: st.DataObject) -> None:
    seal = Seal({"a": OLD, "b": NEW})
    sealed = bytearray(seal.seal("a refresh token", ROW))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CannotOpen):
        seal.open(bytes(sealed), ROW)


@given(st.binary(max_size=80))
def test_what_was_never_sealed_does_not_open(rubbish: bytes) -> None:
    with pytest.raises(CannotOpen):
        Seal({"new": NEW}).open(rubbish, ROW)


def test_every_beginning_of_a_sealed_value_is_refused() -> None:
    seal = Seal({"new": NEW})
    sealed = seal.seal("a refresh token", ROW)
    for length in range(len(sealed)):
        with pytest.raises(CannotOpen):
            seal.open(sealed[:length], ROW)


def test_the_plaintext_shows_nowhere_and_no_two_seals_are_alike() -> None:
    seal = Seal({"new": NEW})
    sealed = {seal.seal("a refresh token", ROW) for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"refresh" in value for value in sealed)


def test_rotation_opens_the_old_and_seals_with_the_first() -> None:
    sealed_before = Seal({"old": OLD}).seal("a refresh token", ROW)
    rotated = Seal.parse(f"new:{written(NEW)}, old:{written(OLD)}")
    assert rotated.open(sealed_before, ROW) == "a refresh token"
    assert rotated.key_id(sealed_before) == "old"
    assert rotated.needs_resealing(sealed_before)
    resealed = rotated.seal(rotated.open(sealed_before, ROW), ROW)
    assert rotated.key_id(resealed) == "new"
    assert not rotated.needs_resealing(resealed)
    with pytest.raises(CannotOpen, match="'old' is not among those given"):
        Seal({"new": NEW}).open(sealed_before, ROW)


def test_bytes_that_are_no_text_are_not_opened_as_text() -> None:
    seal = Seal({"new": NEW})
    with pytest.raises(CannotOpen, match="no text"):
        seal.open(seal.seal(b"\xff\xfe", ROW), ROW)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "key 1 is not of the form id:key"),
        (written(NEW), "key 1 is not of the form id:key"),
        (f"new:{written(NEW)},", "key 2 is not of the form id:key"),
        (f"new:{written(NEW)},old:{written(OLD[:16])}", "key 2 is not 32 bytes in base64url"),
        (f"new:{base64.b64encode(b'>?' * 16).decode()}", "key 1 is not 32 bytes in base64url"),
        (f"new:{written(NEW)} # mine", "key 1 is not 32 bytes in base64url"),
        (f"new:{written(NEW)},new:{written(OLD)}", "key 2 has the id of an earlier one"),
        (f"{written(OLD)}:{written(NEW)}", "key 1 needs an id of 1 to 32 letters"),
    ],
)
def test_malformed_keys_are_named_by_position_and_never_shown(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        Seal.parse(text)
    assert "\n" not in str(refusal.value)
    for key in (NEW, OLD, OLD[:16]):
        assert written(key)[:10] not in str(refusal.value)


def test_a_seal_needs_a_key_of_full_length() -> None:
    with pytest.raises(ValueError, match="no encryption key is given"):
        Seal({})
    with pytest.raises(ValueError, match="must be 32 bytes long, not 16"):
        Seal({"short": OLD[:16]})


def test_padding_of_a_key_may_be_left_out() -> None:
    sealed = Seal.parse(f"new:{written(NEW).rstrip('=')}").seal("text", ROW)
    assert Seal.parse(f"new:{written(NEW)}").open(sealed, ROW) == "text"


def test_a_seal_does_not_print_its_keys() -> None:
    assert repr(Seal({"new": NEW, "old": OLD})) == "Seal(new, old)"


def test_tokens_are_fresh_and_their_digest_is_sha_256() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)
    assert len(new_token(16)) == 22
    assert token_digest("ticket") == hashlib.sha256(b"ticket").digest()
