"""How grids and sizes are written on the command line, and the options of an acquisition."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latticework.errors import LatticeError, ProjectError, SourceError, StageError

if TYPE_CHECKING:
    from latticework.lattice import Lattice

F = TypeVar("F", bound=Callable[..., Any])
AXES = ("z", "y", "x")


class Grid(click.ParamType):  # type: ignore[type-arg]  # not generic before 8.4
    """``7x9`` (rows x columns) or ``3x7x9`` (layers first), as numbers of tiles by axis.

    Examples
    --------
    >>> Grid().convert("7x9", None, None)
    {'y': 7, 'x': 9}
    """

    name = "ROWSxCOLUMNS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> dict[str, int]:
        """Tiles by axis."""
        if isinstance(value, dict):
            return value
        if not re.fullmatch(r"[1-9]\d*([x×][1-9]\d*){1,2}", value):
            self.fail(
                f"{value!r}: write rows x columns, as in 7x9 (layers first: 3x7x9)", param, ctx
            )
        counts = [int(n) for n in re.split("[x×]", value)]
        return dict(zip(AXES[-len(counts) :], counts, strict=True))


class ByAxis(click.ParamType):  # type: ignore[type-arg]  # not generic before 8.4
    """One number, or ``y=0.1,x=0.2``.

    Examples
    --------
    >>> ByAxis().convert("y=51,x=0.1", None, None), ByAxis().convert("10%", None, None)
    ({'y': 51, 'x': 0.1}, 0.1)
    """

    name = "NUMBER"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | dict[str, float]:
        """A number, or numbers by axis."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            if "=" not in value:
                return _number(value)
            pairs = [part.split("=", 1) for part in value.split(",")]
            return {axis.strip(): _number(text) for axis, text in pairs}
        except ValueError:
            self.fail(
                f"{value!r}: write a number, or numbers by axis as in y=0.1,x=0.2", param, ctx
            )


def _number(text: str) -> float:
    text = text.strip()
    if text.endswith("%"):
        return float(text[:-1]) / 100
    return int(text) if re.fullmatch(r"\d+", text) else float(text)


class Names(click.ParamType):  # type: ignore[type-arg]  # not generic before 8.4
    """``clean,spots``: names, with commas between."""

    name = "NAME,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """The names."""
        del param, ctx
        return (
            list(value)
            if not isinstance(value, str)
            else [n for n in re.split(r"[,\s]+", value) if n]
        )


PLACES: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--grid", type=Grid(), help="Rows and columns, as in 7x9, where the files do not say."
    ),
    click.option(
        "--order", type=click.Choice(["row", "column"]), default="row", show_default=True,
        help="With --grid: whether rows or columns were acquired one after another.",
    ),
    click.option(
        "--snake", is_flag=True, help="With --grid: every other row (column) runs backwards."
    ),
    click.option(
        "--start", default="top-left", show_default=True, metavar="CORNER",
        help="With --grid: corner of the first tile.",
    ),
    click.option(
        "--overlap", type=ByAxis(),
        help="Overlap of neighbours, in pixels (51, y=51,x=40) or as a fraction (0.1, 10%).",
    ),
    click.option(
        "--positions", metavar="FILE",
        help="CSV table or TileConfiguration.txt, of positions or of rows and columns; or XML of "
        "TeraStitcher or BigStitcher.",
    ),
    click.option(
        "--columns", metavar="TEXT",
        help="Columns of the table that hold positions, as in 'true_*' (* is z, y, x).",
    ),
    click.option("--unit", type=click.Choice(["um", "px"]), help="Unit of the table's positions."),
    click.option(
        "--pattern", metavar="TEXT",
        help="How names are made, as in '{well}_s{site:d}_w{c:d}_z{z:d}.tif'.",
    ),
    click.option(
        "--files", metavar="GLOB", help="Which files belong to the acquisition, as in '*_w1.tif'."
    ),
    click.option(
        "--pixel-size", type=ByAxis(), metavar="UM",
        help="Micrometres of a pixel: 0.4, or z=2,y=0.4,x=0.4.",
    ),
    click.option(
        "--dims", metavar="DIMS", help="Dims of each file where it does not say, as in czyx."
    ),
    click.option(
        "--flip", default="", metavar="AXES",
        help="Axes whose positions run against the image: y, x, yx.",
    ),
)  # fmt: skip
"""Options that say where tiles are, as of `latticework.open_tiles`."""
ACQUISITION: tuple[Callable[[Any], Any], ...] = (
    *PLACES,
    click.option(
        "--block", type=ByAxis(), metavar="PIXELS",
        help="Cut one large image into blocks: z=64,y=256,x=256.",
    ),
    click.option(
        "--errors", type=click.Choice(["raise", "mark"]), default="raise", show_default=True,
        help="Refuse an acquisition with tiles that cannot be opened (a file cut short, a torn "
        "header, another shape), or mark these and go on. Pixels are not looked at: what cannot "
        "be decoded fails when it is read.",
    ),
)  # fmt: skip
"""Options of commands that open an acquisition, as of `latticework.open_tiles`."""


def acquisition_options(command: F) -> F:
    """Give a command the options of `latticework.open_tiles`."""
    return with_options(command, ACQUISITION)


def place_options(command: F) -> F:
    """Give a command the options that say where tiles are."""
    return with_options(command, PLACES)


def with_options(command: F, options: Sequence[Callable[[Any], Any]]) -> F:
    """Give a command some options, in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def open_acquisition(path: str, given: Mapping[str, Any]) -> "Lattice":
    """The lattice at a path, with the options that `acquisition_options` gave."""
    from latticework.io import open_tiles

    options = dict(given)
    options["pixel_size_um"] = options.pop("pixel_size")
    options["dims"] = tuple(options["dims"]) if options["dims"] else None
    if isinstance(options["block"], int | float):
        raise click.UsageError("--block: write pixels by axis, as in z=64,y=256,x=256")
    with command_words():
        return open_tiles(path, **options)


