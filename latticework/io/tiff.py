"""Parts of TIFF pages: only the strips, tiles and rows that a box touches are read."""

import importlib
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

import numpy as np

from latticework.errors import SourceError
from latticework.io.tiff_header import TiffPage, TiffReader

T = TypeVar("T")

_CODECS = {
    5: "lzw",
    8: "zlib",
    32946: "zlib",
    32773: "packbits",
    50000: "zstd",
    34926: "zstd",
    34925: "lzma",
}
"""Codecs decoded here; all others through tifffile's own segment decoder."""


class Recent(Generic[T]):
    """The most recently used values, at most so many; safe between threads.

    Examples
    --------
    >>> recent = Recent[int](2)
    >>> [recent.get(key, lambda: len(key)) for key in ("a", "bc", "a")]
    [1, 2, 1]
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._values: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Value of `key`, made where it is not held."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = make()
        with self._lock:
            self._values[key] = value
            while len(self._values) > self.limit:
                self._values.popitem(last=False)
        return value


@dataclass(slots=True)
class ByteCount:
    """Bytes read so far, counted across threads."""

    total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, count: int) -> None:
        """Count some more."""
        with self._lock:
            self.total += count

    def __reduce__(self) -> tuple[type, tuple[int]]:
        return type(self), (self.total,)


_chains: Recent[np.ndarray] = Recent(256)
_pages: Recent[TiffPage] = Recent(2048)
_slow_pages: Recent[Any] = Recent(32)


class TiffFile:
    """One TIFF file, open for reading parts of its pages.

    Parameters
    ----------
    path
        The file.
    count
        Where to count the bytes read.

    Examples
    --------
    >>> import tempfile, tifffile
    >>> path = Path(tempfile.mkdtemp()) / "plane.tif"
    >>> tifffile.imwrite(path, np.arange(12, dtype="u2").reshape(3, 4))
    >>> with TiffFile(path) as file:
    ...     file.read(0, (1, 3), (2, 4))
    array([[[ 6,  7],
            [10, 11]]], dtype=uint16)
    """

    def __init__(self, path: Path, count: ByteCount | None = None) -> None:
        self.path = path
        self.count = count or ByteCount()
        try:
            self._handle: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise SourceError(
                f"cannot open {path}: {error.strerror or error}; expected the TIFF file that was "
                "there "
                "when the acquisition was opened: restore it or open the acquisition again",
                path,
            ) from error
        self._reader: TiffReader | None = None
        stat = os.fstat(self._handle.fileno())
        self._key = (str(path), stat.st_size, stat.st_mtime_ns)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handle.close()

    def _open(self) -> TiffReader:
        if self._reader is None:
            self._reader = TiffReader(self._handle, self.path)
            self.count.add(self._reader.bytes_read)
        return self._reader

    def page(self, number: int) -> TiffPage:
        """Layout of page `number`."""
        return _pages.get((*self._key, number), lambda: self._find(number))

    def _find(self, number: int) -> TiffPage:
        offsets = _chains.get(
            self._key,
            lambda: np.array(
                [at for at, small in self._open().directories() if not small], np.int64
            ),
        )
        if number < len(offsets):
            page = self._open().page(int(offsets[number]), number)
            self._open().check_whole(page, number)
            return page
        first = self._open().page(int(offsets[0]))
        if len(offsets) == 1 and first.compression == 1:
            # An ImageJ stack above 4 GB: one directory, many planes.
            return contiguous(first).shifted(number * first.page_bytes)
        raise SourceError(
            f"{self.path} has {len(offsets)} pages; expected page {number}: the file changed or is "
            "truncated; open the acquisition again",
            self.path,
        )

    def read(self, number: int, y: tuple[int, int], x: tuple[int, int]) -> np.ndarray:
        """Pixels of a page in rows `y` and columns `x` (half-open), shape (samples, y, x)."""
        page = self.page(number)
        out = np.empty((page.samples, y[1] - y[0], x[1] - x[0]), page.dtype.newbyteorder("="))
        if out.size == 0:
            return out
        rows, columns = page.segment
        across, down = -(-page.width // columns), -(-page.length // rows)
        planes = page.samples if page.planar else 1
        for plane in range(planes):
            part = out[plane : plane + 1] if page.planar else out
            for i in range(y[0] // rows, -(-y[1] // rows)):
                for j in range(x[0] // columns, -(-x[1] // columns)):
                    self._fill(part, page, (plane * down + i) * across + j, (i, j), (y, x), number)
        return out

    def _fill(
        self,
        out: np.ndarray,
        page: TiffPage,
        segment: int,
        at: tuple[int, int],
        box: tuple[tuple[int, int], tuple[int, int]],
        number: int,
    ) -> None:
        (y0, y1), (x0, x1) = box
        top, left = at[0] * page.segment[0], at[1] * page.segment[1]
        height = page.segment[0] if page.tiled else min(page.segment[0], page.length - top)
        rows = max(y0 - top, 0), min(y1 - top, height)
        columns = max(x0 - left, 0), min(x1 - left, page.segment[1])
        offset, nbytes = int(page.offsets[segment]), int(page.counts[segment])
        if nbytes == 0:  # sparse files leave out empty segments
            pixels = np.zeros((rows[1] - rows[0], columns[1] - columns[0], len(out)), page.dtype)
        elif page.compression == 1 and page.fill_order == 1 and page.predictor == 1:
            pixels = self._rows(page, offset, rows, columns)
        else:
            data = self._bytes(offset, nbytes)
            whole = self._decode(page, data, segment, height, number)
            pixels = whole[rows[0] : rows[1], columns[0] : columns[1]]
        target = out[
            :,
            top + rows[0] - y0 : top + rows[1] - y0,
            left + columns[0] - x0 : left + columns[1] - x0,
        ]
        target[...] = np.moveaxis(pixels, -1, 0)

    def _rows(
        self, page: TiffPage, offset: int, rows: tuple[int, int], columns: tuple[int, int]
    ) -> np.ndarray:
        samples = 1 if page.planar else page.samples
        pixel = page.dtype.itemsize * samples
        n, width = rows[1] - rows[0], columns[1] - columns[0]
        if page.row_bytes <= 4096 or width * 2 >= page.segment[1]:  # whole rows: one read
            data = self._bytes(offset + rows[0] * page.row_bytes, n * page.row_bytes)
            pixels = np.frombuffer(data, page.dtype).reshape(n, page.segment[1], samples)
            return pixels[:, columns[0] : columns[1]]
        start = offset + columns[0] * pixel
        parts = [self._bytes(start + row * page.row_bytes, width * pixel) for row in range(*rows)]
        return np.frombuffer(b"".join(parts), page.dtype).reshape(n, width, samples)

    def _bytes(self, offset: int, nbytes: int) -> bytes:
        self._handle.seek(offset)
        data = self._handle.read(nbytes)
        self.count.add(len(data))
        while len(data) < nbytes:
            more = self._handle.read(nbytes - len(data))
            if not more:
                raise SourceError(
                    f"{self.path} is truncated: {self._key[1]:,} bytes; expected pixels up to byte "
                    f"{offset + nbytes:,}: copy or acquire the file again",
                    self.path,
                )
            self.count.add(len(more))
            data += more
        return data

    def _decode(
        self, page: TiffPage, data: bytes, segment: int, height: int, number: int
    ) -> np.ndarray:
        samples = 1 if page.planar else page.samples
        shape = (height, page.segment[1], samples)
        try:
            if (page.compression not in _CODECS and page.compression != 1) or page.fill_order != 1:
                return self._decode_slowly(number, data, segment)
            raw = _decompress(page.compression, data, height * page.row_bytes)
            return _unpredict(raw, page, shape)
        except SourceError:
            raise
        except Exception as error:
            raise SourceError(
                f"{self.path} has a damaged segment {segment} in page {number} "
                f"({type(error).__name__}: {error}); expected {shape[0]} x {shape[1]} pixels of "
                f"{page.dtype}, compression {page.compression}: copy or acquire the file again",
                self.path,
            ) from error

    def _decode_slowly(self, number: int, data: bytes, segment: int) -> np.ndarray:
        import tifffile

        def load() -> Any:
            with tifffile.TiffFile(self.path) as file:
                pages = [page for page in file.pages if not getattr(page, "is_reduced", False)]
                page = pages[number].aspage()
                return page.decode, page.jpegtables  # made while the file is open

        decode, tables = _slow_pages.get((*self._key, number), load)
        pixels: np.ndarray = np.asarray(decode(data, segment, jpegtables=tables)[0])[0]
        return pixels


def contiguous(page: TiffPage) -> TiffPage:
    """The page seen as one strip: what ImageJ's stacks with a single directory repeat."""
    end = np.array([page.page_bytes], np.int64)
    return replace(page, segment=(page.length, page.width), offsets=page.offsets[:1], counts=end)


