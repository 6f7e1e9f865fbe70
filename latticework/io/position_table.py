"""What a file or table of positions says, whatever its format."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

Match = Callable[[Sequence[str]], np.ndarray]
"""From names of files to their rows in the table, -1 where there is none."""


@dataclass(frozen=True, slots=True)
class PositionTable:
    """Positions as a table, and what else the file knows."""

    table: "pd.DataFrame"
    """One row for each file or tile; columns as in `latticework.io.positions`."""
    called: str
    """What to call it in messages."""
    pixel_size_um: Mapping[str, float] = field(default_factory=dict)
    """By spatial axis, where the file says it."""
    tiles: Sequence[str] | None = None
    """For files that list all tiles of an acquisition: the tile of each row, as messages call it.
    A tile may have several rows (a file for each of its channels)."""
    match: Match | None = None
    """How names of files belong to rows, where not by the column ``file``."""
    plane: Callable[[Sequence[str], np.ndarray], np.ndarray] | None = None
    """Number of the plane along z of each file, from names and rows, where a tile's planes are
    files of their own."""


def name_below(folder: Path, base: Path, listed: str) -> str:
    r"""A file that is listed relative to `base` by its name relative to `folder`.

    Examples
    --------
    >>> name_below(Path("/scan/tiles"), Path("/scan"), r"tiles\a.tif")
    'a.tif'
    >>> name_below(Path("/scan/tiles"), Path("/elsewhere"), "a.tif")
    'a.tif'
    """
    listed = listed.strip().replace("\\", "/")
    path = Path(os.path.normpath(base.absolute() / listed))
    folder = Path(os.path.normpath(folder.absolute()))
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else listed
