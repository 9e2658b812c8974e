"""An encrypted value can be decrypted only with its key, for its row, and unaltered."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.crypto import DecryptionError, Encryption, new_token, token_digest

# Constant, because they are part of test ids.
OLD, NEW = bytes(range(32)), bytes(range(100, 132))
ROW = "grants/42/refresh_token"


def written(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).decode()


@given(st.text(), st.text())
def test_a_text_opens_for_the_row_it_was_sealed_for(text: str, row: str) -> None:
    encryption = Encryption({"new": NEW})
    assert encryption.decrypt(encryption.encrypt(text, row), row) == text


@given(st.binary())
def test_bytes_open_as_the_bytes_they_were(body: bytes) -> None:
    encryption = Encryption({"new": NEW})
    assert encryption.decrypt_bytes(encryption.encrypt(body, ROW), ROW) == body


@given(st.text(), st.text(), st.text())
def test_a_value_copied_to_another_row_does_not_open(text: str, row: str, other: str) -> None:
    encryption = Encryption({"new": NEW})
    sealed = encryption.encrypt(text, row)
    if other != row:
        with pytest.raises(DecryptionError, match="altered or is not that of"):
            encryption.decrypt(sealed, other)
    assert encryption.decrypt(sealed, row) == text


@given(st.data())
def test_a_value_with_any_bit_turned_does_not_open(data: st.DataObject) -> None:
    encryption = Encryption({"a": OLD, "b": NEW})
    sealed = bytearray(encryption.encrypt("a refresh token", ROW))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DecryptionError):
        encryption.decrypt(bytes(sealed), ROW)


@given(st.binary(max_size=80))
def test_what_was_never_sealed_does_not_open(rubbish: bytes) -> None:
    with pytest.raises(DecryptionError):
        Encryption({"new": NEW}).decrypt(rubbish, ROW)


def test_every_beginning_of_a_sealed_value_is_refused() -> None:
    encryption = Encryption({"new": NEW})
    sealed = encryption.encrypt("a refresh token", ROW)
    for length in range(len(sealed)):
        with pytest.raises(DecryptionError):
            encryption.decrypt(sealed[:length], ROW)


def test_the_plaintext_shows_nowhere_and_no_two_seals_are_alike() -> None:
    encryption = Encryption({"new": NEW})
    sealed = {encryption.encrypt("a refresh token", ROW) for _ in range(50)}
    assert len(sealed) == 50
    assert not any(b"refresh" in value for value in sealed)


def test_rotation_opens_the_old_and_seals_with_the_first() -> None:
    sealed_before = Encryption({"old": OLD}).encrypt("a refresh token", ROW)
    rotated = Encryption.parse(f"new:{written(NEW)}, old:{written(OLD)}")
    assert rotated.decrypt(sealed_before, ROW) == "a refresh token"
    assert rotated.key_id(sealed_before) == "old"
    assert rotated.needs_reencryption(sealed_before)
    resealed = rotated.encrypt(rotated.decrypt(sealed_before, ROW), ROW)
    assert rotated.key_id(resealed) == "new"
    assert not rotated.needs_reencryption(resealed)
    with pytest.raises(DecryptionError, match="'old' is not among those given"):
        Encryption({"new": NEW}).decrypt(sealed_before, ROW)


def test_bytes_that_are_no_text_are_not_opened_as_text() -> None:
    encryption = Encryption({"new": NEW})
    with pytest.raises(DecryptionError, match="no text"):
        encryption.decrypt(encryption.encrypt(b"\xff\xfe", ROW), ROW)


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
        Encryption.parse(text)
    assert "\n" not in str(refusal.value)
    for key in (NEW, OLD, OLD[:16]):
        assert written(key)[:10] not in str(refusal.value)


def test_a_seal_needs_a_key_of_full_length() -> None:
    with pytest.raises(ValueError, match="no encryption key is given"):
        Encryption({})
    with pytest.raises(ValueError, match="must be 32 bytes long, not 16"):
        Encryption({"short": OLD[:16]})


def test_padding_of_a_key_may_be_left_out() -> None:
    sealed = Encryption.parse(f"new:{written(NEW).rstrip('=')}").encrypt("text", ROW)
    assert Encryption.parse(f"new:{written(NEW)}").decrypt(sealed, ROW) == "text"


def test_a_seal_does_not_print_its_keys() -> None:
    assert repr(Encryption({"new": NEW, "old": OLD})) == "Encryption(new, old)"


def test_tokens_are_fresh_and_their_digest_is_sha_256() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == 43 and token.replace("-", "").replace("_", "").isalnum() for token in tokens)
    assert len(new_token(16)) == 22
    assert token_digest("ticket") == hashlib.sha256(b"ticket").digest()
