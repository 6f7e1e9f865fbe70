"""Several pools of workers: which stage runs where, and what becomes of what is too large."""

import numpy as np
import pytest

import latticework as lw
from latticework.errors import ProjectError, StageError
from latticework.project.pool_facts import PoolTelling
from latticework.project.pools import Pool, Pools
from latticework.stages.needs import Needs
from tests.project import hungry, steps
from tests.project.running import HereClient, completions, numbered

GB = 10**9


def pools(**memory):
    return Pools([Pool(name, HereClient(), memory_bytes=value) for name, value in memory.items()])


def names(found):
    return [pool.name for pool in found]


# ------------------------------------------------------------------ choosing


def test_a_stage_runs_in_the_smallest_pool_that_has_what_it_needs():
    some = pools(large=64 * GB, small=4 * GB, middle=16 * GB)
    assert names(some.home(Needs())) == ["small"]
    assert names(some.home(Needs.of({"memory": "5 GB"}))) == ["middle"]
    assert names(some.home(Needs.of("large"))) == ["large"]
    assert names(some.larger(Needs(), 4 * GB)) == ["middle"]
    assert names(some.larger(Needs(), 17 * GB)) == ["large"]
    assert names(some.larger(Needs(), 64 * GB)) == []


def test_pools_of_the_same_kind_share_the_work():
    assert names(pools(here=4 * GB, there=4 * GB).home(Needs())) == ["here", "there"]


def test_graphics_cards_are_left_to_stages_that_need_them():
    some = Pools(
        [
            Pool("gpu", HereClient(), memory_bytes=4 * GB, gpus=1),
            Pool("cpu", HereClient(), memory_bytes=8 * GB),
        ]
    )
    assert names(some.home(Needs())) == ["cpu"]
    assert names(some.home(Needs.of({"gpus": 1}))) == ["gpu"]
    assert names(some.larger(Needs(), 4 * GB)) == ["cpu"]
    only = Pools([Pool("gpu", HereClient(), memory_bytes=4 * GB, gpus=1)])
    assert names(only.home(Needs())) == ["gpu"]


def test_a_stage_that_can_run_nowhere_is_refused_with_what_there_is(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add, needs={"memory": "900 TB"})
    with pytest.raises(ProjectError, match=r"'add' needs .*TiB of memory, but no pool has that"):
        project.run(lw.local(1, memory="1 GB"), progress="none")
    project.add(steps.add, needs="gpu")
    with pytest.raises(ProjectError, match=r"'add' needs pool 'gpu'.*'local'"):
        project.run(lw.local(1, memory="1 GB"), progress="none")
    assert project.counts == {"add": {"waiting": 20}}


def test_nothing_is_sent_to_a_pool_whose_scheduler_is_gone():
    some = pools(small=4 * GB, large=16 * GB)
    next(iter(some)).client.status = "closed"
    some.look()
    assert names(some.home(Needs())) == ["large"]
    for pool in some:
        pool.client.status = "closed"
    with pytest.raises(ProjectError, match="scheduler is gone"):
        some.look()


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (3, "name of a pool"),
        ({"cpu": 3}, "there is no 'cpu'"),
        ({"memory": "much"}, "no amount of memory"),
        ({"gpus": -1}, "no number of graphics cards"),
    ],
)
def test_needs_that_make_no_sense_are_refused(needs, words):
    with pytest.raises(StageError, match=words):
        Needs.of(needs)


