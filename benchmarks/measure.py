"""The harness: a process of its own for each measurement, systems taking turns, medians."""

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.memory import TreeSampler

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class MeasurementError(RuntimeError):
    """A measured process failed or took too long; the message ends with its last words."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A system and the function that measures it."""

    system: str
    #: as printed in the table
    target: str
    #: "package.module:function", called as ``function(scratch, watch, **arguments)``
    arguments: Mapping[str, object] = field(default_factory=dict)
    #: anything that JSON can carry


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one contestant."""

    seconds: float
    #: length of the window that the function marked
    peak_bytes: float
    #: of the sum over the process tree, within the window
    largest_bytes: float
    #: of the largest process of the tree, within the window
    idle_bytes: float
    #: of the tree just before the window
    figures: Mapping[str, float]
    #: what else the function returned


@dataclass(frozen=True, slots=True)
class Standing:
    """All repeats of one contestant, or why there are none."""

    contestant: Contestant
    runs: Sequence[Measurement]
    problem: str | None = None

    def median(self, figure: str) -> float:
        """Median over the repeats of an attribute of `Measurement` or of one of its figures.

        Examples
        --------
        >>> runs = [Measurement(s, 0, 0, 0, {"read": 2 * s}) for s in (1.0, 5.0, 2.0)]
        >>> standing = Standing(Contestant("ours", "m:f"), runs)
        >>> standing.median("seconds"), standing.median("read")
        (2.0, 4.0)
        """
        values = [
            run.figures.get(figure, float("nan"))
            if figure in run.figures or not hasattr(run, figure)
            else float(getattr(run, figure))
            for run in self.runs
        ]
        return statistics.median(values) if values else float("nan")

    def spread(self, figure: str = "seconds") -> tuple[float, float]:
        """Smallest and largest value over the repeats."""
        values = [float(getattr(run, figure)) for run in self.runs] or [float("nan")]
        return min(values), max(values)


def measure(contestant: Contestant, scratch: Path, *, timeout_s: float = 900.0) -> Measurement:
    """One run of a contestant in a fresh interpreter, in an empty folder below `scratch`.

    Raises
    ------
    MeasurementError
        With the end of what the process wrote to its standard error.
    """
    folder = Path(tempfile.mkdtemp(prefix="run_", dir=scratch))
    result = folder / "result.json"
    request = {
        "target": contestant.target,
        "arguments": dict(contestant.arguments),
        "scratch": str(folder),
        "result": str(result),
    }
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    words = folder / "stderr.txt"
    try:
        with words.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", json.dumps(request)],
                env={**os.environ, **ONE_THREAD, "PYTHONPATH": path},
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            sampler = TreeSampler(process.pid)
            sampler.start()
            try:
                code = process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # with its workers
                process.wait()
                message = f"{contestant.system}: not finished after {timeout_s:.0f} s"
                raise MeasurementError(message) from None
            finally:
                sampler.stop()
        if code or not result.exists():
            last = words.read_text(errors="replace").strip()[-2000:]
            raise MeasurementError(f"{contestant.system}: exit code {code}\n{last}")
        found = json.loads(result.read_text())
        peak = sampler.peak(found["begin"], found["end"])
        return Measurement(
            found["end"] - found["begin"],
            peak.total_bytes,
            peak.largest_bytes,
            peak.idle_bytes,
            found["figures"],
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def contest(
    contestants: Sequence[Contestant],
    scratch: Path,
    *,
    repeats: int = 3,
    timeout_s: float = 900.0,
    say: Callable[[str], None] = print,
) -> list[Standing]:
    """Let the contestants take turns, `repeats` times; one that fails once is out.

    The order turns round in every second repeat, so that nobody always follows the same
    neighbour (whose dirty pages are still being written).
    """
    runs: dict[int, list[Measurement]] = {k: [] for k in range(len(contestants))}
    problems: dict[int, str] = {}
    for repeat in range(repeats):
        order = list(range(len(contestants)))
        for k in order if repeat % 2 == 0 else reversed(order):
            if k in problems:
                continue
            try:
                run = measure(contestants[k], scratch, timeout_s=timeout_s)
            except MeasurementError as error:
                problems[k] = str(error)
                say(f"  {error}")
                continue
            runs[k].append(run)
            say(f"  {repeat + 1}/{repeats} {contestants[k].system}: {run.seconds:.3g} s")
    return [Standing(c, runs[k], problems.get(k)) for k, c in enumerate(contestants)]
