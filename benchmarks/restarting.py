"""How long it takes from the end of a run by ``kill -9`` until the next one does new work.

``python -m benchmarks.restarting SYSTEM FOLDER TILES`` is what is killed, and started again.
"""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.clock import Stopwatch

MARK = "BENCHMARKS_FIRST_UNIT"
"""Environment variable: the file that the first unit of a run makes."""
PATIENCE_S = 600.0

_marked = False


def marked(_unit: object) -> None:
    """The no-op; the first one of a run leaves a file."""
    global _marked  # noqa: PLW0603  once in each process
    if not _marked:
        _marked = True
        Path(os.environ[MARK]).touch()


def restart(
    scratch: Path, watch: Stopwatch, *, system: str, tiles: int, run_s: float
) -> dict[str, float]:
    """Run `system` for a while, kill all of its processes, and time until its units run again."""
    first = _start(system, scratch, tiles, scratch / "first")
    try:
        _wait_for(scratch / "first", first)
        time.sleep(run_s)
        assert first.poll() is None, f"{tiles:,} units were done before it could be killed"
    finally:
        kill_family(first)
    with watch:
        second = _start(system, scratch, tiles, scratch / "second")
        try:
            _wait_for(scratch / "second", second)
        finally:
            begun = time.monotonic()
    kill_family(second)
    return {"again_s": begun - watch.begin}


def _start(system: str, folder: Path, tiles: int, mark: Path) -> "subprocess.Popen[bytes]":
    words = mark.with_suffix(".txt").open("wb")
    with words:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.restarting", system, str(folder), str(tiles)],
            env={**os.environ, MARK: str(mark)},
            stdout=words,
            stderr=words,
            start_new_session=True,
        )


def _wait_for(mark: Path, process: "subprocess.Popen[bytes]") -> None:
    limit = time.monotonic() + PATIENCE_S
    while not mark.exists():
        if process.poll() is not None or time.monotonic() > limit:
            raise RuntimeError(mark.with_suffix(".txt").read_text(errors="replace")[-2000:])
        time.sleep(0.005)


def kill_family(process: "subprocess.Popen[bytes]") -> None:
    """End it at once, with all that it started, wherever those have their sessions."""
    import psutil

    family = [psutil.Process(process.pid)] if process.poll() is None else []
    family += [child for one in family for child in one.children(recursive=True)]
    for one in family:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


# ------------------------------------------------------------------ what is killed


def run_latticework(folder: Path, tiles: int) -> None:
    """The project of that folder, new or as it was left."""
    import latticework as lw
    from benchmarks.ours import project_of

    path = folder / "killed.lw"
    project = lw.open_project(path) if path.exists() else project_of(path, tiles, marked)
    project.run(lw.local(2), progress="none")


def run_daisy(folder: Path, tiles: int) -> None:
    """The same with daisy's tracking of finished blocks."""
    from benchmarks.peers_daisy import run_blocks

    run_blocks(folder, tiles, marked)


SYSTEMS = {"latticework": run_latticework, "daisy": run_daisy}

if __name__ == "__main__":
    systems = importlib.import_module("benchmarks.restarting").SYSTEMS  # workers find it, too
    systems[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
