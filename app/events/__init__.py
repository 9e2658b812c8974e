"""What the platform schedules: spaces, events and their state, and the settings of a community.

Everything here is a local change in the caller's transaction. The jobs of other packages bring it to Zoom.
"""
