"""Vendors: what others' services can be asked for. Clients act, rooms decide; nothing here knows a room."""
