"""Only the platform's own, current, well-formed token identifies a caller."""

import base64
import hashlib
import hmac
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from app.core.identity import Caller, KeyMismatch, Membership, NotSignedIn, Role, kid_of, verify

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ISSUER, AUDIENCE = "https://kindryn.test", "kindryn-zoom"
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()
KEYS = {
    "ES256": jwt.PyJWK(ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True)),
    "RS256": jwt.PyJWK(RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True)),
    "EdDSA": jwt.PyJWK(OKPAlgorithm.to_jwk(ED_KEY.public_key(), as_dict=True)),
}
SIGNING = {"ES256": EC_KEY, "RS256": RSA_KEY, "EdDSA": ED_KEY}


def claims(**changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token with changes; `...` as a value removes the claim."""
    stamp = int(NOW.timestamp())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "member-1",
        "iat": stamp,
        "exp": stamp + 3600,
        "email": "ann@example.org",
        "email_verified": True,
        "name": "Ann",
        "locale": "de-CH",
        "communities": [{"id": "c1", "slug": "riverside", "role": "ADMIN"}],
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def signed(payload: dict[str, Any], algorithm: str = "ES256", **headers: Any) -> str:
    key: Any = SIGNING[algorithm]
    return jwt.PyJWS().encode(json.dumps(payload).encode(), key, algorithm, headers=headers)


def verified(token: str, algorithm: str = "ES256", now: datetime = NOW, **options: Any) -> Caller:
    settings: dict[str, Any] = {"issuer": ISSUER, "audience": AUDIENCE, "max_age": timedelta(hours=12), **options}
    return verify(token, KEYS[algorithm], now=now, **settings)


def refusal(token: str, algorithm: str = "ES256", now: datetime = NOW, **options: Any) -> str:
    with pytest.raises(NotSignedIn) as refused:
        verified(token, algorithm, now, **options)
    # Only the slug can reach a log line.
    assert str(refused.value) == refused.value.reason
    return refused.value.reason


def unsigned(header: object, payload: object, signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "EdDSA"])
def test_the_platforms_token_makes_a_caller(algorithm: str) -> None:
    assert verified(signed(claims(), algorithm), algorithm) == Caller(
        member_id="member-1",
        email="ann@example.org",
        email_verified=True,
        name="Ann",
        locale="de-CH",
        memberships=(Membership("c1", "riverside", Role.ADMIN),),
        is_platform=False,
        issued_at=NOW,
    )


@pytest.mark.parametrize(
    ("name", "algorithm", "good"),
    [
        ("Ed25519", "EdDSA", True),
        ("ESP256", "ES256", True),
        ("Ed25519", "ES256", False),
        ("ESP256", "EdDSA", False),
        ("ES256", "EdDSA", False),
        ("Ed448", "EdDSA", False),
        ("ed25519", "EdDSA", False),
        (["Ed25519"], "EdDSA", False),
        (None, "EdDSA", False),
    ],
)
def test_a_token_may_name_the_curve_in_its_algorithm(name: object, algorithm: str, good: bool) -> None:
    """RFC 9864; the key still decides."""
    header = {"alg": name}
    payload = claims()
    parts = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload))
    signature = KEYS[algorithm].Algorithm.sign(parts, SIGNING[algorithm])
    token = f"{parts.decode()}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    if good:
        assert verified(token, algorithm).member_id == "member-1"
    else:
        assert refusal(token, algorithm) == "algorithm"


def test_an_ed448_key_is_none_of_the_other_curve() -> None:
    private = ed448.Ed448PrivateKey.generate()
    key = jwt.PyJWK(OKPAlgorithm.to_jwk(private.public_key(), as_dict=True), "EdDSA")
    parts = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "Ed25519"}, claims())
    )
    token = f"{parts.decode()}.{base64.urlsafe_b64encode(private.sign(parts)).decode().rstrip('=')}"
    with pytest.raises(KeyMismatch, match="algorithm"):
        verify(token, key, issuer=ISSUER, audience=AUDIENCE, max_age=timedelta(hours=12), now=NOW)


def test_only_sub_and_the_times_are_needed() -> None:
    bare = claims(email=..., email_verified=..., name=..., locale=..., communities=...)
    assert verified(signed(bare)) == Caller("member-1", None, False, "", None, (), False, NOW)


@pytest.mark.parametrize("subject", ["guest:7d3c2a52-8f9e-4d0e-9df0-0a4f6f4f2f11", "guest:", "guest:anybody"])
def test_no_token_makes_somebody_a_guest(subject: str) -> None:
    assert refusal(signed(claims(sub=subject))) == "bad-sub"


@pytest.mark.parametrize("locale", ["x" * 36, "de\x00", "", 7, ["de"], "de CH"])
def test_a_language_nobody_speaks_keeps_nobody_out(locale: object) -> None:
    assert verified(signed(claims(locale=locale))).locale is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://elsewhere.test"}, "wrong-issuer"),
        ({"iss": ...}, "wrong-issuer"),
        ({"iss": [ISSUER]}, "wrong-issuer"),
        ({"aud": "another-service"}, "wrong-audience"),
        ({"aud": ...}, "wrong-audience"),
        ({"aud": ["another-service"]}, "wrong-audience"),
        ({"aud": {AUDIENCE: 1}}, "wrong-audience"),
        ({"exp": ...}, "bad-exp"),
        ({"exp": True}, "bad-exp"),
        ({"exp": "4102444800"}, "bad-exp"),
        ({"iat": ...}, "bad-iat"),
        ({"nbf": "tomorrow"}, "bad-nbf"),
        ({"sub": ...}, "bad-sub"),
        ({"sub": ""}, "bad-sub"),
        ({"sub": 7}, "bad-sub"),
        ({"sub": "x" * 129}, "bad-sub"),
        ({"sub": "member\x001"}, "bad-sub"),
        ({"email": 7}, "bad-email"),
        ({"email": "nobody"}, "bad-email"),
        ({"email": "ann@example.org\r\nBcc: all@example.org"}, "bad-email"),
        ({"email": "a" * 250 + "@b.cd"}, "bad-email"),
        ({"email_verified": "true"}, "bad-email_verified"),
        ({"name": ["Ann"]}, "bad-name"),
        ({"service": "yes"}, "bad-service"),
        ({"communities": {"c1": "ADMIN"}}, "bad-communities"),
        ({"communities": ["c1"]}, "bad-communities"),
        ({"communities": [{"id": "c1", "slug": "s", "role": "KING"}]}, "bad-communities"),
        ({"communities": [{"id": "c1", "slug": "s"}]}, "bad-communities"),
        ({"communities": [{"id": "c1", "role": "ADMIN"}]}, "bad-communities"),
        ({"communities": [{"id": 1, "slug": "s", "role": "ADMIN"}]}, "bad-communities"),
    ],
)
def test_a_wrong_or_malformed_claim_is_refused_by_its_name(changes: dict[str, Any], reason: str) -> None:
    assert refusal(signed(claims(**changes))) == reason


def test_one_audience_of_several_is_enough() -> None:
    assert verified(signed(claims(aud=["another-service", AUDIENCE]))).member_id == "member-1"


def test_times_are_held_against_the_callers_now_with_thirty_seconds_of_leeway() -> None:
    token = signed(claims(nbf=int(NOW.timestamp())))
    second = timedelta(seconds=1)
    assert verified(token, now=NOW + timedelta(seconds=3629)).member_id == "member-1"
    assert refusal(token, now=NOW + timedelta(seconds=3630)) == "expired"
    assert verified(token, now=NOW - timedelta(seconds=30)).member_id == "member-1"
    assert refusal(token, now=NOW - timedelta(seconds=31)) == "not-yet-valid"
    assert refusal(signed(claims()), now=NOW - timedelta(seconds=31)) == "issued-in-the-future"
    assert refusal(token, now=NOW + second, leeway=timedelta(0), max_age=timedelta(0)) == "too-old"


def test_a_token_issued_long_ago_is_refused_however_late_it_expires() -> None:
    token = signed(claims(exp=4102444800))
    half_a_day = timedelta(hours=12, seconds=30)
    assert verified(token, now=NOW + half_a_day).member_id == "member-1"
    assert refusal(token, now=NOW + half_a_day + timedelta(seconds=1)) == "too-old"


def test_alg_none_is_refused() -> None:
    for name in ("none", "None", "NONE", ""):
        assert refusal(unsigned({"alg": name}, claims())) == "algorithm"
    assert refusal(unsigned({"typ": "JWT"}, claims())) == "algorithm"


def test_an_hmac_with_the_public_key_as_its_secret_is_refused() -> None:
    public = EC_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    bare = unsigned({"alg": "HS256"}, claims()).rsplit(".", 1)[0]
    forged = hmac.new(public, bare.encode(), hashlib.sha256).digest()
    token = f"{bare}.{base64.urlsafe_b64encode(forged).rstrip(b'=').decode()}"
    assert refusal(token) == "algorithm"
    secret = jwt.PyJWK({"kty": "oct", "k": base64.urlsafe_b64encode(public).decode(), "alg": "HS256"})
    with pytest.raises(NotSignedIn, match="algorithm"):
        verify(token, secret, issuer=ISSUER, audience=AUDIENCE, max_age=timedelta(hours=1), now=NOW)


def test_a_token_may_not_choose_another_algorithm_than_its_keys_own() -> None:
    assert refusal(signed(claims(), "RS256"), "ES256") == "algorithm"
    assert refusal(signed(claims(), "ES256"), "EdDSA") == "algorithm"
    assert refusal(jwt.PyJWS().encode(b"{}", RSA_KEY, "RS512"), "RS256") == "algorithm"


def test_a_token_cannot_bring_its_own_key() -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    brought: dict[str, Any] = {
        "jku": "https://attacker.test/jwks",
        "x5u": "https://attacker.test/x5u",
        "jwk": ECAlgorithm.to_jwk(own.public_key(), as_dict=True),
    }
    assert refusal(jwt.PyJWS().encode(json.dumps(claims()).encode(), own, "ES256", headers=brought)) == "signature"
    assert verified(signed(claims(), **brought)).member_id == "member-1"


def test_an_altered_token_is_refused() -> None:
    header, _, signature = signed(claims()).split(".")
    payload = unsigned({}, claims(sub="member-2")).split(".")[1]
    assert refusal(f"{header}.{payload}.{signature}") == "signature"


def test_what_is_no_token_is_refused() -> None:
    listed = jwt.PyJWS().encode(b"[1]", EC_KEY, "ES256")
    critical = signed(claims(), crit=["exp"], exp=1)
    for rubbish in ("", "a.b.c", "Bearer", "é.é.é", "\ud800", listed, critical):
        assert refusal(rubbish) == "malformed"
    assert refusal("a" * 20_000) == "too-long"


@given(st.text())
def test_no_text_makes_verifying_fail_otherwise(text: str) -> None:
    assert refusal(text + " ") in {"malformed", "algorithm", "signature", "too-long"}


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from([*sorted(claims()), "nbf", "service"]), json_values)
def test_whatever_a_claim_holds_there_is_a_caller_or_a_reason(claim: str, value: object) -> None:
    try:
        outcome = verified(signed(claims(**{claim: value}))).member_id
    except NotSignedIn as refused:
        outcome = refused.reason
    assert outcome


def test_a_name_keeps_its_letters_and_loses_control_characters() -> None:
    family = "Zoë 👩‍👩‍👧 عليرضا"
    assert verified(signed(claims(name=family))).name == family
    assert verified(signed(claims(name="Ann\r\nBcc: x\x00"))).name == "Ann  Bcc: x"


def test_without_an_email_nothing_is_verified() -> None:
    caller = verified(signed(claims(email="")))
    assert caller.email is None
    assert not caller.email_verified


def test_a_service_token_is_the_platform_and_no_ones_admin() -> None:
    caller = verified(signed(claims(service=True, sub="platform")))
    assert caller.is_platform
    assert caller.memberships == ()
    assert not caller.is_admin_of("c1")
    assert not verified(signed(claims(service=False))).is_platform


def test_roles_are_found_by_id_and_by_slug() -> None:
    caller = verified(
        signed(
            claims(
                communities=[
                    {"id": "c1", "slug": "riverside", "role": "OWNER"},
                    {"id": "c2", "slug": "willow", "role": "COACH"},
                    {"id": "c3", "slug": "garden", "role": "ADMIN"},
                ]
            )
        )
    )
    assert caller.role_in("c1") is caller.role_in("riverside") is Role.OWNER
    assert caller.role_in("willow") is Role.COACH
    assert caller.role_in("elsewhere") is None
    assert [caller.is_admin_of(community) for community in ("c1", "c2", "c3", "c4")] == [True, False, True, False]
    assert caller.is_member_of("c2")
    assert not caller.is_member_of("c4")


def test_a_slug_that_is_another_communitys_id_opens_nothing_there() -> None:
    caller = verified(signed(claims(communities=[{"id": "c9", "slug": "c1", "role": "OWNER"}])))
    membership = caller.membership_in("c1")
    assert membership is not None
    assert membership.community_id == "c9"
    assert not caller.is_admin_of("c1")
    assert not caller.is_member_of("c1")
    both = [{"id": "c9", "slug": "c1", "role": "OWNER"}, {"id": "c1", "slug": "riverside", "role": "MEMBER"}]
    assert verified(signed(claims(communities=both))).role_in("c1") is Role.MEMBER


def test_a_community_said_twice_is_not_believed() -> None:
    for second in ({"id": "c1", "slug": "b", "role": "OWNER"}, {"id": "c2", "slug": "a", "role": "OWNER"}):
        first = {"id": "c1", "slug": "a", "role": "MEMBER"}
        assert refusal(signed(claims(communities=[first, second]))) == "bad-communities"


def test_the_kid_is_read_before_anything_is_believed() -> None:
    assert kid_of(signed(claims(), kid="key-1")) == "key-1"
    assert kid_of(signed(claims())) is None
    for rubbish in ("", "a.b.c", "\ud800", unsigned({"alg": "ES256", "kid": 7}, {}), unsigned([], {}), "a" * 20_000):
        with pytest.raises(NotSignedIn):
            kid_of(rubbish)


def test_verifying_costs_little_more_than_the_signature_itself() -> None:
    token = signed(claims())
    signing_input = b"x"
    signature = jwt.algorithms.ECAlgorithm(ECAlgorithm.SHA256).sign(signing_input, EC_KEY)
    algorithm = KEYS["ES256"].Algorithm
    key = KEYS["ES256"].key

    def spent(run: Any) -> float:
        started = time.thread_time()
        run()
        return time.thread_time() - started

    # The measurements alternate, so that other load on the machine slows both. The quickest of each counts.
    runs = [
        (spent(lambda: algorithm.verify(signing_input, key, signature)), spent(lambda: verified(token)))
        for _ in range(300)
    ]
    floor, whole = map(min, zip(*runs, strict=True))
    assert whole < 2 * floor
