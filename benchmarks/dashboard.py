"""(h) What the dashboard costs: opening a page, keeping it up to date, and the run beside it."""

import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dask
import numpy as np

import latticework as lw
from benchmarks.cases import Report, Settings, at_most, problems, ratio_rows
from benchmarks.clock import Stopwatch
from benchmarks.growth import files_that_are_not_there
from benchmarks.measure import Contestant, MeasurementError, contest, measure
from benchmarks.ours import project_of
from latticework.io.status_array import StatusArray
from latticework.lattice import Lattice
from latticework.stages.paths import status_folder

STAGES = ("clean", "spots", "links", "volume")
CHANGED = 5_000
"""Units of each stage that change state between two looks: a run at full speed."""
OPEN_S, SCHEDULER_S, SLOWER, BROWSER_MB = 2.0, 0.2, 1.03, 900.0
"""What the issue aims at."""
SHOWN = "lattice", "lattice-map"
"""Pages that are looked at."""


def report(settings: Settings) -> Report:
    """Opening and updating pages of large projects; a run with and without two of them."""
    sizes = [1_000] if settings.toy else [100_000, 1_000_000]
    rows, troubles, notes = [], [], list(NOTES)
    for tiles in sizes:
        settings.say(f"pages of a project of {tiles:,} tiles x {len(STAGES)} stages")
        arguments: dict[str, object] = {"tiles": tiles, "seconds": 3 if settings.toy else 20}
        try:
            found = measure(
                Contestant("latticework", "benchmarks.dashboard:pages", arguments),
                settings.scratch,
                timeout_s=600,
            ).figures
        except MeasurementError as error:
            troubles.append(str(error))
            continue
        rows += _page_rows(f"{tiles:,} tiles", found)
        if not found["browser"]:
            notes.append("pages: no Chromium here, so opening ends with the page's last message")
    run = _run_rows(settings)
    return Report([*rows, *run.rows], notes, [*troubles, *run.problems])


def _page_rows(size: str, found: Any) -> list[Any]:
    rows = []
    for page in SHOWN:
        seconds = found[f"open {page}"]
        rows += ratio_rows(
            f"{size}: opening {page}, until it shows the states",
            "s",
            [("latticework", seconds)],
            aims=[(f"< {OPEN_S:.0f} s", at_most(seconds, OPEN_S))],
        )
    rows += ratio_rows(
        f"{size}: server's time per second, {len(SHOWN)} pages open",
        "s",
        [("latticework", found["loop"])],
        aims=[(f"< {SCHEDULER_S} s", at_most(found["loop"], SCHEDULER_S))],
    )
    rows += ratio_rows(
        f"{size}: looking, in a thread, per second", "s", [("latticework", found["looking"])]
    )
    if found["browser"]:
        megabytes = found["browser_mb"]
        rows += ratio_rows(
            f"{size}: memory of the browser, {len(SHOWN)} pages",
            "MB",
            [("latticework", megabytes)],
            aims=[(f"< {BROWSER_MB:.0f} MB", at_most(megabytes, BROWSER_MB))],
        )
    return rows


# -------------------------------------------------------------------- pages of a large project


