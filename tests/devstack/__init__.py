"""Tests of app/devstack."""
