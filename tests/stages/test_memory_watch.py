"""Which unit is ended when a worker runs out of memory, and which is not."""

import pytest

from latticework.stages import memory_watch
from latticework.stages.memory_watch import MemoryWatch

LIMIT = 1000


class Unit:
    """As much of a running unit as the watch knows."""

    def __init__(self, started):
        self.started, self.box, self.ending, self.told = started, None, None, []
        self.writing, self.held = False, []

    def relieve(self):
        return bool(self.held) and self.held.pop()

    def run_out_of_memory(self, resident, limit):
        self.told.append(("out of memory", resident, limit))
        self.ending = "memory"

    def need_new_process(self):
        self.told.append("new process")


@pytest.fixture
def kept(monkeypatch):
    """Memory that the process has after it has given back what it can."""
    memory = [LIMIT]
    monkeypatch.setattr(memory_watch, "give_back_freed_memory", lambda: None)
    monkeypatch.setattr(memory_watch, "resident_bytes", lambda: memory[0])
    return memory


def test_nothing_happens_below_the_limit():
    watch, unit = MemoryWatch(LIMIT), Unit(1)
    for resident in (100, 500, 900):
        watch.look([unit], resident)
    assert unit.told == []


def test_the_unit_that_took_it_is_ended_again_and_again():
    watch, unit = MemoryWatch(LIMIT), Unit(1)
    for resident in (100, 950, 960):
        watch.look([unit], resident)
    assert unit.told == [("out of memory", 950, LIMIT), ("out of memory", 960, LIMIT)]


def test_of_several_the_one_that_has_taken_most_is_ended():
    watch, early, late = MemoryWatch(LIMIT), Unit(1), Unit(2)
    watch.look([early], 100)
    watch.look([early, late], 600)
    watch.look([early, late], 950)
    assert [bool(unit.told) for unit in (early, late)] == [True, False]


def test_what_earlier_units_leaked_is_not_the_fault_of_the_next(kept):
    watch, leaky, next_one = MemoryWatch(LIMIT), Unit(1), Unit(2)
    watch.look([leaky], 100)
    watch.look([next_one], 890)
    watch.look([next_one], 910)
    assert next_one.told == ["new process"]
    kept[0] = 300  # it was memory that nobody used
    another = Unit(3)
    watch.look([another], 910)
    assert another.told == []


def test_the_first_unit_of_a_process_is_ended_however_little_it_took(kept):  # noqa: ARG001
    """Else a worker that is too small for its own modules would begin anew for ever."""
    watch, first = MemoryWatch(LIMIT), Unit(1)
    watch.look([first], 920)
    assert first.told == [("out of memory", 920, LIMIT)]