def large_project(path: Path, tiles: int) -> Any:
    """A project of so many tiles in planes, with four stages; there are no such files."""
    side = max(1, round((tiles / 25) ** 0.5))
    planes = -(-tiles // side**2)
    grid = Lattice.from_grid(
        {"z": planes, "y": side, "x": side}, tile_shape={"y": 64, "x": 64}, dtype="u2"
    )
    source = files_that_are_not_there(np.arange(len(grid)), {"y": 64, "x": 64})
    lattice = Lattice(
        dims=grid.dims,
        labels=grid.labels,
        index=grid.index,
        tile_dims=("y", "x"),
        tile_shape=(64, 64),
        dtype="u2",
        names=source.names,
        source=source,
    )
    project = lw.create(path, lattice)
    before = None
    for name in STAGES:
        before = project.add(_step, name=name, after=before)
    return project


def _step(tile: Any) -> Any:
    return tile


class Pretender:
    """Holds a project as a run would, and leaves states that change all the time.

    The lock is held by this process, the states are written once a second as a coordinator does.
    """

    def __init__(self, project: Any) -> None:
        self.project = project
        self.states = {name: np.ones(len(project.lattice), np.uint8) for name in STAGES}
        self._array = StatusArray(status_folder(project.path), project.lattice)
        self._over = threading.Event()
        self._random = np.random.default_rng(0)

    def step(self) -> None:
        """Some more units are done, some run, few have failed."""
        for values in self.states.values():
            where = self._random.integers(0, len(values), min(CHANGED, len(values)))
            values[where] = self._random.choice([3, 4, 4, 4, 4, 5], len(where))
        columns = {name: {"state": values} for name, values in self.states.items()}
        self._array.write(columns, order=list(columns))

    @contextmanager
    def running(self) -> Iterator[None]:
        """As if the project ran."""

        def go() -> None:
            while not self._over.wait(1.0):
                self.step()

        thread = threading.Thread(target=go)
        with self.project.lock().held():
            self.step()
            thread.start()
            yield
            self._over.set()
            thread.join()


class Meter:
    """Time that calls of some methods take, of the processor, by what they are for."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def watch(self, kind: type, method: str, what: str) -> None:
        """Count the calls of a method."""
        original = getattr(kind, method)

        def counted(*arguments: Any, **options: Any) -> Any:
            begun = time.thread_time()
            try:
                return original(*arguments, **options)
            finally:
                self.spent[what] = self.spent.get(what, 0.0) + time.thread_time() - begun

        setattr(kind, method, counted)


def pages(scratch: Path, watch: Stopwatch, *, tiles: int, seconds: float) -> dict[str, float]:
    """Open pages of a project that runs; processor time of serving them for some seconds.

    Returns
    -------
    dict
        ``open PAGE`` in seconds; ``loop``: processor time of the server's event loop, and
        ``looking``: of the thread that looks, both per second; ``browser_mb``.
    """
    from latticework.viz.dashboard.feed import ProjectFeed

    meter = Meter()
    meter.watch(ProjectFeed, "look", "looking")
    project = large_project(scratch / "large.lw", tiles)
    figures: dict[str, float] = {}
    with Pretender(project).running(), project.dashboard() as server, a_browser() as browser:
        while server.shown.feed.snapshot is None:
            time.sleep(0.01)
        tabs = []
        for page in SHOWN:
            begun = time.perf_counter()
            tabs.append(browser.open(server.url.replace("/lattice", f"/{page}", 1)))
            figures[f"open {page}"] = time.perf_counter() - begun
        with watch:
            loop = loop_time(server)
            looked = meter.spent.get("looking", 0.0)
            time.sleep(seconds)
            figures["loop"] = (loop_time(server) - loop) / seconds
            figures["looking"] = (meter.spent["looking"] - looked) / seconds
        figures["browser_mb"] = browser.megabytes()
        figures["browser"] = float(browser.real)
    return figures


def loop_time(server: Any) -> float:
    """Processor time that the thread of a server's event loop has taken so far."""
    import asyncio

    async def now() -> float:
        return time.thread_time()

    return asyncio.run_coroutine_threadsafe(now(), server._loop).result(60)  # noqa: SLF001


# -------------------------------------------------------------------- those who look


class NoBrowser:
    """Looks at pages as a browser does, without drawing them."""

    real = False

    def __init__(self) -> None:
        self._viewers: list[subprocess.Popen[str]] = []

    def open(self, url: str) -> "NoBrowser":
        """Open a page, until its document is there."""
        viewer = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.dashboard_viewer", url],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._viewers.append(viewer)
        assert viewer.stdout is not None
        viewer.stdout.readline()
        return self

    def megabytes(self) -> float:
        """Nothing to measure."""
        return float("nan")

    def close(self) -> None:
        """Look no more."""
        for viewer in self._viewers:
            viewer.kill()
            viewer.wait()


class RealBrowser:
    """Headless Chromium."""

    real = True

    def __init__(self) -> None:
        from tests.viz.browser import Browser

        self._browser = Browser.start()
        self._pages: list[Any] = []

    def open(self, url: str) -> Any:
        """Open a page, until it shows something of the project."""
        from tests.viz.looking import Looking

        page = self._browser.open(url)
        Looking(page).wait_text("clean")
        self._pages.append(page)
        return page

    def megabytes(self) -> float:
        """What the heaps of the pages take after a collection."""
        return sum(page.heap_bytes() for page in self._pages) / 1e6

    def close(self) -> None:
        """End it."""
        self._browser.close()


@contextmanager
def a_browser() -> Iterator[Any]:
    """Chromium where there is one, else something that reads the same messages."""
    browser: Any = RealBrowser() if shutil.which("chromium") else NoBrowser()
    try:
        yield browser
    finally:
        browser.close()


# -------------------------------------------------------------------- a run beside them


def _run_rows(settings: Settings) -> Report:
    units = settings.tiles or (2_000 if settings.toy else 200_000)
    settings.say(f"running {units:,} no-op units with and without two dashboards open")
    contestants = [
        Contestant(name, "benchmarks.dashboard:run", {"tiles": units, "viewers": viewers})
        for name, viewers in (("latticework", 2), ("without pages", 0))
    ]
    try:
        ours, without = contest(
            contestants, settings.scratch, repeats=settings.repeats, say=settings.say
        )
    except MeasurementError as error:
        return Report([], NOTES, [str(error)])
    seconds, bare = ours.median("seconds"), without.median("seconds")
    rows = ratio_rows(
        f"running {units:,} no-op units, two dashboards open",
        "s",
        [("latticework", seconds), ("latticework, no pages", bare)],
        aims=[("falls by < 3 %", at_most(seconds / bare, SLOWER))],
    )
    return Report(rows, NOTES, problems([ours, without]))


def run(scratch: Path, watch: Stopwatch, *, tiles: int, viewers: int) -> dict[str, float]:
    """`project.run` of a stage that does nothing, while `viewers` dashboards are open."""
    from distributed import Client, LocalCluster

    folder = str(scratch / "dask")
    options: dict[str, Any] = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"}
    with (
        dask.config.set({"latticework.dashboard.pages": viewers > 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, local_directory=folder, **options) as c,
        Client(c) as client,
    ):
        client.run(_warm)
        project_of(scratch / "warm.lw", 4).run(client, progress="none")
        project = project_of(scratch / "noop.lw", tiles)
        looking = NoBrowser()
        try:
            if viewers:
                from latticework.viz.dashboard.serving import show_on

                link = show_on(client, project.path)
                assert link
                for page in SHOWN[:viewers]:
                    looking.open(link.replace("/lattice?", f"/{page}?", 1))
            with watch:
                project.run(client, progress="none")
        finally:
            looking.close()
        complete = int((project.status.state.values == int(lw.State.COMPLETE)).sum())
    assert complete == tiles, f"{complete:,} of {tiles:,} complete"
    return {}


def _warm() -> None:
    import latticework  # noqa: F401


NOTES = (
    (
        "pages: of a project with four stages in which 5,000 units of each change state every "
        "second, as when it runs at full speed; opening is counted in headless Chromium from the "
        "request until the page shows the stages; the server's time is processor time of its event "
        "loop, which on a Dask dashboard is the scheduler's."
    ),
    (
        "two dashboards open: an overview and a map, on the scheduler's own dashboard, read by "
        "processes that take in every message and draw nothing: on two cores a browser's drawing "
        "would be measured instead."
    ),
)
