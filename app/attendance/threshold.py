"""From when on somebody who was there attended (pure): what a community's admins chose, decided on what is shown."""

from app.events.settings import AttendanceThreshold


def attended(minutes: int, share: float, threshold: AttendanceThreshold) -> bool:
    """Whether so many minutes, or such a share, are enough: where both are asked for, either is. Where neither is,
    whoever was seen inside attended."""
    if threshold.minutes is None and threshold.share is None:
        return True
    enough_minutes = threshold.minutes is not None and minutes >= threshold.minutes
    return enough_minutes or (threshold.share is not None and share >= threshold.share)
