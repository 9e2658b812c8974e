"""One message to one endpoint: where it may go, how it is signed, and what a response may do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.clients import hooks
from app.clients.hooks import MAX_LOOKUPS_PER_TENANT, HookSender, Unreachable, UrlNotAllowed, is_public, new_secret
from app.hooks import retry_schedule
from tests.hooks.receiver import NAME, OTHER, UNCERTIFIED, FakeResolver, Receiver, signature, signatures
from tests.support.timeouts import TIMEOUT

NOW = datetime(2027, 3, 1, 19, 0, tzinfo=UTC)
BODY = '{"type":"hook.test","data":{"name":"Äpfel"}}'
SECRET = new_secret()
TENANT = "zoom-reviewer"
PRIVATE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0",  # noqa: S104 - it is refused
    "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.7",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "192.88.99.1",
    "::1", "::", "::ffff:93.184.216.34", "::ffff:127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1",
    "2002:7f00:1::1", "2001::1", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254",
    "ff02::1", "100::1", "::127.0.0.1",
)  # fmt: skip


def pending_lookups() -> list[asyncio.Task[Any]]:
    """Return the lookups in progress."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("look-up")]


@pytest.fixture(autouse=True)
async def _cancel_lookups() -> AsyncIterator[None]:
    yield
    for task in pending_lookups():
        task.cancel()
    await asyncio.gather(*pending_lookups(), return_exceptions=True)


async def send(sender: HookSender, url: str, *signing: str) -> int:
    return await sender.send(url, "msg", BODY, signing or (SECRET,), NOW, TENANT)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_on_the_public_internet_is_none_to_send_to(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "172.32.0.1", "2606:2800:220:1::1", "2a00:1450::1"])
def test_an_address_on_the_public_internet_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
async def test_a_name_that_leads_to_a_private_address_is_refused_before_anybody_connects(address: str) -> None:
    """Also if the name has public addresses too, and if the address itself is the host."""
    directory = FakeResolver()
    directory.addresses["both.example"] = ["93.184.216.34", address]
    with pytest.raises(UrlNotAllowed):
        await send(HookSender(resolve=directory.resolve), "https://both.example/")
    plain = address.partition("%")[0]
    with pytest.raises((UrlNotAllowed, Unreachable)):
        await HookSender().check(f"https://[{plain}]/" if ":" in plain else f"https://{plain}/", TENANT)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost", "LOCALHOST."])
async def test_another_spelling_of_this_machine_is_refused(host: str) -> None:
    with pytest.raises((UrlNotAllowed, Unreachable)):
        await HookSender().check(f"https://{host}/", TENANT)


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver.example/", "https://receiver.example:8443/", "https://receiver.example:80/", "ftp://x.example/",
        "https://user@receiver.example/", "https://user:pass@receiver.example/", "https://receiver.example/#part",
        "https:///hook", "https://", "//receiver.example/", "receiver.example", "", "file:///etc/passwd",
        "https://receiver.example:443443/", "https://[::1/", "https://receiver.example/" + "x" * 2048, "https://x y/",
    ],
)  # fmt: skip
async def test_only_https_on_port_443_is_accepted(url: str) -> None:
    directory = FakeResolver()
    with pytest.raises(UrlNotAllowed):
        await HookSender(resolve=directory.resolve).check(url, TENANT)
    assert directory.queries == []


async def test_an_ordinary_address_is_accepted() -> None:
    directory = FakeResolver()
    await HookSender(resolve=directory.resolve).check("https://receiver.example/hook?room=1", TENANT)
    await HookSender(resolve=directory.resolve).check("https://receiver.example:443/hook", TENANT)
    await HookSender(resolve=directory.resolve).check("https://bücher.example/", TENANT)
    assert directory.queries == ["receiver.example", "receiver.example", "xn--bcher-kva.example"]


async def test_the_connection_goes_to_the_very_address_that_was_looked_up_once(receiver: Receiver) -> None:
    """Only this resolver knows the name, so a second lookup elsewhere would fail."""
    assert await send(receiver.hooks, receiver.url()) == 204
    assert receiver.resolver.queries == [NAME]
    assert receiver.received[0].headers["host"] == f"{NAME}:{receiver.port}"


async def test_a_message_is_signed_by_each_secret_over_id_time_and_body(receiver: Receiver) -> None:
    former = new_secret()
    await send(receiver.hooks, receiver.url(), SECRET, former)
    (got,) = receiver.received
    assert got.body == BODY.encode()
    assert (got.id, got.headers["webhook-timestamp"]) == ("msg", str(int(NOW.timestamp())))
    assert signatures(got) == [signature(SECRET, got), signature(former, got)]
    assert got.headers["content-type"] == "application/json"


def test_secrets_are_new_each_time_and_of_32_bytes() -> None:
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) == len("whsec_") + 44


async def test_a_certificate_for_another_name_is_refused(receiver: Receiver) -> None:
    assert await send(receiver.hooks, receiver.url(name=OTHER)) == 204
    with pytest.raises(Unreachable, match="certificate"):
        await send(receiver.hooks, receiver.url(name=UNCERTIFIED))
    assert len(receiver.received) == 1


