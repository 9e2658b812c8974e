"""Attendance: who was in an event's meeting and for how long, from what Zoom says about participants.

Notifications and Zoom's later report are stored per client (`service`). From these rows `connections` and `sessions`
compute who was inside when, `match` decides whose session it is, and `report` combines it all. The rules in
`connections`, `sessions` and `match` are pure.
"""
