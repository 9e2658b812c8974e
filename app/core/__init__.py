"""What every package builds on: settings, database, outbox and jobs, pub/sub, encryption, identity, logs, metrics.

It knows neither Zoom nor any other package of the service.
"""
