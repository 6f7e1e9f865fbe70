"""The command line, ``latticework``: look, run, steer, and follow an acquisition that goes on.

Commands do nothing that the library could not: each is a few calls of it. Nothing heavy is imported
before a command needs it, so that ``--help`` answers at once.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Entry point of ``latticework``."""
    try:
        from latticework.cli.commands import commands
        from latticework.cli.frame import INTERRUPTED
    except KeyboardInterrupt:  # so early that nobody else could catch it
        sys.exit(130)
    try:
        commands(prog_name="latticework")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
