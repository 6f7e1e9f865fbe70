"""Layers of tiles: a lattice's own, or those that a stage has made, at any positions.

Tiles that lie at whole pixels are one picture, made of all of them while one looks
(`latticework.viz.neuroglancer.canvas`). A few tiles at other positions, as a stitching finds them,
are a source each, with a transform each: nothing is resampled. Of many, that would be too many
sources for a viewer: they are one picture, each tile at the nearest whole pixel.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latticework.errors import SourceError, StoreError
from latticework.io.ome_zarr import COLOURS
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.viz.neuroglancer.canvas import Place, TileCanvas, shown_dtype
from latticework.viz.neuroglancer.contrast import contrast_of
from latticework.viz.neuroglancer.layers import AXES, Layer, Source
from latticework.viz.neuroglancer.resources import ViewError
from latticework.viz.neuroglancer.virtual_images import VirtualImage

MOST_SOURCES = 32
"""Tiles of a layer that are a source each, at most."""
MOST_LAYERS = 16
"""Of one stage: channels times labels of further lattice dims."""
WHOLE = 0.01
"""How far from a whole pixel a tile may lie and still count as there."""
SAMPLES = 6
"""Tiles from which the contrast is taken."""


@dataclass
class Tiles:
    """Tiles that can be read in parts.

    Examples
    --------
    >>> import latticework as lw
    >>> lattice = lw.Lattice.from_array(np.arange(64.0).reshape(8, 8), block={"y": 4, "x": 4})
    >>> tiles = Tiles.of(lattice)
    >>> tiles.read(3, (0, 0, 0), (1, 1, 2), 0).tolist()
    [[[36.0, 37.0]]]
    """

    lattice: Lattice
    """With the tile shape and dtype of what is read."""
    read_box: Callable[[int, Box], np.ndarray] = field(repr=False)
    """Pixels of a box of a tile, by its id."""
    file_of: Callable[[int], Path] | None = field(default=None, repr=False)
    """A file that is there if a tile is; None if all are there."""
    problems: dict[int, str] = field(default_factory=dict, repr=False)
    """What became of tiles that could not be read, by id."""

    @classmethod
    def of(cls, lattice: Lattice) -> "Tiles":
        """The tiles of a lattice, from its own source.

        Raises
        ------
        ViewError
            If it has no pixels.
        """
        source = lattice.source
        if source is None:
            raise ViewError("this lattice has no pixels: open it with open_tiles, or with a source")
        return cls(lattice, source.read, problems=dict(lattice.problems))

    def read(self, row: int, start: Place, stop: Place, channel: int) -> np.ndarray | None:
        """Pixels of a part of a tile, dims z y x; None if it is not there."""
        id = int(self.lattice.ids[row])
        if id in self.lattice.problems or not self.there(id):
            return None
        at = dict(zip(AXES, zip(start, stop, strict=True), strict=True))
        at["c"] = (channel, channel + 1)
        spans = [at[dim] for dim in self.lattice.tile_dims]
        box = Box(tuple(a for a, _ in spans), tuple(b for _, b in spans))
        try:
            pixels = np.asarray(self.read_box(id, box))
        except (SourceError, StoreError) as error:
            if self.there(id):
                self.problems[id] = str(error)
            return None
        return pixels.reshape([b - a for a, b in zip(start, stop, strict=True)])

    def there(self, id: int) -> bool:
        """Whether a tile is there by now."""
        return self.file_of is None or self.file_of(id).exists()


class Geometry(NamedTuple):
    """Where tiles lie along z, y and x."""

    position_um: np.ndarray
    """Of each tile's first pixel; shape (tiles, 3)."""
    shapes: np.ndarray
    """Pixels of each tile; shape (tiles, 3)."""
    size_um: np.ndarray
    """Of a pixel."""

    def starts(self) -> tuple[np.ndarray, bool]:
        """First pixels from the corner of all of them, rounded; and whether none is in between."""
        exact = (self.position_um - self.position_um.min(axis=0)) / self.size_um
        whole = np.rint(exact)
        return whole.astype(np.int64), bool((np.abs(exact - whole) <= WHOLE).all())


