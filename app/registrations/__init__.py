"""Who is coming to an event: RSVPs, the waiting list, guests, and whose e-mail address it is.

The package knows nothing of Zoom's registrants (`registrants`) and sends no mail (`invitations`).
"""
