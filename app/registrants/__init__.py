"""Zoom's registrants: makes Zoom's record of a registration equal to what the registration asks for."""
