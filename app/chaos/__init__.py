"""A run of the whole service under faults, and what must hold afterwards: `kindryn-zoom chaos`, `make chaos`.

`strikes_plan` and `happenings` say, from a seed, what goes wrong and what a community does meanwhile. `stage` starts
everything, `strikes` and `stories` do it, `gathering` reads what is left in the end, and `invariants` judges it.
"""
