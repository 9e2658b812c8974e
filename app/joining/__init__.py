"""Joining: a click on Join becomes a ticket, and a ticket becomes one redirect into the meeting.

`decide` holds the rules (pure), `load_context` reads what they need in one statement, `tickets` records clicks and
tickets, `redirect` is the only place where a Zoom link leaves the service. Guests enter by `guest_api`.
"""