def test_where_a_stage_runs_does_not_change_what_it_makes(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    here = lw.local(1, name="here")
    assert project.run(here, progress="none")
    project.add(steps.add, needs="here")
    assert project.counts == {"add": {"complete": 20}}
    assert lw.open_project(project.path).pipeline["add"].needs == Needs(pool="here")
    assert project.run(here, progress="none").attempts == 0


class KnownClient(HereClient):
    """A client whose workers have, and take, so much memory."""

    def __init__(self, *taken, limit=2**30):
        super().__init__()
        self.known = [{"memory_limit": limit, "metrics": {"memory": n}} for n in taken]

    def nthreads(self):
        return dict.fromkeys(range(len(self.known)), 1)

    def scheduler_info(self, n_workers):  # noqa: ARG002  as Dask's
        return {"workers": dict(enumerate(self.known))}


def test_a_pool_whose_idle_workers_fill_their_memory_is_refused():
    some = Pools([Pool("tiny", KnownClient(150 * 2**20, limit=120 * 2**20))])
    said = "pool 'tiny' has 120 MiB of memory, and takes 150 MiB .* memory=\"320 MiB\""
    with pytest.raises(ProjectError, match=said):
        some.look()


def test_a_pool_whose_idle_workers_take_most_of_their_memory_is_told_of_once(folder):
    some = Pools([Pool("tight", KnownClient(800 * 2**20)), Pool("fine", KnownClient(10**8))])
    some.look()
    telling = PoolTelling(folder)
    assert [text for text in telling.update(some) if "'tight' has 1,024 MiB" in text]
    telling._due = 0.0
    some.look()
    assert telling.update(some) == []


def test_one_full_worker_of_a_shared_cluster_is_no_reason_to_refuse_it():
    Pools([Pool("shared", KnownClient(2**30, 10**8))]).look()


def test_a_run_on_workers_without_memory_ends_at_once_and_says_what_they_need(folder):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(steps.add)
    with pytest.raises(ProjectError, match="pool 'local' has 120 MiB of memory, and takes 1"):
        project.run(lw.local(1, memory="120MiB"), progress="none")
    assert not len(project.attempts())
    assert project.run(lw.local(1, memory="600MiB"), progress="none")


def test_two_pools_of_one_name_are_refused():
    with pytest.raises(ProjectError, match="two pools have the name 'a'"):
        Pools([Pool("a", HereClient()), Pool("a", HereClient())])


# ------------------------------------------------------------------ running in several


def charged(attempts):
    """The outcomes that count against a tile, in their order.

    On a busy machine Dask's nanny may end a worker before the worker has seen that its memory is
    full. Such an attempt is "worker lost", counts for nothing, and is repeated.
    """
    return [outcome for outcome in attempts.outcome if outcome != "worker lost"]


@pytest.fixture(scope="module")
def small_and_large():
    """Two real pools: 420 MiB and 2 GiB a worker."""
    from latticework.project.pool_kinds import opened

    given = [
        lw.local(2, memory="420MiB", name="small"),
        lw.local(1, memory="2GiB", name="large"),
    ]
    with opened(given, None) as some:
        yield list(some)


def test_stages_run_where_they_belong(folder, small_and_large):
    project = lw.create(folder / "p.lw", numbered()[0])
    project.add(hungry.pool_of, name="anywhere")
    project.add(hungry.pool_of, name="large", needs="large")
    project.add(hungry.pool_of, name="needy", needs={"memory": "1GiB"})
    assert project.run(small_and_large, progress="none")
    found = {name: {project[name].tile(k)["limit"] for k in range(20)} for name in project.stages}
    assert found == {"anywhere": {420}, "large": {2048}, "needy": {2048}}


@pytest.mark.parametrize("function", [hungry.take_memory, hungry.take_memory_at_once])
def test_tiles_that_need_more_memory_finish_in_the_larger_pool(folder, small_and_large, function):
    lattice, array = numbered((6, 6))
    project = lw.create(folder / "p.lw", lattice)
    project.add(function, name="hungry", ids=[3, 17, 30], megabytes=700, retries=0)
    project.add(steps.add, after="hungry", overlap=1, boundary="reflect")
    summary = project.run(small_and_large, progress="none")
    attempts = project.attempts()
    assert summary, project.attempts("hungry")[["tile", "outcome", "message"]].to_string()
    assert set(completions(project).values()) == {1}
    hungry_ones = attempts[attempts.stage == "hungry"]
    tiles = {project.lattice.tile(k).name for k in (3, 17, 30)}
    others = hungry_ones[~hungry_ones.tile.isin(tiles)]
    assert (others.outcome == "complete").all()
    assert len(others) == 33
    first = hungry_ones[hungry_ones.tile.isin(tiles) & (hungry_ones.outcome != "complete")]
    assert set(first.outcome) <= {"memory", "worker lost"}, first.outcome.tolist()
    np.testing.assert_array_equal(project["add"].data.to_numpy(), array + 2)


def test_a_tile_that_goes_to_a_larger_pool_by_itself_is_no_first_failure(folder, small_and_large):
    project = lw.create(folder / "p.lw", numbered((2, 2))[0])
    project.add(hungry.take_memory, name="hungry", ids=[2], megabytes=700, retries=0)
    told = []
    project.on("first failure", told.append)
    assert project.run(small_and_large, progress="none")
    assert "memory" in set(project.attempts("hungry").outcome)
    assert not told


def test_the_next_run_knows_which_tiles_need_the_larger_pool(folder, small_and_large):
    lattice, array = numbered((4, 4))
    project = lw.create(folder / "p.lw", lattice)
    project.add(steps.add, name="first", amount=1)
    project.add(hungry.take_memory, name="hungry", after="first", ids=[5], megabytes=700, retries=0)
    assert project.run(small_and_large, progress="none")
    tried = project.attempts("hungry")
    assert "memory" in set(tried.outcome)
    project.change("first", amount=2)
    again = lw.open_project(project.path)
    assert again.run(small_and_large, progress="none")
    np.testing.assert_array_equal(again["hungry"].data.to_numpy(), array + 3)
    new = again.attempts("hungry").iloc[len(tried) :]
    assert new.outcome.tolist() == ["complete"] * 16, new.to_string()


def test_what_had_too_little_memory_alone_begins_in_a_larger_pool_that_comes_later(
    folder, small_and_large
):
    small, _ = small_and_large
    project = lw.create(folder / "p.lw", numbered((3, 3))[0])
    project.add(hungry.take_memory, name="hungry", ids=[5], megabytes=700, retries=0)
    assert not project.run([small], progress="none")
    project.retry(failed=True)
    assert not project.run([small], progress="none")  # there is none still: it takes its chance
    project.retry(failed=True)
    assert project.run(small_and_large, progress="none")
    assert charged(project.attempts("hungry", y=1, x=2)) == ["memory", "memory", "complete"]


def test_a_stage_that_was_changed_is_tried_in_the_small_pool_again(folder, small_and_large):
    project = lw.create(folder / "p.lw", numbered((3, 3))[0])
    project.add(hungry.take_memory, name="hungry", ids=[5], megabytes=700, retries=0)
    assert project.run(small_and_large, progress="none")
    project.change("hungry", megabytes=701)
    assert project.run(small_and_large, progress="none")
    assert charged(project.attempts("hungry", y=1, x=2)) == ["memory", "complete"] * 2


def test_a_stage_that_leaks_memory_gets_new_processes_and_no_tile_pays(folder, small_and_large):
    lattice, array = numbered((6, 6))
    project = lw.create(folder / "p.lw", lattice)
    project.add(hungry.leak, megabytes=30, retries=0)
    assert project.run(small_and_large, progress="none"), project.counts
    np.testing.assert_array_equal(project["leak"].data.to_numpy(), array + 1)
    attempts = project.attempts()
    uncharged = {"complete", "memory", "worker lost"}
    assert set(attempts.outcome) <= uncharged, attempts.outcome.tolist()
    assert (attempts.outcome == "complete").sum() == 36
