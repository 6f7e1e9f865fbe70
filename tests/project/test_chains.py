"""A chain of stages: what is read from memory, and that it is what is published."""

import numpy as np
import pytest

from latticework.project import nearness
from latticework.project.nearness import Nearness
from latticework.stages.recent_here import recent_here
from tests.project.running import HereClient, numbered, run_here, temporary_project


def add_one(tile):
    return tile + 1


def times(tile, by=2):
    return tile * by


def mean(tile):
    return float(tile.mean())


@pytest.fixture(autouse=True)
def _forget_other_tests():
    recent_here().clear()


def chain_of_three(project):
    project.add(add_one)
    project.add(times, after="add_one")
    project.add(mean, after="times")


def test_each_stage_of_a_chain_reads_what_the_one_before_it_has_just_written():
    tiles, array = numbered()
    with temporary_project(tiles) as project:
        chain_of_three(project)
        before = recent_here().hits
        run_here(project)
        assert recent_here().hits - before == 2 * len(tiles)
        np.testing.assert_array_equal(
            project["times"].data.values.ravel().sum(), 2 * (array + 1).sum()
        )


def test_a_stage_that_nothing_reads_keeps_nothing():
    tiles, _ = numbered()
    with temporary_project(tiles) as project:
        project.add(add_one)
        run_here(project)
        assert recent_here().held_bytes == 0


def test_after_a_change_the_new_pixels_are_read():
    tiles, array = numbered()
    with temporary_project(tiles) as project:
        chain_of_three(project)
        run_here(project)
        project.change("times", by=3)
        run_here(project)
        found = float(np.mean([project["mean"].tile(unit) for unit in range(len(tiles))]))
        assert found == pytest.approx((3 * (array + 1)).mean())
        np.testing.assert_array_equal(project["times"].data.values, 3 * (array + 1))


def test_a_halo_is_the_same_from_memory_as_from_disk():
    tiles, array = numbered()

    def reach(tile):
        return tile

    with temporary_project(tiles) as project:
        project.add(add_one)
        project.add(reach, after="add_one", overlap={"y": 2, "x": 3}, trim=True)
        run_here(project)
        np.testing.assert_array_equal(project["reach"].data.values, array + 1)


class Recording(HereClient):
    """Keeps the options with which work is submitted."""

    def __init__(self):
        super().__init__()
        self.options = []

    def nthreads(self):
        return {"this process": self.slots}  # as what it runs says of itself

    def submit(self, function, *arguments, **options):
        self.options.append(options)
        return super().submit(function, *arguments, **options)


def test_units_are_sent_where_their_inputs_were_made_but_may_run_elsewhere(monkeypatch):
    monkeypatch.setattr(nearness, "QUEUED", 100)
    tiles, _ = numbered()
    with temporary_project(tiles) as project:
        chain_of_three(project)
        client = Recording()
        run_here(project, client=client)
        by_stage = {}
        for options in client.options:
            by_stage.setdefault(options["key"][0], []).append(options)
        assert all("workers" not in options for options in by_stage["add_one"])
        for stage in ("times", "mean"):
            assert all(
                options["workers"] == ["this process"] and options["allow_other_workers"]
                for options in by_stage[stage]
            )
        depth = {stage: found[0]["priority"] for stage, found in by_stage.items()}
        assert depth["add_one"] < depth["times"] < depth["mean"]


def test_a_worker_with_a_full_queue_gets_no_more_because_it_is_near(monkeypatch):
    monkeypatch.setattr(nearness, "QUEUED", 1)
    tiles, _ = numbered()
    with temporary_project(tiles) as project:
        chain_of_three(project)
        client = Recording()
        run_here(project, client=client)
        near = [options for options in client.options if "workers" in options]
        assert 0 < len(near) < len(client.options)


def test_units_of_many_makers_are_sent_anywhere():
    near = Nearness()
    for unit in range(5):
        near.made("clean", 5, np.array([unit]), f"worker-{unit}")
    assert near.best("clean", np.arange(5)) is None
    near.made("clean", 9, np.array([7, 8]), "worker-1")  # the lattice has grown
    assert near.best("clean", np.array([1, 7, 8])) == "worker-1"
