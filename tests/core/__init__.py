"""Tests of app.core: the mechanism, and what every package builds on."""