@contextmanager
def command_words(*only: str) -> Iterator[None]:
    """Let messages of the library speak of options of the command line: all of them, or some."""
    try:
        yield
    except SourceError as error:
        raise SourceError(in_command_words(str(error), *only), error.path) from error
    except (LatticeError, StageError, ProjectError) as error:
        raise type(error)(in_command_words(str(error), *only)) from error


OPTION_NAMES = {
    "pixel_size_um": "pixel-size",
    "done_marker": "done-marker",
    "settle_s": "settle",
}
_ARGUMENT = re.compile(
    r"\b(grid|start|order|overlap|positions|columns|unit|pattern|files|dims|block|pixel_size_um"
    r"|flip|first|errors|after|before|children|done_marker|end|settle_s|removed|stages)="
    r"(\"[^\"]*\"|'[^']*'|\{['\"]\w+['\"]: [^{}]*\}|\([^()]*\)|\.\.\."
    r"|-?(?:[\d.]+(?:e[+-]?\d+)?|nan|inf)\b)?"
)


def in_command_words(text: str, *only: str) -> str:
    """A message of the library with arguments written as options of the command line.

    Examples
    --------
    >>> in_command_words('give grid={"y": rows, "x": columns} or files="*_w1.tif": flip= is not')
    "give --grid 7x9 or --files '*_w1.tif': --flip is not"
    >>> in_command_words("block={'y': 8, 'x': 9} or dims=('c', 'y', 'x')")
    '--block y=8,x=9 or --dims cyx'
    >>> in_command_words("overlap=nan: nan is neither")
    '--overlap nan: nan is neither'
    """
    text = re.sub(r'open_tiles\("([^"]*)", files="([^"]*)"\)', _command, text)
    return _ARGUMENT.sub(
        lambda found: _option(found) if not only or found[1] in only else found[0], text
    )


def _command(match: re.Match[str]) -> str:
    return f"{quote(match[1])} --files {quote(match[2])}"


def _option(match: re.Match[str]) -> str:
    name = OPTION_NAMES.get(match[1], match[1])
    value = match[2] or ""
    if value.startswith("{"):
        pairs = [[part.strip(" '\"") for part in one.split(":")] for one in value[1:-1].split(",")]
        if name == "grid":
            numbers = [number for _, number in pairs]
            value = "x".join(numbers) if all(n.isdigit() for n in numbers) else "7x9"
        else:
            value = ",".join("=".join(pair) for pair in pairs)
    elif value.startswith("("):
        value = "".join(part.strip(" '\"") for part in value[1:-1].split(","))
    elif value[:1] in ("'", '"'):
        value = quote(value[1:-1])
    elif value == "...":
        value = ""
    return f"--{name} {value}".rstrip()
