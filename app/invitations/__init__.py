"""Invitations: the mails and calendars that tell people of events they are coming to.

The package renders iCalendar objects (pure) and mails, sends invitations, reminders and guests' codes, and serves each
member's calendar feed.
"""
