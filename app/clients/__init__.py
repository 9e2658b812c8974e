"""Clients for services of others: Zoom, mail, outgoing hooks, the platform's public keys.

A client makes calls and turns failures into errors that say when to try again. The packages decide what to call and
when. Nothing here imports another package of the app.
"""
