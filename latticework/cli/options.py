"""How tiles, grids and sizes are written on the command line."""

import re
from collections.abc import Callable, Mapping, Sequence
from shlex import quote
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latticework.errors import LatticeError, SourceError

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


ACQUISITION: tuple[Callable[[Any], Any], ...] = (
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
        help="CSV table, or TileConfiguration.txt, of positions or of rows and columns.",
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
    click.option(
        "--block", type=ByAxis(), metavar="PIXELS",
        help="Cut one large image into blocks: z=64,y=256,x=256.",
    ),
    click.option(
        "--errors", type=click.Choice(["raise", "mark"]), default="raise", show_default=True,
        help="Refuse an acquisition with unreadable tiles, or mark these and go on.",
    ),
)  # fmt: skip
"""Options of commands that open an acquisition, as of `latticework.open_tiles`."""


def acquisition_options(command: F) -> F:
    """Give a command the options of `latticework.open_tiles`."""
    for option in reversed(ACQUISITION):
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
    try:
        return open_tiles(path, **options)
    except SourceError as error:
        raise SourceError(in_command_words(str(error)), error.path) from error
    except LatticeError as error:
        raise LatticeError(in_command_words(str(error))) from error


_ARGUMENT = re.compile(
    r"\b(grid|start|order|overlap|positions|columns|unit|pattern|files|dims|block|pixel_size_um"
    r"|flip|errors)="
    r"(\"[^\"]*\"|'[^']*'|\{['\"]\w+['\"]: [^{}]*\}|\([^()]*\)|\.\.\.|[\d.]+\b)?"
)


def in_command_words(text: str) -> str:
    """A message of the library with arguments written as options of the command line.

    Examples
    --------
    >>> in_command_words('give grid={"y": rows, "x": columns} or files="*_w1.tif": flip= is not')
    "give --grid 7x9 or --files '*_w1.tif': --flip is not"
    >>> in_command_words("block={'y': 8, 'x': 9} or dims=('c', 'y', 'x')")
    '--block y=8,x=9 or --dims cyx'
    """
    text = re.sub(r'open_tiles\("([^"]*)", files="([^"]*)"\)', _command, text)
    return _ARGUMENT.sub(_option, text)


def _command(match: re.Match[str]) -> str:
    return f"{quote(match[1])} --files {quote(match[2])}"


def _option(match: re.Match[str]) -> str:
    name = {"pixel_size_um": "pixel-size"}.get(match[1], match[1])
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


def selection(lattice: "Lattice", words: Sequence[str]) -> tuple[int | None, dict[str, Any]]:
    """Tile id and labels from words such as ``z=3 y=1 well=E07`` or ``17``.

    Raises
    ------
    click.UsageError
        If a word is neither.
    LatticeError
        If there is no such axis.

    Examples
    --------
    >>> from latticework import Lattice
    >>> tiles = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> selection(tiles, ["y=1", "x=0"]), selection(tiles, ["3"])
    ((None, {'y': 1, 'x': 0}), (3, {}))
    """
    from latticework.lattice.building import known_dim

    id, labels = None, {}
    for word in words:
        axis, equals, text = word.partition("=")
        if equals and axis:
            kind = lattice.labels[known_dim(lattice, axis)].dtype.kind
            labels[axis] = _label(text, kind, word)
        elif re.fullmatch(r"\d+", word) and id is None and len(words) == 1:
            id = int(word)
        else:
            raise click.UsageError(
                f"{word!r}: give labels of tiles, as in z=3 y=1 x=2, or the id of one, as in 17"
            )
    return id, labels


def _label(text: str, kind: str, word: str) -> Any:
    if kind in "iuf":
        try:
            number = float(text)
        except ValueError:
            raise click.UsageError(f"{word!r}: labels along this axis are numbers") from None
        return int(number) if number.is_integer() else number
    return text
