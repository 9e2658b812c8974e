"""Connected Zoom accounts: connecting, grants, hosts, reservations of time, limits, disconnecting."""
