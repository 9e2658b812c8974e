"""What would go wrong with an account before it does (pure)."""

from collections.abc import Iterator, Sequence

from pydantic import Field

from app.accounts import cards, trouble, warnings
from app.accounts.models import Account
from app.accounts.routing import Candidate
from app.clients.zoom import SCOPES, allows
from app.web import Schema

IN_TROUBLE = "Do what the sentence says, then read the account again; what waits goes on by itself."
RECONNECT = "Connect the account again with Connect Zoom and approve every permission."


class Line(Schema):
    """One thing looked at. `why` says what was found, `what_to_do` what helps; null where nothing is needed."""

    what: str = Field(examples=["Permissions"])
    ok: bool = Field(examples=[False])
    why: str = Field(examples=["Missing: meeting:delete:meeting."])
    what_to_do: str | None = Field(examples=[RECONNECT])


class Preflight(Schema):
    """Every line; `ok` where all that is needed holds (lines that begin with "Optional" do not count)."""

    ok: bool = Field(examples=[True])
    lines: list[Line]


def preflight(account: Account, hosts: Sequence[Candidate], records: bool | None) -> Preflight:
    """The lines for an account with these listed hosts; `records` as `cards.records` says."""
    needed = [
        _connection(account),
        _permissions(account),
        _licences(hosts),
        _budgets(hosts),
        _notifications(account),
    ]
    optional = [_length(hosts), _recording(records), _livestream(account), *_extras(account)]
    return Preflight(ok=all(line.ok for line in needed), lines=[*needed, *optional])


def _connection(account: Account) -> Line:
    if account.status == "connected" and account.trouble:
        why = str(trouble.shown(account.trouble))
        return Line(what="Connection", ok=False, why=why, what_to_do=IN_TROUBLE)
    if account.status == "connected":
        return Line(what="Connection", ok=True, why="Zoom accepts this connection.", what_to_do=None)
    return Line(
        what="Connection", ok=False, why=account.reason or "The account is not connected.", what_to_do=RECONNECT
    )


def _permissions(account: Account) -> Line:
    lacking = cards.missing_scopes(account)
    if not lacking:
        return Line(what="Permissions", ok=True, why="Every needed permission was granted.", what_to_do=None)
    why = " ".join(f"Without {scope.scope} {scope.lost}" for scope in lacking)
    return Line(what="Permissions", ok=False, why=why, what_to_do=RECONNECT)


def _licences(hosts: Sequence[Candidate]) -> Line:
    licensed = sum(host.licensed for host in hosts)
    if licensed:
        return Line(what="Licences", ok=True, why=f"{licensed} of {len(hosts)} hosts are licensed.", what_to_do=None)
    return Line(
        what="Licences",
        ok=False,
        why="No host has a Zoom licence, so Zoom takes no registrants and members' links are not personal.",
        what_to_do="Give at least one user of this Zoom account a licence, then read the account again.",
    )


def _budgets(hosts: Sequence[Candidate]) -> Line:
    spent = [host.name for host in hosts if host.budget_left <= 0]
    if not spent:
        why = "Zoom takes more meeting changes today for every host."
        return Line(what="Daily limits", ok=True, why=why, what_to_do=None)
    return Line(
        what="Daily limits",
        ok=False,
        why=f"Zoom takes no more meeting changes today for {', '.join(spent)}.",
        what_to_do="Choose another host, or wait until midnight UTC: what is pending is then done by itself.",
    )


def _notifications(account: Account) -> Line:
    if account.notified_at is not None:
        seen = account.notified_at.strftime("%Y-%m-%d %H:%M UTC")
        return Line(what="Notifications", ok=True, why=f"Zoom last sent something at {seen}.", what_to_do=None)
    return Line(
        what="Notifications",
        ok=False,
        why="Zoom has not sent anything about this account yet.",
        what_to_do="Start and end a test meeting. If nothing comes, check the app's event subscription and its secret.",
    )


def _length(hosts: Sequence[Candidate]) -> Line:
    what = "Optional: meeting length"
    short = [host.name for host in hosts if not host.licensed]
    if not short:
        return Line(what=what, ok=True, why="Every host's meetings last as long as planned.", what_to_do=None)
    return Line(
        what=what,
        ok=False,
        why=f"Zoom ends meetings after 40 minutes where the host has no licence: {', '.join(short)}.",
        what_to_do="Plan longer events on a licensed host, or give these users a licence.",
    )


def _recording(records: bool | None) -> Line:
    what = "Optional: cloud recording"
    if records is None:
        return Line(
            what=what,
            ok=False,
            why="The account's settings could not be read yet.",
            what_to_do="Read the account again.",
        )
    if records:
        return Line(what=what, ok=True, why="The account can record to the cloud.", what_to_do=None)
    why = f"{warnings.NO_CLOUD_RECORDING}. Meetings hosted via Kindryn will not be auto-recorded."
    return Line(what=what, ok=False, why=why, what_to_do="Upgrade your Zoom plan, if you need recording.")


def _livestream(account: Account) -> Line:
    what = "Optional: livestream"
    if account.settings.get("livestream"):
        return Line(what=what, ok=True, why="Meetings can be streamed to Kindryn's page.", what_to_do=None)
    return Line(
        what=what,
        ok=False,
        why="Livestreaming to a custom service is switched off, so events cannot be simulcast.",
        what_to_do="Switch on livestreaming with a custom service in Zoom's settings, then read the account again.",
    )


def _extras(account: Account) -> Iterator[Line]:
    for scope in SCOPES:
        if scope.without is None:
            continue
        what = f"Optional: {scope.name}"
        if allows(account.scopes, scope):
            yield Line(what=what, ok=True, why=f"Granted: Kindryn can {scope.feature}.", what_to_do=None)
        else:
            yield Line(what=what, ok=False, why=f"Without it {scope.without}.", what_to_do=None)
