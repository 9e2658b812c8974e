"""Tests of app/hooks."""
