"""Scenarios across packages, over HTTP, with the simulated Zoom and real servers."""
