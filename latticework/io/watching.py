"""Watching an acquisition while the microscope runs: tiles that arrive, are replaced, or leave.

::

    watcher = watch_folder("acquisition/", settle_s=2, end="FINISHED")
    while True:
        arrivals = watcher.poll(lattice)
        if arrivals.growth is not None:
            lattice = apply_growth(lattice, arrivals.growth)
        if arrivals.ended:
            break
        watcher.wait(5.0)

A look is complete by itself: it compares what is on disk with what the lattice has. A watcher that
is started again, on a lattice that has tiles already, finds what arrived or was replaced meanwhile.
"""

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from latticework.errors import LatticeError, SourceError
from latticework.io.arrivals import Arrivals, Watcher
from latticework.io.arriving import Opening
from latticework.io.filenames import compile_pattern
from latticework.io.notices import Held
from latticework.io.open_tiles import open_tiles, placing_of
from latticework.io.position_table import PositionTable
from latticework.io.positions import find_table
from latticework.io.settling import Markers
from latticework.io.wake_up import Notify, WakeUp
from latticework.io.watch_curated import ListReader, ListWatcher
from latticework.io.watch_folder import FolderWatcher
from latticework.io.watch_mouselight import MouseLightReader
from latticework.io.zarr_images import is_zarr
from latticework.lattice import Lattice

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Arrivals",
    "FolderWatcher",
    "Held",
    "ListReader",
    "ListWatcher",
    "Watcher",
    "watch_folder",
    "watch_list",
]


def watch_folder(
    path: Path | str,
    *,
    settle_s: float = 2.0,
    done_marker: str | None = None,
    end: str | int | None = None,
    removed: Literal["keep", "withdraw"] = "keep",
    expect: Mapping[str, int] | None = None,
    first: int | None = None,
    notify: Notify = "auto",
    clock: Callable[[], float] = time.monotonic,
    positions: "str | Path | pd.DataFrame | Mapping[str, Any] | None" = None,
    columns: str | Mapping[str, str] | None = None,
    unit: str | None = None,
    pattern: str | re.Pattern[str] | None = None,
    files: str | None = None,
    dims: Sequence[str] | None = None,
    sheet: str | None = None,
    **placing: Any,
) -> FolderWatcher:
    """A watcher of a folder into which a microscope writes TIFF files or Zarr images.

    Parameters
    ----------
    path
        The folder, looked into to any depth; it need not be there yet.
    settle_s
        A file counts as finished when size and time of change have stayed for so many seconds, and
        it can be read to its end.
    done_marker
        The microscope says itself that a file is finished: ``"*.done"`` or ``"{stem}.done"`` beside
        it (``"{name}.done"`` with the file's ending), or the name of a marker for the whole folder.
    end
        What ends the acquisition: a file of this name (or glob) in the folder, or a number of
        tiles. Without it, all tiles of a ``grid=`` that says how many there are; else
        `FolderWatcher.end`.
    removed
        What a file that leaves means: ``"keep"``, nothing (it is told); ``"withdraw"``, its tile
        leaves too, unless over ten and over a fifth of the tiles leave at once.
    expect
        Files that make one tile where channels or planes have files of their own, such as
        ``{"c": 2, "z": 40}``. OME-XML says it itself, and so do tiles that are known already;
        folders of LaVision's, SmartSPIM's and MouseLight's microscopes need it.
    first
        Number of the first tile of a ``grid=``, where the names do not show soon whether they count
        from 0 or from 1. A tile 0 shows it, and so does one whose number is that of all places.
    notify
        See `latticework.io.wake_up.WakeUp`.
    clock
        Seconds, for tests of waiting that do not wait.
    positions
        As for `open_tiles`. The path of a table is a curated list: a tile joins when the table has
        it and its files are there, and leaves when the table has it no more.
    columns, unit, pattern, files, dims, sheet
        As for `open_tiles`.
    **placing
        ``grid start order snake overlap pixel_size_um channels flip`` of `open_tiles`. With
        ``grid=`` the number in a file's name decides about its place.

    Raises
    ------
    LatticeError
        For options that contradict each other.

    Examples
    --------
    >>> import tempfile, numpy as np, tifffile
    >>> folder, seconds = Path(tempfile.mkdtemp()), iter([0.0, 3.0])
    >>> watcher = watch_folder(folder, clock=lambda: next(seconds), notify="poll")
    >>> tifffile.imwrite(folder / "y0_x1.tif", np.zeros((32, 32), "u2"))
    >>> [held.why for held in watcher.poll(None).held]
    ['it changed lately: 2.0 s to wait']
    >>> watcher.poll(None).growth.tiles.names.tolist()
    ['y0_x1.tif']
    """
    root = Path(path).absolute()
    if root.is_file() or (root.is_dir() and is_zarr(root)):
        raise LatticeError(f"{root} is one image; expected a folder into which tiles are written")
    unknown = set(placing) - set(_PLACING)
    if unknown:
        raise LatticeError(
            f"watch_folder knows no option {', '.join(sorted(unknown))}; of open_tiles it takes "
            f"{', '.join(_PLACING)}, positions, columns, unit, pattern, files, dims, sheet"
        )
    if removed not in ("keep", "withdraw"):
        raise LatticeError(f"removed={removed!r}: expected 'keep' or 'withdraw'")
    if isinstance(end, bool) or (isinstance(end, int) and end < 1) or end == "":
        raise LatticeError(f"end={end!r}: expected the name of a file, or a number of tiles")
    if wrong := {d: n for d, n in (expect or {}).items() if d not in ("c", "z") or n < 1}:
        raise LatticeError(f"expect={wrong}: expected numbers of c and z, 1 or more")
    if pattern is not None:
        compile_pattern(pattern)
    if first is not None and (isinstance(first, bool) or not isinstance(first, int) or first < 0):
        raise LatticeError(
            f"first={first!r}: expected the number of the first tile, such as 0 or 1"
        )
    opening = Opening(
        root,
        placing_of(**placing, mark=True, partial=True),
        *(pattern, dims, columns, unit, expect, sheet),
    )
    places = tiles_of_grid(opening.placing.grid, pattern)
    if isinstance(end, int) and places is not None and end > places:
        raise LatticeError(
            f"end={end}: grid={dict(opening.placing.grid or {})} has {places:,} tiles, so it would "
            "never end: leave end= out (it ends when they are all there), or correct grid="
        )
    end = places if end is None else end
    watcher = FolderWatcher(
        opening,
        files=files,
        settle_s=settle_s,
        markers=None if done_marker is None else Markers(done_marker),
        end=end,
        withdraw=removed == "withdraw",
        first=first,
        clock=clock,
        wake_up=WakeUp(root, notify),
    )
    if isinstance(positions, str | Path):
        watcher.follow_table(_table_path(Path(positions), root), lambda at: _read_table(at, root))
    elif positions is not None:
        watcher.use_table(_read_table(positions, root))
    return watcher


