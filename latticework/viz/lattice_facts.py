"""What there is to say about a lattice in a few lines."""

import math
from itertools import islice

import numpy as np

from latticework.lattice import Lattice
from latticework.lattice.offsets import spatial_axis
from latticework.lattice.places import extents_um
from latticework.viz.folding import axis_name
from latticework.viz.words import length, plain, plural, size

_SHOWN_PROBLEMS = 3


def lattice_title(lattice: Lattice) -> str:
    """Number of tiles and of grid positions, on one line.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 7, "x": 9}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    >>> lattice_title(lattice)
    'Lattice of 63 tiles: tile_y 7 × tile_x 9'
    """
    grid = " × ".join(f"{plain(dim, 30)} {n:,}" for dim, n in lattice.sizes.items())
    return f"Lattice of {plural(lattice.n_tiles, 'tile')}" + (f": {grid}" if grid else "")


def lattice_facts(lattice: Lattice) -> list[tuple[str, str]]:
    """Name and text of every fact worth a line; plain text, on one line each."""
    facts = [("labels", _labels(lattice)), ("tiles", _tiles(lattice)), ("pixels", _pixels(lattice))]
    if lattice.channels is not None:
        names = [plain(name, 40) for name in islice(lattice.channels, 12)]
        more = len(lattice.channels) - len(names)
        facts.append(("channels", ", ".join(names) + (f" and {more} more" if more else "")))
    if lattice.spatial_dims:
        facts += [("pixel size", _pixel_size(lattice)), ("step", _step(lattice))]
    if lattice.n_tiles and lattice.spatial_dims:
        facts.append(("extent", _extent(lattice)))
    if lattice.volume_shape is not None:
        facts.append(("blocks of", _by_axis(lattice.volume_shape)))
    facts += [("problem", text) for text in _problems(lattice)]
    return [(name, text) for name, text in facts if text]


def lattice_text(lattice: Lattice) -> str:
    """A lattice in a few lines of plain text.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid(
    ...     {"y": 7, "x": 9},
    ...     tile_shape={"y": 512, "x": 512},
    ...     dtype="u2",
    ...     overlap={"y": 51, "x": 51},
    ... )
    >>> print(lattice_text(lattice))
    <Lattice of 63 tiles: tile_y 7 × tile_x 9>
      labels      tile_y 0…6, tile_x 0…8
      tiles       no holes, y0_x0 … y6_x8
      pixels      y 512 × x 512 uint16, 524 kB a tile, 33 MB in all
      pixel size  not known, 1 µm assumed
      step        y 461 × x 461 px, overlap y 51 px (10 %), x 51 px (10 %)
      extent      y 3278 × x 4200 µm
    """
    lines = [f"  {name:<11} {text}" for name, text in lattice_facts(lattice)]
    return "\n".join([f"<{lattice_title(lattice)}>", *lines])


def _by_axis(values: "dict[str, int] | object") -> str:
    items = values.items() if hasattr(values, "items") else ()
    return " × ".join(f"{axis_name(axis)} {value:,}" for axis, value in items)


def _labels(lattice: Lattice) -> str:
    parts = []
    for dim, labels in lattice.labels.items():
        if not len(labels):
            parts.append(f"{plain(dim, 30)} none")
            continue
        few = len(labels) <= 3 and labels.dtype.kind not in "iu"
        shown = (
            ", ".join(plain(label, 24) for label in labels)
            if few
            else f"{plain(labels[0], 24)}…{plain(labels[-1], 24)}"
        )
        parts.append(f"{plain(dim, 30)} {shown if len(labels) > 1 else plain(labels[0], 24)}")
    return ", ".join(parts)


def _tiles(lattice: Lattice) -> str:
    holes = math.prod(lattice.shape) - lattice.n_tiles
    parts = [plural(holes, "hole") if holes else "no holes"]
    if lattice.problems:
        parts.append(f"{len(lattice.problems):,} cannot be read")
    if lattice.n_tiles:
        first = plain(lattice.tile(int(lattice.ids[0])).name, 40)
        last = plain(lattice.tile(int(lattice.ids[-1])).name, 40)
        parts.append(first if lattice.n_tiles == 1 else f"{first} … {last}")
    return ", ".join(parts)


def _pixels(lattice: Lattice) -> str:
    if not lattice.tile_dims:
        return ""
    a_tile = math.prod(lattice.tile_shape.values()) * lattice.dtype.itemsize
    total = a_tile * lattice.n_tiles
    if lattice.shapes is not None:
        total = int(np.prod(lattice.shapes, axis=1).sum()) * lattice.dtype.itemsize
    shape = _by_axis(lattice.tile_shape)
    upto = (
        "up to "
        if lattice.shapes is not None and len(np.unique(lattice.shapes, axis=0)) > 1
        else ""
    )
    return f"{upto}{shape} {lattice.dtype}, {size(a_tile)} a tile, {size(total)} in all"


def _pixel_size(lattice: Lattice) -> str:
    sizes = lattice.known_pixel_size_um
    if not sizes:
        return "not known, 1 µm assumed"
    unknown = [axis for axis in lattice.spatial_dims if axis not in sizes]
    more = f", {' and '.join(unknown)} not known, 1 µm assumed" if unknown else ""
    if len(set(sizes.values())) == 1 and not unknown:
        return length(next(iter(sizes.values())))
    return " × ".join(f"{axis} {value:.4g}" for axis, value in sizes.items()) + f" µm{more}"


def _step(lattice: Lattice) -> str:
    if not lattice.step_px:
        return ""
    overlaps = []
    for axis, px in lattice.overlap_px.items():
        share = 100 * px / max(1, lattice.tile_shape.get(axis, 1))
        if px:
            kind = "" if px > 0 else "gap "
            overlaps.append(f"{kind}{axis} {abs(px):,} px ({abs(share):.2g} %)")
    return f"{_by_axis(lattice.step_px)} px, " + (
        f"overlap {', '.join(overlaps)}" if overlaps else "tiles abut"
    )


def _extent(lattice: Lattice) -> str:
    near = lattice.position_um.min(axis=0)
    far = (lattice.position_um + extents_um(lattice)).max(axis=0)
    spans = dict(zip(lattice.spatial_dims, (far - near).tolist(), strict=True))
    lattice_axes = {spatial_axis(dim) for dim in lattice.dims}
    shown = {a: v for a, v in spans.items() if a in lattice.tile_dims or a in lattice_axes}
    if all(value >= 10_000 for value in shown.values()):
        return " × ".join(f"{axis} {value / 1000:.4g}" for axis, value in shown.items()) + " mm"
    if all(value < 10_000 for value in shown.values()):
        return " × ".join(f"{axis} {value:.4g}" for axis, value in shown.items()) + " µm"
    return " × ".join(f"{axis} {length(value)}" for axis, value in shown.items())


def _problems(lattice: Lattice) -> list[str]:
    shown = []
    for tile_id, why in islice(lattice.problems.items(), _SHOWN_PROBLEMS):
        tile = lattice.tile(int(tile_id))
        shown.append(f"{plain(tile.name, 60)} {tile.address}: {plain(why, 300)}")
    more = len(lattice.problems) - len(shown)
    return [*shown, f"and {plural(more, 'more tile')}"] if more else shown
