"""Of every call that is named somebody is told what it was, how it ended and how long it took."""

import httpx
import pytest

from app.clients.told import Http, named

Told = list[tuple[str, str, str]]


def client(told: Told, answer: httpx.Response | Exception) -> Http:
    """A client whose calls all come to this."""

    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(vendor: str, operation: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        told.append((vendor, operation, outcome))

    return Http(tell, transport=httpx.MockTransport(respond))


async def test_a_call_is_told_by_the_status_of_its_answer() -> None:
    told: Told = []
    async with client(told, httpx.Response(429)) as http:
        await http.get("https://api.zoom.us/", extensions=named("zoom", "get_me"))
        async with http.stream("GET", "https://api.zoom.us/", extensions=named("zoom", "get_me")):
            pass
    assert told == [("zoom", "get_me", "429")] * 2


@pytest.mark.parametrize("failure", [httpx.ConnectTimeout("x"), httpx.ReadTimeout("x"), httpx.RemoteProtocolError("x")])
async def test_a_call_without_an_answer_is_told_by_what_failed(failure: httpx.HTTPError) -> None:
    told: Told = []
    async with client(told, failure) as http:
        with pytest.raises(type(failure)):
            await http.get("https://api.zoom.us/", extensions=named("zoom", "get_me"))
    assert told == [("zoom", "get_me", type(failure).__name__)]


async def test_what_is_no_answer_of_a_vendor_or_not_named_is_not_told() -> None:
    told: Told = []
    async with client(told, ZeroDivisionError()) as http:
        with pytest.raises(ZeroDivisionError):
            await http.get("https://api.zoom.us/", extensions=named("zoom", "get_me"))
    async with client(told, httpx.Response(200)) as http:
        await http.get("https://elsewhere.example/")
    assert told == []
