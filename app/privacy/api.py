"""Route that takes a member out of a community."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.core import identity
from app.core.errors import Problem
from app.privacy import service
from app.web import NO_CONTROL_CHARS, Member, Tx

router = APIRouter(tags=["Privacy"])
MemberId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=identity.MAX_ID_LENGTH,
        pattern=NO_CONTROL_CHARS,
        description="Who leaves: the `sub` of their token",
        examples=["m_17"],
    ),
]


@router.delete("/api/communities/{community}/members/{member_id}", status_code=204, summary="Leave a community")
async def delete_member(membership: Member, member_id: MemberId, tx: Tx) -> None:
    """Ends the member's future in the community: answers, places on waiting lists, links, invites, hosts.

    Their live streams end, and every token they got until now is refused there from now on, as if it did not name the
    community; their other communities are not affected. A member who is added again needs a token of a later second
    (`iat`). A role is valid as long as the token that states it: to revoke one at once, remove the member and add them
    again.

    For the member, for admins and for the platform. Past events are kept, and guests the member invited stay. Repeating
    the request, or naming somebody unknown, changes nothing and gets the same response; only a member who left with a
    token of their own finds no such community any more.
    """
    if not membership.is_admin and membership.caller.member_id != member_id:
        raise Problem("forbidden", "Only admins of the community may do this for somebody else.")
    await service.leave(tx, membership.community_id, member_id, membership.caller.member_id)
