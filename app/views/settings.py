"""The settings of a community over HTTP: they belong to several rooms."""

from fastapi import APIRouter

from app import web
from app.core import logs
from app.events import settings
from app.events.settings import CommunitySettingsChanges, Settings

router = APIRouter(tags=["Events"])
log = logs.get("views")


@router.get("/api/communities/{community}/settings", summary="The settings of a community")
async def get_settings(membership: web.Admin, tx: web.Tx) -> Settings:
    """What holds for all of its events, the defaults where nobody chose anything."""
    return await settings.get(tx, membership.community_id)


@router.patch("/api/communities/{community}/settings", summary="Change the settings of a community")
async def change_settings(changes: CommunitySettingsChanges, membership: web.Admin, tx: web.Tx) -> Settings:
    """Takes only what changes. Other reminders hold for every event to come; a moment that is over is not made up.
    Another threshold of attendance holds at once, for events that are over, too."""
    changed = await settings.change(tx, membership.community_id, changes)
    log.info("community settings changed", community_id=membership.community_id, by=membership.caller.member_id)
    return changed
