"""Pixels of the tiles that this process wrote last: the next stage reads them from memory.

In a chain of stages a worker soon reads what it has just written. It keeps those pixels, with what
the file system said of the file: where it is, when it was written, how large it is. Publishing
renames a file and leaves all of that as it is. So whoever reads a published tile compares, and is
given the kept pixels only where the file is the very one that was written here; another attempt's
is another file.

::

    write ──> staging/…/c.0.1 ──rename──> data.zarr/clean/c.0.1 <── same file? ── read
                  │                                                   │ yes
                  └───────────── pixels kept in memory ───────────────┘
"""

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.lattice.geometry import Box

SECOND_NS = 1_000_000_000


@dataclass(slots=True)
class _Kept:
    identity: tuple[int, ...]
    pixels: np.ndarray
    used: bool = False


class RecentTiles:
    """Pixels of tiles by the file in which they are published, up to a number of bytes.

    What has been read goes first, as stages of a chain read each tile once, then the oldest.

    Parameters
    ----------
    most_bytes
        Memory for pixels; 0 keeps none.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> written = folder / "written"
    >>> number_of_bytes = written.write_bytes(b"compressed")
    >>> recent = RecentTiles(most_bytes=1_000_000)
    >>> recent.keep(folder / "tile", written, np.arange(6, dtype="u2").reshape(2, 3))
    True
    >>> published = written.rename(folder / "tile")
    >>> recent.find(folder / "tile", Box((0, 1), (2, 3))).tolist()
    [[1, 2], [4, 5]]

    Another attempt's file has other pixels:

    >>> again = folder / "again"
    >>> number_of_bytes = again.write_bytes(b"others")
    >>> published = again.rename(folder / "tile")
    >>> recent.find(folder / "tile", Box((0, 1), (2, 3))) is None
    True
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = int(most_bytes)
        self.held_bytes = 0
        """Bytes of the pixels that are kept."""
        self.hits = 0
        """Reads that were answered."""
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def keep(
        self,
        published: Path | str,
        written: Path | str,
        pixels: np.ndarray,
        *,
        own: bool = False,
    ) -> bool:
        """Keep a copy of the pixels of a file, for when it is published.

        Parameters
        ----------
        published
            Where the file will be.
        written
            Where it is now, complete.
        pixels
            What is in it.
        own
            Nobody else has these pixels: they are kept themselves.

        Returns
        -------
        bool
            Whether they are kept. Not if they alone are too large, or the file system does not
            tell times below a second, with which files could be mistaken for each other.
        """
        identity = _identity(written)
        if pixels.nbytes > self.most_bytes or identity is None:
            return False
        copy = pixels if own and pixels.base is None else pixels.copy()
        with self._lock:
            self._drop(str(published))
            while self._kept and self.held_bytes + copy.nbytes > self.most_bytes:
                used = next((name for name, kept in self._kept.items() if kept.used), None)
                self._drop(used or next(iter(self._kept)))
            self._kept[str(published)] = _Kept(identity, copy)
            self.held_bytes += copy.nbytes
        return True

    def find(self, published: Path | str, box: Box) -> np.ndarray | None:
        """A copy of the pixels in a box of a tile; None where its file has to be read."""
        name = str(published)
        if name not in self._kept:
            return None
        identity = _identity(published)
        with self._lock:
            kept = self._kept.get(name)
            if kept is None or kept.identity != identity:
                self._drop(name)
                return None
            if not Box.whole(kept.pixels.shape).contains(box):
                return None
            kept.used = True
            self.hits += 1
            pixels = kept.pixels
        return pixels[box.slices].copy()

    def clear(self) -> None:
        """Keep nothing of what there is."""
        with self._lock:
            self._kept.clear()
            self.held_bytes = 0

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self.held_bytes -= kept.pixels.nbytes


def _identity(path: Path | str) -> tuple[int, ...] | None:
    """What tells a file from all others, moved or not; None where that cannot be had.

    The file is opened, because a network file system then asks its server what is there now.
    """
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            found = os.fstat(file)
        finally:
            os.close(file)
    except OSError:
        return None
    if not found.st_ino or found.st_mtime_ns % SECOND_NS == 0:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
