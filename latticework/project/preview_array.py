"""Previews as labelled arrays: ``project["clean"].previews`` and ``.preview(z=3, y=1, x=2)``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.project.pipeline import Node
from latticework.project.preview_rules import attributes_of
from latticework.project.previews import StagePreviews, previews_of

if TYPE_CHECKING:
    import xarray as xr

    from latticework.project.folder import ProjectFolder

CHUNK = 256
"""Tiles of a chunk of the lazy array, about."""


def preview_array(project: "ProjectFolder", name: str) -> "xr.DataArray":
    """The previews of a stage over its lattice: see `StageOutputs.previews`."""
    import dask.array as da
    import xarray as xr

    previews = previews_of(project, name)
    node, layout = previews.node, previews.layout
    lattice = node.lattice
    lazy = LazyPreviews(project.path, name, np.asarray(lattice.id_grid), previews)
    lead, left = [], CHUNK
    for size in reversed(lattice.shape):
        lead.append(max(1, min(size, left)))
        left = max(1, left // max(1, size))
    array = da.from_array(  # type: ignore[no-untyped-call, unused-ignore]
        lazy,
        chunks=(*reversed(lead), *layout.shape),
        name=False,
        asarray=True,
        fancy=False,
        inline_array=False,
        meta=np.empty((0,) * lazy.ndim, layout.dtype),
    )
    ids = lazy.ids
    contrast = np.full((*ids.shape, layout.channels, 2), np.nan)
    contrast[ids >= 0] = previews.contrast(ids[ids >= 0])
    bounds = (*lattice.dims, "c")
    coords: dict[str, Any] = {dim: np.asarray(lattice.labels[dim]) for dim in lattice.dims}
    coords |= {"low": (bounds, contrast[..., 0]), "high": (bounds, contrast[..., 1])}
    if (names := _channels(node, layout.channels)) is not None:
        coords["c"] = names
    attrs = attributes_of(node, layout)
    return xr.DataArray(array, coords, (*lattice.dims, "c", "y", "x"), name, attrs)


def one_preview(project: "ProjectFolder", name: str, unit: int) -> "xr.DataArray":
    """The preview of one unit that is made."""
    import xarray as xr

    previews = previews_of(project, name)
    node, layout = previews.node, previews.layout
    found = previews.one(unit)
    height, width = own_size(node, previews, unit)
    coords: dict[str, Any] = {}
    if (names := _channels(node, layout.channels)) is not None:
        coords["c"] = names
    tile = node.lattice.tile(unit) if node.lattice.dims else None
    attrs = attributes_of(node, layout)
    attrs |= {"low": found.contrast[:, 0].tolist(), "high": found.contrast[:, 1].tolist()}
    if tile is not None:
        attrs |= {"tile": tile.name, "labels": dict(tile.labels)}
    pixels = found.pixels[:, :height, :width]
    return xr.DataArray(pixels, coords, ("c", "y", "x"), name, attrs)


def own_size(node: Node, previews: StagePreviews, unit: int) -> tuple[int, int]:
    """Pixels along y and x of a unit's preview, which is smaller where its tile is."""
    layout, made = previews.layout, node.made_lattice()
    if made.shapes is None:
        return layout.size
    row = made.shapes[made.rows_of([unit])[0]]
    sizes = [int(row[made.tile_dims.index(dim)]) for dim in ("y", "x")]
    return -(-sizes[0] // layout.factor), -(-sizes[1] // layout.factor)


def _channels(node: Node, n: int) -> list[str] | None:
    names = node.made_lattice().channels
    return None if names is None else [str(name) for name in names[:n]]


class LazyPreviews:
    """What dask slices: previews on the grid of a lattice; it travels without what is open."""

    def __init__(
        self, path: Path, name: str, ids: np.ndarray, previews: StagePreviews | None = None
    ) -> None:
        self._path, self._name, self.ids = path, name, ids
        self._previews = previews or _opened(path, name)
        layout = self._previews.layout
        self.shape = (*ids.shape, *layout.shape)
        self.dtype = np.dtype(layout.dtype)
        self.ndim = len(self.shape)

    def __getitem__(self, region: Any) -> np.ndarray:
        region = region if isinstance(region, tuple) else (region,)
        whole = (*region, *[slice(None)] * (self.ndim - len(region)))
        ids, inside = np.asarray(self.ids[whole[: self.ids.ndim]]), whole[self.ids.ndim :]
        layout = self._previews.layout
        out = np.full((ids.size, *layout.shape), layout.blank, self.dtype)
        there = ids.ravel() >= 0
        out[there] = self._previews.read(ids.ravel()[there]).pixels
        return out.reshape(*ids.shape, *layout.shape)[(..., *inside)]

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyPreviews, (self._path, self._name, self.ids)


def _opened(path: Path, name: str) -> StagePreviews:
    from latticework.project.creating import open_project

    return previews_of(open_project(path), name)


__all__ = ["one_preview", "own_size", "preview_array"]
