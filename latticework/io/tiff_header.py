"""What a TIFF file holds, from its directories alone: sizes, types, pages, and whether it is whole.

tifffile reads every variant there is, and takes some milliseconds to look at one file. An
acquisition of 100,000 planes needs its directories read in seconds, so the few tags that say where
the pixels lie are parsed here; decoding is left to the codecs (`latticework.io.tiff`).
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from latticework.errors import SourceError

HEAD_BYTES = 8192
"""Read at once from the beginning of a file; most directories lie there."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SIZES |= {16: 8, 17: 8, 18: 8}
_INTEGERS = {
    1: "u1",
    3: "u2",
    4: "u4",
    6: "i1",
    8: "i2",
    9: "i4",
    13: "u4",
    16: "u8",
    17: "i8",
    18: "u8",
}
_KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}


@dataclass(frozen=True, slots=True)
class TiffPage:
    """Where the pixels of one page lie and how they are packed."""

    width: int
    """Pixels along x."""
    length: int
    """Pixels along y."""
    samples: int
    """Values per pixel: 1, or 3 for RGB."""
    planar: bool
    """Whether each sample has its own segments."""
    dtype: np.dtype
    """As in the file, byte order included."""
    compression: int
    """TIFF's number of the codec; 1 is none."""
    predictor: int
    """1 none, 2 horizontal differences, 3 floating point."""
    fill_order: int
    """1 usual, 2 bits reversed."""
    segment: tuple[int, int]
    """Rows and columns of a strip or tile."""
    tiled: bool
    """Whether segments are tiles (padded at the edges) or strips."""
    offsets: np.ndarray
    """First byte of every segment."""
    counts: np.ndarray
    """Bytes of every segment."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of an unpacked segment."""
        return self.segment[1] * self.dtype.itemsize * (1 if self.planar else self.samples)

    @property
    def page_bytes(self) -> int:
        """Bytes of the whole page, unpacked."""
        return self.width * self.length * self.samples * self.dtype.itemsize

    @property
    def end(self) -> int:
        """One past the last byte that any segment claims."""
        return int((self.offsets + self.counts).max()) if self.offsets.size else 0

    def shifted(self, by: int) -> "TiffPage":
        """The page that lies so many bytes further on (ImageJ's big stacks have one directory)."""
        return replace(self, offsets=self.offsets + by)


@dataclass(frozen=True, slots=True)
class TiffTags:
    """The tags of a first page that say more than where the pixels lie."""

    description: str
    """ImageDescription: OME-XML, ImageJ, MetaMorph XML or anything else."""
    software: str
    """Program that wrote the file."""
    resolution: tuple[float, float, int]
    """Pixels per unit along x and y, and the unit: 1 none, 2 inch, 3 centimetre."""


