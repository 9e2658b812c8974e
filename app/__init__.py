"""Kindryn Zoom: the service that runs the events of communities on Zoom. Each package says what it is for."""
