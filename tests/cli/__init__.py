"""Tests of app.cli, the command line."""
