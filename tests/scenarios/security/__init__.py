"""Security of the whole service: who may call what, bad input, and a search for leaked secrets."""
