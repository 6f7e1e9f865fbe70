"""One program, run to its end: what it prints is kept, and it never outlives its unit."""

import contextlib
import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latticework.stages.failures import CommandError, printable
from latticework.stages.guardian import group_runs, signal_all
from latticework.stages.guarding import Guarded, guarded
from latticework.stages.running_units import RunningUnit

LOG_BYTES = 64 * 2**20
"""Most that is kept of what a program prints, for each of its two streams."""
TAIL_BYTES = 16384
"""How much of the end is kept of what prints more."""
GRACE_S = 5.0
"""Seconds from asking a program to end until it is killed."""
HUNG_S = 20.0
"""Seconds after which a program that was killed and is still there is given up."""
LINES = 20
"""Lines of its output in the message about a failure."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A program that has ended."""

    exit_code: int
    """Its exit code; minus the number of the signal that ended it."""
    last_lines: str
    """The last lines that it printed as errors; of its output where there are none."""


class Log:
    """What a program prints, in a file that can be read meanwhile; made with its first byte."""

    def __init__(self, path: Path, limit: int = LOG_BYTES) -> None:
        self.path, self.limit = path, limit
        self._size, self._left_out = 0, 0
        self._tail = b""
        self._file: Any = None

    def write(self, data: bytes) -> None:
        """Keep some more."""
        self._tail = (self._tail + data)[-TAIL_BYTES:]
        kept = data[: max(0, self.limit - self._size)]
        self._left_out += len(data) - len(kept)
        if not kept:
            return
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("wb", buffering=0)
        self._file.write(kept)
        self._size += len(kept)

    def close(self) -> None:
        """That was all: if it was too much, say so, and keep the end."""
        if self._file is None:
            return
        if self._left_out:
            tail = self._tail[-self._left_out :]
            gap = self._left_out - len(tail)
            note = f"\n[latticework left {gap:,} bytes out here: more than {self.limit:,} bytes]\n"
            self._file.write(note.encode() + tail)
        self._file.close()
        self._file = None

    @property
    def last_lines(self) -> str:
        """The last lines, as text."""
        lines = self._tail.decode("utf-8", "backslashreplace").rstrip().splitlines()
        return printable("\n".join(line.rstrip() for line in lines[-LINES:]))


class _Program:
    """A program while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], guard: Guarded, unit: RunningUnit) -> None:
        self.process, self.guard, self.unit = process, guard, unit
        self.asked: set[int] = set()
        self.kill_at: float | None = None
        self.killed = False

    def has_ended(self) -> bool:
        """Whether it has ended; what it cost is noted then."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.unit.cpu_s += usage.ru_utime + usage.ru_stime
                kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
                self.unit.peak_memory = max(self.unit.peak_memory, kilobytes * 1024)
        return self.process.returncode is not None

    def ask(self) -> None:
        """Ask it and all that it started to end."""
        first = self.kill_at is None
        if self.kill_at is None:
            self.kill_at = time.monotonic() + GRACE_S
        new = self.guard.processes() - self.asked
        signal_all(signal.SIGTERM, new, {self.process.pid} if first else set())
        self.asked |= new

    def kill(self) -> None:
        """Kill it and all that it started."""
        self.killed = True
        signal_all(signal.SIGKILL, self.guard.processes(), {self.process.pid})

    def press(self) -> None:
        """If it was asked to end: ask what it has started since, or kill it when that is due."""
        if self.kill_at is None:
            return
        if time.monotonic() >= self.kill_at:
            self.kill()
        else:
            self.ask()

    @property
    def hung(self) -> bool:
        """Whether it was killed in vain."""
        return self.kill_at is not None and time.monotonic() > self.kill_at + HUNG_S

    def end_rest(self) -> None:
        """End what a program that has ended left behind."""
        while self.kill_at is not None and not self.hung:
            left = self.guard.processes()
            if not left and not group_runs(self.process.pid):
                return
            self.press()
            time.sleep(0.02)
        if self.kill_at is None:  # it ended by itself: its background processes go at once
            signal_all(signal.SIGKILL, set(), {self.process.pid})


