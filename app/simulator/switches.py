"""Switches for what the sources about Zoom disagree on: mostly one switch per row of contract section 17.

The defaults are those of its table. Rows without a switch: 6 and 21 leave no choice, 17 is a pair of numbers, and 18,
19a and 20 belong to recordings and Cloudflare. Switches without a row name the section of the contract they are about.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

RetryAfter = Literal["none", "seconds", "iso", "http-date"]


class Switches(BaseModel):
    """How this Zoom behaves where Zoom's behaviour is not certain. Unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    api_url: str | None = Field(None, description="2.2: the API's address a token names; null is this simulator's own")
    link_base: str | None = Field(None, description="21: where new links lead, as https://acme.zoom-x.de; null is here")
    refused_fields: tuple[str, ...] = Field(
        (), description="21: dotted fields for which a whole create or update is refused, where they ask for something"
    )
    field_refusal: Literal["errors", "sentence", "unnamed", "paid"] = Field(
        "errors",
        description="3.1: 300 with `errors`, 300 naming it in a sentence, 300 or 200 naming none",
    )
    refresh_grace_seconds: float = Field(0, ge=0, description="row 1: a rotated refresh token works this long")
    missing_scope: Literal["400/4711", "401/4711", "403/4711", "401/4700", "403/4700"] = Field(
        "400/4711", description="row 2: HTTP status and code when a scope is missing"
    )
    expired_token_status: Literal[401, 400] = Field(401, description="row 3: HTTP status of code 124")
    registration_off: Literal["404/404", "400/404", "400/300"] = Field(
        "404/404", description="row 4: HTTP status and code of an add where registration is off"
    )
    unknown_meeting_on_add: Literal[3001, 1001] = Field(
        3001, description="row 5: code of a 404 for an add to an unknown meeting"
    )
    per_second_code: Literal[429, 4001] = Field(
        429, description="row 7: code in the body of a 429 for calls per second"
    )
    rate_headers: Literal["category", "full"] = Field("category", description="row 8: X-RateLimit-* headers")
    retry_after: RetryAfter = Field("none", description="row 8: how a 429 says when to come back")
    invalid_grant_status: Literal[400, 401] = Field(400, description="row 9: HTTP status of `invalid_grant`")
    timestamp_unit: Literal["seconds", "milliseconds"] = Field(
        "seconds", description="row 10: unit of a notification's timestamp header"
    )
    participant_time: Literal["join_time", "date_time"] = Field(
        "join_time", description="row 11: how participant_joined names its time"
    )
    object_id: Literal["documented", "string", "number"] = Field(
        "documented", description="row 12: type of a meeting's id in notifications; `documented` depends on the event"
    )
    same_email: Literal["same", "new"] = Field("same", description="row 13: registrant of an e-mail added twice")
    cancelled_email: Literal["new", "same"] = Field(
        "new", description="6.1: registrant, and so link, of an e-mail added again after it was cancelled"
    )
    type_3_registration: Literal["silent", "error"] = Field(
        "silent", description="row 14: registration of a meeting without a fixed time is dropped or refused"
    )
    unlicensed_registration: Literal["silent", "error"] = Field(
        "silent", description="row 15: registration of an unlicensed host's meeting is dropped or refused"
    )
    users_page_limit: Literal[300, 2000] = Field(300, description="row 16: most users on one page")
    deauthorized_event_ts: Literal["number", "string", "top-level"] = Field(
        "number", description="row 19: type and place of `event_ts` in `app_deauthorized`"
    )
    registrant_limit_key: Literal["email-and-meeting", "email"] = Field(
        "email-and-meeting", description="row 22: what the three additions a day are counted by"
    )
    reauthorization_revokes: bool = Field(False, description="2.2: a new authorization kills the user's earlier tokens")
    retries_signed_anew: bool = Field(True, description="11.1: a retry carries a new timestamp and signature")
    registrant_capacity: int = Field(4999, ge=0, description="3.2: registrants per meeting")
    report_after_seconds: float = Field(0, ge=0, description="9: how long after the end there is no report yet")
    enforce_limits: bool = Field(True, description="3.2: rate and daily limits are counted")