async def test_a_certificate_nobody_vouches_for_is_refused(receiver: Receiver) -> None:
    stranger = HookSender(resolve=receiver.resolver.resolve, allowed_origins=[f"https://{NAME}:{receiver.port}"])
    with pytest.raises(Unreachable, match="certificate"):
        await send(stranger, receiver.url())
    assert receiver.received == []


async def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    assert await send(receiver.hooks, receiver.url("/redirect")) == 302
    assert [got.path for got in receiver.received] == ["/redirect"]


async def test_an_answer_without_end_is_cut_off(receiver: Receiver) -> None:
    async with asyncio.timeout(TIMEOUT):
        assert await send(receiver.hooks, receiver.url("/endless")) == 200


async def test_an_endpoint_that_never_answers_is_left_in_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "TIMEOUT", 0.3)
    with pytest.raises(Unreachable, match="did not answer"):
        await send(receiver.hooks, receiver.url("/slow"))


async def test_a_name_that_is_looked_up_for_ever_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_host: str) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(hooks, "TIMEOUT", 0.1)
    monkeypatch.setattr(hooks, "CONNECT_TIMEOUT", 0.1)
    with pytest.raises(Unreachable):
        await send(HookSender(resolve=never), "https://receiver.example/")
    with pytest.raises(Unreachable):
        await HookSender(resolve=never).check("https://receiver.example/", TENANT)


async def test_who_asks_learns_nothing_of_the_names_in_our_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A private address, no address, a failing name server and a silent one give the same message."""
    directory = FakeResolver()
    directory.addresses |= {"inside.example": ["10.0.0.7"], "unknown.example": [], "here.example": ["127.0.0.1"]}

    async def resolve(host: str) -> Sequence[str]:
        if host == "slow.example":
            await asyncio.Event().wait()
        if host == "failing.example":
            raise OSError("SERVFAIL")
        return await directory.resolve(host)

    monkeypatch.setattr(hooks, "CONNECT_TIMEOUT", 0.1)
    messages = set()
    for host in ("inside", "unknown", "here", "slow", "failing"):
        for ask in (HookSender(resolve=resolve).check(f"https://{host}.example/", TENANT),
                    send(HookSender(resolve=resolve), f"https://{host}.example/")):  # fmt: skip
            with pytest.raises((UrlNotAllowed, Unreachable)) as caught:
                await ask
            messages.add(str(caught.value))
    assert messages == {hooks.NO_PUBLIC_SERVER}


async def test_a_tenant_whose_name_servers_hang_keeps_nobody_elses_names_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = asyncio.Event()
    queries: list[str] = []

    async def resolve(host: str) -> list[str]:
        queries.append(host)
        if host == "slow.example":
            await answer.wait()
        return ["93.184.216.34"]

    monkeypatch.setattr(hooks, "CONNECT_TIMEOUT", 0.05)
    sender = HookSender(resolve=resolve)
    for _ in range(3 * MAX_LOOKUPS_PER_TENANT):
        with pytest.raises(Unreachable):
            await sender.check("https://slow.example/", "hostile")
    # Lookups that were given up still occupy their threads, so no more are started.
    assert queries == ["slow.example"] * MAX_LOOKUPS_PER_TENANT
    await sender.check("https://receiver.example/", TENANT)
    answer.set()
    await asyncio.gather(*pending_lookups())
    await sender.check("https://receiver.example/", "hostile")


@pytest.mark.parametrize("where", ["user@", "user:pass@", ":@", "@", "%00@", "a%40b@"])
@pytest.mark.parametrize("path", ["", "/", "/x#part"])
async def test_an_operators_own_origin_takes_no_user_name_either(where: str, path: str) -> None:
    directory = FakeResolver()
    sender = HookSender(resolve=directory.resolve, allowed_origins=["http://platform.internal:8080"])
    with pytest.raises(UrlNotAllowed):
        await sender.check(f"http://{where}platform.internal:8080{path}", TENANT)
    assert directory.queries == []


async def test_a_second_address_is_tried_where_nobody_listens_at_the_first(receiver: Receiver) -> None:
    receiver.resolver.addresses[NAME] = ["127.0.0.2", "127.0.0.1"]
    assert await send(receiver.hooks, receiver.url()) == 204


async def test_nobody_listening_is_told_as_that(receiver: Receiver) -> None:
    receiver.resolver.addresses[NAME] = ["127.0.0.2"]
    with pytest.raises(Unreachable, match="connected"):
        await send(receiver.hooks, receiver.url())


def test_the_schedule_is_that_of_standard_webhooks_and_ends() -> None:
    hour, minute = 3600, 60
    expected = [5, 5 * minute, 30 * minute, 2 * hour, 5 * hour, 10 * hour, 14 * hour, 20 * hour, 24 * hour]
    for attempts, seconds in enumerate(expected, 1):
        retry_at = retry_schedule.next_attempt_at(attempts, 500, NOW)
        assert retry_at is not None
        assert seconds <= (retry_at - NOW).total_seconds() <= 1.1 * seconds
    assert retry_schedule.next_attempt_at(len(expected) + 1, 500, NOW) is None


@pytest.mark.parametrize("status", [429, 502, 504])
def test_who_says_that_it_is_too_much_gets_more_time(status: int) -> None:
    retry_at = retry_schedule.next_attempt_at(1, status, NOW)
    assert retry_at is not None
    assert retry_at - NOW >= timedelta(minutes=5)
