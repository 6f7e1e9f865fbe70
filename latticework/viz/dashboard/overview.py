"""The first page: how each stage stands, who works, what is wrong, and the pipeline as a graph."""

from collections.abc import Mapping

from bokeh.layouts import column, row
from bokeh.models import Div, UIElement

from latticework.lattice.states import State
from latticework.project.keeping_up import StagePace
from latticework.viz import words
from latticework.viz.dashboard.feed import Happened, Snapshot, StageNow
from latticework.viz.dashboard.graph import graph_svg
from latticework.viz.dashboard.page import Page, set_text
from latticework.viz.dashboard.parts import badge, facts, moment, panel, square, state_bar, table
from latticework.viz.dashboard.recent import RATE_WINDOW_S
from latticework.viz.html import escaped
from latticework.viz.keeping_up import alarming, arrivals_line, disk_line, per_minute, verdict
from latticework.viz.states import bar_order, state_colours

ALARMING = ("units failed", "stage paused itself", "node set aside", "pool refused", "worker lost")
"""Kinds of events that are bad news."""
SHOWN_EVENTS = 12
RATE = f"over the last {RATE_WINDOW_S / 60:.0f} minutes, or since the first unit where that is less"
"""What a rate is taken of."""
SOON_S = 86400.0
"""Seconds until the disk is full that are worth a word."""
TOLD = (State.RUNNING, State.QUEUED, State.STALE, State.FAILED, State.BLOCKED, State.CANCELLED)
"""States that are told in words beside a bar."""


