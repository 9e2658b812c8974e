"""Tests of app/attendance."""
