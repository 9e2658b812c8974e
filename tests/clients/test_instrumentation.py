"""Every named call is reported: what it was, how it ended and how long it took."""

import httpx
import pytest

from app.clients.instrumentation import InstrumentedHttpClient, call_extensions

Calls = list[tuple[str, str, str]]


def client(calls: Calls, answer: httpx.Response | Exception) -> InstrumentedHttpClient:
    """A client whose every call ends with this response or error."""

    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def on_call(vendor: str, operation: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        calls.append((vendor, operation, outcome))

    return InstrumentedHttpClient(on_call, transport=httpx.MockTransport(respond))


async def test_a_call_is_told_by_the_status_of_its_answer() -> None:
    calls: Calls = []
    async with client(calls, httpx.Response(429)) as http:
        await http.get("https://api.zoom.us/", extensions=call_extensions("zoom", "get_me"))
        async with http.stream("GET", "https://api.zoom.us/", extensions=call_extensions("zoom", "get_me")):
            pass
    assert calls == [("zoom", "get_me", "429")] * 2


@pytest.mark.parametrize("failure", [httpx.ConnectTimeout("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
async def test_a_call_without_an_answer_is_told_by_what_failed(failure: httpx.HTTPError) -> None:
    calls: Calls = []
    async with client(calls, failure) as http:
        with pytest.raises(type(failure)):
            await http.get("https://api.zoom.us/", extensions=call_extensions("zoom", "get_me"))
    assert calls == [("zoom", "get_me", type(failure).__name__)]


async def test_what_is_no_answer_of_a_vendor_or_not_named_is_not_told() -> None:
    calls: Calls = []
    async with client(calls, ZeroDivisionError()) as http:
        with pytest.raises(ZeroDivisionError):
            await http.get("https://api.zoom.us/", extensions=call_extensions("zoom", "get_me"))
    async with client(calls, httpx.Response(200)) as http:
        await http.get("https://elsewhere.example/")
    assert calls == []
