"""Telling the guardian of this process which commands run, so that none outlives the worker."""

import atexit
import contextlib
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latticework.stages import guardian


class _Guardian:
    """The guardian of the process, started with its first command."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._running: dict[str, int | None] = {}

    def note(self, tag: str, group: int | None = None) -> None:
        """A command is about to start, or has started as this process group."""
        with self._lock:
            self._running[tag] = group
            self._tell(_line(tag, group))

    def forget(self, tag: str) -> None:
        """A command has ended."""
        with self._lock:
            self._running.pop(tag, None)
            self._tell(f"- {tag}\n")

    def close(self) -> None:
        """The process ends: so does its guardian, when it has ended what runs still."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()
                process.wait(1.0)

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self._write(line)
                return
        self._start()
        self._write("".join(_line(tag, group) for tag, group in self._running.items()))

    def _write(self, text: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guardian.__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
        atexit.register(self.close)


def _line(tag: str, group: int | None) -> str:
    return f"+ {tag}\n" if group is None else f"= {tag} {group}\n"


_guardian = _Guardian()


@dataclass(slots=True)
class Guarded:
    """A command that does not outlive this process."""

    tag: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Marks its processes, in their environment."""

    @property
    def variables(self) -> dict[str, str]:
        """What its environment needs."""
        return {guardian.VARIABLE: self.tag}

    def started(self, group: int) -> None:
        """It runs, as this process group."""
        _guardian.note(self.tag, group)

    def processes(self) -> set[int]:
        """Its processes, also those that left its group, where the system tells."""
        return set(guardian.tagged({self.tag.encode()}))


@contextlib.contextmanager
def guarded() -> Iterator[Guarded]:
    """Have a command that is started inside end with this process, however that ends."""
    command = Guarded()
    _guardian.note(command.tag)
    try:
        yield command
    finally:
        _guardian.forget(command.tag)
