"""What all commands have in common: errors in one message, Ctrl-C, warnings on one line."""

import difflib
import os
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

from latticework.cli.words import spoken
from latticework.errors import LatticeworkError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit codes; 0 is that all is well."""


def called() -> str:
    """The command as it was called, to be typed again: what is not on PATH is given in full."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py" and typed.parent.name in ("latticework", "cli"):
        return f"{_typed(sys.executable, 'python')} -m latticework"
    return _typed(sys.argv[0], "latticework") if typed.stem == "latticework" else "latticework"


def _typed(program: str, name: str) -> str:
    """A name, where PATH finds this very program by it; else the program's path."""
    found = shutil.which(name)
    same = found is not None and Path(found).absolute() == Path(program).absolute()
    return name if same else quote(program)


class Commands(click.Group):
    """A group whose errors are messages, and whose commands are listed by what they are for."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sections: dict[str, tuple[str, ...]] = {}
        """Names of commands by what they are for."""

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add commands under a title."""
        for command in commands:
            self.add_command(command)
        self.sections[title] = tuple(str(command.name) for command in commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, section by section, with their columns in line."""
        width = max(map(len, self.commands))
        room = formatter.width - width - 6
        for title, names in self.sections.items():
            shown = [(n, self.get_command(ctx, n)) for n in names]
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (n.ljust(width), c.get_short_help_str(room))
                        for n, c in shown
                        if c is not None
                    ]
                )

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
        """The command meant; a misspelt one is answered with the one it is like, or all."""
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.commands, n=1)
            told = f"did you mean {near[0]}?" if near else f"there are {', '.join(self.commands)}"
            ctx.fail(f"there is no command {args[0]!r}; {told}")
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
            click.echo(spoken(str(error)), err=True)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `latticework status brain.lw | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if debug or error.strerror is None:
            raise
        click.secho("Error: ", fg="red", nl=False, err=True)
        of = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        click.echo(f"{of}{error.strerror} (--debug shows where)", err=True)
        sys.exit(FAILED)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show warnings as a line without the code that gave them."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        yield


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning | RuntimeWarning):
        click.secho("Warning: ", fg="yellow", nl=False, err=True)
        click.echo(spoken(str(message)), err=True)
