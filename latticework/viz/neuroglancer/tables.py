"""Layers of tables: spots and points, matched pairs of them, links between tiles."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.lattice.lattice import Lattice
from latticework.viz.neuroglancer.annotations import Annotations
from latticework.viz.neuroglancer.layers import (
    AXES,
    LINE_SHADER,
    POINT_SHADER,
    TRUST_SHADER,
    Layer,
    Source,
)
from latticework.viz.neuroglancer.resources import ViewError
from latticework.viz.neuroglancer.tile_images import geometry_of

if TYPE_CHECKING:
    import pandas as pd

POINTS, PAIRS, LINKS = "#ffd400", "#00e5ff", "#40ff60"
"""Colours."""
MOST_PROPERTIES = 6
"""Columns of numbers that are told of each annotation."""


def kind_of_table(columns: Any) -> str | None:
    """What a table with these columns is: ``points``, ``pairs``, ``links``; None if none of it.

    Examples
    --------
    >>> kind_of_table(["tile", "y", "x", "score"]), kind_of_table(["neighbour", "y", "x"])
    ('points', 'pairs')
    >>> kind_of_table(["first", "second", "trusted"]), kind_of_table(["mean"])
    ('links', None)
    """
    names = set(columns)
    if {"first", "second"} <= names:
        return "links"
    if {"y", "x"} <= names:
        return "pairs" if "neighbour" in names else "points"
    return "points" if {"y_um", "x_um"} <= names else None


def table_layers(
    name: str,
    table: "pd.DataFrame",
    lattice: Lattice,
    *,
    key: str,
    position_um: np.ndarray | None = None,
    visible: bool = True,
) -> list[Layer]:
    """Layers of a table that a stage made of tiles.

    Parameters
    ----------
    name
        Of the stage.
    table
        With the tiles' names in ``tile``, as ``project["spots"].data`` is.
    lattice
        Whose tiles these are.
    key
        Under which it is served.
    position_um
        Where the tiles lie; as the lattice says if not given.
    visible
        Whether it is shown at first.

    Raises
    ------
    ViewError
        If its columns are no places.

    Examples
    --------
    >>> import pandas as pd
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1", pixel_size_um=0.5
    ... )
    >>> spots = pd.DataFrame({"tile": ["y0_x1"], "y": [2.0], "x": [3.0], "score": [9.0]})
    >>> layer, = table_layers("spots", spots, lattice, key="spots")
    >>> layer.sources[0].resource.first_um.tolist()
    [[0.0, 1.0, 5.5]]
    """
    kind = kind_of_table(table.columns)
    if kind is None:
        raise ViewError(
            f"the table of {name!r} has the columns {', '.join(map(str, table.columns))}: to be "
            "shown it needs y and x (pixels), y_um and x_um, or first and second (tiles)"
        )
    maker = {"points": _points, "pairs": _pairs, "links": _links}[kind]
    annotations = maker(table, lattice, position_um)
    shader = {"points": POINT_SHADER, "pairs": LINE_SHADER, "links": LINE_SHADER}[kind]
    if "trusted" in annotations.properties:
        shader = TRUST_SHADER
    low, high = annotations.bounds_um
    return [
        Layer(
            name,
            "annotation",
            [Source(key, annotations, "precomputed", size_um=None)],
            low,
            high,
            pixel_um=tuple(geometry_of(lattice).size_um.tolist()),
            colour={"points": POINTS, "pairs": PAIRS, "links": LINKS}[kind],
            visible=visible,
            shader=shader,
            groups={"stage": name},
        )
    ]


def _rows(table: "pd.DataFrame", lattice: Lattice) -> np.ndarray:
    """Row of the lattice of each row of a table."""
    if "tile" not in table:
        return np.zeros(len(table), np.int64)
    if table["tile"].dtype.kind in "iu":
        return np.asarray(lattice.rows_of(table["tile"].to_numpy()))
    row_of = {str(name): row for row, name in enumerate(lattice.names)}
    names = table["tile"].astype(str)
    try:
        return np.array([row_of[name] for name in names], np.int64)
    except KeyError as error:
        raise ViewError(f"a table tells of tile {error}, which the lattice does not have") from None


def _places(
    table: "pd.DataFrame",
    rows: np.ndarray,
    lattice: Lattice,
    position_um: np.ndarray | None,
    before: str = "",
) -> np.ndarray:
    """Places in micrometres along z, y and x."""
    there, nominal = geometry_of(lattice, position_um), geometry_of(lattice)
    out = np.zeros((len(table), 3))
    for k, axis in enumerate(AXES):
        if f"{before}{axis}" in table:
            pixels = table[f"{before}{axis}"].to_numpy("f8")
            out[:, k] = there.position_um[rows, k] + pixels * there.size_um[k]
        elif f"{before}{axis}_um" in table:
            moved = there.position_um[rows, k] - nominal.position_um[rows, k]
            out[:, k] = table[f"{before}{axis}_um"].to_numpy("f8") + moved
        elif len(rows):
            out[:, k] = there.position_um[rows, k]
    return out


def _numbers(
    table: "pd.DataFrame", known: Mapping[str, Any] | None = None
) -> dict[str, np.ndarray]:
    """Columns of numbers as properties."""
    found: dict[str, np.ndarray] = dict(known or {})
    told = {f"{axis}{end}" for axis in AXES for end in ("", "_um")} | {"tile", "first", "second"}
    for column in table.columns:
        name, values = str(column), table[column]
        if len(found) >= MOST_PROPERTIES:
            break
        plain = name.isidentifier() and name.isascii() and name.islower()
        if name in told or name.startswith(("tile_", "neighbour")) or name in found or not plain:
            continue
        if values.dtype.kind in "fiub":
            found[name] = values.to_numpy(np.float32)
    return found


def _points(table: "pd.DataFrame", lattice: Lattice, position_um: np.ndarray | None) -> Annotations:
    rows = _rows(table, lattice)
    places = _places(table, rows, lattice, position_um)
    good = np.isfinite(places).all(axis=1)
    properties = {name: values[good] for name, values in _numbers(table).items()}
    return Annotations(places[good], properties)


def _pairs(table: "pd.DataFrame", lattice: Lattice, position_um: np.ndarray | None) -> Annotations:
    """Lines from a spot to the same spot as its neighbour shows it."""
    rows = _rows(table, lattice)
    others = np.full(len(table), -1, np.int64)
    offsets = table["neighbour"].astype(str).to_numpy()
    for offset in np.unique(offsets):
        mine = np.flatnonzero(offsets == offset)
        ids = lattice.neighbours(str(offset))[rows[mine], 0]
        known = ids >= 0
        others[mine[known]] = lattice.rows_of(ids[known])
    kept = np.flatnonzero(others >= 0)
    table, rows, others = table.iloc[kept], rows[kept], others[kept]
    first = _places(table, rows, lattice, position_um)
    second = _places(table, others, lattice, position_um, before="neighbour_")
    return Annotations(first, _numbers(table), second)


def _links(table: "pd.DataFrame", lattice: Lattice, position_um: np.ndarray | None) -> Annotations:
    """Lines from the middle of a tile to that of another."""
    table = table[(table["first"] >= 0) & (table["second"] >= 0)]
    of = geometry_of(lattice, position_um)
    middles = of.position_um + (of.shapes - 1) * of.size_um / 2
    first, second = (lattice.rows_of(table[end].to_numpy(np.int64)) for end in ("first", "second"))
    known = {}
    if "trusted" in table:
        known["trusted"] = table["trusted"].to_numpy(bool).astype(np.uint32)
    return Annotations(middles[first], _numbers(table, known), middles[second])


__all__ = ["kind_of_table", "table_layers"]
