"""Routes whose response spans several packages.

Above all that is an event with its meeting, the caller's answer and the state of joining. `query` is the one query
behind such a response, and `presenter` turns its rows into response models.
"""
