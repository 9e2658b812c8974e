"""Zoom's webhooks: verifies and stores deliveries, answers them, and turns them into facts."""
