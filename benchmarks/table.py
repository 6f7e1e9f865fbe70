"""The one table that all benchmarks print into."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one system."""

    benchmark: str
    system: str
    figure: float
    unit: str
    ratio: float = float("nan")
    #: the system's figure divided by ours
    aim: str = ""
    met: bool | None = None
    #: None where there is no aim, or no figure to hold it against


HEADINGS = tuple(field.name for field in fields(Row))


def number(value: float) -> str:
    """Three significant digits, no exponents, thousands apart.

    Examples
    --------
    >>> number(13663.2), number(0.0721), number(3.14159), number(float("nan"))
    ('13,700', '0.0721', '3.14', '-')
    """
    if not math.isfinite(value):
        return "-"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{float(f'{value:.3g}'):,.{min(digits, 6)}f}"


def cells(row: Row) -> list[str]:
    """The row as text, in the order of `HEADINGS`."""
    met = {None: "", True: "yes", False: "NO"}[row.met]
    ratio = number(row.ratio)
    return [row.benchmark, row.system, number(row.figure), row.unit, ratio, row.aim, met]


def as_text(rows: Sequence[Row]) -> str:
    """Aligned columns for a terminal; a benchmark's name is printed once."""
    return "\n".join(_aligned(rows, " | ", "-+-"))


def as_markdown(rows: Sequence[Row], notes: Sequence[str], machine: str) -> str:
    """The table, its notes and the machine as a Markdown page."""
    lines = [f"| {line} |" for line in _aligned(rows, " | ", "-|-")]
    lines[1] = "|" + lines[1][2:-2].replace(" ", "-") + "|"
    text = [f"Measured on {machine}.", "", *lines, "", *(f"- {note}" for note in notes)]
    return "\n".join(text) + "\n"


def _aligned(rows: Sequence[Row], between: str, crossing: str) -> list[str]:
    body = [cells(row) for row in rows]
    for k in range(len(body) - 1, 0, -1):
        if rows[k].benchmark == rows[k - 1].benchmark:
            body[k][0] = ""
    grid = [list(HEADINGS), *body]
    widths = [max(len(line[k]) for line in grid) for k in range(len(HEADINGS))]
    numeric = {HEADINGS.index("figure"), HEADINGS.index("ratio")}

    def line(texts: list[str]) -> str:
        padded = (
            text.rjust(width) if k in numeric else text.ljust(width)
            for k, (text, width) in enumerate(zip(texts, widths, strict=True))
        )
        return between.join(padded).rstrip()

    return [line(grid[0]), crossing.join("-" * width for width in widths), *map(line, grid[1:])]
