"""Stages as stacked bars, for the notebook reprs of projects and runs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from latticework.lattice.states import State
from latticework.viz.html import escaped, framed, state_fill
from latticework.viz.states import counted, state_colours
from latticework.viz.words import percent, rate, time_left

_BAR = (
    "display:flex;width:18em;height:.95em;margin:.2em 0;overflow:hidden;"
    "border-radius:3px;background:rgba(128,128,128,.18)"
)


@dataclass(frozen=True, slots=True)
class StageBar:
    """What one row of bars shows."""

    name: str
    """Name of the stage."""
    counts: Mapping[State, int]
    """Tiles by state."""
    total: int | None = None
    """Number of tiles; the sum of the counts without the absent, if not given."""
    rate: float | None = None
    """Tiles per second, where known."""
    eta_s: float | None = None
    """Seconds left, where known."""
    note: str = ""
    """Anything else, such as that the stage is paused."""

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        seen = sum(int(n) for state, n in self.counts.items() if state is not State.ABSENT)
        return seen if self.total is None else max(int(self.total), seen)


def status_html(
    counts: Mapping[str, Mapping[State, int]],
    *,
    title: str = "",
    rates: Mapping[str, float] | None = None,
    eta_s: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
    foot: str = "",
) -> str:
    """Stages as stacked bars of their states, with numbers: HTML for a notebook.

    Self-contained, without scripts; all texts are escaped.

    Parameters
    ----------
    counts
        Tiles by state, by stage, in the order of the pipeline.
    title, foot
        Text above and below.
    rates, eta_s, notes
        Tiles per second, seconds left and remarks, for the stages that have them.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> "354 complete" in status_html({"clean": {State.COMPLETE: 354, State.FAILED: 7}})
    True
    """
    stages = [
        StageBar(
            name,
            of_stage,
            rate=(rates or {}).get(name),
            eta_s=(eta_s or {}).get(name),
            note=(notes or {}).get(name, ""),
        )
        for name, of_stage in counts.items()
    ]
    return bars_html(stages, title=escaped(title), foot=escaped(foot, 400))


def bars_html(
    stages: Iterable[StageBar], *, title: str = "", foot: str = "", after: str = ""
) -> str:
    """Rows of bars with a legend; `title`, `foot` and `after` are HTML already."""
    rows = list(stages)
    body = "".join(_row(stage) for stage in rows)
    seen = {state for stage in rows for state, _ in counted(stage.counts)}
    return framed(
        f'<div class="lw-h">{title}</div>' if title else "",
        f'<table class="lw-t">{body}</table>' if rows else '<div class="lw-m">no stages yet</div>',
        _legend(seen) if seen else "",
        f'<div class="lw-m">{foot}</div>' if foot.strip() else "",
        after,
    )


def _row(stage: StageBar) -> str:
    done = int(stage.counts.get(State.COMPLETE, 0))
    parts = []
    for state in (State.FAILED, State.BLOCKED, State.CANCELLED, State.STALE, State.RUNNING):
        n = int(stage.counts.get(state, 0))
        if n:
            weight = "600" if state is State.FAILED else "400"
            parts.append(
                f'<span style="font-weight:{weight};white-space:nowrap">'
                f"{_square(state)}{n:,} {state.label}</span>"
            )
    if stage.note:
        parts.append(escaped(stage.note, 160))
    speed = escaped(rate(stage.rate)) if stage.rate else ""
    left = f"{escaped(time_left(stage.eta_s))} left" if stage.eta_s else ""
    return (
        f"<tr><td><b>{escaped(stage.name, 60)}</b></td><td>{_bar(stage)}</td>"
        f'<td class="lw-n">{done:,} / {stage.tiles:,}</td>'
        f'<td class="lw-n">{percent(done, stage.tiles)}</td>'
        f'<td class="lw-n">{speed}</td><td class="lw-n">{left}</td>'
        f"<td>{'&ensp; '.join(parts)}</td></tr>"
    )


def _bar(stage: StageBar) -> str:
    total = max(1, stage.tiles)
    pieces = []
    for state, n in counted(stage.counts):
        if state is State.WAITING:
            continue
        least = "2px" if state in (State.FAILED, State.BLOCKED) else "0"
        pieces.append(
            f'<div title="{n:,} {state.label}: {escaped(state_colours[state].meaning)}" '
            f'style="width:{100 * n / total:.3f}%;min-width:{least};'
            f'flex:none;background:{state_fill(state)}"></div>'
        )
    waiting = int(stage.counts.get(State.WAITING, 0))
    return f'<div title="{waiting:,} waiting" style="{_BAR}">{"".join(pieces)}</div>'


def _square(state: State) -> str:
    return (
        f'<span style="display:inline-block;width:.7em;height:.7em;margin-right:.35em;'
        f'border-radius:2px;background:{state_fill(state)}"></span>'
    )


def _legend(seen: set[State]) -> str:
    keys = "&ensp; ".join(
        f'<span title="{escaped(look.meaning)}" style="white-space:nowrap">'
        f"{_square(state)}{look.label}</span>"
        for state, look in state_colours.items()
        if state in seen
    )
    return f'<div style="font-size:12px;margin:.3em 0">{keys}</div>'
