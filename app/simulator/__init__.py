"""A Zoom one can run: one ASGI app that obeys what is known of Zoom, with controls under /simulator.

It shares no code with the rest of the service, so that a misreading cannot hide on both sides.
"""

from app.simulator.asgi import create_app, serve, server
from app.simulator.config import Config

__all__ = ["Config", "create_app", "serve", "server"]
