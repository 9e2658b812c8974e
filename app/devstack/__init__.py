"""What the demo, the benchmarks, chaos runs and tests run on, all from wheels, without Docker.

Embedded PostgreSQL, Redis and S3 servers, a mail catcher, a stand-in for the platform, and HTTP clients that call as
the SPA and as Zoom do. For development only: the wheel and the image do not contain it.
"""
