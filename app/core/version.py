"""Which edition of the service this is, as pyproject.toml says."""

VERSION = "0.1.0"
