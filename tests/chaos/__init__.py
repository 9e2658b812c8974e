"""Tests of app/chaos."""
