"""Small pictures of what the stages have made of one unit, for its page."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError, ProjectError
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES
from latticework.viz.dashboard.naming import Unit
from latticework.viz.pictures import contrasted, png_address, png_bytes, stretched
from latticework.viz.words import plain, plural

if TYPE_CHECKING:
    from latticework.project.outputs import StageOutputs
    from latticework.project.pipeline import Node
    from latticework.project.project import Project

MOST_PX = 256
"""Pixels of a picture along its longer side."""
MOST_BYTES = 48_000_000
"""Bytes that are read for one picture: of larger tiles, planes around the middle."""
TOO_LARGE = 400_000_000
"""Bytes of a single plane from which on it is not shown at all."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a stage has made of a unit, small."""

    stage: str
    """Name of the stage."""
    picture: str = ""
    """The picture as an address that holds it (PNG); empty where there is none."""
    note: str = ""
    """What it is, in words."""


def picture_of(project: "Project", unit: Unit, stage: str) -> Shown:
    """A small picture, or a few words, of what a stage has made of a unit; reads little.

    Meant to be called in another thread, as pixels may be read.
    """
    try:
        outputs = project[stage] if stage != SOURCE else project.source
        node = project.pipeline[stage]
        if stage != SOURCE and not node.units.published[unit.id]:
            return Shown(stage, note="nothing yet")
        if node.output is None or node.output.kind == "nothing":
            return Shown(stage, note="keeps nothing")
        if node.output.kind != "array":
            return Shown(stage, note=_in_words(outputs, unit))
        note = _sizes(*_shape_of(node, unit))
        kept = _kept(outputs, unit)
        if kept is not None:
            return Shown(stage, png_address(png_bytes(kept)), note)
        values, note = _pixels(outputs, node, unit)
        return Shown(stage, png_address(png_bytes(contrasted(projected(values)))), note)
    except (LatticeworkError, OSError, ValueError, MemoryError) as error:
        return Shown(stage, note=f"cannot be shown: {plain(error, 160)}")


def _in_words(outputs: "StageOutputs", unit: Unit) -> str:
    made: Any = outputs.tile(unit.id)
    if outputs.kind == "table":
        columns = ", ".join(map(str, list(made.columns)[:6]))
        return f"a table of {plural(len(made), 'row')}: {plain(columns, 100)}"
    if outputs.kind == "files":
        return plain(f"files: {made}", 160)
    return plain(made, 160)


def _kept(outputs: "StageOutputs", unit: Unit) -> np.ndarray | None:
    """The preview that is kept of it, in grey or colour, uint8; None where there is none."""
    try:
        preview = outputs.preview(unit.id)
    except ProjectError:
        return None
    pixels = preview.to_numpy()
    if pixels.dtype == np.uint32:
        return coloured_ids(pixels[0])
    low, high = preview.attrs["low"], preview.attrs["high"]
    grey = [
        stretched(one, *bounds) if np.isfinite(bounds).all() else contrasted(one)
        for one, *bounds in zip(pixels, low, high, strict=True)
    ]
    return np.asarray(np.max(grey, axis=0))


def coloured_ids(ids: np.ndarray) -> np.ndarray:
    """A colour for each id, black where there is none: uint8 with a last axis of 3.

    Examples
    --------
    >>> coloured_ids(np.array([[0, 7]])).shape, coloured_ids(np.array([[0]])).max()
    ((1, 2, 3), np.uint8(0))
    """
    from matplotlib.colors import hsv_to_rgb

    hue = (ids * 0.618033988749895) % 1.0  # the golden ratio keeps near ids far apart
    hsv = np.stack([hue, np.full(ids.shape, 0.55), np.where(ids > 0, 1.0, 0.0)], axis=-1)
    return np.asarray(255 * hsv_to_rgb(hsv), dtype=np.uint8)


def _shape_of(node: "Node", unit: Unit) -> tuple[tuple[str, ...], tuple[int, ...]]:
    output = node.output
    assert output is not None
    dims = tuple(output.dims or node.lattice.tile_dims)
    return dims, tuple(output.shape or node.lattice.tile(unit.id).shape)


def _pixels(outputs: "StageOutputs", node: "Node", unit: Unit) -> tuple[np.ndarray, str]:
    """Pixels with the dims ``(..., y, x)``, and which they are."""
    dims, shape = _shape_of(node, unit)
    each = np.dtype((node.output and node.output.dtype) or node.lattice.dtype).itemsize
    plane = each * math.prod(n for dim, n in zip(dims, shape, strict=True) if dim != "z")
    if plane > TOO_LARGE:
        raise LatticeworkError(f"a plane of it has {plane / 1e6:,.0f} MB")
    if node.reduction:
        if each * math.prod(shape) > TOO_LARGE:
            raise LatticeworkError("it is too large")
        return np.asarray(outputs.tile()), _sizes(dims, shape)
    box = {}
    note = _sizes(dims, shape)
    if "z" in dims:
        depth = shape[dims.index("z")]
        planes = max(1, min(depth, MOST_BYTES // max(1, plane)))
        if planes < depth:
            first = (depth - planes) // 2
            box["z"] = (first, first + planes)
            note += f", z {first} to {first + planes - 1}"
    return outputs.read(box, unit.id), note


def _sizes(dims: tuple[str, ...], shape: tuple[int, ...]) -> str:
    return " × ".join(f"{dim} {n}" for dim, n in zip(dims, shape, strict=True))


def projected(values: np.ndarray) -> np.ndarray:
    """The maximum over all but the last two axes, at most `MOST_PX` wide and high, as float32.

    Examples
    --------
    >>> projected(np.stack([np.zeros((600, 300), "u1"), np.ones((600, 300), "u1")])).shape
    (200, 100)
    """
    flat = values.reshape(-1, values.shape[-1])[:1] if values.ndim == 1 else values
    while flat.ndim > 2:
        flat = flat.max(axis=0)
    height, width = flat.shape
    by = max(1, math.ceil(max(height, width) / MOST_PX))
    if by == 1:
        return flat.astype(np.float32)
    rows, columns = min(by, height), min(by, width)
    cut = flat[: height // rows * rows, : width // columns * columns].astype(np.float32)
    blocks = cut.reshape(height // rows, rows, width // columns, columns)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def shown_stages(unit: Unit, stages: list[str]) -> list[str]:
    """Of which stages a unit's page shows pictures, in order: the source too, for tiles."""
    return [SOURCE, *stages] if unit.key == TILES else list(stages)
