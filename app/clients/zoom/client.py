"""The calls to Zoom, one method each. Retries nothing (but for one replay with a fresh token, see `auth`): the errors
say when to try again, and the outbox waits."""

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

Throttle = Callable[[str], Awaitable[None]]

R = TypeVar("R", bound=ZoomModel)
P = TypeVar("P", bound=ZoomModel)


class Zoom:
    """Zoom as this installation reaches it: `api_url` is the configured origin, `now` the clock, `oauth` the way to a
    grant. `origins` are the configured ones that count as Zoom's, `domains` further domains of Zoom."""

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
        self._http, self._api_url, self._now = http, api_url, now
        self._origins, self._domains = origins, domains

    def account(
        self, tokens: TokenSource, api_url: str | None = None, throttle: Throttle | None = None
    ) -> "AccountClient":
        """Calls in the name of one grant; `api_url` as its token answer said, `throttle` awaited before each call with its
        operation's name. Raises UntrustedHost."""
        return AccountClient(self._http, tokens, self.api_origin(api_url), self._now, throttle)

    def api_origin(self, api_url: str | None) -> str:
        """The origin to call for a grant whose token came with `api_url`. Raises UntrustedHost."""
        return trusted_api_origin(api_url, self._api_url, self._domains)

    def is_link(self, url: str) -> bool:
        """Whether a link leads to Zoom: asked before it is stored, and before a browser is sent there."""
        return is_zoom_link(url, self._origins, self._domains)


class AccountClient:
    """Calls in the name of one grant. Every method raises `ZoomError`.

    A user id may be `me`; a meeting id is the number, as int or text, or a meeting UUID.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        tokens: TokenSource,
        api_url: str,
        now: Callable[[], datetime],
        throttle: Throttle | None = None,
    ) -> None:
        self._http, self._auth, self._api_url, self._now, self._throttle = (
            http,
            BearerAuth(tokens),
            api_url,
            now,
            throttle,
        )

    async def get_me(self) -> User:
        """The user who gave the grant."""
        return await self._call_and_parse(operations.GET_ME, User, {})

    def list_users(self) -> AsyncIterator[User]:
        """The active users of the account."""
        return self._paginate(operations.LIST_USERS, UserPage, lambda page: page.users, lambda user: user.id, {}, {})

    async def get_user_settings(self, user_id: str) -> UserSettings:
        """A user's settings."""
        return await self._call_and_parse(operations.GET_USER_SETTINGS, UserSettings, {"user_id": user_id})

    async def create_meeting(self, user_id: str, body: MeetingBody) -> Meeting:
        """Make a meeting for a host. OutcomeUnknown: it may exist; find out before trying again."""
        return await self._call_and_parse(operations.CREATE_MEETING, Meeting, {"user_id": user_id}, _as_mapping(body))

    def list_meetings(
        self, user_id: str, kind: Literal["scheduled", "live", "upcoming"] = "scheduled"
    ) -> AsyncIterator[Meeting]:
        """A host's meetings, without their settings; `agenda` is cut at 250 characters."""
        return self._paginate(
            operations.LIST_MEETINGS,
            MeetingPage,
            lambda page: page.meetings,
            # A recurring meeting is listed once per occurrence under one id.
            lambda meeting: (meeting.id, meeting.start_time),
            {"user_id": user_id},
            {"type": kind},
        )

    async def get_meeting(self, meeting_id: str | int) -> Meeting:
        """A meeting with its settings and a start URL that is good for two hours."""
        return await self._call_and_parse(operations.GET_MEETING, Meeting, {"meeting_id": meeting_id})

    async def update_meeting(self, meeting_id: str | int, body: MeetingBody) -> None:
        """Change what `body` names. Zoom drops what it does not support without a word: read back."""
        await self._call(operations.UPDATE_MEETING, {"meeting_id": meeting_id}, body=_as_mapping(body))

    async def delete_meeting(self, meeting_id: str | int) -> None:
        """Delete a meeting; Zoom mails nobody, we do. NotFound: it was gone already."""
        query = {"schedule_for_reminder": False, "cancel_meeting_reminder": False}
        await self._call(operations.DELETE_MEETING, {"meeting_id": meeting_id}, query)

    async def add_registrant(self, meeting_id: str | int, body: RegistrantBody) -> Registrant:
        """Register somebody; without `join_url` the registrant is pending. At most 3 calls a day per e-mail."""
        return await self._call_and_parse(
            operations.ADD_REGISTRANT, Registrant, {"meeting_id": meeting_id}, _as_mapping(body)
        )

    async def add_registrants(self, meeting_id: str | int, people: Sequence[RegistrantBody]) -> Sequence[Registrant]:
        """Register 1 to 30 people, approved, without a mail from Zoom; whom Zoom does not answer for is missing, who
        has no `join_url` is pending. ValueError: another number. `auto_approve` is said for all, not for one."""
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
        """Approve, cancel or deny 1 to 30 registrants. Success does not prove effect. ValueError: another number."""
        if not 1 <= len(registrants) <= MAX_STATUS_CHANGES:
            raise ValueError(f"registrants: 1 to {MAX_STATUS_CHANGES} at once, not {len(registrants)}")
        body = {"action": action, "registrants": list(registrants)}
        await self._call(operations.SET_REGISTRANTS_STATUS, {"meeting_id": meeting_id}, body=body)

    def list_registrants(
        self, meeting_id: str | int, status: Literal["pending", "approved", "denied"] = "approved"
    ) -> AsyncIterator[Registrant]:
        """The registrants of one status; cancelled ones are in none of the lists."""
        return self._paginate(
            operations.LIST_REGISTRANTS,
            RegistrantPage,
            lambda page: page.registrants,
            lambda registrant: registrant.registrant_id,
            {"meeting_id": meeting_id},
            {"status": status},
        )

    def list_participants(self, meeting_uuid: str, *, report: bool) -> AsyncIterator[ReportedParticipant]:
        """Who was inside an instance that is over: from its `report`, which knows most, or from what is kept of past
        meetings; in place of a UUID, the number of a meeting means its latest instance. NotFound: Zoom has nothing to
        tell yet, or nothing at all."""
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
        """An instance that is over, by its UUID, or by its meeting's number the latest. NotFound: none is known."""
        return await self._call_and_parse(operations.PAST_MEETING, PastMeeting, {"meeting_id": meeting_id})

    async def get_recordings(self, meeting_uuid: str) -> Recording:
        """The cloud recording of an instance. NotFound: there is none, or not yet."""
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
        """Every item once, page by page with the same parameters. If Zoom forgets the place the list is read again from
        the start, once; a page that leads back to an earlier one ends it in BadAnswer."""
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
    # Outside the handler: pydantic's error must not travel along, it knows the values.
    raise error_mapping.malformed_response(operation, 200, response.tracking_id, f"the answer is wrong in {fields}")


def _as_mapping(body: MeetingBody | RegistrantBody) -> Mapping[str, Any]:
    """A TypedDict is a mapping of its fields, which type checkers do not grant."""
    return cast("Mapping[str, Any]", body)