class TiffReader:
    """Directories of one open TIFF file.

    Parameters
    ----------
    handle
        The file, opened for binary reading and unbuffered.
    path
        Its name, for messages.
    """

    def __init__(self, handle: BinaryIO, path: Path) -> None:
        self.handle = handle
        self.path = path
        self.size = os.fstat(handle.fileno()).st_size
        self.bytes_read = 0
        self._head = self._read(0, min(HEAD_BYTES, self.size))
        if self.size == 0:
            raise self._error("is empty (0 bytes)", "a TIFF file", "copy or acquire it again")
        order = {b"II": "<", b"MM": ">"}.get(self._head[:2])
        version = struct.unpack(f"{order}H", self._head[2:4])[0] if order and self.size >= 16 else 0
        if order is None or version not in (42, 43):
            found = f"begins with {self._head[:4]!r} and has {self.size:,} bytes"
            hint = "exclude it with files=..., or acquire it again"
            raise self._error(found, "a TIFF header (II* or MM*)", hint)
        self.order, self.big = order, version == 43
        self.first = struct.unpack(
            order + ("Q" if self.big else "I"), self._head[8:16] if self.big else self._head[4:8]
        )[0]

    def _error(self, found: str, expected: str, remedy: str) -> SourceError:
        return SourceError(f"{self.path} {found}; expected {expected}: {remedy}", self.path)

    def _read(self, offset: int, count: int) -> bytes:
        self.handle.seek(offset)
        data = self.handle.read(count)
        self.bytes_read += len(data)
        return data

    def _at(self, offset: int, count: int, what: str) -> bytes:
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        if offset + count > self.size:
            raise self._error(
                f"is truncated: {self.size:,} bytes, but {what} ends at byte {offset + count:,}",
                "a whole file",
                "copy or acquire it again",
            )
        return self._read(offset, count)

    def directories(self) -> Iterator[tuple[int, bool]]:
        """Offset of every directory in turn, and whether it is a reduced copy (thumbnail)."""
        offset, seen = self.first, set()
        counter, entry = ("Q", 20) if self.big else ("H", 12)
        pointer = "Q" if self.big else "I"
        head = struct.calcsize(counter)
        while offset:
            if offset in seen:
                raise self._error(
                    "has directories in a circle", "a chain of pages", "write it again"
                )
            seen.add(offset)
            what = f"the directory of page {len(seen) - 1}"
            n = struct.unpack(self.order + counter, self._at(offset, head, what))[0]
            end = struct.calcsize(pointer)
            body = self._at(offset + head, n * entry + end, what)
            reduced = False
            if n and struct.unpack(self.order + "H", body[:2])[0] == 254:
                reduced = bool(self._integers(body[:entry], what)[0] & 1)
            yield offset, reduced
            offset = struct.unpack(self.order + pointer, body[-end:])[0]

    def _value(self, entry: bytes, what: str) -> tuple[int, bytes]:
        kind, count = struct.unpack(
            self.order + ("HQ" if self.big else "HI"), entry[2 : 12 if self.big else 8]
        )
        inline = entry[12:] if self.big else entry[8:]
        size = _SIZES.get(kind, 1) * count
        if size <= len(inline):
            return kind, inline[:size]
        offset = struct.unpack(self.order + ("Q" if self.big else "I"), inline)[0]
        return kind, self._at(offset, size, what)

    def _integers(self, entry: bytes, what: str) -> np.ndarray:
        kind, raw = self._value(entry, what)
        if kind not in _INTEGERS or not raw:
            found = f"has a tag of type {kind} and {len(raw)} bytes in {what}"
            raise self._error(found, "whole numbers", "write it again")
        return np.frombuffer(raw, self.order + _INTEGERS[kind]).astype(np.int64)

    def _entries(self, offset: int, what: str) -> dict[int, bytes]:
        counter, size = ("Q", 20) if self.big else ("H", 12)
        head = struct.calcsize(counter)
        n = struct.unpack(self.order + counter, self._at(offset, head, what))[0]
        body = self._at(offset + head, n * size, what)
        entries = [body[i * size : (i + 1) * size] for i in range(n)]
        return {struct.unpack(self.order + "H", entry[:2])[0]: entry for entry in entries}

    def page(self, offset: int, number: int = 0) -> TiffPage:
        """Layout of the page whose directory lies at `offset`."""
        what = f"the directory of page {number}"
        entries = self._entries(offset, what)

        def first(tag: int, default: int) -> int:
            return int(self._integers(entries[tag], what)[0]) if tag in entries else default

        if 256 not in entries or 257 not in entries:
            raise self._error(
                f"has no image size in {what}", "ImageWidth and ImageLength", "write it again"
            )
        width, length, samples = first(256, 0), first(257, 0), first(277, 1)
        bits = set(self._integers(entries[258], what).tolist()) if 258 in entries else {1}
        kind, depth = _KINDS.get(first(339, 1), ""), next(iter(bits))
        if len(bits) > 1 or not kind or (kind, depth) not in _PIXEL_TYPES:
            raise self._error(
                f"has pixels of {sorted(bits)} bits, sample format {first(339, 1)}",
                "integers of 8 to 64 bits or floats of 16 to 64",
                "convert it first",
            )
        tiled = 322 in entries
        offset_tag, count_tag = (324, 325) if tiled else (273, 279)
        if offset_tag not in entries:
            raise self._error(f"has no pixels in {what}", "strips or tiles", "write it again")
        rows = first(323, 0) if tiled else min(first(278, length), length)
        segment = (max(rows, 1), first(322, 0) if tiled else width)
        offsets = self._integers(entries[offset_tag], what)
        planar = first(284, 1) == 2 and samples > 1
        page = TiffPage(
            width, length, samples, planar,
            np.dtype(f"{self.order}{kind}{depth // 8}"),
            first(259, 1), first(317, 1), first(266, 1), segment, tiled, offsets, offsets,
        )  # fmt: skip
        if count_tag in entries:
            counts = self._integers(entries[count_tag], what)
        else:
            counts = np.full(len(offsets), segment[0] * page.row_bytes, np.int64)
        expected = _segment_count(page)
        if len(offsets) < expected or len(counts) < expected:
            raise self._error(
                f"lists {len(offsets)} segments in {what}", f"{expected}", "write it again"
            )
        if width < 1 or length < 1 or samples < 1 or min(offsets.min(), counts.min()) < 0:
            found = f"has {length} x {width} pixels of {samples} samples in {what}"
            raise self._error(found, "at least one pixel at a place in the file", "write it again")
        return replace(page, counts=counts)

    def tags(self, offset: int) -> TiffTags:
        """Description, software and resolution of the page at `offset`."""
        what = "the directory of page 0"
        entries = self._entries(offset, what)

        def text(tag: int) -> str:
            raw = self._value(entries[tag], what)[1] if tag in entries else b""
            raw = raw.rstrip(b"\0")
            try:
                return raw.decode("utf-8")
            except UnicodeDecodeError:
                return raw.decode("latin-1")

        def ratio(tag: int) -> float:
            raw = self._value(entries[tag], what)[1] if tag in entries else b""
            a, b = struct.unpack(self.order + "2I", raw) if len(raw) == 8 else (0, 1)
            return a / b if b else 0.0

        unit = int(self._integers(entries[296], what)[0]) if 296 in entries else 2
        return TiffTags(text(270), text(305), (ratio(282), ratio(283), unit))

    def check_whole(self, page: TiffPage, number: int) -> None:
        """Raise `SourceError` where a page claims bytes beyond the end of the file."""
        if page.end > self.size:
            raise self._error(
                f"is truncated: {self.size:,} bytes, but page {number} ends at byte {page.end:,}",
                "a whole file",
                "copy or acquire it again",
            )


_PIXEL_TYPES = {("u", 8), ("u", 16), ("u", 32), ("u", 64), ("i", 8), ("i", 16), ("i", 32)}
_PIXEL_TYPES |= {("i", 64), ("f", 16), ("f", 32), ("f", 64)}


def _segment_count(page: TiffPage) -> int:
    rows, columns = page.segment
    count = -(-page.length // rows) * -(-page.width // max(columns, 1))
    return count * (page.samples if page.planar else 1)