def tiles_of_grid(
    grid: Mapping[str, int] | None, pattern: str | re.Pattern[str] | None = None
) -> int | None:
    """How many tiles a grid has; None where that is not known, as of a grid in each well.

    Examples
    --------
    >>> tiles_of_grid({"y": 7, "x": 9}), tiles_of_grid({"y": 7, "x": 9}, "{well}_{number:d}.tif")
    (63, None)
    """
    single = pattern is None or set(compile_pattern(pattern).groupindex) <= {"number", "c"}
    return math.prod(grid.values()) if grid is not None and single else None


_PLACING = (
    "grid", "start", "order", "snake", "overlap", "pixel_size_um", "channels", "flip",
)  # fmt: skip


def _read_table(positions: Any, root: Path) -> PositionTable:
    """The table; tiles that it lists and that are not there yet are no reason to warn."""
    return replace(find_table(positions, root), tiles=None)


def _table_path(path: Path, root: Path) -> Path:
    places = [path] if path.is_absolute() else [path, root / path, root.parent / path]
    return next((place for place in places if place.is_file()), places[min(1, len(places) - 1)])


def watch_list(
    path: Path | str,
    reader: ListReader | None = None,
    *,
    settle_s: float = 2.0,
    end: int | None = None,
    placed_by: Literal["labels", "positions"] = "labels",
    recheck_s: float = 60.0,
    notify: Notify = "auto",
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> ListWatcher:
    """A watcher of a curated list, such as MouseLight's ``dashboard.json``.

    A tile that the list has is there, or announced; one that it has no more is withdrawn; listed
    again, it is back. A list that is missing, half written or not valid changes nothing, and so
    does one that lacks over ten and over a fifth of the tiles at once.

    Parameters
    ----------
    path
        The list.
    reader
        Makes a lattice of it; `open_tiles` with the `options` if not given.
    settle_s
        How long the list must not have changed before it is read.
    end
        Number of tiles that end the acquisition; without it, `ListWatcher.end`.
    placed_by
        What says where tiles are (`latticework.lattice.growth.grown`).
    recheck_s
        After so many seconds all tiles of the list are looked at again even if it says nothing new
        of them, so that tiles whose files were replaced are noticed; less often where that takes
        more than a twentieth of the time.
    notify, clock
        As for `watch_folder`.
    **options
        Of `open_tiles`.

    Raises
    ------
    SourceError
        If the path is a folder.
    """
    path = Path(path).absolute()
    if path.is_dir():
        raise SourceError(f"{path} is a folder; expected the list itself: give its path", path)

    def opened(at: Path) -> Lattice:
        return open_tiles(at, **{"errors": "mark", **options})

    if reader is None:
        own = path.suffix == ".json" and not set(options) - set(_PLACING)
        reader = MouseLightReader(placing_of(**options, mark=True)) if own else opened
    return ListWatcher(
        path,
        reader,
        settle_s=settle_s,
        end=end,
        placed_by=placed_by,
        recheck_s=recheck_s,
        clock=clock,
        wake_up=WakeUp(path, notify, deep=False),
    )
