"""The page of what has failed: grouped by message, kind, host, plane and time."""

import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import Column, ColumnDataSource, Div, UIElement

from latticework.errors import LatticeworkError
from latticework.lattice.lattice import Lattice
from latticework.viz.dashboard.changing_data import send
from latticework.viz.dashboard.failure_groups import failures
from latticework.viz.dashboard.failure_tally import Failures, Group, tally_of, traceback_of
from latticework.viz.dashboard.feed import Snapshot
from latticework.viz.dashboard.figures import literal, new_figure, nice_step, whole_numbers
from latticework.viz.dashboard.page import Page, Visit, set_text
from latticework.viz.dashboard.parts import (
    badge,
    facts,
    moment,
    panel,
    table,
    text_block,
    unit_link,
)
from latticework.viz.folding import axis_name
from latticework.viz.html import escaped
from latticework.viz.words import plain, plural

if TYPE_CHECKING:
    from latticework.project.project import Project

EVERY_S = 2.0
"""Seconds between two looks, at least."""
MOST_PROBLEMS = 5
"""Unreadable tiles that are named."""
MOST_BINS = 60
"""Bars over time."""
MOST_BARS = 1000
"""Bars along a lattice dim: of more planes than that several share one."""


class FailuresPage(Page):
    """What has failed, why and where; and what failed but was mended."""

    title = "Failures"

    def build(self, snapshot: Snapshot) -> UIElement:
        """See `Page.build`."""
        self._seen: object = None
        self._busy, self._not_before = False, 0.0
        self._parts: dict[int, tuple[Div, Div]] = {}
        self._tracebacks: dict[int, int] = {}
        self._summary = self.html(panel("Failures", "<p class='faint'>Looking …</p>"))
        self._groups = column(sizing_mode="stretch_width", margin=0)
        self._kinds = self.html()
        self._hosts = self.html()
        self._times = ColumnDataSource({"at": np.zeros(0), "n": np.zeros(0)})
        self._figures = column(sizing_mode="stretch_width", margin=0)
        self._over_time = self._figure_of_times()
        self._planes = {
            dim: ColumnDataSource({"label": [], "n": []}) for dim in snapshot.lattice.dims
        }
        self._by_plane = row(sizing_mode="stretch_width", spacing=14)
        self._lattice: Lattice | None = None
        self._see_lattice(snapshot.lattice)
        self._figures.children = [self._over_time, self._by_plane]
        self._figures.visible = False
        side = column(self._kinds, self._hosts, width=400, sizing_mode="fixed", margin=0)
        return column(
            self._summary,
            row(
                column(self._groups, self._figures, sizing_mode="stretch_width", margin=0),
                side,
                sizing_mode="stretch_width",
                spacing=14,
            ),
            sizing_mode="stretch_width",
        )

    def form(self, _snapshot: Snapshot) -> object:
        """See `Page.form`."""
        return None

    def _see_lattice(self, lattice: Lattice) -> None:
        """Figures of planes for the tiles that there are: others only where labels have come."""
        old, self._lattice = self._lattice, lattice
        if old is None or any(
            not np.array_equal(old.labels[dim], lattice.labels[dim]) for dim in self._planes
        ):
            figures = [self._figure_of_planes(lattice, dim) for dim in self._planes]
            self._by_plane.children = figures

    def _figure_of_times(self) -> UIElement:
        made = new_figure(
            self.visit.palette, "Failed attempts over time (UTC)", height=200, moments=True
        )
        colour = self.visit.palette.bad
        self._bars = made.vbar(
            x="at", top="n", width=1000.0, source=self._times, color=colour, alpha=0.9
        )
        whole_numbers(made)
        return made

    def _figure_of_planes(self, lattice: Lattice, dim: str) -> UIElement:
        labels = lattice.labels[dim]
        made = new_figure(self.visit.palette, f"Failed units by {axis_name(dim)}", height=200)
        made.vbar(
            x="label",
            top="n",
            width=0.8 * _shared(len(labels)),
            source=self._planes[dim],
            color=self.visit.palette.bad,
            alpha=0.9,
        )
        whole_numbers(made)
        few = len(labels) <= 24
        made.xaxis.ticker = list(range(len(labels))) if few else made.xaxis.ticker
        made.xaxis.major_label_overrides = {
            k: literal(plain(labels[k], 16))
            for k in range(0, len(labels), 1 if few else len(labels) // 12)
        }
        return made

    # ---------------------------------------------------------------- what changes

    def update(self, snapshot: Snapshot) -> None:
        """See `Page.update`."""
        recent = self.visit.feed.recent
        seen = (recent.last, *(stage.version for stage in snapshot.stages))
        now = time.monotonic()
        if self._busy or seen == self._seen or now < self._not_before:
            return
        self._seen, self._busy, self._not_before = seen, True, now + EVERY_S
        if snapshot.lattice is not self._lattice:
            self._see_lattice(snapshot.lattice)
        rows, stage = recent.rows, self.visit.arguments.get("stage")
        self.visit.ask(
            lambda project: failures(snapshot, tally_of(project), rows, stage),
            partial(self._found, snapshot),
        )

    def _found(self, snapshot: Snapshot, found: Failures | LatticeworkError) -> None:
        self._busy = False
        if isinstance(found, LatticeworkError):
            text = escaped(found, 1000)
            set_text(self._summary, panel("Failures", f"<p class='bad'>{text}</p>"))
            return
        set_text(self._summary, summary(self.visit, snapshot, found))
        self._show_groups(snapshot, found)
        set_text(self._kinds, kinds_panel(found))
        set_text(self._hosts, hosts_panel(found))
        self._figures.visible = bool(found.attempts)
        if found.attempts:
            self._show_times(found.ended)
        self._by_plane.visible = any(counts.any() for _, _, counts in found.planes)
        for dim, _, counts in found.planes:
            if dim in self._planes:
                send(self._planes[dim], _bars(counts), by="label")

    def _show_times(self, ended: np.ndarray) -> None:
        first, last = float(ended[0]), float(ended[-1])
        step = nice_step(max(last - first, 1.0), MOST_BINS)
        begin = step * np.floor(first / step)
        bins = int((last - begin) // step) + 1
        counts, edges = np.histogram(ended, bins=bins, range=(begin, begin + bins * step))
        self._bars.glyph.width = 900.0 * step
        send(self._times, {"at": 1000.0 * (edges[:-1] + step / 2), "n": counts}, by="at")

    # ---------------------------------------------------------------- groups

    def _show_groups(self, snapshot: Snapshot, found: Failures) -> None:
        """A panel for each group; its traceback is a part of its own, so that it can stay open."""
        shown = []
        for group in found.groups:
            if group.number not in self._parts:
                self._parts[group.number] = (self.html(margin=0), self.html(margin=0))
            head, trace = self._parts[group.number]
            set_text(head, group_html(self.visit, snapshot, group))
            if group.error >= 0 and group.number not in self._tracebacks:
                self._tracebacks[group.number] = group.error
                self.visit.ask(partial(_traceback, error=group.error), partial(self._traced, trace))
            shown.append(self._parts[group.number])
        now = [part for pair in shown for part in pair]
        before = [part for one in self._groups.children for part in getattr(one, "children", [])]
        if now != before:
            self._groups.children = [self._framed(*pair) for pair in shown]

    def _framed(self, head: Div, trace: Div) -> Column:
        colours = self.visit.palette
        styles = {
            "background": colours.panel,
            "border": f"1px solid {colours.line}",
            "border-radius": "8px",
            "padding": "12px 16px",
        }
        return column(head, trace, sizing_mode="stretch_width", styles=styles, margin=(0, 0, 14, 0))

    @staticmethod
    def _traced(trace: Div, found: str | LatticeworkError) -> None:
        text = str(found)
        if text.strip():
            inside = text_block(text)
            set_text(trace, f"<details><summary>a traceback</summary>{inside}</details>")


def _shared(n: int) -> int:
    """How many of `n` planes share a bar."""
    return -(-n // MOST_BARS)


def _bars(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Where bars are, and how high, of counts by plane."""
    each = _shared(len(counts))
    first = np.arange(0, len(counts), max(1, each))
    middle = first + (np.minimum(each, len(counts) - first) - 1) / 2
    return {"label": middle, "n": np.add.reduceat(counts, first)}


def _traceback(project: "Project", *, error: int) -> str:
    return traceback_of(project, error)


# -------------------------------------------------------------------- HTML


def summary(visit: Visit, snapshot: Snapshot, found: Failures) -> str:
    """The numbers above everything."""
    pairs = [
        (
            "failed now",
            f"<span class='{'bad' if found.failed else 'good'}'>{found.failed:,}</span>",
        ),
        ("tried again", f"{found.again:,}"),
        ("failed, then complete", f"{found.mended:,}"),
        ("failed attempts", f"{found.attempts:,}{'+' if found.cut else ''}"),
        ("lost with a worker", f"{found.lost:,}"),
        ("out of memory", f"{found.memory:,}"),
        ("taken by the cluster", f"{found.taken:,}"),
    ]
    problems = snapshot.lattice.problems
    if problems:
        pairs.append(("unreadable tiles", f"<span class='bad'>{len(problems):,}</span>"))
    link = ""
    stage = visit.arguments.get("stage")
    told = {} if stage is None else {"stage": stage}
    if found.failed:
        where = visit.link("lattice-control", do="retry", states="failed", **told)
        units = "the failed unit" if found.failed == 1 else f"all {found.failed:,} failed units"
        link = f"<p><a href='{where}'>retry {units}…</a></p>"
    elif not found.attempts and not problems:
        link = "<p class='good'>Nothing has ever failed here.</p>"
    for tile, problem in islice(problems.items(), MOST_PROBLEMS):
        where = visit.link("lattice-tile", tile=tile)
        name = escaped(snapshot.lattice.tile(tile).name, 60)
        link += f"<p><a href='{where}'>{name}</a>: {escaped(problem, 200)}</p>"
    note = (
        "" if found.n_groups <= len(found.groups) else f"of {found.n_groups:,} different messages"
    )
    title = "Failures"
    if stage is not None:
        title = f"Failures of {escaped(stage, 60)}"
        link += f"<p><a href='{visit.link('lattice-failures')}'>failures of all stages</a></p>"
    return panel(title, facts(pairs) + link, note=note)


def group_html(visit: Visit, snapshot: Snapshot, group: Group) -> str:
    """One group: its message, how often, where, and links to its first units."""
    told = []
    if group.units:
        told.append(f"<b class='bad'>{plural(group.units, 'unit')} failed</b>")
    if group.mended:
        told.append(f"<span class='good'>{group.mended:,} complete since</span>")
    told.append(plural(group.attempts, "attempt"))
    stages, hosts = _named(group.stages), _named(group.hosts)
    when = moment(group.first)
    if moment(group.last) != when:
        when += f" to {moment(group.last)}"
    lines = [f"<p class='faint'>in {stages}{', on ' + hosts if hosts else ''}; {when} UTC</p>"]
    if group.tiles:
        links = [unit_link(visit, snapshot, stage, unit) for stage, unit in group.tiles]
        more = group.units - len(links)
        lines.append(f"<p>{', '.join(links)}{f' and {more:,} more' if more > 0 else ''}</p>")
    kind = badge(group.kind, "bad" if group.units else "")
    message = escaped(group.message, 300)
    return (
        f"<div class='row'>{kind}<span>{' · '.join(told)}</span></div>"
        f"<p class='message'>{message}</p>{''.join(lines)}"
    )


def _named(pairs: Sequence[tuple[str, int]]) -> str:
    """Names, with how many attempts each has where there are several.

    Examples
    --------
    >>> _named([("clean", 3)]), _named([("clean", 3), ("spots", 1)])
    ('clean', 'clean (3 attempts), spots (1 attempt)')
    """
    if len(pairs) == 1:
        return escaped(pairs[0][0], 40)
    return ", ".join(f"{escaped(name, 40)} ({plural(n, 'attempt')})" for name, n in pairs)


def kinds_panel(found: Failures) -> str:
    """Failures by kind."""
    most = max((n for _, n, _ in found.kinds), default=1)
    rows = [
        [escaped(kind, 40), _meter(n, most), f"{n:,}", f"{units:,}" if units else ""]
        for kind, n, units in found.kinds
    ]
    return panel("By kind", table(["", "", ">attempts", ">failed now"], rows))


def hosts_panel(found: Failures) -> str:
    """Failures by host, among the last attempts."""
    rows = [
        [escaped(host, 40), _meter(n, made), f"{n:,}", f"{made:,}"] for host, n, made in found.hosts
    ]
    return panel("By host", table(["", "", ">failed", ">of"], rows), note="recent attempts")


def _meter(n: int, most: int) -> str:
    wide = max(2, round(90 * n / max(1, most)))
    return f"<span class='meter bad' style='width:{wide}px'></span>"
