"""The page of how the work goes: throughput, durations, memory, workers, the slowest units."""

import time
from collections.abc import Callable
from math import isfinite

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, RadioButtonGroup, UIElement
from bokeh.plotting import figure

from latticework.errors import LatticeworkError
from latticework.lattice.states import BROKEN
from latticework.project.keeping_up import StagePace
from latticework.viz.dashboard.changing_data import send
from latticework.viz.dashboard.feed import Snapshot, StageNow
from latticework.viz.dashboard.figures import new_figure, series
from latticework.viz.dashboard.look import widget_style
from latticework.viz.dashboard.overview import RATE, rate_matters
from latticework.viz.dashboard.page import Page, Visit, set_text
from latticework.viz.dashboard.parts import moment, panel, table, unit_link
from latticework.viz.dashboard.work_data import StageWork, Work, work_of
from latticework.viz.html import escaped
from latticework.viz.words import seconds, size, time_left

SPANS: dict[str, float | None] = {
    "10 min": 600.0,
    "1 h": 3600.0,
    "24 h": 86_400.0,
    "all": None,
}
"""What can be chosen, in seconds."""
EVERY_S = 2.0
"""Seconds between two looks, at least."""
DUTY = 20.0
"""A look that took long is followed by so many times that without another one."""
_BYTES = """
const units = ['B', 'kB', 'MB', 'GB', 'TB'];
let k = 0, left = tick;
while (left >= 1000 && k < 4) { left /= 1000; k += 1 }
return Number(left.toPrecision(3)) + ' ' + units[k];
"""
_SECONDS = """
if (tick < 1) return Math.round(tick * 1000) + ' ms';
if (tick < 60) return tick + ' s';
if (tick < 3600) return Math.round(tick / 60) + ' min';
return Math.round(tick / 360) / 10 + ' h';
"""


