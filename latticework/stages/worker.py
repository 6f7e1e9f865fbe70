"""What runs on a Dask worker: a batch of units of one stage, as one module-level function."""

import shutil
import traceback
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.stages.bench import bench_for
from latticework.stages.computing import computing_here
from latticework.stages.execute import UnreadableInputError, run_unit
from latticework.stages.meter import Meter
from latticework.stages.order import SealedOrder
from latticework.stages.outputs import Output

COMPLETE, EXCEPTION, MEMORY, INPUT = 1, 2, 3, 4
"""Outcomes of a unit on a worker; journal.py adds those of units that no worker reported."""

REPORT = np.dtype(
    [
        ("unit", "<i8"),
        ("attempt", "<u2"),
        ("outcome", "u1"),
        ("started", "<f8"),
        ("ended", "<f8"),
        ("cpu_s", "<f4"),
        ("peak_memory", "<i8"),
        ("bytes_read", "<i8"),
        ("bytes_written", "<i8"),
    ]
)
"""One row per unit of a batch, as it travels back."""

TOPIC = "latticework"
"""Dask event topic on which workers say that a batch has started."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a unit failed."""

    row: int
    """Row in the report."""
    error: str
    """Type of the exception."""
    message: str
    """Its message."""
    text: str
    """The traceback, from the stage's own code on."""


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


def run_batch(
    sealed: SealedOrder,
    batch: int,
    units: bytes,
    attempts: bytes,
    records: Sequence[dict[str, Sequence[str]]] = (),
) -> BatchReport:
    """Run a batch of units, one after the other; a unit that fails stops nothing.

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
    """
    worker, host = _announce(batch)
    staging = sealed.staging / f"{batch}-{uuid.uuid4().hex[:8]}"
    staging.mkdir(parents=True)  # the mark that the batch began, should it end this process
    ids = np.frombuffer(units, dtype="<i8").tolist()
    rows = np.zeros(len(ids), dtype=REPORT)
    rows["unit"], rows["attempt"] = ids, np.frombuffer(attempts, dtype="<u2")
    failures: list[Failure] = []
    made_records: list[tuple[int, str]] = []
    output: Output | None = None
    meter = Meter()
    try:
        bench = bench_for(sealed)
    except Exception as error:
        return _none_began(batch, rows, meter, error, worker, host)
    report = []
    with computing_here():
        for row, unit in enumerate(ids):
            meter.begin()
            outcome, read, written = COMPLETE, 0, 0
            try:
                made = run_unit(bench, unit, records[row] if records else {}, staging)
            except (Exception, SystemExit) as error:  # sys.exit() would end the worker
                outcome = _outcome(error)
                failures.append(_failure(row, error))
            else:
                read, written, output = made.bytes_read, made.bytes_written, made.output
                if made.record is not None:
                    made_records.append((row, made.record))
            report.append((outcome, *meter.end(), read, written))
    columns = REPORT.names[2:]  # type: ignore[index]
    for name, column in zip(columns, zip(*report, strict=True), strict=True):
        rows[name] = column
    staged = str(staging) if output is not None and output.kind in ("array", "table") else ""
    if not staged:
        shutil.rmtree(staging, ignore_errors=True)
    return BatchReport(
        batch, rows.tobytes(), staged, output, tuple(failures), tuple(made_records), worker, host
    )


def _none_began(
    batch: int, rows: np.ndarray, meter: Meter, error: Exception, worker: str, host: str
) -> BatchReport:
    """The report of a batch whose stage could not even be set up on this worker."""
    started, ended, cpu, peak = meter.end()
    rows["outcome"], rows["started"], rows["ended"] = _outcome(error), started, ended
    rows["cpu_s"], rows["peak_memory"] = cpu, peak
    failures = tuple(_failure(row, error) for row in range(len(rows)))
    return BatchReport(batch, rows.tobytes(), "", None, failures, (), worker, host)


def _announce(batch: int) -> tuple[str, str]:
    """Say that the batch has started; address and host of this worker."""
    import socket

    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:
        return "this process", socket.gethostname()
    worker.log_event(TOPIC, batch)
    return worker.address, socket.gethostname()


def _outcome(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return MEMORY
    return INPUT if isinstance(error, UnreadableInputError) else EXCEPTION


def _failure(row: int, error: BaseException) -> Failure:
    unreadable = isinstance(error, UnreadableInputError)
    shown = error.__cause__ if unreadable and error.__cause__ else error
    lines = traceback.TracebackException.from_exception(shown, max_group_depth=3)
    frames = lines.stack
    own = Path(__file__).parent
    while len(frames) > 1 and Path(frames[0].filename).parent == own:
        frames.pop(0)
    text = "".join(lines.format())
    return Failure(row, type(shown).__name__, str(error)[:2000], text[-20000:])


def check_order(payload: bytes) -> None:
    """Raise where a work order cannot be used on this worker: the preflight of a stage."""
    import cloudpickle

    cloudpickle.loads(payload)
