"""The Zoom meeting of an event: planning, creating and changing it, and what happens to it at Zoom.

`plan` says what an event needs, `tasks.sync` makes Zoom equal to it, and `drift` finds out what people changed inside
Zoom. The instances of a meeting decide when its event is live and when it is over.
"""
