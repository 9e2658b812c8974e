"""The Zoom client: one method for each call to Zoom's API, made with the grant of one account.

The client retries nothing, except for one repetition with a fresh token (see `auth`). Errors say when to try again, and
the outbox waits until then.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, cast

import httpx
from pydantic import ValidationError

from app.clients.zoom import error_mapping, operations, protocol, transport
from app.clients.zoom.allowed_hosts import is_zoom_link, trusted_api_origin
from app.clients.zoom.auth import BearerAuth, OAuth, TokenSource
from app.clients.zoom.errors import BadAnswer, PageTokenExpired
from app.clients.zoom.models import (
    BatchedRegistrants,
    Meeting,
    MeetingPage,
    ParticipantPage,
    PastMeeting,
    Recording,
    Registrant,
    RegistrantPage,
    ReportedParticipant,
    User,
    UserPage,
    UserSettings,
    ZoomModel,
)
from app.clients.zoom.operations import Operation
from app.clients.zoom.request_models import (
    MAX_BATCH,
    MAX_STATUS_CHANGES,
    MeetingBody,
    RegistrantBody,
    RegistrantReference,
)

PAGE_SIZE = 300  # the most Zoom's guide allows

# Awaited before each call, with the name of its operation.
Throttle = Callable[[str], Awaitable[None]]

R = TypeVar("R", bound=ZoomModel)
P = TypeVar("P", bound=ZoomModel)


class Zoom:
    """Zoom as this installation reaches it.

    `api_url` is the configured origin, `now` the clock, `oauth` the OAuth client. `origins` are configured origins that
    count as Zoom's, `domains` further domains of Zoom.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        oauth: OAuth,
        *,
        api_url: str,
        now: Callable[[], datetime],
        origins: Collection[str] = (),
        domains: Collection[str] = (),
    ) -> None:
        self.oauth = oauth
        self._http = http
        self._api_url = api_url
        self._now = now
        self._origins = origins
        self._domains = domains

    def account(
        self, tokens: TokenSource, api_url: str | None = None, throttle: Throttle | None = None
    ) -> "AccountClient":
        """Return a client that calls Zoom with one grant.

        `api_url` is the one of the token response. `throttle` is awaited before each call with the name of its
        operation. Raises UntrustedHost.
        """
        return AccountClient(self._http, tokens, self.api_origin(api_url), self._now, throttle)

    def api_origin(self, api_url: str | None) -> str:
        """Return the origin to call for a grant whose token came with `api_url`. Raises UntrustedHost."""
        return trusted_api_origin(api_url, self._api_url, self._domains)

    def is_link(self, url: str) -> bool:
        """Return whether a URL leads to Zoom; callers check before they store it or redirect to it."""
        return is_zoom_link(url, self._origins, self._domains)