class WorkPage(Page):
    """How fast the stages are, how long units take, with how much memory, and on which workers."""

    title = "Work"

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit)
        asked = visit.arguments.get("span", "10 min")
        self._span = asked if asked in SPANS else "10 min"

    def build(self, snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._seen: object = None
        self._busy = False
        self._not_before = 0.0
        self._choice = RadioButtonGroup(
            labels=list(SPANS),
            active=list(SPANS).index(self._span),
            stylesheets=[widget_style()],
            margin=(0, 0, 12, 0),
        )
        self._choice.on_change("active", lambda _name, _old, new: self._choose(new))
        names = [stage.name for stage in snapshot.stages]
        self._rates = {name: _empty("at", "rate") for name in names}
        self._memory = {name: _empty("at", "memory") for name in names}
        self._durations = {name: _empty("at", "share") for name in names}
        self._table = self.html()
        self._workers = self.html()
        self._slowest = self.html()
        palette = self.visit.palette
        rates = new_figure(palette, "Units completed per minute (UTC)", height=260, moments=True)
        self._draw(rates, self._rates, "rate", figure.step, mode="center")
        rates.y_range.start = 0
        memory = new_figure(palette, "Largest memory of an attempt (UTC)", moments=True)
        self._draw(memory, self._memory, "memory", figure.line)
        memory.y_range.start = 0
        memory.yaxis.formatter = CustomJSTickFormatter(code=_BYTES)
        took = new_figure(palette, "How long units take (% of a stage's)", x_axis_type="log")
        self._draw(took, self._durations, "share", figure.step, mode="center")
        took.y_range.start = 0
        took.xaxis.formatter = CustomJSTickFormatter(code=_SECONDS)
        pair = row(took, memory, sizing_mode="stretch_width", spacing=14)
        below = row(self._workers, self._slowest, sizing_mode="stretch_width", spacing=14)
        return column(
            self._choice, rates, self._table, pair, below, sizing_mode="stretch_width", margin=0
        )

    def _draw(
        self,
        where: figure,
        sources: dict[str, ColumnDataSource],
        y: str,
        how: Callable[..., object],
        **options: object,
    ) -> None:
        """A line for each stage, in its colour."""
        for number, source in enumerate(sources.values()):
            how(
                where,
                x="at",
                y=y,
                source=source,
                color=series(self.visit.theme, number),
                line_width=2,
                **options,
            )

    # ---------------------------------------------------------------- what changes

    def _choose(self, active: int | None) -> None:
        self._span = list(SPANS)[active or 0]
        self._seen, self._not_before = None, 0.0
        snapshot = self.visit.feed.snapshot
        if snapshot is not None:
            self.update(snapshot)

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        recent, now = self.visit.feed.recent, time.monotonic()
        seen = (recent.last, snapshot.running, int(snapshot.at // 5) if snapshot.running else 0)
        if self._busy or seen == self._seen or now < self._not_before:
            return
        self._seen, self._busy, self._begun = seen, True, now
        rows, span = recent.rows, SPANS[self._span]

        def answered(found: tuple[Work, float] | LatticeworkError) -> None:
            self._show(snapshot, found, span)

        self.visit.ask(
            lambda project: _timed(lambda: work_of(project, snapshot, rows, span)), answered
        )

    def _show(
        self,
        snapshot: Snapshot,
        found: tuple[Work, float] | LatticeworkError,
        span: float | None,
    ) -> None:
        self._busy = False
        if isinstance(found, LatticeworkError):
            set_text(self._table, panel("Stages", f"<p class='bad'>{escaped(found, 400)}</p>"))
            return
        if span != SPANS[self._span]:
            self._seen = None
            return
        work, took = found
        rest = max(EVERY_S, DUTY * took, work.step_s / 2 if work.from_journal else 0.0)
        self._not_before = time.monotonic() + rest
        at = 1000.0 * work.at
        for stage in work.stages:
            if stage.name in self._rates:
                send(self._rates[stage.name], {"at": at, "rate": stage.per_minute}, by="at")
                send(self._memory[stage.name], {"at": at, "memory": stage.memory}, by="at")
                rows = {"at": work.durations_s, "share": stage.durations}
                send(self._durations[stage.name], rows, by="at")
        set_text(self._table, stages_panel(self.visit, snapshot, work))
        set_text(self._workers, workers_panel(work))
        set_text(self._slowest, slowest_panel(self.visit, snapshot, work))


def _timed(do: Callable[[], Work]) -> tuple[Work, float]:
    begun = time.monotonic()
    return do(), time.monotonic() - begun


def _empty(*names: str) -> ColumnDataSource:
    return ColumnDataSource({name: np.zeros(0) for name in names})


# -------------------------------------------------------------------- HTML


def stages_panel(visit: Visit, snapshot: Snapshot, work: Work) -> str:
    """Rate, time left, durations and memory of each stage."""
    gauge = snapshot.gauge
    paces = {} if gauge is None else {pace.name: pace for pace in gauge.stages}
    rows = [
        _stage_row(visit, snapshot, number, stage, paces.get(stage.name))
        for number, stage in enumerate(work.stages)
    ]
    head = ["stage", ">per minute now", ">to do", ">time left", ">measured", ">median", ">90 %"]
    head += [">longest", ">memory, median", ">most"]
    note = f"rates: {RATE}; durations and memory: of attempts since {moment(work.since)} UTC"
    return panel("Stages", table(head, rows, empty="no stages"), note=note)


def _stage_row(
    visit: Visit, snapshot: Snapshot, number: int, stage: StageWork, pace: StagePace | None
) -> list[str]:
    colour = series(visit.theme, number)
    name = f"<i class='key' style='background:{colour}'></i>{escaped(stage.name, 60)}"
    now = ["", "", ""]
    if pace is not None:
        rate = f"{pace.per_minute:,.3g}" if rate_matters(pace) else ""
        now = [rate, f"{pace.backlog:,}", time_left_of(visit, pace, snapshot.stage(stage.name))]
    took = [seconds(one) if isfinite(one) else "" for one in stage.quantiles_s]
    memory = [size(one) if isfinite(one) else "" for one in stage.memory_bytes]
    return [name, *now, f"{stage.complete:,}", *took, *memory]


def time_left_of(visit: Visit, pace: StagePace, stage: StageNow | None) -> str:
    """When a stage is done, or that it is, or which units keep it from that."""
    broken = [] if stage is None else [one for one in BROKEN if stage.count(one)]
    told = [time_left(pace.time_left_s)] if pace.backlog else []
    if stage is not None and broken:
        where = visit.link("lattice-failures", stage=stage.name)
        counts = ", ".join(f"{stage.count(one):,} {one.label}" for one in broken)
        told.append(f"<a class='bad' href='{where}'>{counts}</a>")
    return ", ".join(told) or "done"


def workers_panel(work: Work) -> str:
    """What share each worker has of the work."""
    most = max((one.busy_s for one in work.workers), default=1.0)
    rows = []
    for one in work.workers:
        wide = max(2, round(110 * one.busy_s / max(most, 1e-9)))
        bad = f"<span class='bad'>{one.failed:,}</span>" if one.failed else ""
        address = one.address.partition("://")[2] or one.address
        rows.append(
            [
                f"<span class='one'>{escaped(address, 60)}</span>",
                escaped(one.host, 40),
                f"<span class='meter' style='width:{wide}px'></span>",
                seconds(one.busy_s),
                f"{one.attempts:,}",
                bad,
            ]
        )
    head = ["worker", "host", "", ">busy", ">attempts", ">failed"]
    note = f"the busiest of {work.n_workers:,}" if work.n_workers > len(rows) else ""
    return panel(
        "Workers", table(head, rows, empty="none has done anything in this time"), note=note
    )


def slowest_panel(visit: Visit, snapshot: Snapshot, work: Work) -> str:
    """Units that took much longer than their stage's others."""
    rows = [
        [
            unit_link(visit, snapshot, one.stage, one.unit),
            seconds(one.duration_s),
            f"{one.times:,.1f} ×",
        ]
        for one in work.slowest
    ]
    body = table(["unit", ">took", ">of the median"], rows, empty="nothing to compare yet")
    return panel("Slowest units", body)
