"""The units of a batch, one turn after the other, with reading and writing beside them.

In its turn a unit is given its inputs, computes, and its output is written. Where it pays and fits
(`latticework.stages.overlap`) its inputs were read in the turn before, and its output is written
in the next one; it is complete, or has failed, only when that is done.
"""

import contextlib
import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latticework.stages.bench import Bench
from latticework.stages.black_box import BlackBox
from latticework.stages.command import Command
from latticework.stages.execute import Given, Made, Pixels, call_unit, read_unit, run_unit
from latticework.stages.failures import (
    COMPLETE,
    NO_CODE,
    UNWRITABLE,
    Cancelled,
    Failure,
    UnitEnd,
    disk_trouble,
    failure_of,
    outcome_of,
)
from latticework.stages.handing_back import is_called_back, is_wanted_back
from latticework.stages.inputs import Records
from latticework.stages.memory_watch import watch_memory
from latticework.stages.meter import Meter
from latticework.stages.outputs import Output
from latticework.stages.paths import attempt_log, own_folders, tile_folder
from latticework.stages.previewing import BatchPreviews
from latticework.stages.printed import Printed, kept_prints
from latticework.stages.reading_ahead import ReadingAhead
from latticework.stages.running_units import RunningUnit, is_cancelled
from latticework.stages.writing_behind import WritingBehind

RELIEF_S = 0.5
"""Seconds in which a read or a write that is under way may end, where memory is short."""

Costs = tuple[float, float, float, int]
"""Started and ended, seconds since 1970; processor seconds; peak memory, bytes."""


@dataclass(frozen=True, slots=True)
class Here:
    """The worker on which a batch runs."""

    address: str = "this process"
    host: str = ""
    expendable: bool = False
    """Whether it has a nanny, which would start it again."""
    memory_limit: int | None = None
    """Bytes that it may have, if somebody said so."""
    threads: int = 1
    """Batches that it runs side by side."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be done: units of a stage, and what came with them."""

    batch: int
    """The batch's number."""
    units: Sequence[int]
    """Tile ids."""
    records: Sequence[Records]
    """For each unit, the records that it reads, where its parents make some."""
    absent: Sequence[bytes]
    """For each input, int64 ids of its units that are holes; empty where there are none."""


