"""Which layers a project has: tiles, what its stages made, where a stitching found the tiles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeworkError, ProjectError
from latticework.io.tile_array import TileArray
from latticework.io.zarr_images import is_zarr
from latticework.lattice.lattice import Lattice
from latticework.project.outputs import open_reader
from latticework.project.pipeline import SOURCE
from latticework.stages.lattices import TILES
from latticework.viz.neuroglancer.layers import Layer
from latticework.viz.neuroglancer.resources import ViewError
from latticework.viz.neuroglancer.stored_images import Overlay, array_layers, image_layers
from latticework.viz.neuroglancer.tables import kind_of_table, table_layers
from latticework.viz.neuroglancer.tile_images import Tiles, is_labels, tile_layers

if TYPE_CHECKING:
    from latticework.project.outputs import StageOutputs
    from latticework.project.project import Project

PLACES = "places"
"""Stage of a stitching that says where each tile lies."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of a project is to be shown; see `latticework.Project.view`."""

    stages: tuple[str, ...] = ()
    positions: Any = None
    channels: Sequence[int | str] | None = None
    labels: frozenset[str] = frozenset()
    contrast: Any = None
    region: Mapping[str, Any] = field(default_factory=dict)


class ProjectLayers:
    """Makes the layers of a project.

    Parameters
    ----------
    project
        The project.
    wanted
        What of it.
    separate
        Whether stages have panels of their own, so that all of them are shown at first.
    """

    def __init__(self, project: "Project", wanted: Wanted, *, separate: bool = False) -> None:
        self.project = project
        self.wanted = wanted
        self.separate = separate
        self.notes: list[str] = []
        self.problems: dict[str, dict[int, str]] = {}
        known = (SOURCE, *project.stages)
        unknown = [name for name in wanted.stages if name not in known]
        if unknown:
            raise ViewError(f"there is no stage {unknown[0]!r}: there are {', '.join(known)}")
        lacking = [axis for axis in wanted.region if not _has(project.lattice, axis)]
        if lacking:
            axes = ", ".join(dim.removeprefix("tile_") for dim in project.lattice.dims)
            raise ViewError(f"the lattice has no axis {lacking[0]!r}: it has {axes}")

    def layers(self) -> list[Layer]:
        """All of them."""
        wanted = self.wanted
        names = wanted.stages or (SOURCE, *self.project.stages)
        nominal, solved = self._positions()
        found: list[Layer] = []
        for name in names:
            found += self._of_stage(name, nominal)
            if solved is not None and (wanted.stages or name == SOURCE):
                found += self._of_stage(name, solved, " (solved)")
        return self._in_sight(found)

    def _in_sight(self, layers: list[Layer]) -> list[Layer]:
        """Images of one stage only, the last, where all would lie over each other."""
        images = [layer for layer in layers if layer.kind == "image"]
        order = sorted(layers, key=lambda layer: layer.kind == "annotation")
        if self.separate or not images:
            return order
        last = images[-1].groups["stage"]
        return [
            replace(layer, visible=layer.groups["stage"] == last)
            if layer.kind == "image"
            else replace(layer, visible=bool(self.wanted.stages))
            for layer in order
        ]

    # ---------------------------------------------------------------- positions

    def _positions(self) -> "tuple[dict[int, np.ndarray] | None, dict[int, np.ndarray] | None]":
        """Positions by tile id for all layers (None: nominal), and for the solved ones as well."""
        asked = self.wanted.positions
        if isinstance(asked, str) and asked == "nominal":
            return None, None
        if asked is None:
            if self.wanted.stages:
                return None, None
            return None, self._solved(PLACES) if PLACES in self.project.stages else None
        if isinstance(asked, str):
            stage = PLACES if asked in ("solved", "both") else asked
            solved = self._solved(stage)
            if solved is None:
                raise ViewError(
                    f"positions={asked!r}: stage {stage!r} has no positions. Give 'nominal', the "
                    "name of a stage whose table has id and position_y_um ..., a Placement, or an "
                    "array"
                )
            return (None, solved) if asked == "both" else (solved, None)
        lattice = self.project.lattice
        given = getattr(getattr(asked, "lattice", asked), "position_um", asked)
        array = np.asarray(given, "f8")
        if array.shape != lattice.position_um.shape:
            raise ViewError(
                f"positions of shape {array.shape}: give {lattice.position_um.shape}, a row of "
                f"{', '.join(lattice.spatial_dims)} in micrometres for each tile"
            )
        return dict(zip(lattice.ids.tolist(), array, strict=True)), None

    def _solved(self, stage: str) -> dict[int, np.ndarray] | None:
        """Positions that a stage found, by tile id; None if it has none (yet)."""
        if stage not in self.project.stages:
            return None
        try:
            table = self.project[stage].data
        except LatticeworkError:
            return None
        columns = [f"position_{axis}_um" for axis in self.project.lattice.spatial_dims]
        have = set(getattr(table, "columns", ()))
        id = "id" if "id" in have else "tile"
        if id not in have or not {f"position_{a}_um" for a in "yx"} <= have:
            return None
        lattice, found = self.project.lattice, {}
        known = [column in have for column in columns]
        values = table[[c for c, there in zip(columns, known, strict=True) if there]].to_numpy("f8")
        rows = lattice.rows_of(table[id].to_numpy(np.int64))
        for row, own in zip(rows.tolist(), values, strict=True):
            at = lattice.position_um[row].copy()
            at[known] = own
            found[int(lattice.ids[row])] = at
        return found

    # ---------------------------------------------------------------- stages

    def _of_stage(
        self, name: str, solved: dict[int, np.ndarray] | None, suffix: str = ""
    ) -> list[Layer]:
        stage = self.project[name]
        asked = bool(self.wanted.stages)
        try:
            if name == SOURCE or (
                stage.kind == "array" and not self.project.pipeline[stage.name].reduction
            ):
                return self._of_tiles(stage, solved, suffix)
            if suffix:
                return []
            if stage.kind == "table":
                return self._of_table(stage, solved)
            if stage.kind == "array":
                return self._of_picture(stage)
            if stage.kind == "record":
                return self._of_record(stage)
        except ViewError:
            if asked:
                raise
            return []
        if asked and not suffix:
            made = stage.kind or "nothing yet"
            raise ViewError(
                f"stage {name!r} has made {made}: arrays, tables of places and images can be viewed"
                + (f" ({self.project.why(name, 0)})" if stage.kind is None else "")
            )
        return []

    def _of_tiles(
        self, stage: "StageOutputs", solved: dict[int, np.ndarray] | None, suffix: str
    ) -> list[Layer]:
        name = f"{stage.name}{suffix}"
        node = self.project.pipeline[stage.name]
        if stage.name == SOURCE and node.lattice.source is None:
            raise ViewError("the acquisition of this project has no pixels")
        reader = open_reader(self.project, node)
        lattice = reader.lattice
        if not {"y", "x"} <= set(lattice.tile_dims):
            raise ViewError(
                f"stage {stage.name!r} makes arrays of {lattice.tile_dims}, not pictures"
            )
        region = {axis: at for axis, at in self.wanted.region.items() if _has(lattice, axis)}
        chosen = lattice.sel(**region) if region else lattice
        position_um = None
        if solved is not None and node.key == TILES:
            position_um = np.array(
                [
                    solved.get(int(id), own)
                    for id, own in zip(chosen.ids, chosen.position_um, strict=True)
                ]
            ).reshape(chosen.position_um.shape)
        store = reader.reader if isinstance(reader.reader, TileArray) else None

        def file_of(id: int) -> Path:
            assert store is not None
            return store.path / store.keys(store.layout.place(lattice, id))[0]

        tiles = Tiles(chosen, reader.read_box, None if store is None else file_of)
        self.problems[stage.name] = tiles.problems
        return tile_layers(
            *(name, tiles),
            key=f"{stage.name}{'-solved' if suffix else ''}",
            position_um=position_um,
            channels=self.wanted.channels,
            labels=stage.name in self.wanted.labels or is_labels(lattice.dtype),
            contrast=self._contrast(stage.name),
            say=self.notes.append,
        )

    def _of_table(self, stage: "StageOutputs", solved: dict[int, np.ndarray] | None) -> list[Layer]:
        try:
            table = stage.data
        except ProjectError as error:
            raise ViewError(str(error)) from error
        if kind_of_table(getattr(table, "columns", ())) is None:
            raise ViewError(f"the table of {stage.name!r} has no columns of places")
        lattice = self.project.lattice
        position_um = None
        if solved is not None:
            position_um = np.array(
                [
                    solved.get(int(i), p)
                    for i, p in zip(lattice.ids, lattice.position_um, strict=True)
                ]
            )
        if self.wanted.region and "tile" in table:
            region = self.wanted.region
            names = set(map(str, lattice.sel(**region).names))
            table = table[table["tile"].astype(str).isin(names)]
        return table_layers(stage.name, table, lattice, key=stage.name, position_um=position_um)

    def _of_picture(self, stage: "StageOutputs") -> list[Layer]:
        """An array that was made once, such as a flat-field."""
        made = stage.tile()
        sizes = dict(self.project.lattice.pixel_size_um)
        if not {"y", "x"} <= set(made.dims):
            raise ViewError(f"stage {stage.name!r} made an array of {made.dims}, not a picture")
        overlay = Overlay(np.asarray(made.data), pixel_size_um=sizes)
        return array_layers(stage.name, overlay, key=stage.name)

    def _of_record(self, stage: "StageOutputs") -> list[Layer]:
        """An image that a stage wrote elsewhere and tells of, as that of a stitching does."""
        try:
            made = stage.tile() if self.project.pipeline[stage.name].reduction else None
        except ProjectError as error:
            raise ViewError(str(error)) from error
        path = made.get("image") if isinstance(made, dict) else None
        if path is None or not is_zarr(Path(path)):
            raise ViewError(f"stage {stage.name!r} made records, none of which names an image")
        name = Path(path).name.removesuffix(".zarr").removesuffix(".ome")
        return image_layers(name, Path(path), key=stage.name)

    def _contrast(self, name: str) -> tuple[float, float] | None:
        given = self.wanted.contrast
        return given.get(name) if isinstance(given, Mapping) else given


def _has(lattice: Lattice, axis: str) -> bool:
    return axis in lattice.dims or f"tile_{axis}" in lattice.dims


__all__ = ["ProjectLayers", "Wanted"]
