"""What goes wrong while an acquisition is watched: the night goes on, or ends with nothing lost."""

import threading
import time

import numpy as np
import pytest
import tifffile

import latticework as lw
from latticework.errors import StoreError
from latticework.io.arrivals import Arrivals
from latticework.io.growth_store import Growth
from latticework.project import growing, running
from latticework.project.coordinator import Coordinator
from latticework.project.feeding import Feed
from tests.project import steps
from tests.project.running import HereClient


class Told:
    """A watcher that finds what it is told to."""

    def __init__(self, looks):
        self.looks, self.closed = list(looks), False

    def poll(self, known):  # noqa: ARG002  as watchers do
        found = self.looks.pop(0) if self.looks else Arrivals(None, np.zeros(0, int), True, (), ())
        if isinstance(found, Exception):
            raise found
        return found

    def wait(self, seconds):
        time.sleep(min(seconds, 0.01))

    def end(self):
        pass

    def close(self):
        self.closed = True


def tiles_of(folder, count, first=0):
    folder.mkdir(exist_ok=True)
    for k in range(first, first + count):
        tifffile.imwrite(folder / f"y0_x{k}.tif", np.full((8, 8), k, "u2"))
    return lw.open_tiles(folder, files=f"y0_x[{first}-{first + count - 1}].tif")


@pytest.fixture
def project(tmp_path):
    found = lw.create(tmp_path / "p.lw", tiles_of(tmp_path / "tiles", 3))
    found.add(steps.total)
    found.ask("open acquisition", {})
    return found


def run(project, watcher):
    feed = Feed(watcher, interval_s=0.01)
    try:
        with project.lock().held():
            running.refresh_code(project)
            coordinator = project.coordinator = Coordinator(project, HereClient(), feed=feed)
            coordinator.run()
            project.close_writer()
    finally:
        project.coordinator = None
        project.forget()
    return feed


def test_whatever_a_look_stumbles_over_the_night_goes_on(project):
    looks = [ValueError("a file that nobody thought of"), KeyError("tag"), OSError(5, "no disk")]
    feed = run(project, Told(looks))
    assert project.counts["total"] == {"complete": 3}
    assert sum("nothing was changed" in note for note in feed.notes) == 3
    assert "ValueError: a file that nobody thought of" in feed.notes[0]


def test_growth_that_was_kept_but_not_taken_up_is_not_taken_up_twice(
    project, tmp_path, monkeypatch
):
    more = Growth(tiles_of(tmp_path / "tiles", 2, first=3))
    nothing = np.zeros(0, int)
    arrives = Arrivals(more, nothing, False, (), ())

    def full(*_):
        raise StoreError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("latticework.project.desk.Desk.lattice_grown", full)
        patched.setattr("latticework.project.run_desk.RunDesk.lattice_grown", full)
        with pytest.raises(StoreError, match="the disk is full"):
            run(project, Told([arrives, arrives]))
    again = lw.open_project(project.path)
    assert len(again.lattice) == 5
    run(again, Told([]))
    assert again.counts["total"] == {"complete": 5}


def test_growth_that_could_not_be_kept_comes_with_the_next_look(project, tmp_path, monkeypatch):
    more = Growth(tiles_of(tmp_path / "tiles", 2, first=3))
    arrives = Arrivals(more, np.zeros(0, int), False, (), ())
    save, failures = growing.save_growth, [StoreError("the disk is full"), OSError(28, "full")]

    def saves(*arguments):
        if failures:
            raise failures.pop()
        save(*arguments)

    monkeypatch.setattr(growing, "save_growth", saves)
    feed = run(project, Told([arrives, arrives, arrives]))
    assert len(project.lattice) == 5
    assert project.counts["total"] == {"complete": 5}
    assert sum("full" in note for note in feed.notes) == 2


def test_a_run_that_ends_during_a_look_does_not_wait_for_it(project):
    looking = threading.Event()

    class Slow(Told):
        def poll(self, known):  # noqa: ARG002  as watchers do
            looking.set()
            time.sleep(0.5)
            return Arrivals(None, np.zeros(0, int), False, (), ())

    feed = Feed(Slow([]), interval_s=0.01)

    class Idle:
        pipeline = project.pipeline

        def wake(self):
            pass

    feed.start(Idle())
    looking.wait(5)
    begun = time.monotonic()
    feed.stop()
    assert time.monotonic() - begun < 3
    assert feed.watcher.closed
