"""Crash recovery: a worker is killed or frozen at every boundary, and the final state must be the same."""
