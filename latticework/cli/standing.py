"""How a project stands, as a value, and as text in a terminal."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from latticework.cli.frame import called
from latticework.cli.settings import gauge_json, live_lines, settings_json, settings_lines
from latticework.cli.words import typed_project
from latticework.errors import LatticeworkError, ProjectError
from latticework.lattice.states import State
from latticework.project.following import Following, read_following
from latticework.project.gauging import tiles_so_far
from latticework.project.pipeline import SOURCE
from latticework.project.pool_facts import PoolFacts, pools_now
from latticework.project.running import summarise
from latticework.project.settings import Settings
from latticework.project.summary import FailedTile
from latticework.project.watching import end_of

if TYPE_CHECKING:
    import xarray as xr
    from rich.console import Console

    from latticework.project import Project
    from latticework.project.keeping_up import KeepingUp
    from latticework.viz.progress import StageView

LISTED = 10
"""Failures that are listed at most."""
NAMED = 5
"""Tiles that cannot be read that are listed at most."""
DONE = (State.COMPLETE, State.ABSENT)


@dataclass(frozen=True, slots=True)
class Standing:
    """Counts and failures of a project at one moment."""

    name: str
    """Name of the project."""
    path: str
    """Its folder."""
    run_by: str | None
    """Who runs it now, if anybody."""
    outage: str
    """Why that run cannot write now, and what it waits for; empty if it can."""
    pools: tuple[PoolFacts, ...]
    """How the pools of that run stand."""
    counts: Mapping[str, Mapping[State, int]]
    """Units in each state, by stage, parents first."""
    failures: tuple[FailedTile, ...]
    """The first failed units."""
    n_failures: int
    """How many failed in all."""
    settings: Settings
    """What users have set."""
    keeping_up: "KeepingUp | None"
    """Whether stages keep up with what arrives; None unless tiles may arrive."""
    following: Following | None
    """What is held back of an acquisition that is watched now."""
    unreadable: tuple[tuple[str, str], ...]
    """Tiles of the acquisition that cannot be read, and why."""
    open_lines: tuple[str, ...]
    """Of an acquisition that goes on: what ends it, and what waits for that."""
    ends_with: str | int | None
    """File or number of tiles that ends it."""
    waiting_for_end: Mapping[str, int]
    """Units that would run if it ended now, by stage."""

    @property
    def complete(self) -> bool:
        """Whether there is nothing left to do."""
        return all(n == 0 or s in DONE for of in self.counts.values() for s, n in of.items())

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        stages = {
            name: {"counts": {s.label: n for s, n in of.items()}, "total": sum(of.values())}
            for name, of in self.counts.items()
        }
        failures = [
            {
                "stage": f.stage,
                "tile": f.tile,
                "tiles": f.tiles,
                "message": f.message,
                "attempts": f.attempts,
            }
            for f in self.failures
        ]
        sources = [
            {"stage": SOURCE, "tile": tile, "tiles": 1, "message": why, "attempts": 0}
            for tile, why in self.unreadable[:LISTED]
        ]
        return {
            "project": self.name,
            "path": self.path,
            "run_by": self.run_by,
            "outage": self.outage,
            "pools": [asdict(pool) for pool in self.pools],
            "complete": self.complete,
            "stages": stages,
            "failures": [*sources, *failures],
            "n_failures": self.n_failures + len(self.unreadable),
            "acquisition": {
                "goes_on": self.settings.open,
                "ends_with": self.ends_with,
                "waiting_for_end": dict(self.waiting_for_end),
                "n_unreadable": len(self.unreadable),
            },
            "settings": settings_json(self.settings),
            "keeping_up": gauge_json(self.keeping_up),
            "following": None if self.following is None else self.following.to_json(),
        }


def look(project: "Project", stage: str | None = None) -> Standing:
    """How a project, or one stage of it, stands now."""
    if stage is not None and project.pipeline[stage].id == 0:
        raise ProjectError(f"{stage!r} is the acquisition; stages are {', '.join(project)}")
    counts = {node.name: node.units.count() for node in project.pipeline}
    run_by = project.lock().holder() if project.is_run() else None
    if run_by is not None:
        counts.update(counts_while_run(project))
    summary = summarise(project, 0.0, 0, interrupted=False)
    failures, n_failures = summary.failures, summary.n_failures
    if stage is not None:
        counts = {stage: counts[stage]}
        failures = tuple(f for f in failures if f.stage == stage)
        n_failures = counts[stage].get(State.FAILED, 0)
    settings = project.settings
    live = settings.live and (settings.open or run_by is not None)
    return Standing(
        *(project.name, str(project.path), run_by, project.outage, pools_now(project)),
        *(counts, failures, n_failures, settings),
        keeping_up=project.keeping_up() if live and counts else None,
        following=read_following(project.path) if live and run_by is not None else None,
        unreadable=unreadable_tiles(project) if stage is None else (),
        open_lines=tuple(open_lines(project, typed_project())) if settings.open else (),
        ends_with=end_of(project) if settings.open else None,
        waiting_for_end=project.waiting_for_end if settings.open else {},
    )


def unreadable_tiles(project: "Project") -> tuple[tuple[str, str], ...]:
    """Tiles of the acquisition that cannot be read, and why; not those that were withdrawn."""
    lattice = project.lattice
    states = project.pipeline[SOURCE].units.state
    return tuple(
        (str(lattice.tile(tile).name), why)
        for tile, why in lattice.problems.items()
        if states[tile] == State.FAILED
    )


def open_lines(project: "Project", typed: str) -> list[str]:
    """What ends an acquisition that goes on, and how many units wait for that."""
    from latticework.viz.words import plural

    end, command = end_of(project), f"{called()} end {typed}"
    if end is None:
        what = f"It ends with: {command}"
    else:
        when = f"the file {end} is" if isinstance(end, str) else f"{plural(end, 'tile')} are"
        what = f"It ends when {when} there, or with: {command}"
    there, announced = tiles_so_far(project)
    more = f", {announced:,} announced" if announced else ""
    lines = [f"The acquisition goes on ({plural(there, 'tile')} so far{more}). {what}"]
    waiting = {name: n for name, n in project.waiting_for_end.items() if n}
    if waiting:
        by_stage = ", ".join(f"{name} {n:,}" for name, n in waiting.items())
        n = sum(waiting.values())
        lines.append(f"{plural(n, 'unit')} {'wait' if n > 1 else 'waits'} for its end: {by_stage}")
    return lines


def counts_while_run(project: "Project") -> dict[str, dict[State, int]]:
    """Counts that the coordinator of another process has written: they know what runs now."""
    import numpy as np
    import xarray as xr

    from latticework.stages.paths import status_folder

    try:
        with xr.open_zarr(status_folder(project.path), consolidated=False) as status:
            states = status["state"].load()
    except (OSError, ValueError, KeyError):
        return {}
    found: dict[str, dict[State, int]] = {}
    for name in states["stage"].values.tolist():
        if name in project.pipeline.nodes:
            numbers = np.bincount(states.sel(stage=name).values.ravel(), minlength=len(State))
            found[str(name)] = {State(s): int(n) for s, n in enumerate(numbers) if s and n}
    return found


def picture_data(project: "Project", stage: str | None) -> "xr.Dataset":
    """The status that `plot_status` draws."""
    return project.status if stage is None else project[stage].status


# ------------------------------------------------------------------ in a terminal


def views_of(now: Standing, known: "Mapping[str, StageView] | None" = None) -> "list[StageView]":
    """What a bar shows of each stage; rates come from what was known before."""
    from latticework.viz.progress import StageView

    views = []
    for name, counts in now.counts.items():
        view = (known or {}).get(name) or StageView(name, 0)
        view.total = sum(n for state, n in counts.items() if state is not State.ABSENT)
        view.see(counts)
        views.append(view)
    return views


def lines_below(now: Standing) -> list[str]:
    """What bars do not say: settings, what arrives, what is stale, what failed."""
    from latticework.viz.words import plain, plural

    stale = {name: counts.get(State.STALE, 0) for name, counts in now.counts.items()}
    some = ", ".join(f"{name} {n:,}" for name, n in stale.items() if n)
    lines = [f"Stale, complete once and to be made again: {some}"] if some else []
    lines = [
        *([f"Paused by itself: {now.outage}"] if now.outage else []),
        *(plain(f"Pool {pool}", 500) for pool in now.pools if pool.pending),
        *settings_lines(now.settings),
        *now.open_lines,
        *live_lines(now.keeping_up, now.following),
        *lines,
    ]
    if now.unreadable:
        n = len(now.unreadable)
        lines.append(f"{plural(n, 'tile')} of the acquisition cannot be read:")
        lines += [f"  {plain(tile, 60)}: {plain(why)}" for tile, why in now.unreadable[:NAMED]]
        lines += [f"  and {n - NAMED:,} more"] if n > NAMED else []
    if now.n_failures:
        lines.append(plural(now.n_failures, "failure"))
        lines += [f"  {failure.line}" for failure in now.failures[:LISTED]]
        more = now.n_failures - sum(failure.tiles for failure in now.failures[:LISTED])
        if more > 0:
            lines.append(f"  and {more:,} more")
    return lines


def title(now: Standing) -> str:
    """The project and who runs it."""
    by = f"run by {now.run_by}" if now.run_by else "nothing runs it now"
    return f"Project {now.name} at {now.path}: {by}"


def show(now: Standing, console: "Console | None" = None) -> None:
    """Print bars, what is stale and what failed."""
    console = terminal() if console is None else console
    show_views(now, views_of(now), console)


def show_views(now: Standing, views: "list[StageView]", console: "Console") -> None:
    """Print bars for the width of the terminal, and text as it is: programs may read it."""
    click.echo(title(now))
    if now.counts:
        console.print(bars_of(views, console))
    else:
        click.echo("No stages yet.")
    for line in lines_below(now):
        click.echo(line)


def drawn(now: Standing, views: "list[StageView]", console: "Console") -> Any:
    """A standing as something that rich prints."""
    from rich.console import Group
    from rich.text import Text

    below = [Text(line, overflow="fold") for line in lines_below(now)]
    return Group(Text(title(now)), bars_of(views, console), *below)


def bars_of(views: "list[StageView]", console: "Console") -> Any:
    """A bar for each stage."""
    from latticework.viz.progress_rich import bars

    options = console.options
    if console.color_system is None:  # only colour tells stale from complete in a bar
        views = [_without_stale(view) for view in views]
    return bars(
        views,
        width=options.max_width - 2,
        ascii_only=options.ascii_only,
        legacy=console.color_system is None,
    )


def _without_stale(view: "StageView") -> "StageView":
    plain = copy.copy(view)
    counts = dict(view.counts)
    counts[State.WAITING] = counts.get(State.WAITING, 0) + counts.pop(State.STALE, 0)
    plain.counts = counts
    return plain


def terminal() -> "Console":
    """Standard output for rich, also where tests have replaced it."""
    import sys

    from rich.console import Console

    return Console(file=sys.stdout, highlight=False, soft_wrap=False)


def watch(
    project: "Project",
    stage: str | None,
    now: Standing,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Standing:
    """Show a project until nothing runs it; how it stands then."""
    from rich.live import Live

    console = terminal()
    known: dict[str, StageView] = {}

    def views(now: Standing) -> "list[StageView]":
        seen = views_of(now, known)
        known.update({view.name: view for view in seen})
        return seen

    def seen(now: Standing) -> Any:
        return drawn(now, views(now), console)

    if not console.is_terminal:
        show_views(now, views(now), console)
        while now.run_by is not None:
            sleep(5.0)
            now = look(project, stage)
            show_views(now, views(now), console)
        return now
    with Live(seen(now), console=console, auto_refresh=False) as live:
        while now.run_by is not None:
            began = time.perf_counter()
            try:
                now = look(project, stage)
            except LatticeworkError as error:
                click.echo(str(error), err=True)
            live.update(seen(now), refresh=True)
            sleep(max(0.5, 10 * (time.perf_counter() - began)))
    return now
