"""What is common to the three benchmarks: their settings, and rows out of standings."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measure import Standing
from benchmarks.table import Row, number


def silent(line: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line decides."""

    scratch: Path
    repeats: int = 3
    toy: bool = False
    tiles: int | None = None
    #: units of the no-op and reopening benchmarks, instead of the standard numbers
    say: Callable[[str], None] = silent


@dataclass(frozen=True, slots=True)
class Report:
    """A benchmark's part of the table."""

    rows: Sequence[Row]
    notes: Sequence[str]
    problems: Sequence[str] = field(default=())


def ratio_rows(
    benchmark: str,
    unit: str,
    figures: Sequence[tuple[str, float]],
    *,
    aims: Sequence[tuple[str, bool | None]] = (),
) -> list[Row]:
    """Rows of one figure, ours first; `aims` go to our row, further ones to rows of their own.

    Examples
    --------
    >>> rows = ratio_rows("copy", "s", [("ours", 2.0), ("theirs", 5.0)], aims=[("< 3", True)])
    >>> [(row.system, row.ratio, row.met) for row in rows]
    [('ours', 1.0, True), ('theirs', 2.5, None)]
    """
    name, ours = figures[0]
    first, *more = aims or [("", None)]
    rows = [Row(benchmark, name, ours, unit, _over(ours, ours), *first)]
    rows += [Row(benchmark, name, ours, unit, _over(ours, ours), *aim) for aim in more]
    rows += [Row(benchmark, n, value, unit, _over(value, ours)) for n, value in figures[1:]]
    return rows


def at_most(value: float, limit: float) -> bool | None:
    """Whether `value` is below `limit`; unknown where one of them is missing.

    Examples
    --------
    >>> at_most(1, 2), at_most(3, 2), at_most(float("nan"), 2)
    (True, False, None)
    """
    return value <= limit if math.isfinite(value) and math.isfinite(limit) else None


def problems(standings: Sequence[Standing]) -> list[str]:
    """What went wrong, if anything."""
    return [s.problem for s in standings if s.problem]


def unrest(standings: Sequence[Standing]) -> list[str]:
    """A note on the systems whose repeats differ twofold: the machine was doing something else."""
    found = []
    for standing in standings:
        least, most = standing.spread()
        if most > 2 * least:
            found.append(f"{standing.contestant.system} {number(least)} to {number(most)} s")
    return [f"busy machine, repeats differ more than twofold: {'; '.join(found)}"] * bool(found)


def _over(value: float, ours: float) -> float:
    return value / ours if ours else float("nan")
