"""What all commands have in common: errors in one message, Ctrl-C, warnings on one line."""

import shutil
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

import click

from latticework.errors import LatticeworkError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit codes; 0 is that all is well."""


def called() -> str:
    """The command as it was called, to be typed again: what is not on PATH is given in full."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py" and typed.parent.name == "cli":
        return f"{_typed(sys.executable, 'python')} -m latticework.cli"
    return _typed(sys.argv[0], "latticework") if typed.stem == "latticework" else "latticework"


def _typed(program: str, name: str) -> str:
    """A name, where PATH finds this very program by it; else the program's path."""
    found = shutil.which(name)
    same = found is not None and Path(found).absolute() == Path(program).absolute()
    return name if same else quote(program)


class Commands(click.Group):
    """A group whose errors are messages, and whose commands are listed in the order of use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order in which they were added."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; see `clear_errors`."""
        with clear_errors(debug=bool(ctx.params.get("debug"))):
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command meant; a misspelt one is answered with the list of all."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)


@contextmanager
def clear_errors(*, debug: bool) -> Iterator[None]:
    """Turn what users can do something about into one message and an exit code."""
    try:
        with plain_warnings():
            yield
    except LatticeworkError as error:
        if debug:
            traceback.print_exc()
        else:
            click.secho("Error: ", fg="red", nl=False, err=True)
            click.echo(str(error), err=True)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `latticework status brain.lw | head`
        sys.stderr.close()
        sys.exit(0)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as a line without the code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning | RuntimeWarning):
        click.secho("Warning: ", fg="yellow", nl=False, err=True)
        click.echo(str(message), err=True)
