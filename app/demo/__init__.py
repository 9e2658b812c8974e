"""The reviewer plan as a walk, the benchmarks, and the command line for development.

For development only: the wheel and the image do not contain it.
"""
