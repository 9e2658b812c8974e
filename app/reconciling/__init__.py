"""After a backup was restored: what happened at Zoom, and was sent, that the database does not know.

The database is the truth; what it lost is lost. What is left of that at Zoom is adopted where an event wants it, and
taken away where nobody does. Most of it is only marked, and the ordinary jobs make Zoom equal to what is wanted.
"""
