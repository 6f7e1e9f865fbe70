"""Reading and writing beside the computing: the same comes of it as one after the other."""

import errno
import random
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latticework.stages import overlap
from latticework.stages.black_box import read_box
from latticework.stages.failures import (
    CANCELLED,
    COMPLETE,
    EXCEPTION,
    INPUT,
    TIMEOUT,
    UNWRITABLE,
)
from latticework.stages.handing_back import begun_batches, call_back, hand_back_here
from latticework.stages.inputs import UnreadableInputError
from latticework.stages.memory_watch import MemoryWatch
from latticework.stages.overlap import Overlap, Waiting
from latticework.stages.recent_here import recent_here
from latticework.stages.running_units import cancel_here, running_units_here
from latticework.stages.stage import as_stage
from tests.stages.benches import Place, array_tiles
from tests.stages.slow_files import SlowFiles

UNITS = range(6)
ALL_BUT_FIRST = [("read", unit) for unit in UNITS[1:]]
ALL_BUT_LAST = [("write", unit) for unit in UNITS[1:-1]]
"""The first is written at once: until then nobody knows what the stage makes."""


def plus_one(tile):
    time.sleep(0.005)
    return tile + 1


def staged(place, report):
    """What a batch has staged, by unit."""
    store_files = sorted(path for path in place.folder.glob("staging/*/*/**/c*") if path.is_file())
    assert report.staging or not store_files
    return {path.name: path.read_bytes() for path in store_files}


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path / "p", array_tiles())


