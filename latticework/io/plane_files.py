"""Tiles whose planes and channels lie in many files: who is missing, who is there twice."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from latticework.errors import SourceError
from latticework.io.scan import Scan, TiffFacts
from latticework.io.tiff_source import TiffSource

SAID = 3
"""Names that a message gives before it says how many more there are."""


@dataclass(slots=True)
class PlaneFiles:
    """Which file holds which plane: one row per file (or per page of it).

    The planes of a tile are slots, ``channel * planes + plane``.
    """

    row: np.ndarray
    """Row of the file in the scan."""
    page: np.ndarray
    """First page of the plane in it."""
    tile: np.ndarray
    """Tile that it belongs to, 0 to n - 1."""
    slot: np.ndarray
    """Plane of the tile that it is."""
    n_tiles: int
    n_slots: int

    def arrange(
        self, scan: Scan, gap: Callable[[int, np.ndarray], str]
    ) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Files and pages by tile and slot, and what is wrong with which tile.

        Parameters
        ----------
        scan
            The files; those with problems there make problems of their tiles.
        gap
            What to say of a tile that lacks some slots.
        """
        file_of = np.full((self.n_tiles, self.n_slots), -1, np.int32)
        page_of = np.zeros((self.n_tiles, self.n_slots), np.int32)
        bad = np.isin(self.row, np.fromiter(scan.problems, np.int64, len(scan.problems)))
        # backwards, so that the first of two files for one plane stays
        file_of[self.tile[::-1], self.slot[::-1]] = np.where(bad, -2 - self.row, self.row)[::-1]
        page_of[self.tile[::-1], self.slot[::-1]] = self.page[::-1]
        problems: dict[int, str] = {}
        key = self.tile.astype(np.int64) * self.n_slots + self.slot
        order = np.argsort(key, kind="stable")
        for at in np.flatnonzero(np.diff(key[order]) == 0):
            first, second = order[at], order[at + 1]
            problems.setdefault(
                int(self.tile[first]),
                f"{scan.path(int(self.row[first]))} and {scan.path(int(self.row[second]))} are the "
                "same plane of one tile; expected one file for each: remove one, or open one "
                "folder at a time",
            )
        for at in np.flatnonzero(bad):
            problems.setdefault(int(self.tile[at]), scan.problems[int(self.row[at])])
        for tile in np.flatnonzero((file_of == -1).any(axis=1)):
            problems.setdefault(int(tile), gap(int(tile), np.flatnonzero(file_of[tile] == -1)))
        return file_of, page_of, problems


def stack_source(
    scan: Scan,
    facts: TiffFacts,
    file_of: np.ndarray,
    page_of: np.ndarray,
    *,
    channels: int,
    planes: int,
    paged: bool,
) -> tuple[tuple[str, ...], tuple[int, ...], TiffSource]:
    """Dims, shape and source of tiles with channels of planes.

    A single channel makes no dim ``c``. With `paged`, a file is a channel and its pages are the
    planes; else every plane has a slot of its own.
    """
    if facts.samples > 1:
        raise SourceError(
            f"{scan.path(0)} has {facts.samples} samples per pixel; expected grey planes, one "
            "channel in each file: convert the files",
            scan.path(0),
        )
    count = channels * planes
    slot = np.repeat(np.arange(channels), planes) if paged else np.arange(count)
    page = np.tile(np.arange(planes), channels) if paged else np.zeros(count, np.int64)
    dims: tuple[str, ...] = ("z", "y", "x")
    shape: tuple[int, ...] = (planes, facts.length, facts.width)
    if channels > 1:
        dims, shape = ("c", *dims), (channels, *shape)
    source = TiffSource(
        scan.root,
        scan.names,
        scan.sizes,
        scan.mtimes,
        file_of,
        page_of,
        slot,
        page,
        np.zeros(count, np.int64),
        shape,
        facts.dtype.newbyteorder("="),
    )
    return dims, shape, source


def first_problem(problems: dict[int, str], scan: Scan) -> SourceError:
    """The error for the first of the tiles with problems; says how many more there are."""
    tile = min(problems)
    rows = [row for row, text in scan.problems.items() if text == problems[tile]]
    more = len(problems) - 1
    also = f' ({more} more tiles have problems; see them all with errors="mark")' if more else ""
    return SourceError(problems[tile] + also, scan.path(rows[0]) if rows else scan.root)


def some(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are.

    Examples
    --------
    >>> some(["a", "b", "c", "d", "e"]), some(["a", "b"])
    ('a, b, c and 2 more', 'a, b')
    """
    more = len(names) - SAID
    return ", ".join(names[:SAID]) + (f" and {more} more" if more > 0 else "")


def renumbered(name: str, span: tuple[int, int], number: int) -> str:
    """A file's name with another number in a place, as wide as before.

    Examples
    --------
    >>> renumbered("a_Z0012.tif", (3, 7), 13)
    'a_Z0013.tif'
    """
    start, stop = span
    return f"{name[:start]}{number:0{stop - start}d}{name[stop:]}"


def same_pixel_size(scan: Scan) -> dict[str, float]:
    """Pixel size that all files agree on.

    Raises
    ------
    SourceError
        If two files differ; names both.
    """
    known: dict[str, tuple[float, int]] = {}
    for row, facts in enumerate(scan.facts):
        for axis, size in {} if facts is None else facts.pixel_size_um.items():
            first, where = known.setdefault(axis, (size, row))
            if abs(size - first) > 1e-6 * first:
                raise SourceError(
                    f"{scan.path(row)} says that a pixel is {size:g} um along {axis}, but "
                    f"{scan.path(where)} says {first:g} um; expected one size for an acquisition: "
                    "open them apart",
                    scan.path(row),
                )
    return {axis: size for axis, (size, _) in known.items()}
