"""Sources put together and cut down: many small ones become one that reads the same."""

import dataclasses
from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from latticework.io.tiff_source import TiffSource
from latticework.io.zarr_source import ZarrSource
from latticework.lattice.source import TileSource


def tile_count(source: TileSource) -> int:
    """How many tiles a source has."""
    if isinstance(source, TiffSource):
        return len(source.file_of)
    if isinstance(source, ZarrSource):
        return len(source.names)
    return len(source.fingerprints())


def join_key(source: TileSource) -> Hashable | None:
    """What sources must agree in to be joined; None for those that cannot be."""
    if isinstance(source, TiffSource):
        planes = (source.slot.tobytes(), source.page.tobytes(), source.sample.tobytes())
        slots = source.file_of.shape[1]
        return ("tiff", str(source.root), source.shape, source.dtype.str, slots, planes)
    if isinstance(source, ZarrSource):
        return ("zarr", str(source.root), source.stored_dims, source.dims)
    return None


def joined(sources: Sequence[TileSource]) -> TileSource:
    """Sources of one `join_key` as one: the tiles of the first, then those of the second, ...

    Pixels and fingerprints stay the same.
    """
    if isinstance(sources[0], ZarrSource):
        arrays: list[Any] = list(sources)
        return dataclasses.replace(
            sources[0],
            names=list(chain.from_iterable(_texts(part.names) for part in arrays)),
            stamps=np.concatenate([part.stamps for part in arrays]),
        )
    tiffs: list[Any] = list(sources)
    files = np.cumsum([0, *(len(part.names) for part in tiffs[:-1])])
    first: TiffSource = tiffs[0]
    return dataclasses.replace(
        first,
        names=list(chain.from_iterable(_texts(part.names) for part in tiffs)),
        sizes=np.concatenate([part.sizes for part in tiffs]),
        mtimes=np.concatenate([part.mtimes for part in tiffs]),
        file_of=np.concatenate(
            [_shifted(part.file_of, int(n)) for part, n in zip(tiffs, files, strict=True)]
        ),
        page_of=np.concatenate([part.page_of for part in tiffs]),
    )


def taken(source: TileSource, rows: np.ndarray) -> TileSource | None:
    """Only some tiles of a source, in a given order; None where it has no way to do this."""
    if isinstance(source, ZarrSource):
        names = [source.names[row] for row in rows.tolist()]
        return dataclasses.replace(source, names=names, stamps=source.stamps[rows])
    if isinstance(source, TiffSource):
        file_of = source.file_of[rows]
        used, inverse = np.unique(
            np.where(file_of < -1, -2 - file_of, file_of), return_inverse=True
        )
        there = used >= 0
        place = np.cumsum(there)[inverse.reshape(file_of.shape)] - 1
        used = used[there]
        return dataclasses.replace(
            source,
            names=[source.names[row] for row in used.tolist()],
            sizes=source.sizes[used],
            mtimes=source.mtimes[used],
            file_of=np.select([file_of >= 0, file_of == -1], [place, -1], -2 - place),
            page_of=source.page_of[rows],
        )
    return None


def _texts(names: Any) -> Any:
    column = getattr(names, "column", None)
    return names if column is None else column.to_pylist()


def _shifted(file_of: np.ndarray, by: int) -> np.ndarray:
    """Rows of files that come after `by` others; those that are missing or bad stay such."""
    return np.where(file_of >= 0, file_of + by, np.where(file_of < -1, file_of - by, file_of))
