"""What runs on a Dask worker: a batch of units of one stage, as one module-level function."""

import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from latticework.errors import StageError
from latticework.io.records import to_json
from latticework.stages.batch_run import BatchRun, Here, Task
from latticework.stages.bench import bench_for
from latticework.stages.black_box import REPORT
from latticework.stages.computing import computing_here
from latticework.stages.failures import (
    COMPLETE,
    EXCEPTION,
    NO_CODE,
    UNWRITABLE,
    Failure,
    disk_trouble,
    failure_of,
    outcome_of,
)
from latticework.stages.here import host_name
from latticework.stages.inputs import Records
from latticework.stages.meter import Meter
from latticework.stages.order import SealedOrder
from latticework.stages.outputs import Output
from latticework.stages.paths import own_folders
from latticework.stages.printed import prints_kept_here
from latticework.stages.running_units import forget_batch

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
    previews: str = ""
    """Folder with previews of what they made, and read of the source; empty if there are none."""


def run_batch(
    sealed: SealedOrder,
    batch: int,
    units: bytes,
    attempts: bytes,
    records: Sequence[Records] = (),
    absent: Sequence[bytes] = (),
) -> BatchReport:
    """Run a batch of units, one after the other; a unit that fails stops nothing.

    While one computes the next one's inputs may be read, and the last one's output be written
    (`latticework.stages.batch_run`).

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
    here = _announce(batch)
    staging = sealed.staging / f"{batch}-{uuid.uuid4().hex[:8]}"
    ids = np.frombuffer(units, dtype="<i8").tolist()
    rows = np.zeros(len(ids), dtype=REPORT)
    rows["unit"], rows["attempt"] = ids, np.frombuffer(attempts, dtype="<u2")
    rows["exit_code"] = NO_CODE
    meter = Meter()
    try:
        staging.mkdir(parents=True)  # the mark that the batch began, should it end this process
        bench = bench_for(sealed)
    except BaseException as error:  # importing the stage's code runs it
        return _none_began(batch, rows, meter, error, here, own_folders(sealed.staging))
    run = BatchRun(bench, Task(batch, ids, records, absent), here, staging, rows, meter)
    with computing_here(), prints_kept_here():
        run.run(enough_s=HAND_BACK_S)
    forget_batch(str(sealed.staging), batch)
    return _report(run)


def _report(run: BatchRun) -> BatchReport:
    """What there is to say of a batch that has run."""
    rows, output, staging = run.box.rows(), run.output, str(run.staging)
    failures, records = run.failures, run.records
    if output is not None and output.kind == "record":
        records.extend((row, NO_RECORD) for row in run.nothing)
    elif output is not None and output.kind != "nothing":
        rows["outcome"][run.nothing] = EXCEPTION
        failures.extend(made_nothing(row, output) for row in run.nothing)
    previews = run.previews.folder
    if output is None or output.kind not in STAGED:
        if not previews:
            shutil.rmtree(staging, ignore_errors=True)
        staging = ""
    task, here = run.task, run.here
    return BatchReport(
        *(task.batch, rows.tobytes(), staging, output, tuple(failures), tuple(records)),
        *(here.address, here.host, len(task.units) - len(rows), previews),
    )


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
    here: Here,
    own: tuple[Path, ...],
) -> BatchReport:
    """The report of a batch whose stage could not even be set up on this worker."""
    started, ended, cpu, peak = meter.end()
    trouble = disk_trouble(error, own)
    rows["outcome"] = outcome_of(error) if trouble is None else UNWRITABLE
    rows["started"], rows["ended"] = started, ended
    rows["cpu_s"], rows["peak_memory"] = cpu, peak
    failures = tuple(replace(failure_of(row, error), trouble=trouble) for row in range(len(rows)))
    return BatchReport(batch, rows.tobytes(), "", None, failures, (), here.address, here.host)


def _announce(batch: int) -> Here:
    """Say that the batch has started; the worker on which it runs."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return Here(host=host_name())
    worker.log_event(TOPIC, batch)
    memory = worker.memory_manager.memory_limit
    return Here(
        worker.address, host_name(), worker.nanny is not None, memory, worker.state.nthreads
    )


def check_order(payload: bytes) -> None:
    """Raise where a work order cannot be used on this worker: the preflight of a stage."""
    import cloudpickle

    cloudpickle.loads(payload)