def test_units_read_and_write_beside_each_other_and_make_the_same(place, monkeypatch, tmp_path):
    alone = Place(tmp_path / "alone", array_tiles())
    rows, report = alone.run(as_stage(plus_one), UNITS)
    wanted = staged(alone, report)
    slow = SlowFiles().install(monkeypatch)
    rows, report = place.run(as_stage(plus_one), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6
    assert rows["unit"].tolist() == list(UNITS)
    assert staged(place, report) == wanted
    assert len(wanted) == 6
    assert [one for one in slow.aside if one[0] == "read"] == ALL_BUT_FIRST
    assert [one for one in slow.aside if one[0] == "write"] == ALL_BUT_LAST
    assert (rows["ended"] > rows["started"]).all()
    assert (rows["started"][2:-1] < rows["ended"][1:-2]).any()  # they overlap
    assert (rows["bytes_read"] == 128).all()
    assert (rows["bytes_written"] > 0).all()


def test_where_nothing_is_gained_units_run_one_after_the_other(place, monkeypatch):
    monkeypatch.setattr(overlap, "LEAST_S", 0.5)
    slow = SlowFiles().install(monkeypatch)
    place.run(as_stage(plus_one), UNITS)
    assert slow.aside == []


def test_a_unit_by_itself_needs_no_thread(place, monkeypatch):
    slow = SlowFiles().install(monkeypatch, always=True)
    order = place.order(as_stage(plus_one))
    for unit in UNITS:
        place.run(order, [unit])
    assert slow.aside == []


def test_nothing_is_held_for_other_units_where_memory_is_short(place, monkeypatch):
    monkeypatch.setattr(overlap, "HALF", 0.0)
    slow = SlowFiles().install(monkeypatch)
    rows, _ = place.run(as_stage(plus_one), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6
    assert slow.aside == []


# ------------------------------------------------------------------ who owns the pixels

BUFFER = np.zeros((8, 8), "u2")


def into_one_buffer(tile):
    """Every call returns the same memory."""
    time.sleep(0.005)
    BUFFER[...] = tile + 7
    return BUFFER


def a_view_of_the_buffer(tile):
    return into_one_buffer(tile)[::-1]


def scribble_later(tile):
    """Somebody else goes on writing to what was returned."""
    made = tile + 7
    threading.Timer(0.003, made.fill, (0,)).start()
    return made


@pytest.mark.parametrize("function", [into_one_buffer, a_view_of_the_buffer])
@pytest.mark.parametrize("read_on", [False, True])
def test_a_stage_may_use_its_buffer_again(place, monkeypatch, function, read_on):
    recent_here().clear()
    SlowFiles(usual_s=0.02).install(monkeypatch)
    rows, report = place.run(place.order(as_stage(function), read_on=read_on), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6
    files = list(staged(place, report).values())
    assert len(set(files)) == 6
    kept = [int(one.pixels[0, 0]) for one in recent_here()._kept.values()]
    assert sorted(kept) == ([7, 8, 9, 10, 11, 12] if read_on else [])


# ------------------------------------------------------------------ failures

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_what_cannot_be_read_is_the_failure_of_the_unit_that_reads_it(place, monkeypatch):
    error = UnreadableInputError("input 'source': bad checksum")
    slow = SlowFiles(read_errors={3: error}).install(monkeypatch)
    rows, report = place.run(as_stage(plus_one), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 3 + [INPUT] + [COMPLETE] * 2
    [failure] = report.failures
    assert (failure.row, failure.message) == (3, "input 'source': bad checksum")
    assert ("read", 3) in slow.aside


def test_what_cannot_be_written_is_the_failure_of_the_unit_that_made_it(place, monkeypatch):
    slow = SlowFiles(write_errors={2: ValueError("odd pixels")}).install(monkeypatch)
    rows, report = place.run(as_stage(plus_one), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 2 + [EXCEPTION] + [COMPLETE] * 3
    assert [(one.row, one.error) for one in report.failures] == [(2, "ValueError")]
    assert len(staged(place, report)) == 5
    assert ("write", 2) in slow.aside
    assert rows["bytes_written"][2] == 0


def test_a_full_disk_ends_the_batch_and_blames_the_disk(place, monkeypatch):
    SlowFiles(write_errors={2: FULL}).install(monkeypatch)
    rows, report = place.run(as_stage(plus_one), UNITS)
    outcomes = rows["outcome"].tolist()
    assert outcomes[:3] == [COMPLETE, COMPLETE, UNWRITABLE]
    assert 3 <= len(outcomes) <= 4  # the next one had begun, and no other
    assert report.left == 6 - len(outcomes)
    assert report.failures[0].trouble is not None


def test_inputs_that_do_not_fit_beside_another_unit_are_read_again(place, monkeypatch):
    slow = SlowFiles().install(monkeypatch)
    slow.read_errors = Once({2: MemoryError()})
    rows, _ = place.run(as_stage(plus_one), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6
    assert slow.done.count(("read", 2)) == 2


class Once(dict):
    """Errors that are met once each."""

    def __getitem__(self, key):
        return self.pop(key)


def fail_at_three(tile):
    if int(np.asarray(tile)[0, 0]) == 3:
        raise ValueError("three")
    return plus_one(tile)


def test_a_failed_unit_changes_nothing_for_those_beside_it(place, monkeypatch):
    SlowFiles(write_s={2: 0.1}, usual_s=0.01).install(monkeypatch)
    rows, report = place.run(as_stage(fail_at_three), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 3 + [EXCEPTION] + [COMPLETE] * 2
    assert rows["ended"][3] < rows["ended"][2]  # it ended first
    assert len(staged(place, report)) == 5


# ------------------------------------------------------------------ ending units


def test_a_timeout_meets_the_unit_that_waits_for_its_inputs(place, monkeypatch):
    SlowFiles(read_s={3: 2.0}).install(monkeypatch)
    began = time.monotonic()
    rows, report = place.run(as_stage(plus_one, timeout=0.3), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 3 + [TIMEOUT] + [COMPLETE] * 2
    assert "timeout=0.3" in report.failures[0].message
    assert time.monotonic() - began < 1.9


def test_a_timeout_meets_the_unit_whose_output_is_written(place, monkeypatch):
    slow = SlowFiles(write_s={2: 5.0}).install(monkeypatch)
    rows, report = place.run(as_stage(plus_one, timeout=0.3), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 2 + [TIMEOUT] + [COMPLETE] * 3
    assert [one.row for one in report.failures] == [2]
    assert ("write", 2) in slow.aside


def test_time_in_which_a_unit_waits_for_another_is_not_its_own(place, monkeypatch):
    """The next one waits for longer than it may take itself."""
    SlowFiles(write_s={2: 0.28, 3: 0.28}).install(monkeypatch)
    rows, report = place.run(as_stage(plus_one, timeout=0.4), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6, report.failures


def test_a_unit_can_be_cancelled_while_its_output_is_written_and_no_other_is(place, monkeypatch):
    slow = SlowFiles(write_s={2: 5.0}).install(monkeypatch)
    order = place.order(as_stage(plus_one))
    kept = []
    thread = threading.Thread(target=lambda: kept.append(place.run(order, UNITS)))
    thread.start()
    while ("write", 2) not in slow.aside:
        time.sleep(0.001)
    assert cancel_here(str(order.staging), 1, [2, 5]) == [2]
    thread.join(20)
    [(rows, report)] = kept
    outcomes = rows["outcome"].tolist()
    assert outcomes == [COMPLETE] * 2 + [CANCELLED] + [COMPLETE] * 2 + [CANCELLED]
    assert len(staged(place, report)) == 4


def at_once(tile):
    return tile + 1


def test_units_that_are_cancelled_at_any_moment_end_and_others_are_complete(place, monkeypatch):
    SlowFiles(usual_s=0.001).install(monkeypatch, always=True)
    chance = random.Random(5)
    for _ in range(60):
        order, wanted = place.order(as_stage(at_once)), chance.sample(UNITS, 3)
        waits = [chance.uniform(0, 0.006) for _ in wanted]

        def cancel(order=order, wanted=wanted, waits=waits):
            for unit, wait in zip(wanted, waits, strict=True):
                time.sleep(wait)
                cancel_here(str(order.staging), 1, unit)

        cancelling = threading.Thread(target=cancel)
        cancelling.start()
        rows, report = place.run(order, UNITS)
        cancelling.join()
        outcomes = dict(zip(rows["unit"].tolist(), rows["outcome"].tolist(), strict=True))
        assert len(outcomes) == 6
        assert all(outcomes[unit] == COMPLETE for unit in set(UNITS) - set(wanted))
        assert all(outcomes[unit] in (COMPLETE, CANCELLED) for unit in wanted)
        failed = sum(outcome == CANCELLED for outcome in outcomes.values())
        assert len(report.failures) == failed
        assert running_units_here() == []


def test_what_is_handed_back_was_not_begun_whatever_was_read_ahead(place, monkeypatch):
    slow = SlowFiles().install(monkeypatch)
    order = place.order(as_stage(hand_back_at_three))
    order.params["session"] = str(order.staging)
    rows, report = place.run(order, UNITS)
    assert rows["unit"].tolist() == [0, 1, 2, 3]
    assert rows["outcome"].tolist() == [COMPLETE] * 4
    assert report.left == 2
    assert ("read", 4) in slow.aside
    assert len(staged(place, report)) == 4


def test_a_batch_that_was_called_back_before_a_worker_came_to_it_is_handed_back_whole(place):
    order = place.order(as_stage(plus_one))
    order.staging.mkdir(parents=True)
    call_back(order.staging, [3, 1])
    rows, report = place.run(order, UNITS)
    assert (len(rows), report.left, report.output) == (0, len(UNITS), None)
    assert begun_batches(order.staging) == set()  # nothing is left of it


def hand_back_at_three(tile, *, session=""):
    if int(np.asarray(tile)[0, 0]) == 3:
        hand_back_here(session, 1)
    return plus_one(tile)


# ------------------------------------------------------------------ memory


def test_it_pays_where_the_process_waits_and_not_where_it_decodes():
    reading = Waiting()
    reading.alone(0.020, 0.001, 10)
    assert reading.pays(0.1)
    assert not reading.pays(1.0)  # little of its time
    reading.alone(0.020, 0.019, 10)
    assert not reading.pays(0.1)
    quick = Waiting()
    quick.alone(0.002, 0.0, 10)
    assert not quick.pays(0.002)
    assert not Waiting().pays(0.0)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 3000), st.integers(1, 4))
def test_what_is_held_beside_units_never_takes_more_than_half(read, written, peak, threads):
    known = Overlap(Waiting(size=read), Waiting(size=written), peak=peak)
    if known.fits(2000, threads):
        assert peak + threads * (read + written) <= 1000


def let_go_at_four(tile):
    """What the watch would do were memory short while the fifth unit computes."""
    if int(np.asarray(tile)[0, 0]) == 4:
        time.sleep(0.05)  # the last has been read and the one before written by then
        [unit] = [one for one in running_units_here() if not one.writing]
        assert (unit.relieve(), unit.relieve()) == (True, False)
    return plus_one(tile)


def test_what_was_read_ahead_is_let_go_when_memory_is_short_and_read_again(place, monkeypatch):
    slow = SlowFiles().install(monkeypatch)
    rows, report = place.run(as_stage(let_go_at_four), UNITS)
    assert rows["outcome"].tolist() == [COMPLETE] * 6, report.failures
    assert slow.done.count(("read", 5)) == 2


class Unit:
    """As much of a running unit as the watch knows."""

    box = None

    def __init__(self, started, *, writing=False, helps=()):
        self.started, self.writing, self.ending = started, writing, None
        self.helps, self.told = list(helps), []

    def relieve(self):
        return bool(self.helps) and self.helps.pop(0)

    def run_out_of_memory(self, resident, _limit):
        self.told.append(resident)


def test_a_unit_is_ended_only_after_others_have_let_go():
    watch, unit = MemoryWatch(10**9), Unit(1, helps=[True, True])
    for resident in (100, 910 * 10**6, 920 * 10**6):
        watch.look([unit], resident)
    assert unit.told == []
    watch.look([unit], 925 * 10**6)
    assert unit.told == [925 * 10**6]


def test_a_unit_that_only_writes_is_not_blamed_for_what_another_takes():
    watch, writing, other = MemoryWatch(1000), Unit(1, writing=True), Unit(2)
    watch.look([writing], 100)
    watch.look([writing, other], 200)
    watch.look([writing, other], 950)
    assert (writing.told, other.told) == ([], [950])


# ------------------------------------------------------------------ the box


def test_a_unit_that_is_being_written_is_not_done(place, monkeypatch):
    """What would be found if the process were killed now."""
    slow = SlowFiles(write_s={2: 0.3}).install(monkeypatch)
    order, found = place.order(as_stage(plus_one)), []

    def look():
        while ("write", 2) not in slow.aside:
            time.sleep(0.001)
        time.sleep(0.05)
        found.extend(read_box(path.parent) for path in order.staging.glob("*/box"))

    looking = threading.Thread(target=look)
    looking.start()
    place.run(order, UNITS)
    looking.join()
    [box] = found
    assert box.running == 3
    assert box.done["unit"].tolist() == [0, 1, 2]
    assert box.done["outcome"].tolist() == [COMPLETE, COMPLETE, 0]


# ------------------------------------------------------------------ all at once

unit_sets = st.sets(st.integers(0, 5), max_size=2)
delays = st.dictionaries(st.integers(0, 5), st.sampled_from([0.0, 0.002, 0.006]))


def bad_at(tile, *, bad=()):
    if int(np.asarray(tile)[0, 0]) in bad:
        raise KeyError("bad")
    time.sleep(0.002)
    return tile * 3


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    *(delays, delays, unit_sets, unit_sets, unit_sets),
    st.permutations(list(UNITS)),
)
def test_the_end_is_that_of_one_after_the_other(
    tmp_path_factory, read_s, write_s, unreadable, bad, unwritable, order
):
    ends = []
    for always in (False, True):
        slow = SlowFiles(
            read_s=read_s,
            write_s=write_s,
            read_errors={unit: UnreadableInputError("gone") for unit in unreadable},
            write_errors={unit: ValueError("odd") for unit in unwritable},
            usual_s=0.0,
        )
        with pytest.MonkeyPatch.context() as patch:
            slow.install(patch, always=always)
            place = Place(tmp_path_factory.mktemp("place") / "p", array_tiles())
            rows, report = place.run(as_stage(bad_at, params={"bad": sorted(bad)}), order)
        assert bool(slow.aside) == always
        failures = [(one.row, one.error, one.message) for one in report.failures]
        columns = ["unit", "outcome", "bytes_read", "bytes_written", "exit_code"]
        ends.append((rows[columns].tolist(), report.output, failures, staged(place, report)))
    assert ends[0] == ends[1]
