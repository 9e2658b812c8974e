"""A simulated Zoom, as far as Zoom's behaviour is known: one ASGI app, with controls under /simulator.

It shares no code with the rest of the service, so that a misreading of Zoom's documentation cannot hide on both sides.
"Contract" in its docstrings is the project's description of Zoom, with sections and numbered rows. For development
only: the wheel and the image do not contain it.
"""

from app.simulator.asgi import create_app, serve, server
from app.simulator.config import Config

__all__ = ["Config", "create_app", "serve", "server"]