def run_process(
    argv: Sequence[str],
    *,
    cwd: Path | str,
    env: Mapping[str, str],
    out: Path,
    err: Path,
    unit: RunningUnit,
) -> Ended:
    """Run a program to its end, in a session of its own and without input.

    Parameters
    ----------
    argv
        The program and its arguments.
    cwd, env
        Its working folder and its environment.
    out, err
        Files for what it prints; not made if it prints nothing.
    unit
        The unit that it is run for: if that is ended, so is the program with all its children.

    Raises
    ------
    CommandError
        If it cannot be started.
    """
    logs = {"out": Log(out), "err": Log(err)}
    reading, writing = os.pipe()
    try:
        with (
            unit.stopped_by(lambda: _wake(writing)),
            guarded() as guard,
            selectors.DefaultSelector() as selector,
        ):
            process = _start(argv, cwd, {**env, **guard.variables})
            try:
                guard.started(process.pid)
                selector.register(reading, selectors.EVENT_READ, "stop")
                _follow(_Program(process, guard, unit), selector, logs)
            finally:
                _make_sure(process, guard)
    finally:
        for log in logs.values():
            log.close()
        os.close(reading)
        os.close(writing)
    if unit.ending is not None:
        raise unit.ending
    return Ended(process.returncode, logs["err"].last_lines or logs["out"].last_lines)


def _wake(pipe: int) -> None:
    with contextlib.suppress(OSError):
        os.write(pipe, b"!")


def _start(
    argv: Sequence[str], cwd: Path | str, env: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
    except (OSError, ValueError) as error:
        what = argv[0] if Path(cwd).is_dir() else f"its working folder {cwd}"
        remedy = "Install it where the workers run, give its full path, or set env={'PATH': ...}"
        if getattr(error, "errno", None) == errno.E2BIG:
            remedy = (
                "Give it {input_list} or {inputs_list}, a file that lists its inputs, instead of "
                "{input} or {inputs}"
            )
        raise CommandError(
            f"{argv[0]!r} could not be started on this worker: {what}: "
            f"{getattr(error, 'strerror', None) or error}. {remedy}"
        ) from error


def _follow(program: _Program, selector: selectors.BaseSelector, logs: Mapping[str, Log]) -> None:
    """Keep what the program prints until it has ended and its streams are closed."""
    process = program.process
    streams = {"out": process.stdout, "err": process.stderr}
    for name, stream in streams.items():
        assert stream is not None
        selector.register(stream, selectors.EVENT_READ, name)
    exit_fd = os.pidfd_open(process.pid) if hasattr(os, "pidfd_open") else None
    if exit_fd is not None:
        selector.register(exit_fd, selectors.EVENT_READ, "exit")
    open_streams, drained_by = set(streams), None
    try:
        while open_streams or drained_by is None:
            pressing = program.kill_at is not None or drained_by is not None or exit_fd is None
            for key, _ in selector.select(0.05 if pressing else None):
                if key.data == "stop":
                    selector.unregister(key.fileobj)
                    program.ask()
                elif key.data == "exit":
                    selector.unregister(key.fileobj)
                else:
                    data = os.read(key.fd, 65536)
                    if data:
                        logs[key.data].write(data)
                    else:
                        selector.unregister(key.fileobj)
                        open_streams.discard(key.data)
            program.press()
            if drained_by is None and program.has_ended():
                program.end_rest()
                drained_by = time.monotonic() + 1.0  # for what is in the pipes still
            if drained_by is not None and time.monotonic() > drained_by:
                return  # a process in a session of its own has them open
            if program.hung and drained_by is None:
                raise CommandError(f"process {process.pid} does not end, though it was killed")
    finally:
        for stream in streams.values():
            assert stream is not None
            stream.close()
        if exit_fd is not None:
            os.close(exit_fd)


def _make_sure(process: "subprocess.Popen[bytes]", guard: Guarded) -> None:
    """However that ended: the program does not run any more."""
    if process.poll() is None:
        signal_all(signal.SIGKILL, guard.processes(), {process.pid})
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
