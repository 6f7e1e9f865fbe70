"""The command line, ``latticework``: look, run, steer, and follow an acquisition that goes on.

Commands do nothing that the library could not: each is a few calls of it. Nothing heavy is imported
before a command needs it, so that ``--help`` answers at once.
"""

import contextlib
import os
import sys

__all__ = ["main"]


def find_modules_here() -> None:
    """Let modules of the current folder be imported, after all others: ``mysteps:clean``.

    ``python -m`` does that by itself, and ``python -P`` forbids it.
    """
    with contextlib.suppress(OSError):  # the folder may be gone
        here = os.getcwd()  # noqa: PTH109  as text
        if here not in sys.path and "" not in sys.path and not sys.flags.safe_path:
            sys.path.append(here)


def main() -> None:
    """Entry point of ``latticework``."""
    try:
        from latticework.cli.commands import commands
        from latticework.cli.frame import INTERRUPTED
    except KeyboardInterrupt:  # so early that nobody else could catch it
        sys.exit(130)
    find_modules_here()
    try:
        commands(prog_name="latticework")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
