"""Whether a person who was there counts as having attended (pure).

The community's admins choose the threshold. It is compared with the rounded values that the report shows.
"""

from app.events.settings import AttendanceThreshold


def attended(minutes: int, share: float, threshold: AttendanceThreshold) -> bool:
    """Return whether the minutes or the share reach the threshold.

    Either is enough if both are required. Without a threshold everybody who was seen inside attended.
    """
    if threshold.minutes is None and threshold.share is None:
        return True
    enough_minutes = threshold.minutes is not None and minutes >= threshold.minutes
    return enough_minutes or (threshold.share is not None and share >= threshold.share)
