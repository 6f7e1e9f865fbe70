"""What a run came to, in a few lines or as HTML."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from latticework.lattice.states import State
from latticework.viz.html import escaped, framed
from latticework.viz.stage_bars import StageBar, bars_html
from latticework.viz.state_maps import StateMap, maps_html
from latticework.viz.states import counts_text
from latticework.viz.words import percent, plain, plural, rate, seconds

Counts = Mapping[str, Mapping[State, int]]


@dataclass(frozen=True, slots=True)
class Failure:
    """Tiles that failed in one stage with one message."""

    stage: str
    """Name of the stage."""
    tile: str
    """Name or address of the tile, or of the first."""
    message: str
    """Last line of the traceback."""
    attempts: int = 1
    """How often it was tried."""
    tiles: int = 1
    """How many tiles failed so."""

    @property
    def line(self) -> str:
        """All of it on one line.

        Examples
        --------
        >>> Failure("clean", "y0_x1", "ValueError: too dark", tiles=63).line
        'clean 63 tiles, first y0_x1: ValueError: too dark'
        """
        tries = f" ({self.attempts} attempts)" if self.attempts > 1 else ""
        many = f"{plural(self.tiles, 'tile')}, first " if self.tiles > 1 else ""
        what = f"{plain(self.stage, 40)} {many}{plain(self.tile, 80)}"
        return f"{what}: {plain(self.message, 160)}{tries}"


def summary_text(
    counts: Counts,
    *,
    title: str = "run",
    duration_s: float | None = None,
    rates: Mapping[str, float] | None = None,
    failures: Iterable[Failure] = (),
    n_failures: int | None = None,
    limit: int = 10,
    hint: str = "",
) -> str:
    """A run in a few lines of plain text.

    Parameters
    ----------
    counts
        Tiles by state, by stage, in the order of the pipeline.
    title
        What was run and how it ended, such as ``"run of brain.lw: interrupted"``.
    duration_s
        Seconds that it took.
    rates
        Tiles per second, by stage.
    failures
        Tiles that failed; the first `limit` are listed.
    n_failures
        How many tiles failed in all, where `failures` holds only the first of them.
    limit
        Lines of failures at most.
    hint
        A last line below failures, such as what to do about them.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> counts = {"clean": {State.COMPLETE: 354, State.FAILED: 7}, "spots": {State.COMPLETE: 354}}
    >>> print(summary_text(
    ...     counts, duration_s=75, rates={"clean": 4.8}, n_failures=7,
    ...     failures=[Failure("clean", "y1_x2", "ValueError: too dark", attempts=3)],
    ... ))
    run, 1 min 15 s
      clean  354/361  98 %  4.8 tiles/s  7 failed
      spots  354/354 100 %
    7 failures
      clean y1_x2: ValueError: too dark (3 attempts)
      and 6 more
    """
    head = plain(title) + ("" if duration_s is None else f", {seconds(duration_s)}")
    shown, n = _first(failures, limit, n_failures)
    lines = [head, *_stage_lines(counts, rates or {})]
    if n:
        lines.append(plural(n, "failure"))
        lines += [f"  {failure.line}" for failure in shown]
        if n > _tiles(shown):
            lines.append(f"  and {n - _tiles(shown):,} more")
        if hint:
            lines.append(plain(hint))
    return "\n".join(lines)


def closing_lines(
    counts: Counts,
    *,
    title: str = "run",
    duration_s: float,
    interrupted: bool = False,
    failed: str = "",
) -> list[str]:
    """What progress says when a run is over: how it ended, and how to see more where units failed.

    Parameters
    ----------
    counts
        Units by state, by stage.
    title
        What was run.
    duration_s
        Seconds that it took; NaN if that is said elsewhere.
    interrupted
        Whether it was stopped before its end.
    failed
        What to call to see why one unit failed, such as ``project.why('clean', 3)``.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> counts = {"clean": {State.COMPLETE: 354, State.FAILED: 7}, "spots": {State.COMPLETE: 354}}
    >>> for line in closing_lines(counts, duration_s=75, failed="project.why('clean', 3)"):
    ...     print(line)
    run ended after 1 min 15 s: 708 complete, 7 failed
    To see why: project.why('clean', 3); more is in the summary that run() returns
    """
    totals = _totals(counts)
    verb = "interrupted" if interrupted else "ended"
    said = counts_text(totals) if any(totals.values()) else "nothing to do"
    again = "; run again to go on" if interrupted else ""
    after = f" after {seconds(duration_s)}" if math.isfinite(duration_s) else ""
    lines = [f"{plain(title, 80)} {verb}{after}: {said}{again}"]
    if totals.get(State.FAILED):
        see = f"To see why: {plain(failed)}; more is in" if failed else "To see more:"
        lines.append(f"{see} the summary that run() returns")
    return lines


def summary_html(
    counts: Counts,
    *,
    title: str = "run",
    duration_s: float | None = None,
    rates: Mapping[str, float] | None = None,
    failures: Iterable[Failure] = (),
    n_failures: int | None = None,
    limit: int = 20,
    hint: str = "",
    maps: Mapping[str, StateMap] | None = None,
    bars: bool = True,
) -> str:
    """A run as HTML for a notebook: bars, maps, and a table of what failed. As `summary_text`.

    Parameters
    ----------
    counts, title, duration_s, rates, failures, n_failures, limit, hint
        As for `summary_text`.
    maps
        Maps of the states of stages, to stand below the bars.
    bars
        False where the bars stand above already: then the counts are said in one line.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> "7 failed" in summary_html({"clean": {State.COMPLETE: 354, State.FAILED: 7}})
    True
    """
    shown, n = _first(failures, limit, n_failures)
    stages = [StageBar(name, of, rate=(rates or {}).get(name)) for name, of in counts.items()]
    took = "" if duration_s is None else f" <small>{escaped(seconds(duration_s))}</small>"
    after = maps_html(maps or {}) + failure_table(shown, n, hint)
    if bars:
        return bars_html(stages, title=escaped(title) + took, after=after)
    totals = _totals(counts)
    said = f'<div class="lw-m">{escaped(counts_text(totals))}</div>'
    return framed(f'<div class="lw-h">{escaped(title)}{took}</div>{said}{after}')


def _totals(counts: Counts) -> dict[State, int]:
    """Tiles by state, over all stages."""
    totals: dict[State, int] = {}
    for of_stage in counts.values():
        for state, n in of_stage.items():
            totals[state] = totals.get(state, 0) + int(n)
    return totals


def _stage_lines(counts: Counts, rates: Mapping[str, float]) -> list[str]:
    rows = []
    for name, of_stage in counts.items():
        stage = StageBar(name, of_stage)
        done = int(of_stage.get(State.COMPLETE, 0))
        rest = dict(of_stage)
        rest.pop(State.COMPLETE, None)
        open_or_broken = any(n for state, n in rest.items() if state is not State.ABSENT)
        rows.append(
            (
                plain(name, 40),
                f"{done:,}/{stage.tiles:,}",
                percent(done, stage.tiles),
                rate(rates[name]) if rates.get(name) else "",
                counts_text(rest) if open_or_broken else "",
            )
        )
    wide = [max((len(row[k]) for row in rows), default=0) for k in range(4)]
    lines = []
    for name, done_of, share, speed, rest_text in rows:
        left = f"  {name:<{wide[0]}}  {done_of:>{wide[1]}} {share:>5}"
        lines.append(f"{left}  {speed:<{wide[3]}}  {rest_text}".rstrip())
    return lines


def _first(
    failures: Iterable[Failure], limit: int, n_failures: int | None
) -> tuple[list[Failure], int]:
    every = list(failures)
    return every[:limit], max(_tiles(every), n_failures or 0)


def _tiles(failures: Iterable[Failure]) -> int:
    return sum(failure.tiles for failure in failures)


def failure_table(shown: Sequence[Failure], n: int, hint: str = "") -> str:
    """Failures as a table of HTML: the first of them, of `n` units in all."""
    if not n:
        return ""
    rows = "".join(
        f'<tr><td>{escaped(f.stage, 40)}</td><td class="lw-n">{f.tiles:,}</td>'
        f"<td>{'first ' if f.tiles > 1 else ''}{escaped(f.tile, 80)}</td>"
        f'<td class="lw-n">{f.attempts}</td>'
        f'<td style="font-family:monospace">{escaped(f.message, 240)}</td></tr>'
        for f in shown
    )
    left = n - _tiles(shown)
    more = f'<div class="lw-m">and {left:,} more</div>' if left > 0 else ""
    more += f'<div class="lw-m">{escaped(hint)}</div>' if hint else ""
    head = "<tr><th>stage</th><th>tiles</th><th>tile</th><th>attempts</th><th>error</th></tr>"
    return (
        f'<div class="lw-h">{escaped(plural(n, "failure"))}</div>'
        f'<table class="lw-t">{head}{rows}</table>{more}'
    )
