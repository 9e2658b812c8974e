"""Live: what an event shows while it runs, as a stream of server-sent events, with chat and questions.

`event_log` numbers everything that happens, `hub` distributes it to the listeners of a process, `presence` counts who
is in the meeting, `permissions` decides who may read and write, `missing_host` mails a host who has not come.
"""