class Overview(Page):
    """How each stage stands, who works, and what is wrong."""

    title = "Overview"

    def build(self, _snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._facts, self._stages, self._graph = self.html(), self.html(), self.html()
        self._pools, self._events = self._side(), self._side()
        beside = row(self._pools, self._events, sizing_mode="stretch_width", spacing=14, margin=0)
        parts = [self._facts, self._stages, self._graph, beside]
        return column(*parts, sizing_mode="stretch_width", margin=0)

    def form(self, _snapshot: Snapshot) -> object:
        """See `Page.form`."""
        return None

    def _side(self) -> Div:
        return self.html(min_width=380)

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        paces = {} if snapshot.gauge is None else {p.name: p for p in snapshot.gauge.stages}
        notes = stage_notes(snapshot)
        set_text(self._facts, facts_html(snapshot))
        set_text(self._stages, self._stages_html(snapshot, paces, notes))
        set_text(self._graph, self._graph_html(snapshot, notes))
        set_text(self._pools, pools_html(snapshot))
        set_text(self._events, events_html(snapshot.events))

    def _stages_html(
        self, snapshot: Snapshot, paces: Mapping[str, StagePace], notes: Mapping[str, str]
    ) -> str:
        live = snapshot.gauge is not None and snapshot.gauge.arriving_per_minute is not None
        rows = "".join(
            self._stage_row(stage, paces.get(stage.name), notes.get(stage.name, ""), live=live)
            for stage in snapshot.stages
        )
        if not rows:
            return panel("Stages", "<p class='faint'>none yet</p>")
        gauge = "<th>keeps up</th>" if live else ""
        head = (
            "<tr><th>stage</th><th style='width:32%'>units by state</th><th class='n'>complete</th>"
            f"<th class='n' title='{RATE}'>rate</th><th class='n'>time left</th>"
            f"{gauge}<th></th></tr>"
        )
        body = f"<div class='scroll'><table>{head}{rows}</table></div>"
        return panel("Stages", body + legend_html(snapshot.stages))

    def _stage_row(self, stage: StageNow, pace: StagePace | None, note: str, *, live: bool) -> str:
        done = stage.count(State.COMPLETE)
        link = self.visit.link("lattice-map", stage=stage.name)
        rate = "" if pace is None or not rate_matters(pace) else per_minute(pace.per_minute)
        left = ""
        if pace is not None and pace.backlog and pace.time_left_s is not None:
            left = words.time_left(pace.time_left_s)
        gauge = ""
        if live:
            says = "" if pace is None else verdict(pace)
            kind = "bad" if pace is not None and pace.keeps_up is False else ""
            gauge = f"<td class='{kind} nowrap'>{escaped(says)}</td>"
        told = [badge(note, "bad")] if note else []
        told += [self._state_link(stage, state) for state in TOLD if stage.count(state)]
        return (
            f"<tr><td class='nowrap'><a href='{link}'>{escaped(stage.name, 40)}</a></td>"
            f"<td>{state_bar(stage.by_state)}</td>"
            f"<td class='n nowrap'>{done:,} / {stage.units:,} "
            f"<span class='faint'>{words.percent(done, stage.units)}</span></td>"
            f"<td class='n nowrap'>{rate}</td><td class='n nowrap'>{left}</td>{gauge}"
            f"<td>{' &ensp;'.join(told)}</td></tr>"
        )

    def _state_link(self, stage: StageNow, state: State) -> str:
        text = f"{square(state)}{stage.count(state):,} {state.label}"
        if state in (State.FAILED, State.BLOCKED):
            link = self.visit.link("lattice-failures", stage=stage.name)
            return f"<a class='nowrap' href='{link}'>{text}</a>"
        return f"<span class='nowrap'>{text}</span>"

    def _graph_html(self, snapshot: Snapshot, notes: Mapping[str, str]) -> str:
        svg = graph_svg(
            snapshot.stages,
            notes,
            len(snapshot.lattice),
            lambda name: self.visit.link("lattice-map", stage=name),
        )
        return panel("Pipeline", f"<div class='scroll hint'>{svg}</div>")


def stage_notes(snapshot: Snapshot) -> dict[str, str]:
    """Stages that are held back, and how."""
    settings = snapshot.settings
    held = dict.fromkeys(settings.paused_stages, "paused")
    return held | dict.fromkeys(settings.gave_up, "paused itself")


def facts_html(snapshot: Snapshot) -> str:
    """The project in a row of numbers, with what is wrong below."""
    total = sum(stage.units for stage in snapshot.stages)
    done = sum(stage.count(State.COMPLETE) for stage in snapshot.stages)
    failed = sum(stage.count(State.FAILED) for stage in snapshot.stages)
    active = sum(stage.count(State.RUNNING) for stage in snapshot.stages)
    queued = sum(stage.count(State.QUEUED) for stage in snapshot.stages)
    workers = sum(pool.workers for pool in snapshot.pools)
    told = [
        ("state", run_state(snapshot)),
        ("complete", words.percent(done, total)),
        ("units done", f"{done:,} of {total:,}"),
        ("running", f"{active:,}"),
        ("queued", f"{queued:,}"),
        ("failed", f"<span class='bad'>{failed:,}</span>" if failed else "0"),
        ("workers", f"{workers:,}" if snapshot.running else "-"),
        ("time left", time_left(snapshot)),
    ]
    gauge = snapshot.gauge
    if gauge is not None and gauge.disk_free_bytes is not None:
        told.append(("disk free", words.size(gauge.disk_free_bytes)))
    return f"<div class='panel'>{facts(told)}{remarks_html(snapshot)}</div>"


def rate_matters(pace: StagePace) -> bool:
    """Whether a stage has a rate that says something: it has units to do, or gets more."""
    return bool(pace.per_minute) and bool(pace.backlog or pace.needed_per_minute)


def run_state(snapshot: Snapshot) -> str:
    """Whether it runs, in a word."""
    if snapshot.outage:
        return "cannot write"
    if snapshot.settings.paused:
        return "paused"
    if not snapshot.running:
        return "not running"
    return "running" if has_work(snapshot) else waits_for(snapshot)


def has_work(snapshot: Snapshot) -> bool:
    """Whether anything is left that can be done now, or waits for its turn."""
    gauge = snapshot.gauge
    return gauge is None or any(stage.backlog for stage in gauge.stages)


def waits_for(snapshot: Snapshot) -> str:
    """What a run waits for that has nothing to do."""
    more_come = snapshot.following is not None and snapshot.following.going_on
    return "waiting for tiles" if more_come else "waiting for work"


def time_left(snapshot: Snapshot) -> str:
    """Until all that is there is done, at the present rates."""
    gauge = snapshot.gauge
    if gauge is None or not any(stage.backlog for stage in gauge.stages):
        return "-"
    return words.time_left(gauge.time_left_s) if snapshot.running else "-"


def remarks_html(snapshot: Snapshot) -> str:
    """What a person should know at once, a line each."""
    lines: list[tuple[str, bool]] = []
    if snapshot.outage:
        lines.append((snapshot.outage, True))
    lines += [
        (f"{name} has paused itself: {why}", True)
        for name, why in snapshot.settings.gave_up.items()
    ]
    if snapshot.settings.set_aside:
        hosts = ", ".join(snapshot.settings.set_aside)
        lines.append((f"hosts that are given no work: {hosts}", True))
    gauge = snapshot.gauge
    if gauge is not None and gauge.arriving_per_minute is not None:
        lines.append((arrivals_line(gauge), False))
    disk = None if gauge is None else disk_line(gauge)
    if gauge is not None and disk is not None:
        soon = gauge.disk_full_s is not None and gauge.disk_full_s < SOON_S
        if soon or alarming(disk):
            lines.append((disk, True))
    following = snapshot.following
    if following is not None:
        lines += [(text, True) for text, _ in following.troubles]
        if following.n_held:
            lines.append((f"{words.plural(following.n_held, 'file')} not finished yet", False))
    return "".join(
        f"<p class='{'bad' if bad else 'faint'}'>{escaped(text, 400)}</p>" for text, bad in lines
    )


def legend_html(stages: tuple[StageNow, ...]) -> str:
    """The states that occur, and their colours."""
    there = [state for state in bar_order if any(stage.count(state) for stage in stages)]
    keys = "".join(
        f"<span title='{escaped(state_colours[state].meaning)}'>{square(state)}{state.label}</span>"
        for state in there
    )
    return f"<p class='row faint' style='font-size:12px;margin-top:10px'>{keys}</p>"


def pools_html(snapshot: Snapshot) -> str:
    """Pools of workers, and what SLURM says of those that are missing."""
    rows = [
        (
            escaped(pool.name, 40),
            f"{pool.workers:,}",
            f"{pool.slots:,}",
            f"{pool.out:,}",
            words.size(pool.memory_bytes) if pool.memory_bytes else "-",
            escaped(pool.pending, 200),
        )
        for pool in snapshot.pools
    ]
    head = ["pool", ">workers", ">slots", ">batches out", ">memory each", "waits for"]
    empty = "No workers: nothing runs this project now."
    return panel("Workers", table(head, rows, empty=empty))


def events_html(events: tuple[Happened, ...]) -> str:
    """The last events."""
    rows = "".join(map(event_row, events[:SHOWN_EVENTS]))
    body = f"<table>{rows}</table>" if rows else "<p class='faint'>Nothing has happened yet.</p>"
    return panel("What happened", body, note="times in UTC" if rows else "")


def event_row(event: Happened) -> str:
    """An event as a row of a table."""
    kind = "bad" if event.kind in ALARMING else ""
    return (
        f"<tr><td class='nowrap faint'>{moment(event.at)}</td>"
        f"<td class='{kind}'>{escaped(event.message, 240)}</td></tr>"
    )