class AccountClient:
    """Calls Zoom with one grant. Every method raises `ZoomError`.

    A user id may be `me`. A meeting id is the number, as int or text, or a meeting UUID.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokens: TokenSource,
        api_url: str,
        now: Callable[[], datetime],
        throttle: Throttle | None = None,
    ) -> None:
        self._http = http
        self._auth = BearerAuth(tokens)
        self._api_url = api_url
        self._now = now
        self._throttle = throttle

    async def get_me(self) -> User:
        """Return the user who gave the grant."""
        return await self._call_and_parse(operations.GET_ME, User, {})

    def list_users(self) -> AsyncIterator[User]:
        """Yield the active users of the account."""
        return self._paginate(operations.LIST_USERS, UserPage, lambda page: page.users, lambda user: user.id, {}, {})

    async def get_user_settings(self, user_id: str) -> UserSettings:
        """Return a user's settings."""
        return await self._call_and_parse(operations.GET_USER_SETTINGS, UserSettings, {"user_id": user_id})

    async def create_meeting(self, user_id: str, body: MeetingBody) -> Meeting:
        """Create a meeting for a host.

        OutcomeUnknown means that it may exist: find out before trying again.
        """
        return await self._call_and_parse(operations.CREATE_MEETING, Meeting, {"user_id": user_id}, _as_mapping(body))

    def list_meetings(
        self, user_id: str, kind: Literal["scheduled", "live", "upcoming"] = "scheduled"
    ) -> AsyncIterator[Meeting]:
        """Yield a host's meetings, without their settings and with `agenda` cut at 250 characters."""
        return self._paginate(
            operations.LIST_MEETINGS,
            MeetingPage,
            lambda page: page.meetings,
            # Zoom lists a recurring meeting once per occurrence under one id.
            lambda meeting: (meeting.id, meeting.start_time),
            {"user_id": user_id},
            {"type": kind},
        )

    async def get_meeting(self, meeting_id: str | int) -> Meeting:
        """Return a meeting with its settings and a start URL that is valid for two hours."""
        return await self._call_and_parse(operations.GET_MEETING, Meeting, {"meeting_id": meeting_id})

    async def update_meeting(self, meeting_id: str | int, body: MeetingBody) -> None:
        """Change the fields that `body` contains.

        Zoom silently ignores fields that it does not support, so callers read the meeting back.
        """
        await self._call(operations.UPDATE_MEETING, {"meeting_id": meeting_id}, body=_as_mapping(body))

    async def delete_meeting(self, meeting_id: str | int) -> None:
        """Delete a meeting. NotFound means that it did not exist any more.

        Zoom is told to send no mails, because the app sends its own.
        """
        query = {"schedule_for_reminder": False, "cancel_meeting_reminder": False}
        await self._call(operations.DELETE_MEETING, {"meeting_id": meeting_id}, query)

    async def add_registrant(self, meeting_id: str | int, body: RegistrantBody) -> Registrant:
        """Register one person; the registrant is pending if it has no `join_url`.

        Zoom allows 3 calls a day for each e-mail address.
        """
        return await self._call_and_parse(
            operations.ADD_REGISTRANT, Registrant, {"meeting_id": meeting_id}, _as_mapping(body)
        )

    async def add_registrants(self, meeting_id: str | int, people: Sequence[RegistrantBody]) -> Sequence[Registrant]:
        """Register 1 to 30 people as approved, without a mail from Zoom.

        A person is missing from the result if Zoom does not answer for them, and pending if there is no `join_url`.
        `auto_approve` applies to the whole call, so the entries do not carry it. Raises ValueError for another number
        of people.
        """
        if not 1 <= len(people) <= MAX_BATCH:
            raise ValueError(f"people: 1 to {MAX_BATCH} at once, not {len(people)}")
        entries = [{name: value for name, value in person.items() if name != "auto_approve"} for person in people]
        body = {"auto_approve": True, "registrants_confirmation_email": False, "registrants": entries}
        response = await self._call_and_parse(
            operations.ADD_REGISTRANTS, BatchedRegistrants, {"meeting_id": meeting_id}, body
        )
        return response.registrants

    async def set_registrants_status(
        self,
        meeting_id: str | int,
        action: Literal["approve", "cancel", "deny"],
        registrants: Sequence[RegistrantReference],
    ) -> None:
        """Approve, cancel or deny 1 to 30 registrants. Raises ValueError for another number.

        Success does not prove that the status changed.
        """
        if not 1 <= len(registrants) <= MAX_STATUS_CHANGES:
            raise ValueError(f"registrants: 1 to {MAX_STATUS_CHANGES} at once, not {len(registrants)}")
        body = {"action": action, "registrants": list(registrants)}
        await self._call(operations.SET_REGISTRANTS_STATUS, {"meeting_id": meeting_id}, body=body)

    def list_registrants(
        self, meeting_id: str | int, status: Literal["pending", "approved", "denied"] = "approved"
    ) -> AsyncIterator[Registrant]:
        """Yield the registrants with one status; no list contains cancelled ones."""
        return self._paginate(
            operations.LIST_REGISTRANTS,
            RegistrantPage,
            lambda page: page.registrants,
            lambda registrant: registrant.registrant_id,
            {"meeting_id": meeting_id},
            {"status": status},
        )

    def list_participants(self, meeting_uuid: str, *, report: bool) -> AsyncIterator[ReportedParticipant]:
        """Yield the people who were inside an instance that is over.

        With `report` they come from the instance's report, which knows most, else from the past-meeting data. In place
        of a UUID a meeting number means the latest instance. NotFound: Zoom has no data yet, or none at all.
        """
        operation = operations.REPORT_PARTICIPANTS if report else operations.PAST_PARTICIPANTS
        return self._paginate(
            operation,
            ParticipantPage,
            lambda page: page.participants,
            lambda row: (row.user_id, row.name, row.join_time, row.leave_time, row.status, row.bo_mtg_id),
            {"meeting_uuid": meeting_uuid},
            {"include_fields": "registrant_id"} if report else {},
        )

    async def get_past_meeting(self, meeting_id: str | int) -> PastMeeting:
        """Return an instance that is over. NotFound: Zoom knows none.

        `meeting_id` is the instance's UUID. A meeting number means the latest instance.
        """
        return await self._call_and_parse(operations.PAST_MEETING, PastMeeting, {"meeting_id": meeting_id})

    async def get_recordings(self, meeting_uuid: str) -> Recording:
        """Return the cloud recording of an instance. NotFound: there is none, or not yet."""
        return await self._call_and_parse(operations.GET_RECORDINGS, Recording, {"meeting_uuid": meeting_uuid})

    async def _call(
        self,
        operation: Operation,
        path: protocol.Path,
        query: protocol.Query | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> protocol.Response:
        request = protocol.build_request(operation, self._api_url, path, query, body)
        if self._throttle:
            await self._throttle(operation.name)
        status, headers, content = await transport.send(
            self._http, request, self._auth, operation=operation.name, idempotent=operation.idempotent
        )
        return protocol.parse_response(operation, status, headers, content, self._now())

    async def _call_and_parse(
        self, operation: Operation, model: type[R], path: protocol.Path, body: Mapping[str, Any] | None = None
    ) -> R:
        return _parse_as(model, operation, await self._call(operation, path, body=body))

    async def _paginate(
        self,
        operation: Operation,
        model: type[P],
        items: Callable[[P], Sequence[R]],
        identity: Callable[[R], Hashable],
        path: protocol.Path,
        query: protocol.Query,
    ) -> AsyncIterator[R]:
        """Yield every item once, reading page by page with the same parameters.

        If Zoom forgets the position, the method reads the list from the start again, once. A page that leads back to an
        earlier one raises BadAnswer.
        """
        parameters = {**query, "page_size": PAGE_SIZE}
        yielded: set[Hashable] = set()
        token, used_tokens, restarted = None, set[str](), False
        while True:
            try:
                response = await self._call(operation, path, {**parameters, "next_page_token": token})
            except PageTokenExpired:
                if restarted or token is None:
                    raise
                token, used_tokens, restarted = None, set(), True
                continue
            for item in items(_parse_as(model, operation, response)):
                if identity(item) not in yielded:
                    yielded.add(identity(item))
                    yield item
            token = response.next_page_token
            if token is None:
                return
            if token in used_tokens:
                raise BadAnswer("the pages go round in a circle", operation=operation.name)
            used_tokens.add(token)


def _parse_as(model: type[R], operation: Operation, response: protocol.Response) -> R:
    try:
        return model.model_validate(response.data)
    except ValidationError as error:
        fields = ", ".join(sorted({".".join(map(str, wrong["loc"])) for wrong in error.errors()}))
    # Raised outside the handler, so that pydantic's error, which contains the values, is not chained.
    raise error_mapping.malformed_response(operation, 200, response.tracking_id, f"the answer is wrong in {fields}")


def _as_mapping(body: MeetingBody | RegistrantBody) -> Mapping[str, Any]:
    """Return `body` typed as a mapping, because type checkers do not accept a TypedDict as one."""
    return cast("Mapping[str, Any]", body)
