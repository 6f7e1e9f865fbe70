"""How much goes out at once: batches of a chain, at the end, and of units that cost little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latticework as lw
from latticework.lattice import Lattice
from latticework.project.coordinator import Coordinator
from latticework.project.dispatch import GROWTH, LARGEST, LEAST_S, TARGET_S, Pace
from latticework.project.steering import carry_out

SECONDS = st.floats(1e-7, 100)
READY = st.integers(1, 2_000_000)
SLOTS = st.integers(1, 1000)
OTHERS_S = st.floats(0, 1e7)


@given(SECONDS, READY, SLOTS, OTHERS_S)
def test_a_batch_is_about_a_second_of_work_and_never_more_than_there_is(
    seconds, ready, slots, others_s
):
    size = Pace(seconds, seen=10**9).batch_size(ready, slots, others_s)
    assert 1 <= size <= min(ready, LARGEST)
    assert size == 1 or size * seconds <= TARGET_S * 1.001


@given(SECONDS, READY, SLOTS, OTHERS_S, st.floats(0, 1e7))
def test_more_to_do_elsewhere_never_makes_batches_smaller(seconds, ready, slots, others_s, more_s):
    pace = Pace(seconds, seen=10**9)
    assert pace.batch_size(ready, slots, others_s) <= pace.batch_size(
        ready, slots, others_s + more_s
    )


@given(st.floats(LEAST_S, TARGET_S), SLOTS)
def test_at_the_end_every_slot_gets_a_share_of_units_that_are_work(seconds, slots):
    ready, sent = 2 * slots, []
    while ready:
        sent.append(Pace(seconds, seen=10**9).batch_size(ready, slots))
        ready -= sent[-1]
    assert len(sent) >= slots


def test_units_that_are_hardly_any_work_are_not_divided():
    assert Pace(1e-6, seen=10**9).batch_size(1000, 64) == 1000


@pytest.mark.parametrize("ready", [LARGEST, LARGEST + 1, int(1.4 * LARGEST)])
def test_crumbs_do_not_make_a_batch_larger_than_the_largest(ready):
    assert Pace(1e-5, seen=10**9).batch_size(ready, 1) == LARGEST


class Nobody:
    """A client without workers."""

    status = "running"

    def nthreads(self):
        return {}


def nothing(_tile):
    return None


@pytest.fixture
def chain(tmp_path):
    pixels = np.zeros((80, 800), "u2")
    lattice = Lattice.from_array(pixels, block={"y": 8, "x": 8})
    project = lw.create(tmp_path / "chain.lw", lattice)
    project.add(nothing, name="first", reads=lw.nothing())
    project.add(nothing, name="second", after="first")
    with project.lock().held():
        yield Coordinator(project, Nobody())
        project.close_writer()


def test_a_batch_of_a_chain_passes_on_undivided_while_the_first_stage_has_work(chain):
    first, second = chain.pipeline["first"], chain.pipeline["second"]
    for pace in (chain.pace["first"], chain.pace["second"]):
        pace.seconds, pace.seen = 0.02, 1000
    chain.ready["first"].add(np.arange(50, 1000))
    chain.ready["second"].add(np.arange(50))
    assert chain.batch_size(second, slots=2) == 50
    chain.ready["first"].clear()
    assert chain.batch_size(second, slots=2) == 13  # a share, for all slots to the end
    assert chain.batch_size(first, slots=2) == 1


def test_what_is_paused_keeps_no_slot_busy(chain):
    for pace in (chain.pace["first"], chain.pace["second"]):
        pace.seconds, pace.seen = 0.02, 1000
    chain.ready["first"].add(np.arange(50, 1000))
    chain.ready["second"].add(np.arange(50))
    carry_out(chain, "pause", {"stages": ["first"]})
    assert chain.batch_size(chain.pipeline["second"], slots=2) == 13


@given(SECONDS, READY, SLOTS, st.integers(0, 10_000))
def test_the_first_ones_may_have_been_unusually_quick(seconds, ready, slots, seen):
    assert Pace(seconds, seen=seen).batch_size(ready, slots) <= max(1, GROWTH * seen)
