"""What runs on a Dask worker: a batch of units of one stage, as one module-level function."""

import functools
import shutil
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latticework.errors import StageError
from latticework.io.records import to_json
from latticework.stages.bench import bench_for
from latticework.stages.black_box import REPORT, BlackBox
from latticework.stages.computing import computing_here
from latticework.stages.execute import Made, run_unit
from latticework.stages.failures import (
    COMPLETE,
    EXCEPTION,
    NO_CODE,
    UNWRITABLE,
    Cancelled,
    Failure,
    UnitEnd,
    disk_trouble,
    failure_of,
    outcome_of,
)
from latticework.stages.handing_back import is_wanted_back
from latticework.stages.here import host_name
from latticework.stages.inputs import Records
from latticework.stages.memory_watch import watch_memory
from latticework.stages.meter import Meter
from latticework.stages.order import SealedOrder
from latticework.stages.outputs import Output
from latticework.stages.paths import own_folders
from latticework.stages.running_units import RunningUnit, forget_batch, is_cancelled

STAGED = ("array", "table", "files")
"""Kinds of output that are published from the staging folder."""
HAND_BACK_S = 3.0
"""Seconds of work after which a worker hands back what it has not begun of a batch."""

NO_RECORD = to_json(None)
"""What is kept of units that return None, where others of their stage return records."""

TOPIC = "latticework"
"""Dask event topic on which workers say that a batch has started."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a worker says of a batch."""

    batch: int
    """The batch's number."""
    rows: bytes
    """`REPORT` rows, in the order of the units."""
    staging: str
    """Where its outputs are staged; empty if there are none."""
    output: Output | None
    """What the units made."""
    failures: tuple[Failure, ...]
    """Of the units that failed."""
    records: tuple[tuple[int, str], ...]
    """(row, JSON) of the units that made a record."""
    worker: str
    """Address of the worker."""
    host: str
    """Its host."""
    left: int = 0
    """Units at the end of the batch that were not begun: they have no rows."""


def run_batch(
    sealed: SealedOrder,
    batch: int,
    units: bytes,
    attempts: bytes,
    records: Sequence[Records] = (),
    absent: Sequence[bytes] = (),
) -> BatchReport:
    """Run a batch of units, one after the other; a unit that fails stops nothing.

    After `HAND_BACK_S` seconds what is left of the batch is handed back, for others to take: how
    many units make a batch is guessed from earlier ones, and later ones may be much slower. So is
    what is left when the coordinator asks for it (`latticework.stages.handing_back`).

    Parameters
    ----------
    sealed
        The work order.
    batch
        Number of the batch.
    units, attempts
        Tile ids (int64) and attempt numbers (uint16), as bytes.
    records
        For each unit, the records that it reads, where its parents make some.
    absent
        For each input, int64 ids of its units that are holes; empty where there are none at all.
    """
    worker, host, expendable, memory_limit = _announce(batch)
    staging = sealed.staging / f"{batch}-{uuid.uuid4().hex[:8]}"
    own = own_folders(sealed.staging)
    ids = np.frombuffer(units, dtype="<i8").tolist()
    rows = np.zeros(len(ids), dtype=REPORT)
    rows["unit"], rows["attempt"] = ids, np.frombuffer(attempts, dtype="<u2")
    rows["exit_code"] = NO_CODE
    session = str(sealed.staging)
    failures: list[Failure] = []
    made_records: list[tuple[int, str]] = []
    output: Output | None = None
    meter = Meter()
    try:
        staging.mkdir(parents=True)  # the mark that the batch began, should it end this process
        bench = bench_for(sealed)
    except BaseException as error:  # importing the stage's code runs it
        return _none_began(batch, rows, meter, error, worker, host, own)
    box, nothing = BlackBox(staging, rows), list[int]()
    enough = time.monotonic() + HAND_BACK_S
    with computing_here():
        for row, unit in enumerate(ids):
            if is_wanted_back(session, batch) and row:
                break
            meter.begin()
            box.begin(row)
            outcome, read, written, code = COMPLETE, 0, 0, NO_CODE
            running = RunningUnit(
                *(session, batch, unit, int(rows["attempt"][row]), bench.order.timeout),
                mark=staging,
                expendable=expendable,
                box=box,
            )
            try:
                made = _ended_or_made(
                    running,
                    memory_limit,
                    functools.partial(
                        run_unit,
                        *(bench, unit, records[row] if records else {}, staging, output),
                        absent=absent,
                        running=running,
                    ),
                )
            except BaseException as error:  # sys.exit() would end the worker
                running.leave()  # nothing more is raised in this thread on its account
                failure = type(error)(running.why()) if isinstance(error, UnitEnd) else error
                trouble = disk_trouble(failure, own)
                outcome = outcome_of(failure) if trouble is None else UNWRITABLE
                failures.append(replace(failure_of(row, failure), trouble=trouble))
                code = getattr(error, "exit_code", NO_CODE)
            else:
                read, written, code = made.bytes_read, made.bytes_written, made.exit_code
                if made.output.kind == "nothing":
                    nothing.append(row)
                if output is None or output.kind == "nothing":
                    output = made.output
                if made.record is not None:
                    made_records.append((row, made.record))
            started, ended, cpu, peak = meter.end()
            cost = started, ended, cpu + running.cpu_s, max(peak, running.peak_memory)
            box.end(row, outcome, *cost, read, written, code)
            if time.monotonic() > enough or outcome == UNWRITABLE:
                break
    forget_batch(session, batch)
    box.close()
    rows = box.rows()
    if output is not None and output.kind == "record":
        made_records.extend((row, NO_RECORD) for row in nothing)
    elif output is not None and output.kind != "nothing":
        rows["outcome"][nothing] = EXCEPTION
        failures.extend(made_nothing(row, output) for row in nothing)
    staged = str(staging) if output is not None and output.kind in STAGED else ""
    if not staged:
        shutil.rmtree(staging, ignore_errors=True)
    return BatchReport(
        *(batch, rows.tobytes(), staged, output, tuple(failures), tuple(made_records)),
        *(worker, host, len(ids) - len(rows)),
    )


