"""`python -m app.cli` is `kindryn-zoom`."""

from app.cli import main

main()
