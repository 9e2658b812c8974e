"""`python -m app.demo` is `kindryn-zoom-dev`."""

from app.demo.cli import main

main()