def _ended_or_made(running: RunningUnit, memory_limit: int | None, run: Callable[[], Made]) -> Made:
    """Run a unit so that it can be ended from outside, also where its code takes no notice.

    Raises
    ------
    UnitEnd
        If it was ended, or cancelled before its turn came.
    """
    if is_cancelled(running.session, running.batch, running.unit):
        running.ending = Cancelled
        raise Cancelled
    running.begin()
    watch_memory(memory_limit)
    try:
        made = run()
    finally:
        running.leave()
    if running.ending is not None:  # its code caught what was raised in it
        raise running.ending
    return made


def disagreeing(report: BatchReport, known: Output) -> BatchReport:
    """A report whose units made something else than what is `known` of their stage: they failed."""
    assert report.output is not None
    rows = np.frombuffer(report.rows, dtype=REPORT).copy()
    good = np.flatnonzero(rows["outcome"] == COMPLETE).tolist()
    rows["outcome"][good] = EXCEPTION
    wrong = known.differences(report.output)
    error = StageError(f"the stage returned {wrong}, as for the other tiles")
    failures = (*report.failures, *(failure_of(row, error) for row in good))
    return replace(report, rows=rows.tobytes(), output=known, failures=failures, records=())


def made_nothing(row: int, output: Output) -> Failure:
    """The failure of a unit that made nothing, where others of its stage make something."""
    return failure_of(
        row,
        StageError(
            f"the stage returned kind nothing instead of {output.kind}, as for the other tiles: "
            "return an empty one where there is nothing to tell"
        ),
    )


def _none_began(
    batch: int,
    rows: np.ndarray,
    meter: Meter,
    error: BaseException,
    worker: str,
    host: str,
    own: tuple[Path, ...],
) -> BatchReport:
    """The report of a batch whose stage could not even be set up on this worker."""
    started, ended, cpu, peak = meter.end()
    trouble = disk_trouble(error, own)
    rows["outcome"] = outcome_of(error) if trouble is None else UNWRITABLE
    rows["started"], rows["ended"] = started, ended
    rows["cpu_s"], rows["peak_memory"] = cpu, peak
    failures = tuple(replace(failure_of(row, error), trouble=trouble) for row in range(len(rows)))
    return BatchReport(batch, rows.tobytes(), "", None, failures, (), worker, host)


def _announce(batch: int) -> tuple[str, str, bool, int | None]:
    """Say that the batch has started; the worker's address, host, if it has a nanny, memory."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return "this process", host_name(), False, None
    worker.log_event(TOPIC, batch)
    memory = worker.memory_manager.memory_limit
    return worker.address, host_name(), worker.nanny is not None, memory


def check_order(payload: bytes) -> None:
    """Raise where a work order cannot be used on this worker: the preflight of a stage."""
    import cloudpickle

    cloudpickle.loads(payload)