def _decompress(compression: int, data: bytes, size: int) -> bytes | np.ndarray:
    codec = _CODECS.get(compression)
    if codec is None:
        return data
    try:
        codecs = importlib.import_module("imagecodecs")
    except ImportError:
        if codec == "zlib":
            return zlib.decompress(data)
        raise SourceError(
            f"TIFF compression {compression} ({codec}) needs imagecodecs: pip install imagecodecs"
        ) from None
    decoded: bytes | np.ndarray = getattr(codecs, f"{codec}_decode")(data, out=size)
    return decoded


def _unpredict(raw: bytes | np.ndarray, page: TiffPage, shape: tuple[int, int, int]) -> np.ndarray:
    if page.predictor == 3:
        import imagecodecs

        flat = np.frombuffer(raw, np.uint8, count=shape[0] * page.row_bytes).reshape(shape[0], -1)
        pixels = flat.copy().view(page.dtype).reshape(shape)
        decoded: np.ndarray = imagecodecs.floatpred_decode(pixels, axis=-2, dist=1)
        return decoded
    pixels = np.frombuffer(raw, page.dtype, count=shape[0] * shape[1] * shape[2]).reshape(shape)
    if page.predictor == 2:
        native = page.dtype.newbyteorder("=")
        return np.cumsum(pixels.astype(native, copy=False), axis=1, dtype=native)
    return pixels