class BatchRun:
    """One batch, running.

    Parameters
    ----------
    bench
        What is opened for the stage.
    task
        What is to be done.
    here
        The worker.
    staging
        Where the outputs are staged.
    rows
        `REPORT` rows of the units.
    meter
        What they cost.
    """

    def __init__(
        self, bench: Bench, task: Task, here: Here, staging: Path, rows: np.ndarray, meter: Meter
    ) -> None:
        self.bench, self.task, self.here, self.staging = bench, task, here, staging
        self.failures: list[Failure] = []
        """Of the units that failed, in the order in which that was known."""
        self.records: list[tuple[int, str]] = []
        """(row, JSON) of the units that made a record."""
        self.nothing: list[int] = []
        """Rows of the units that made nothing."""
        self.output: Output | None = None
        """What the units made."""
        self.box = BlackBox(staging, rows)
        self.previews = BatchPreviews(bench, staging)
        """Of the units that made arrays."""
        self._session = str(bench.order.staging)
        self._own = own_folders(bench.order.staging)
        self._attempts = rows["attempt"].tolist()
        self._meter = meter
        self._overlap = bench.overlap
        self._ahead = ReadingAhead(self._read, self._overlap.reading)
        self._behind = WritingBehind()
        self._beside = 0
        self._cramped_since: float | None = None
        self._unwritable = threading.Event()
        self._command = isinstance(bench.order.function, Command)
        self._alone = len(task.units) == 1 or self._command
        self._one_at_a_time = here.expendable and here.threads == 1
        self._reads = any(pattern != "nothing" for pattern in bench.patterns)
        self._clock = time.process_time if here.threads == 1 else time.thread_time

    # ---------------------------------------------------------------- turns

    def run(self, *, enough_s: float) -> None:
        """Run the units; after so many seconds the others are left, and where they are wanted."""
        enough, printed = time.monotonic() + enough_s, Printed(self._log)
        keeping = kept_prints(printed, only=self._one_at_a_time)
        with contextlib.nullcontext() if self._command else keeping:  # programs keep their own
            for row in range(len(self.task.units)):
                if self._is_wanted_back(row):
                    break
                printed.row = row
                self._turn(row)
                printed.end()
                if time.monotonic() > enough or self._unwritable.is_set():
                    break
        self._ahead.drop()
        self._behind.wait()
        self.box.close()
        self.previews.close()
        self.failures.sort(key=lambda failure: failure.row)

    def _is_wanted_back(self, row: int) -> bool:
        """Whether the units from this one on are to be handed back."""
        batch = self.task.batch
        if not row:
            return is_called_back(self.bench.order.staging, batch)
        return is_wanted_back(self._session, batch)

    def _turn(self, row: int) -> None:
        """Run one unit, to its end or until only its output is to be written."""
        task, order = self.task, self.bench.order
        self._meter.begin()
        self._beside = self._overlap.writing.size if self._behind.busy else 0
        self.box.begin(row)
        running = RunningUnit(
            *(self._session, task.batch, task.units[row], self._attempts[row], order.timeout),
            mark=self.staging,
            expendable=self.here.expendable,
            box=self.box,
            relief=self._let_go,
        )
        try:
            made = self._begun(row, running)
            if made.pixels is not None:
                if self._hand_over(row, running, made, made.pixels):
                    return
                made.bytes_written = self._stage_now(running, made.pixels)
                self.previews.made(running.unit, self._attempts[row], made, made.pixels.array)
            _leave(running)
        except BaseException as error:  # sys.exit() would end the worker
            self._fail(row, running, error)
        else:
            self._complete(row, running, made, self._costs())

    def _begun(self, row: int, running: RunningUnit) -> Made:
        """Let a unit begin, so that it can be ended from outside, read and compute.

        Raises
        ------
        UnitEnd
            If it was ended, or cancelled before its turn came.
        """
        if is_cancelled(running.session, running.batch, running.unit):
            running.ending = Cancelled
            raise Cancelled
        running.begin()
        watch_memory(self.here.memory_limit)
        bench, unit, task = self.bench, running.unit, self.task
        if self._command:
            records = task.records[row] if task.records else {}
            return run_unit(
                *(bench, unit, records, self.staging, self.output), task.absent, running
            )
        given = self._given(row)
        self._read_ahead(row + 1)
        self.previews.read(unit, given)
        return call_unit(bench, unit, given, self.staging, self.output)

    def _log(self, row: int, stream: str) -> Path:
        """Where what a unit prints is kept."""
        order, tile = self.bench.order, self.bench.lattice.tile(self.task.units[row])
        folder = tile_folder(tile.id, tile.name)
        return attempt_log(
            order.project.absolute(), order.stage, folder, self._attempts[row], stream
        )

    # ---------------------------------------------------------------- reading

    def _read(self, row: int) -> Given:
        task = self.task
        records = task.records[row] if task.records else {}
        return read_unit(self.bench, task.units[row], records, task.absent)

    def _given(self, row: int) -> Given:
        """The inputs of a unit, read before or now."""
        if not self._reads:
            return self._read(row)
        given = self._ahead.take(row)
        if given is None:
            began, processor = time.perf_counter(), self._clock()
            given = self._read(row)
            took = time.perf_counter() - began, self._clock() - processor
            self._overlap.reading.alone(*took, given.bytes_read)
        return given

    def _read_ahead(self, row: int) -> None:
        """Begin to read the inputs of a unit, if there is one and that pays."""
        if self._alone or not self._reads or row == len(self.task.units):
            return
        reading = self._overlap.reading
        if reading.pays(self._overlap.unit_s) and self._fits():
            unit = self.task.units[row]
            if not is_cancelled(self._session, self.task.batch, unit):
                self._ahead.begin(row)
                self._beside += reading.size

    # ---------------------------------------------------------------- writing

    def _stage_now(self, running: RunningUnit, pixels: Pixels) -> int:
        """Stage what a unit made, while nothing else is written; how many bytes that are."""
        self._wait_for_others(running)
        began, processor = time.perf_counter(), self._clock()
        written = pixels.stage()
        took = time.perf_counter() - began, self._clock() - processor
        self._overlap.writing.alone(*took, pixels.array.nbytes)
        return written

    def _wait_for_others(self, running: RunningUnit) -> None:
        """Wait until the output of the unit before is written, if it is not yet."""
        if self._behind.busy:
            with running.waiting():
                self._behind.wait()

    def _hand_over(self, row: int, running: RunningUnit, made: Made, pixels: Pixels) -> bool:
        """Have the output written while the next unit computes, if there is one and that pays.

        What the stage makes has to be known: this unit might fail yet, and say nothing of it.
        """
        known = self.bench.order.output or self.output
        if self._alone or known is None or known.kind == "nothing":
            return False
        if row + 1 == len(self.task.units) or not self._overlap.writing.pays(self._overlap.unit_s):
            return False
        if not self._fits():
            return False
        self._wait_for_others(running)
        try:
            own = pixels.copy()
        except MemoryError:
            return False
        made.pixels, costs, since = None, self._costs(), time.perf_counter()
        write = functools.partial(self._write, row, running, made, own, costs, since)
        fail = functools.partial(self._fail, row, running, costs=costs, since=since)
        if self._behind.begin(running, write, fail):
            return True
        made.pixels = pixels
        return False

    def _write(
        self,
        row: int,
        running: RunningUnit,
        made: Made,
        pixels: Pixels,
        costs: Costs,
        since: float,
    ) -> None:
        """Write the output of a unit, in a thread of its own, and end it."""
        made.bytes_written = pixels.stage()
        self.previews.made(running.unit, self._attempts[row], made, pixels.array)
        _leave(running)
        self._overlap.writing.aside(time.perf_counter() - since, pixels.array.nbytes)
        self._complete(row, running, made, costs, since)

    # ---------------------------------------------------------------- memory

    def _fits(self) -> bool:
        """Whether there is memory for inputs and outputs of other units."""
        if self._cramped_since is not None:
            return False
        return self._overlap.fits(self.here.memory_limit or _all_memory(), self.here.threads)

    def _let_go(self) -> bool:
        """Memory is short: hold nothing for other units; whether that helps, or may yet.

        The memory watch calls this in its own thread.
        """
        now = time.monotonic()
        self._cramped_since = since = self._cramped_since or now
        dropped = self._ahead.drop()
        busy = self._ahead.busy or self._behind.busy
        return dropped or (busy and now < since + RELIEF_S)

    # ---------------------------------------------------------------- ends

    def _costs(self) -> Costs:
        """What this turn has cost."""
        started, ended, processor, peak = self._meter.end()
        self._overlap.saw(ended - started, peak, self._beside)
        return started, ended, processor, peak

    def _complete(
        self,
        row: int,
        running: RunningUnit,
        made: Made,
        costs: Costs,
        since: float | None = None,
    ) -> None:
        if made.output.kind == "nothing":
            self.nothing.append(row)
        if self.output is None or self.output.kind == "nothing":
            self.output = made.output
        if made.record is not None:
            self.records.append((row, made.record))
        done = made.bytes_read, made.bytes_written, made.exit_code
        self.box.end(row, COMPLETE, *_summed(running, costs, since), *done)

    def _fail(
        self,
        row: int,
        running: RunningUnit,
        error: BaseException,
        costs: Costs | None = None,
        since: float | None = None,
    ) -> None:
        running.leave()  # nothing more is raised in this thread on its account
        costs = self._costs() if costs is None else costs
        failure = type(error)(running.why()) if isinstance(error, UnitEnd) else error
        trouble = disk_trouble(failure, self._own)
        outcome = outcome_of(failure) if trouble is None else UNWRITABLE
        self.failures.append(replace(failure_of(row, failure), trouble=trouble))
        code = getattr(error, "exit_code", NO_CODE)
        self.box.end(row, outcome, *_summed(running, costs, since), 0, 0, code)
        if outcome == UNWRITABLE:
            self._unwritable.set()


def _leave(running: RunningUnit) -> None:
    """A unit has come to its end.

    Raises
    ------
    UnitEnd
        If it was ended, and its code caught what was raised in it.
    """
    running.leave()
    if running.ending is not None:
        raise running.ending


def _summed(running: RunningUnit, costs: Costs, since: float | None) -> Costs:
    """The costs of a unit with those of its programs; written since then, if beside another."""
    started, ended, processor, peak = costs
    if since is not None:
        ended += time.perf_counter() - since
    return started, ended, processor + running.cpu_s, max(peak, running.peak_memory)


@functools.cache
def _all_memory() -> int:
    """Memory of this machine, or as much of it as this process may have, bytes."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


__all__ = ["BatchRun", "Here", "Task"]