def geometry_of(lattice: Lattice, position_um: np.ndarray | None = None) -> Geometry:
    """Where the tiles of a lattice lie, or would with other positions.

    Examples
    --------
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"y": 8, "x": 9}, dtype="u1", pixel_size_um=0.5
    ... )
    >>> found = geometry_of(lattice)
    >>> found.position_um.tolist(), found.size_um.tolist()
    ([[0.0, 0.0, 0.0], [0.0, 0.0, 4.5]], [1.0, 0.5, 0.5])
    """
    given = lattice.position_um if position_um is None else position_um
    n = len(lattice)
    positions, shapes, size = np.zeros((n, 3)), np.ones((n, 3), np.int64), np.ones(3)
    for k, axis in enumerate(AXES):
        if axis in lattice.spatial_dims:
            positions[:, k] = given[:, lattice.spatial_dims.index(axis)]
            size[k] = lattice.pixel_size_um[axis]
        if axis in lattice.tile_dims:
            column = lattice.tile_dims.index(axis)
            shapes[:, k] = (
                lattice.tile_shape[axis] if lattice.shapes is None else lattice.shapes[:, column]
            )
        elif n:  # planes that are tiles of their own: as thick as they are apart
            apart = np.diff(np.unique(np.round(positions[:, k], 6)))
            size[k] = float(apart.min()) if len(apart) else size[k]
    return Geometry(positions, shapes, size)


def tile_layers(
    name: str,
    tiles: Tiles,
    *,
    key: str,
    position_um: np.ndarray | None = None,
    channels: Sequence[int | str] | None = None,
    labels: bool = False,
    contrast: tuple[float, float] | None = None,
    visible: bool = True,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Layer]:
    """Layers of tiles: one for each channel, and each label of lattice dims that are not spatial.

    Parameters
    ----------
    name
        Of the stage.
    tiles
        What is shown.
    key
        Beginning of the names under which the data are served.
    position_um
        Where they lie; as the lattice says if not given. Shape (tiles, spatial dims).
    channels
        Which, by number or name; all if not given.
    labels
        Whether pixels are numbers of objects.
    contrast
        Values shown black and full; percentiles of some tiles if not given.
    visible
        Whether they are shown at first.
    say
        Is told what a person should know.

    Raises
    ------
    ViewError
        If there are too many layers, or no such channel.
    """
    lattice = tiles.lattice
    numbers = channel_numbers(lattice, channels)
    groups = list(_groups(lattice))
    if len(groups) * len(numbers) > MOST_LAYERS:
        dims = [dim for dim in lattice.dims if _apart(lattice, dim)]
        raise ViewError(
            f"{name!r} would be {len(groups) * len(numbers)} layers, more than {MOST_LAYERS}: "
            f"choose channels=, or labels of {', '.join(dims) or 'fewer channels'}, such as "
            f"view({name!r}, {dims[0] if dims else 'channels'}=...)"
        )
    geometry = geometry_of(lattice, position_um)
    found = []
    for (told, rows), number in itertools.product(groups, numbers):
        shown = _Shown(name, key, tiles, geometry, rows, number, told, labels=labels)
        limits = contrast if contrast or labels else contrast_of(shown.samples())
        found.append(shown.layer(limits, visible=visible, say=say))
    return found


def channel_numbers(lattice: Lattice, wanted: Sequence[int | str] | None) -> list[int]:
    """Numbers of channels that are given by number or name."""
    count = lattice.tile_shape.get("c", 1)
    if wanted is None:
        return list(range(count))
    names = list(lattice.channels or ())
    found = []
    for each in wanted:
        if isinstance(each, str) and each in names:
            found.append(names.index(each))
        elif isinstance(each, int) and 0 <= each < count:
            found.append(each)
        else:
            raise ViewError(
                f"there is no channel {each!r}: there are {', '.join(names) or f'0 to {count - 1}'}"
            )
    return found


def _apart(lattice: Lattice, dim: str) -> bool:
    """Whether a lattice dim is not one of space, and has several labels."""
    return dim.removeprefix("tile_") not in AXES and len(lattice.labels[dim]) > 1


def _groups(lattice: Lattice) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """Rows of tiles that lie beside each other, and what tells them from the others."""
    dims = [dim for dim in lattice.dims if _apart(lattice, dim)]
    columns = [lattice.dims.index(dim) for dim in dims]
    for place in itertools.product(*(range(len(lattice.labels[dim])) for dim in dims)):
        rows = np.flatnonzero((lattice.index[:, columns] == place).all(axis=1))
        if len(rows):
            told = {
                dim.removeprefix("tile_"): str(lattice.labels[dim][k])
                for dim, k in zip(dims, place, strict=True)
            }
            yield told, rows


