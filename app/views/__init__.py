"""Routes whose response spans several packages: an event with its meeting, the caller's answer and join state.

`query` is the one query behind them, and `presenter` turns its rows into response models.
"""
