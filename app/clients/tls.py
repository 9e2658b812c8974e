"""The TLS context with which clients verify a server's certificate."""

import functools
import ssl

import httpx


@functools.cache
def ssl_context() -> ssl.SSLContext:
    """Return the shared TLS context; it also trusts the certificates that `SSL_CERT_FILE` names.

    The context is created once per process, because reading the certificates takes as long as many calls.
    """
    return httpx.create_ssl_context()
