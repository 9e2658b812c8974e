"""Preflight checks of an account (pure): scopes, licences, quotas, webhooks, length, recording, livestream."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from app.accounts import host_warnings, integration_view, token_errors
from app.accounts.host_ranking import Candidate
from app.accounts.models import Account
from app.clients.zoom import SCOPES, allows
from app.web import Schema

TOKEN_ERROR_REMEDY = "Do what the sentence says, then read the account again; what waits goes on by itself."
RECONNECT = "Connect the account again with Connect Zoom and approve every permission."


class Check(Schema):
    """One check. `finding` says what was found, `remedy` what helps; null if there is none."""

    name: str = Field(examples=["Permissions"])
    ok: bool = Field(examples=[False])
    finding: str = Field(examples=["Missing: meeting:delete:meeting."])
    remedy: str | None = Field(examples=[RECONNECT])


class Preflight(Schema):
    """Every check; `ok` if all that is needed holds ("Optional" checks do not count)."""

    ok: bool = Field(examples=[True])
    checks: list[Check]


def preflight(account: Account, hosts: Sequence[Candidate], can_record: bool | None) -> Preflight:
    """Return the checks of an account with these listed hosts.

    `can_record` is the result of `integration_view.can_record`.
    """
    needed = [
        _connection(account),
        _permissions(account),
        _licences(hosts),
        _quotas(hosts),
        _notifications(account),
    ]
    optional = [_meeting_length(hosts), _recording(can_record), _livestream(account), *_optional_scopes(account)]
    return Preflight(ok=all(check.ok for check in needed), checks=[*needed, *optional])


def _connection(account: Account) -> Check:
    if account.status == "connected" and account.token_error:
        finding = str(token_errors.stored_message(account.token_error))
        return Check(name="Connection", ok=False, finding=finding, remedy=TOKEN_ERROR_REMEDY)
    if account.status == "connected":
        return Check(name="Connection", ok=True, finding="Zoom accepts this connection.", remedy=None)
    return Check(
        name="Connection", ok=False, finding=account.reason or "The account is not connected.", remedy=RECONNECT
    )


def _permissions(account: Account) -> Check:
    missing = integration_view.missing_scope_items(account)
    if not missing:
        return Check(name="Permissions", ok=True, finding="Every needed permission was granted.", remedy=None)
    finding = " ".join(f"Without {scope.scope} {scope.lost}" for scope in missing)
    return Check(name="Permissions", ok=False, finding=finding, remedy=RECONNECT)


def _licences(hosts: Sequence[Candidate]) -> Check:
    licensed = sum(host.licensed for host in hosts)
    if licensed:
        return Check(name="Licences", ok=True, finding=f"{licensed} of {len(hosts)} hosts are licensed.", remedy=None)
    return Check(
        name="Licences",
        ok=False,
        finding="No host has a Zoom licence, so Zoom takes no registrants and members' links are not personal.",
        remedy="Give at least one user of this Zoom account a licence, then read the account again.",
    )


def _quotas(hosts: Sequence[Candidate]) -> Check:
    exhausted = [host.name for host in hosts if host.quota_left <= 0]
    if not exhausted:
        finding = "Zoom takes more meeting changes today for every host."
        return Check(name="Daily limits", ok=True, finding=finding, remedy=None)
    return Check(
        name="Daily limits",
        ok=False,
        finding=f"Zoom takes no more meeting changes today for {', '.join(exhausted)}.",
        remedy="Choose another host, or wait until midnight UTC: what is pending is then done by itself.",
    )


def _notifications(account: Account) -> Check:
    if account.notified_at is not None:
        last_received = account.notified_at.strftime("%Y-%m-%d %H:%M UTC")
        return Check(
            name="Notifications", ok=True, finding=f"Zoom last sent something at {last_received}.", remedy=None
        )
    return Check(
        name="Notifications",
        ok=False,
        finding="Zoom has not sent anything about this account yet.",
        remedy="Start and end a test meeting. If nothing comes, check the app's event subscription and its secret.",
    )


def _meeting_length(hosts: Sequence[Candidate]) -> Check:
    name = "Optional: meeting length"
    unlicensed = [host.name for host in hosts if not host.licensed]
    if not unlicensed:
        return Check(name=name, ok=True, finding="Every host's meetings last as long as planned.", remedy=None)
    return Check(
        name=name,
        ok=False,
        finding=f"Zoom ends meetings after 40 minutes where the host has no licence: {', '.join(unlicensed)}.",
        remedy="Plan longer events on a licensed host, or give these users a licence.",
    )


def _recording(can_record: bool | None) -> Check:
    name = "Optional: cloud recording"
    if can_record is None:
        return Check(
            name=name,
            ok=False,
            finding="The account's settings could not be read yet.",
            remedy="Read the account again.",
        )
    if can_record:
        return Check(name=name, ok=True, finding="The account can record to the cloud.", remedy=None)
    finding = f"{host_warnings.NO_CLOUD_RECORDING}. Meetings hosted via Kindryn will not be auto-recorded."
    return Check(name=name, ok=False, finding=finding, remedy="Upgrade your Zoom plan, if you need recording.")


def _livestream(account: Account) -> Check:
    name = "Optional: livestream"
    if account.settings.get("livestream"):
        return Check(name=name, ok=True, finding="Meetings can be streamed to Kindryn's page.", remedy=None)
    return Check(
        name=name,
        ok=False,
        finding="Livestreaming to a custom service is switched off, so events cannot be simulcast.",
        remedy="Switch on livestreaming with a custom service in Zoom's settings, then read the account again.",
    )


def _optional_scopes(account: Account) -> Iterator[Check]:
    for scope in SCOPES:
        if scope.without is None:
            continue
        name = f"Optional: {scope.name}"
        if allows(account.scopes, scope):
            yield Check(name=name, ok=True, finding=f"Granted: Kindryn can {scope.feature}.", remedy=None)
        else:
            yield Check(name=name, ok=False, finding=f"Without it {scope.without}.", remedy=None)
