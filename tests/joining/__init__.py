"""Tests of app/joining."""
