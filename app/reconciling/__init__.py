"""Reconciling with Zoom after a backup was restored.

The restored database does not know what happened at Zoom, or what was mailed, after the backup. The database is the
truth, and what it lost is lost. Meetings and registrants that are left at Zoom are adopted if an event needs them, and
removed if none does. Most rows are only marked here, and the ordinary jobs make Zoom equal to what events need.
"""
