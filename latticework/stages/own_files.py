"""The acquisition's own files of a tile, for programs that read them themselves."""

from pathlib import Path
from typing import Any

import numpy as np

from latticework.io.parts_source import PartsSource
from latticework.io.tiff_source import TiffSource
from latticework.io.zarr_source import ZarrSource


def own_files(source: Any, tile: int) -> tuple[Path, ...]:
    """Files or folders that hold a tile and nothing else; none where there are none such.

    A source of another kind says so by a method ``files_of(tile)``.
    """
    source, tile = _part(source, tile)
    if hasattr(source, "files_of"):
        return tuple(map(Path, source.files_of(tile)))
    if isinstance(source, ZarrSource):
        return (source.root / source.names[tile],)
    if isinstance(source, TiffSource):
        rows = np.unique(source.file_of[tile])
        if rows.min(initial=0) < 0:
            return ()
        shared = np.isin(source.file_of, rows).any(axis=1).sum() != 1
        return () if shared else tuple(source.root / source.names[int(row)] for row in rows)
    return ()


def source_root(source: Any, tile: int) -> Path | None:
    """Folder of the acquisition that a tile belongs to, where it has one."""
    source, _ = _part(source, tile)
    root = getattr(source, "root", None)
    return None if root is None else Path(root)


def _part(source: Any, tile: int) -> tuple[Any, int]:
    """The source within others that has a tile, and the tile's number there."""
    while isinstance(source, PartsSource):
        inner, row = int(source.part[tile]), int(source.row[tile])
        source, tile = source.parts[inner], row
    return source, tile
