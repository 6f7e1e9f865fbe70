"""Arrays opened in tensorstore: quickly, with shared threads and cache, and with clear errors."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from latticework.io.layout import ArrayLayout

ROOM = 2**40
"""Tiles for which an opened list has room."""
HALO_CACHE_BYTES = 128 * 2**20
"""Decoded chunks that a process keeps for halos: the next tile's neighbours are this tile's."""


def open_handle(
    folder: Path, layout: ArrayLayout, *, context: Any, cached: bool = False, lenient: bool = False
) -> Any:
    """The tensorstore of an array whose metadata is known: some 50 us, and no file is touched.

    Parameters
    ----------
    folder
        The array's folder.
    layout
        Its geometry.
    context
        Threads and cache.
    cached
        Whether decoded chunks are kept; each use checks that the file is the same (a stat).
    lenient
        Whether missing tiles read as the fill value instead of an error.
    """
    import tensorstore

    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "file", "path": f"{os.path.abspath(folder)}/"},  # noqa: PTH100
        "metadata": _tensorstore_metadata(layout, layout.separator),
        "recheck_cached_data": cached,
        "fill_missing_data_reads": lenient,
        "store_data_equal_to_fill_value": True,  # a blank tile is a file like any other
    }
    return tensorstore.open(spec, open=True, assume_metadata=True, context=context).result()


@lru_cache(maxsize=256)
def _tensorstore_metadata(layout: ArrayLayout, _separator: str) -> dict[str, Any]:
    """What tensorstore needs of the metadata: attributes only cost time.

    Layouts that differ in nothing but their separator are equal: hence that is told apart here.

    A list has room for any id here, so that who has it open sees tiles that are added later.
    """
    metadata = {**layout.metadata(), "attributes": {}}
    if layout.kind == "list":
        metadata["shape"] = [ROOM, *layout.tile_shape]
    return metadata


@lru_cache(maxsize=8)
def shared_context(cores: int | None, cache_bytes: int) -> Any:
    """Threads and cache, one for all stores of the process that ask for the same."""
    import tensorstore

    cores = cores or os.cpu_count() or 1
    return tensorstore.Context(
        {
            "data_copy_concurrency": {"limit": cores},
            "file_io_concurrency": {"limit": max(8, 4 * cores)},
            "file_io_locking": {"mode": "none"},  # a shard has one writer
            "file_io_sync": False,  # see docs: what is durable when
            "cache_pool": {"total_bytes_limit": cache_bytes},
        }
    )


_DAMAGED = "the file is damaged: project.verify() finds such files, the next run makes them again"
_REMEDIES = (
    (
        "NOT_FOUND",
        "never published or its file is gone: project.verify() finds it, the next run makes it",
    ),
    ("DATA_LOSS", _DAMAGED),
    ("Error decoding", _DAMAGED),
    ("Blosc error", _DAMAGED),
    ("PERMISSION_DENIED", "give yourself access to the file"),
    ("No space left", "the disk is full: free some space and run again, nothing published is lost"),
    (
        "quota",
        "the disk quota is used up: free some space and run again, nothing published is lost",
    ),
    ("File too large", "the file system or a limit of this process forbids files of that size"),
    ("", "see the message; what is published is untouched"),
)


def explain(
    layout: ArrayLayout, root: Path, index: tuple[int, ...] | None, error: Exception, verb: str
) -> str:
    """What could not be done with which tile and file, why, and what to do."""
    text = str(error)
    remedy = next(remedy for sign, remedy in _REMEDIES if sign in text)
    if index is None:
        return f"cannot {verb} array {layout.name!r} at {root}: {text}; {remedy}"
    if layout.kind == "list":
        where = f"id {index[0]}"
    else:
        where = ", ".join(
            f"{dim}={labels[i]}"
            for dim, labels, i in zip(layout.lattice_dims, layout.labels, index, strict=True)
        )
    files = " and ".join(str(root / key) for key in layout.keys(index)[:3])
    tile = f"tile {index} ({where}) of array {layout.name!r}"
    return f"cannot {verb} {tile} in {files}: {text}; {remedy}"
