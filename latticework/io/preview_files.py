"""Files of previews that wait to be put into the array: one after the other, each with its facts.

A worker appends the preview of every tile that it makes to one such file for the whole batch, and
a process that looks those that it makes itself. Nothing of a file that was cut off counts but what
is whole::

    ┌──────┬──────────┬───────┬────────┬─────┐┌──────┬───
    │ head │ contrast │ small │ pixels │ CRC ││ head │ ...
    └──────┴──────────┴───────┴────────┴─────┘└──────┴───
      which unit, of which attempt; pixels as the chunk that will be in the array
"""

import contextlib
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import google_crc32c
import numcodecs
import numpy as np

from latticework.io.preview_layout import PreviewLayout, blosc_options

HEAD = struct.Struct("<4sIqQII")
"""Mark, key of the layout, unit, stamp, bytes of contrast and small picture, bytes of pixels."""
MARK = b"LWp1"
AT_ONCE = 2**18
"""Bytes that are written at once."""
FACTS = np.dtype(
    [
        *(("unit", "i8"), ("stamp", "u8"), ("start", "i8")),
        *(("facts", "i8"), ("pixels", "i8")),
    ]
)
"""Rows of `scan`: where the contrast begins, its bytes with the small picture, the pixels'."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What there is to keep of a tile."""

    pixels: np.ndarray
    """Dims (c, y, x), in the layout's dtype and size."""
    small: np.ndarray
    """The same with few pixels."""
    contrast: np.ndarray
    """Float64 of dims (c, bound): percentiles of the pixels; NaN where there are none."""


def encoded(pixels: np.ndarray) -> bytes:
    """Pixels as the bytes of a chunk, with their checksum."""
    options = blosc_options(pixels.dtype)
    codec = numcodecs.Blosc(options["cname"], options["clevel"], numcodecs.Blosc.BITSHUFFLE)
    content = codec.encode(np.ascontiguousarray(pixels))
    return bytes(content) + struct.pack("<I", google_crc32c.value(bytes(content)))


def decoded(chunk: bytes, layout: PreviewLayout) -> np.ndarray | None:
    """Pixels of a chunk; None where it is damaged."""
    content, tail = chunk[:-4], chunk[-4:]
    if len(tail) < 4 or struct.unpack("<I", tail)[0] != google_crc32c.value(content):
        return None
    pixels = np.frombuffer(numcodecs.Blosc().decode(content), layout.dtype)
    return pixels.reshape(layout.shape) if pixels.nbytes == layout.nbytes else None


def record_of(layout: PreviewLayout, unit: int, stamp: int, preview: Preview) -> bytes:
    """A preview as it stands in a file."""
    chunk = encoded(preview.pixels)
    facts = preview.contrast.astype("<f8").tobytes() + preview.small.tobytes()
    head = HEAD.pack(MARK, layout.key, unit, stamp, len(facts), len(chunk))
    return head + facts + chunk + struct.pack("<I", google_crc32c.value(head + facts))


class PreviewWriter:
    """Appends previews to a file, which is made with the first one.

    Examples
    --------
    >>> import tempfile
    >>> layout = PreviewLayout.of("uint8", ("y", "x"), (4, 4))
    >>> picture = np.arange(16, dtype="u1").reshape(1, 4, 4)
    >>> file = Path(tempfile.mkdtemp()) / "batch"
    >>> with PreviewWriter(file, layout) as writer:
    ...     writer.add(7, 1, Preview(picture, picture, np.array([[0.0, 15.0]])))
    >>> scan(file, layout)["unit"].tolist()
    [7]
    """

    def __init__(self, path: Path, layout: PreviewLayout) -> None:
        self.path, self.layout = path, layout
        self._records: list[bytes] = []
        self._bytes = 0

    def add(self, unit: int, stamp: int, preview: Preview) -> None:
        """Append the preview of a unit."""
        self._records.append(record_of(self.layout, unit, stamp, preview))
        self._bytes += len(self._records[-1])
        if self._bytes >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        content, self._records, self._bytes = b"".join(self._records), [], 0
        if not content:
            return
        try:
            file = self.path.open("ab", buffering=0)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("ab", buffering=0)
        with file:
            file.write(content)

    def close(self) -> None:
        """Write what was added, if that can be done."""
        with contextlib.suppress(OSError):
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def scan(path: Path, layout: PreviewLayout) -> np.ndarray:
    """`FACTS` of what is whole of a file, in its order; OSError if it is gone."""
    content = path.read_bytes()
    rows, at, key = [], 0, layout.key
    contrast = layout.channels * 16
    facts_bytes = contrast + int(np.prod(layout.small_shape)) * np.dtype(layout.dtype).itemsize
    while at + HEAD.size <= len(content):
        mark, of, unit, stamp, n_facts, n_pixels = HEAD.unpack_from(content, at)
        start = at + HEAD.size
        end = start + n_facts + n_pixels
        if mark != MARK or end + 4 > len(content):
            break
        (checksum,) = struct.unpack_from("<I", content, end)
        if checksum != google_crc32c.value(content[at : start + n_facts]):
            break
        if of == key and n_facts == facts_bytes and unit >= 0:
            rows.append((unit, stamp, start, n_facts, n_pixels))
        at = end + 4
    return np.array(rows, dtype=FACTS)


def facts_of(content: bytes, layout: PreviewLayout) -> tuple[np.ndarray, np.ndarray]:
    """Contrast and small picture from their bytes."""
    split = layout.channels * 16
    contrast = np.frombuffer(content[:split], "<f8").reshape(layout.channels, 2)
    small = np.frombuffer(content[split:], layout.dtype).reshape(layout.small_shape)
    return contrast, small


def waiting_name(node: int, origin: str) -> str:
    """Name of a waiting file of a stage: its number in the journal, who wrote it, and chance."""
    return f"{node}-{origin}-{uuid.uuid4().hex[:8]}"


__all__ = ["Preview", "PreviewWriter", "decoded", "scan"]
