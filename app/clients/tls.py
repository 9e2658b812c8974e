"""What proves a server's name."""

import functools
import ssl

import httpx


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """The certificates to believe, with those an operator names by SSL_CERT_FILE; read once, as that takes as long as
    many calls."""
    return httpx.create_ssl_context()
