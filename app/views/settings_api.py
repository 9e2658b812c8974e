"""Routes for a community's settings: reminder times and the attendance threshold."""

from fastapi import APIRouter

from app import web
from app.core import logs
from app.events import settings
from app.events.settings import CommunitySettingsChanges, Settings

router = APIRouter(tags=["Events"])
log = logs.get("views")


@router.get("/api/communities/{community}/settings", summary="The settings of a community")
async def get_settings(membership: web.Admin, tx: web.Tx) -> Settings:
    """Settings that hold for all events of the community, with the defaults that no admin changed."""
    return await settings.get(tx, membership.community_id)


@router.patch("/api/communities/{community}/settings", summary="Change the settings of a community")
async def change_settings(changes: CommunitySettingsChanges, membership: web.Admin, tx: web.Tx) -> Settings:
    """Takes only the fields that change.

    New reminder times apply to every upcoming event; a reminder whose time has passed is not sent late. A new
    attendance threshold applies at once, also to events that are over.
    """
    changed = await settings.change(tx, membership.community_id, changes)
    log.info("community settings changed", community_id=membership.community_id, by=membership.caller.member_id)
    return changed
