"""Small pictures of what the stages have made of one unit, for its page."""

import base64
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES
from latticework.viz.dashboard.naming import Unit
from latticework.viz.pictures import contrasted
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
        values, note = _pixels(outputs, node, unit)
        return Shown(stage, png_address(projected(values)), note)
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


def _pixels(outputs: "StageOutputs", node: "Node", unit: Unit) -> tuple[np.ndarray, str]:
    """Pixels with the dims ``(..., y, x)``, and which they are."""
    output = node.output
    assert output is not None
    dims = tuple(output.dims or node.lattice.tile_dims)
    shape = tuple(output.shape or node.lattice.tile(unit.id).shape)
    each = np.dtype(output.dtype or node.lattice.dtype).itemsize
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


def png_address(picture: np.ndarray) -> str:
    """A grey picture, contrasted, as a ``data:`` address.

    Examples
    --------
    >>> png_address(np.zeros((4, 4), "f4"))[:22]
    'data:image/png;base64,'
    """
    from PIL import Image

    file = io.BytesIO()
    grey = picture if picture.dtype == np.uint8 else contrasted(picture)
    Image.fromarray(grey).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def shown_stages(unit: Unit, stages: list[str]) -> list[str]:
    """Of which stages a unit's page shows pictures, in order: the source too, for tiles."""
    return [SOURCE, *stages] if unit.key == TILES else list(stages)
