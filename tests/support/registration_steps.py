"""Steps of tests of registrations: answer events, and read who comes."""

from typing import Any

from httpx import Response

from tests.support.service import RunningService


async def put_rsvp(service: RunningService, event: dict[str, Any], who: str, status: str, **claims: Any) -> Response:
    """RSVP as a person, without waiting for what follows. `claims` are claims of their token."""
    headers = {"Authorization": f"Bearer {service.platform.token(who, service.clock.now(), **claims)}"}
    path = f"/api/events/{event['id']}/rsvp"
    return await service.call(who, "PUT", path, json={"status": status}, headers=headers)


async def put_numbered_rsvp(
    service: RunningService, event: dict[str, Any], number: int, status: str = "going", **claims: Any
) -> Response:
    """RSVP as one of many members, without waiting for what follows. `claims` are claims of their token."""
    member = {"sub": f"m-{number}", "email": f"m{number}@members.example", "name": f"Member {number}"}
    return await put_rsvp(service, event, "member", status, **(member | claims))


def slug(response: Response) -> str:
    """Return the slug of a problem."""
    return str(response.json()["type"]).rpartition("/")[2]


async def native_event(service: RunningService, **fields: Any) -> Any:
    """Create an event that does not run on Zoom."""
    return await service.create_event(delivery_mode="native", **fields)


async def list_registrations(service: RunningService, event: dict[str, Any], who: str = "admin", **query: Any) -> Any:
    """Return one page of the event's registrations."""
    response = await service.get(who, f"/api/events/{event['id']}/registrations", params=query)
    assert response.status_code == 200, response.text
    return response.json()
