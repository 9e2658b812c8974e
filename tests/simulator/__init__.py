"""Tests of app/simulator."""
