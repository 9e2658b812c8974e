"""What the platform schedules: spaces, events, their state and access rules, and a community's settings.

Everything here is a local change in the caller's transaction. The jobs of other packages bring it to Zoom.
"""
