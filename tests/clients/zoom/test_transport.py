"""The client over a real socket: what leaves the machine, and what a lost connection means."""

import asyncio

import httpx
import pytest

from app.clients.zoom import AccountClient, BadAnswer, NoAnswer, NotSent, OAuth, OutcomeUnknown, Zoom, transport
from tests.clients.zoom.conftest import NOW, FakeTokens, Script, ScriptedServer


@pytest.fixture
def client(http: httpx.AsyncClient, oauth: OAuth, server: ScriptedServer) -> AccountClient:
    return Zoom(http, oauth, api_url=server.url, now=lambda: NOW).account(FakeTokens("access-1"), server.url)


@pytest.mark.parametrize(
    ("uuid", "path"),
    [
        ("/abc==", "%252Fabc%253D%253D"),
        ("a//b==", "a%252F%252Fb%253D%253D"),
        ("a/b+c==", "a%2Fb%2Bc%3D%3D"),
    ],
)
async def test_a_uuid_reaches_the_wire_as_it_was_encoded(
    server: ScriptedServer, client: AccountClient, uuid: str, path: str
) -> None:
    server.script = server.answer(200, b'{"id": 1}')
    await client.get_meeting(uuid)
    assert server.lines == [f"GET /v2/meetings/{path} HTTP/1.1"]


async def test_ids_survive_as_64_bit_numbers_both_ways(server: ScriptedServer, client: AccountClient) -> None:
    server.script = server.answer(200, b'{"id": 9007199254740993}')
    assert (await client.get_meeting(9007199254740993)).id == 9007199254740993
    assert server.lines == ["GET /v2/meetings/9007199254740993 HTTP/1.1"]


async def test_no_redirect_is_followed(server: ScriptedServer, client: AccountClient) -> None:
    server.script = server.answer(302, b"", f"Location: {server.url}/elsewhere")
    with pytest.raises(BadAnswer):
        await client.get_meeting(1)
    assert len(server.lines) == 1


async def test_nobody_listening_means_never_sent(http: httpx.AsyncClient, oauth: OAuth) -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    await server.wait_closed()
    with pytest.raises(NotSent):
        await (
            Zoom(http, oauth, api_url=url, now=lambda: NOW)
            .account(FakeTokens("t"))
            .create_meeting("me", {"topic": "T"})
        )


async def cut(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def cut_in_the_body(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(b'HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{"id": 8574606')
    await writer.drain()


@pytest.mark.parametrize("script", [cut, cut_in_the_body])
async def test_a_connection_lost_after_sending_is_unknown_for_a_create_only(
    server: ScriptedServer, client: AccountClient, script: Script
) -> None:
    server.script = script
    with pytest.raises(OutcomeUnknown):
        await client.create_meeting("me", {"topic": "T"})
    with pytest.raises(NoAnswer):
        await client.delete_meeting(1)
    assert len(server.lines) == 2


async def test_silence_is_not_waited_for_for_ever(
    server: ScriptedServer, client: AccountClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (transport.TIMEOUT.connect, transport.TIMEOUT.read) == (5.0, 15.0)
    monkeypatch.setattr(transport, "TIMEOUT", httpx.Timeout(5, read=0.05))
    answered = asyncio.Event()

    async def silent(_: bytes, __: asyncio.StreamWriter) -> None:
        await answered.wait()

    server.script = silent
    with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
        await client.create_meeting("me", {"topic": "T"})
    answered.set()
