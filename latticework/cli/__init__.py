"""The command line, ``latticework``: look, run, steer, and follow an acquisition that goes on.

Commands do nothing that the library could not: each is a few calls of it. Nothing heavy is imported
before a command needs it, so that ``--help`` answers at once.
"""

from latticework.cli.commands import commands

__all__ = ["commands", "main"]


def main() -> None:
    """Entry point of ``latticework``."""
    commands(prog_name="latticework")