@dataclass(frozen=True)
class _Shown:
    """Tiles of one layer."""

    name: str
    key: str
    tiles: Tiles
    geometry: Geometry
    rows: np.ndarray
    channel: int
    told: Mapping[str, str]
    labels: bool

    @property
    def dtype(self) -> np.dtype:
        return shown_dtype(self.tiles.lattice.dtype, labels=self.labels)

    def read(self, k: int, start: Place, stop: Place) -> np.ndarray | None:
        """Pixels of a part of the k-th of these tiles."""
        found = self.tiles.read(int(self.rows[k]), start, stop, self.channel)
        return None if found is None else shown(found, self.dtype)

    def samples(self) -> Iterator[np.ndarray]:
        """The middle planes of a few tiles."""
        there = (
            [
                k
                for k in range(len(self.rows))
                if self.tiles.there(self.tiles.lattice.ids[self.rows[k]])
            ]
            if len(self.rows) <= 10_000
            else list(range(len(self.rows)))
        )
        for k in np.unique(np.linspace(0, len(there) - 1, SAMPLES).astype(int)) if there else ():
            z, y, x = self.geometry.shapes[self.rows[there[k]]].tolist()
            a, b = max(0, y // 2 - 512), max(0, x // 2 - 512)
            box = (z // 2, a, b), (z // 2 + 1, min(y, a + 1024), min(x, b + 1024))
            found = self.read(there[k], *box)
            if found is not None:
                yield found

    def layer(
        self, contrast: tuple[float, float] | None, *, visible: bool, say: Callable[[str], None]
    ) -> Layer:
        """The layer."""
        lattice, of = self.tiles.lattice, self._of_rows()
        starts, whole = of.starts()
        if whole or len(self.rows) > MOST_SOURCES:
            if not whole:
                say(
                    f"{self.name}: {len(self.rows):,} tiles lie between pixels and are shown at "
                    f"the nearest whole one; up to {MOST_SOURCES} are shown exactly where they lie"
                )
            sources = [self._canvas(of, starts)]
        else:
            sources = [self._single(of, k) for k in range(len(self.rows))]
        several = lattice.tile_shape.get("c", 1) > 1
        channel = self._channel_name() if several else None
        said = " ".join(filter(None, [self.name, *self.told.values(), channel]))
        colour = COLOURS[(self.channel + several) % len(COLOURS)]
        half = of.size_um / 2
        return Layer(
            said,
            "segmentation" if self.labels else "image",
            sources,
            of.position_um.min(axis=0) - half,
            (of.position_um + of.shapes * of.size_um).max(axis=0) - half,
            pixel_um=tuple(of.size_um.tolist()),
            tile_um=tuple((of.shapes.max(axis=0) * of.size_um).tolist()),
            contrast=contrast,
            colour=f"#{colour.lower()}",
            visible=visible,
            blend="additive" if several else "default",
            groups={"stage": self.name, **({"channel": channel} if channel else {}), **self.told},
        )

    def _of_rows(self) -> Geometry:
        geometry = self.geometry
        return Geometry(
            geometry.position_um[self.rows], geometry.shapes[self.rows], geometry.size_um
        )

    def _channel_name(self) -> str:
        names = self.tiles.lattice.channels
        return names[self.channel] if names else f"c{self.channel}"

    def _served(self, key: str, canvas: TileCanvas, of: Geometry, origin_um: np.ndarray) -> Source:
        size = tuple(of.size_um.tolist())
        moved = np.eye(3, 4)
        moved[:, 3] = origin_um
        parts = [self.key, *self.told.values(), f"c{self.channel}", key]
        name = "-".join(_plain(part) for part in parts if part)
        return Source(name, VirtualImage(canvas, size, name=name), "zarr3", AXES, size, moved)

    def _canvas(self, of: Geometry, starts: np.ndarray) -> Source:
        canvas = TileCanvas(self.read, starts, of.shapes, self.dtype, self.labels)
        return self._served("", canvas, of, of.position_um.min(axis=0))

    def _single(self, of: Geometry, k: int) -> Source:
        one = slice(k, k + 1)

        def read(_row: int, start: Place, stop: Place) -> np.ndarray | None:
            return self.read(k, start, stop)

        canvas = TileCanvas(
            read, np.zeros((1, 3), np.int64), of.shapes[one], self.dtype, self.labels
        )
        id = int(self.tiles.lattice.ids[self.rows[k]])
        return self._served(f"tile{id}", canvas, of, of.position_um[k])


def shown(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Pixels as the type as which they are served; what is below 0 is 0 where there is no sign."""
    if dtype.kind == "u" and pixels.dtype.kind in "if":
        pixels = np.maximum(pixels, 0)
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 does not hold is infinite
        return pixels.astype(dtype, copy=False)


def _plain(text: str) -> str:
    """A text as part of an address."""
    return "".join(
        each if each.isascii() and (each.isalnum() or each == "_") else "_" for each in text
    )


def is_labels(dtype: Any) -> bool:
    """Whether pixels of a type are taken for numbers of objects, if nothing else is said."""
    kind = np.dtype(dtype)
    return kind.kind in "iu" and kind.itemsize >= 4


__all__ = [
    "Geometry",
    "Tiles",
    "channel_numbers",
    "geometry_of",
    "is_labels",
    "shown",
    "tile_layers",
]
