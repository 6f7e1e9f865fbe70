"""On which host a stage runs; a module of its own, since those of stages travel by value."""

HERE = ["n0"]
"""The host on which a stage runs now."""
