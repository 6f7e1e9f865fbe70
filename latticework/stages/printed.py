"""What Python stages print, kept for each attempt; it still goes where it went before as well.

`sys.stdout` and `sys.stderr` are one for a whole process, in which several units may run. While
batches run, streams stand in their place that know for which unit a thread prints.
"""

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TextIO, cast

KEPT_BYTES = 64 * 2**10
"""How much of the end of what an attempt prints is kept, for each of its two streams."""
LINE_BYTES = 4096
"""A line that is not finished is written when it has as many bytes."""


class EndOfStream:
    r"""A file with the end of what is printed to one stream, up to date while it is printed.

    It is made with the first line, and has at most twice `KEPT_BYTES` at any time. A file that
    cannot be written is given up: a unit does not fail because it prints.

    Parameters
    ----------
    path
        The file.

    Examples
    --------
    >>> import tempfile
    >>> end = EndOfStream(Path(tempfile.mkdtemp()) / "logs" / "1.out")
    >>> end.write(b"one line\n" * 100_000)
    >>> end.close()
    >>> end.path.stat().st_size < KEPT_BYTES + 200
    True
    >>> end.path.read_text().splitlines()[0]
    '[latticework left 834,471 bytes out here: it keeps the last 65,536]'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept = bytearray()
        self._waiting = bytearray()
        self._left_out = 0
        self._file: Any = None
        self._closed = False

    def write(self, data: bytes) -> None:
        """Print some more."""
        self._waiting += data
        if b"\n" in data or len(self._waiting) > LINE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits for the end of its line."""
        data, self._waiting = self._waiting, bytearray()
        if not data or self._closed:
            return
        self._kept += data
        if len(self._kept) > 2 * KEPT_BYTES:
            self._shorten()
        else:
            self._put(data)

    def close(self) -> None:
        """That was all."""
        self.flush()
        if self._left_out and len(self._kept) > KEPT_BYTES:
            self._shorten()
        self._closed = True
        self._kept = bytearray()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _shorten(self) -> None:
        """Keep whole lines of the end, and say so."""
        start = len(self._kept) - KEPT_BYTES
        start = self._kept.find(b"\n", start - 1, start + LINE_BYTES) + 1 or start
        self._left_out += start
        del self._kept[:start]
        note = f"[latticework left {self._left_out:,} bytes out here: it keeps the last "
        self._put(f"{note}{KEPT_BYTES:,}]\n".encode() + self._kept, anew=True)

    def _put(self, data: bytes | bytearray, *, anew: bool = False) -> None:
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("wb", buffering=0)
            if anew:
                self._file.seek(0)
                self._file.truncate()
            self._file.write(data)
        except OSError:
            self._closed = True


class Printed:
    """What the attempts of a batch print, one after the other.

    An attempt that prints nothing costs nothing: there may be a hundred thousand of them a second.

    Parameters
    ----------
    path
        Gives the file for the attempt in a row and a stream, ``"out"`` or ``"err"``; asked when
        something is printed.
    """

    __slots__ = ("_ends", "_lock", "_over", "_path", "row")

    def __init__(self, path: Callable[[int, str], Path]) -> None:
        self._path = path
        self.row = 0
        """Of the attempt that runs now."""
        self._ends: dict[str, EndOfStream] = {}
        self._over = False
        self._lock = threading.RLock()  # a unit may be ended while it prints, and closes this yet

    def keep(self, stream: str, text: bytes) -> None:
        """Keep some more, from any thread; nothing after the batch."""
        with self._lock:
            if self._over or not text:
                return
            if stream not in self._ends:
                self._ends[stream] = EndOfStream(self._path(self.row, stream))
            self._ends[stream].write(text)

    def end(self) -> None:
        """The attempt has ended."""
        if self._ends:
            with self._lock:
                ends, self._ends = self._ends, {}
                for end in ends.values():
                    end.close()

    def close(self) -> None:
        """The batch has ended."""
        with self._lock:
            self._over = True
            self.end()


_printing: ContextVar[Printed | None] = ContextVar("latticework-printing", default=None)
_only: list[Printed] = []
"""The one batch of this process, where it has just one at a time and runs nothing else."""


def printing_here() -> Printed | None:
    """The batch for which this thread prints, if it does for one."""
    printed = _printing.get()
    return _only[-1] if printed is None and _only else printed


@contextlib.contextmanager
def kept_prints(printed: Printed, *, only: bool) -> Iterator[None]:
    """Inside, what this thread prints is that of a batch.

    Parameters
    ----------
    printed
        Where it is kept.
    only
        Whether what other threads print is its own as well, because nothing else runs here.
    """
    token = _printing.set(printed)
    if only:
        _only.append(printed)
    try:
        yield
    finally:
        _printing.reset(token)
        if only:
            _only.remove(printed)
        printed.close()


class PrintedStream:
    """Stands in the place of `sys.stdout` or `sys.stderr`, passes all on, and keeps it.

    Parameters
    ----------
    name
        ``"out"`` or ``"err"``.
    stream
        What was in that place.
    """

    def __init__(self, name: str, stream: TextIO | None) -> None:
        self.name_of_stream, self.stream = name, stream

    def write(self, text: str) -> int:
        """Print some text."""
        printed = printing_here()
        if printed is not None and isinstance(text, str):
            printed.keep(self.name_of_stream, text.encode("utf-8", "backslashreplace"))
        return len(text) if self.stream is None else self.stream.write(text)

    def writelines(self, lines: Any) -> None:
        """Print some texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Pass on what waits."""
        if self.stream is not None:
            self.stream.flush()

    @property
    def buffer(self) -> "PrintedBytes":
        """The same for bytes."""
        return PrintedBytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class PrintedBytes:
    """The buffer of a `PrintedStream`."""

    def __init__(self, text: PrintedStream) -> None:
        self.text, self.stream = text, cast("Any", text.stream).buffer

    def write(self, data: Any) -> int:
        """Print some bytes."""
        printed = printing_here()
        if printed is not None:
            printed.keep(self.text.name_of_stream, bytes(data))
        return int(self.stream.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


_places = {"stdout": "out", "stderr": "err"}
_lock = threading.Lock()
_batches: list[object] = []
"""The batches that run in this process."""


@contextlib.contextmanager
def prints_kept_here() -> Iterator[None]:
    """Inside, and in all threads of this process meanwhile, what attempts print is kept."""
    batch = object()
    with _lock:
        _batches.append(batch)
        for place, name in _places.items():
            stream = getattr(sys, place)
            if not isinstance(stream, PrintedStream):
                setattr(sys, place, PrintedStream(name, stream))
    try:
        yield
    finally:
        with _lock:
            _batches.remove(batch)
            for place in () if _batches else _places:
                stream = getattr(sys, place)
                if isinstance(stream, PrintedStream):  # others may have put theirs there
                    setattr(sys, place, stream.stream)


__all__ = ["KEPT_BYTES", "EndOfStream", "Printed", "kept_prints", "prints_kept_here"]
