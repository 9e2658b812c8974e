"""Hooks: signed webhooks to the platform (Standard Webhooks), which a community's admins set up.

Jobs turn what happened into one message per endpoint (`tasks`, `event_transitions`, `payloads`) and send the messages
in order per subject, with retries (`retry_schedule`). `openapi_webhooks` describes the payloads in the OpenAPI
document.
"""
