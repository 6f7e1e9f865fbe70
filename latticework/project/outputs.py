"""What a stage has made, as people look at it: ``project["clean"]``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import ProjectError
from latticework.io.records import from_json
from latticework.io.tables import TILE_COLUMN, read_tables
from latticework.io.tile_array import TileArray, open_labelled
from latticework.lattice.geometry import Box
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State
from latticework.project.pipeline import SOURCE, Node
from latticework.stages.bench import ArrayInput, open_array_input
from latticework.stages.gathered import (
    all_arrays,
    all_files,
    all_records,
    all_tables,
    whole_volume,
)
from latticework.stages.labelled import labelled_tile
from latticework.stages.lattices import TILES, UNIT
from latticework.stages.order import Input
from latticework.stages.outputs import Output
from latticework.stages.paths import array_folder, files_folder, stage_folder, table_folder
from latticework.stages.produced import Files, read_files
from latticework.stages.reads import same_tile

if TYPE_CHECKING:
    import xarray as xr

    from latticework.project.project import Project


class StageOutputs:
    """One stage of a project: its results, states and address as a parent.

    Parameters
    ----------
    project
        The project.
    name
        Name of the stage, or ``"source"``.
    """

    def __init__(self, project: "Project", name: str) -> None:
        self.project = project
        self.name = name

    @property
    def _node(self) -> Node:
        return self.project.pipeline[self.name]

    @property
    def _output(self) -> Output:
        output = self._node.output
        if output is None:
            raise ProjectError(
                f"stage {self.name!r} has made nothing yet: {self.project.why(self.name, 0)}"
            )
        return output

    @property
    def kind(self) -> str | None:
        """``"array"``, ``"table"``, ``"record"``, ``"files"`` or ``"nothing"``.

        None before the first tile.
        """
        return None if self._node.output is None else self._node.output.kind

    @property
    def path(self) -> Path:
        """Folder of what it made: for arrays a Zarr group that `xarray.open_zarr` opens."""
        if self.name == SOURCE:
            raise ProjectError("the source lies where it was acquired: see project.lattice.source")
        if self.kind == "array":
            return array_folder(self.project.path, self.name)
        if self.kind == "table":
            return table_folder(self.project.path, self.name)
        if self.kind == "files":
            return files_folder(self.project.path, self.name)
        return stage_folder(self.project.path, self.name)

    @property
    def lattice(self) -> Lattice:
        """The lattice of its units: the acquisition's tiles, their planes, or one of its own."""
        return self._node.lattice

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of its parents."""
        return self._node.parents

    @property
    def counts(self) -> dict[str, int]:
        """Units in each state."""
        return {state.label: n for state, n in self._node.units.count().items()}

    @property
    def status(self) -> "xr.Dataset":
        """State, attempts, duration and end of its units."""
        from latticework.project.status import node_dataset

        return node_dataset(self._node)

    # ---------------------------------------------------------------- data

    @property
    def data(self) -> Any:
        """Everything it has made.

        Returns
        -------
        xarray.DataArray or pandas.DataFrame or object
            For arrays a lazy array over the dims of its `lattice`, as it is now, and the tile dims
            (over the volume, for blocks of one), with 0 (NaN for floats) where there is no tile
            yet. For tables and records one table with the tiles' names and labels; for files one
            with their paths. For a reduction, what it made.
        """
        node, output = self._node, self._output
        if self.name == SOURCE:
            return self._source_data()
        if node.reduction:
            return self.tile()
        if output.kind == "array":
            return open_labelled(self.path, node.lattice, name=self.name)
        return self._table(np.flatnonzero(node.units.published > 0))

    def _source_data(self) -> "xr.DataArray":
        lattice, reader = self.project.lattice, self._reader()
        if lattice.volume_shape is not None and hasattr(reader.reader, "read_volume"):
            return whole_volume(reader)
        stacked = all_arrays(reader)
        if len(lattice) == int(np.prod(lattice.shape)):
            names = list(lattice.dims)
            return (
                stacked.drop_vars("name")
                .set_index(tile=names)
                .unstack("tile")
                .transpose(*names, *lattice.tile_dims)
            )
        return stacked

    def _table(self, units: np.ndarray) -> Any:
        node, output = self._node, self._output
        if output.kind == "table":
            return all_tables(table_folder(self.project.path, self.name), node.lattice, units)
        if output.kind == "record":
            records = self.project.records(node, units)
            return all_records([records[unit] for unit in units.tolist()], node.lattice, units)
        if output.kind == "files":
            return all_files(self.project.path, self.name, node.lattice, units)
        raise ProjectError(f"stage {self.name!r} keeps nothing: its callable returns None")

    def tile(self, id: int | str | None = None, /, **labels: Any) -> Any:
        """What it made of one unit: a tile, a plane, a block of its own lattice.

        Parameters
        ----------
        id
            Id or name of the unit.
        **labels
            Label by axis of its `lattice`, as in ``tile(z=3, y=1, x=2)``, or ``tile(z=3)`` for a
            plane; none for a reduction.

        Returns
        -------
        xarray.DataArray or pandas.DataFrame or Files or object
            A labelled tile, a table, files, or a record.

        Raises
        ------
        ProjectError
            If it has made nothing of that tile yet; says why.
        """
        node, unit = self._made(id, labels)
        if self._output.kind == "table":
            folder = table_folder(self.project.path, self.name)
            return read_tables(folder, [unit]).drop(columns=TILE_COLUMN)
        if self._output.kind == "record":
            return from_json(self.project.records(node, np.array([unit]))[unit])
        if self._output.kind == "files":
            return read_files(self.project.path, self.name, node.lattice, unit)
        if self._output.kind == "nothing":
            return None
        return self._pixels(node, unit)

    def files(self, id: int | str | None = None, /, **labels: Any) -> Files:
        """The files that a command made of one unit, by the names that were declared.

        Parameters
        ----------
        id, **labels
            The unit, as for `tile`.

        Raises
        ------
        ProjectError
            If the stage makes no files, or none of that unit yet.
        """
        node, unit = self._made(id, labels)
        if self._output.kind != "files":
            raise ProjectError(
                f"stage {self.name!r} makes {_KEPT.get(self._output.kind, 'nothing')}, no files: "
                "use .tile() or .data"
            )
        return read_files(self.project.path, self.name, node.lattice, unit)

    def _made(self, id: int | str | None, labels: Mapping[str, Any]) -> tuple[Node, int]:
        """The stage and one of its units, of which it has made something."""
        node = self._node
        unit = self.project.unit_row(node, id, labels)
        if self.name != SOURCE and not node.units.published[unit]:
            reason = self.project.why(self.name, unit)
            raise ProjectError(f"stage {self.name!r} has no result for this tile: {reason}")
        return node, unit

    def _pixels(self, node: Node, unit: int) -> "xr.DataArray":
        if node.reduction:
            import xarray as xr

            store = TileArray.open(self.path)
            return xr.DataArray(store.read(()), dims=store.layout.dims, name=self.name)
        reader = self._reader()
        tile = node.lattice.tile(unit)
        array, _ = reader.read(unit)
        made = reader.lattice
        return labelled_tile(tile, array, made.tile_dims, name=self.name, channels=made.channels)

    def read(
        self, box: Mapping[str, tuple[int, int]], id: int | str | None = None, /, **labels: Any
    ) -> np.ndarray:
        """Part of one tile, in pixels: ``read({"y": (0, 10), "x": (5, 20)}, z=3, y=1, x=2)``.

        Touches only the part of the file that it needs, where the format allows.
        """
        unit = self.project.unit_row(self._node, id, labels)
        reader = self._reader()
        shape = dict(reader.lattice.tile_shape)
        unknown = sorted(set(box) - set(shape))
        if unknown:
            raise ProjectError(f"box names {unknown}, but these tiles have the axes {list(shape)}")
        spans = [box.get(dim, (0, size)) for dim, size in shape.items()]
        return reader.read_box(unit, Box(tuple(a for a, _ in spans), tuple(b for _, b in spans)))

    # ---------------------------------------------------------------- previews

    @property
    def previews(self) -> "xr.DataArray":
        """Small pictures of everything that it has made, lazily, over its lattice and c, y, x.

        Returns
        -------
        xarray.DataArray
            Dims of the `lattice`, then (c, y, x), in the type of its tiles if that has 8 or 16
            bits, else float32 (uint32 for images of ids); blank where there is no tile. ``low``
            and ``high`` are percentiles 1 and 99.8 of each preview and channel, NaN of those that
            workers have not made; ``attrs["pixel_size_um"]``, ``attrs["projection"]``.

        Raises
        ------
        ProjectError
            If its results are no pictures, or there are none yet.
        """
        from latticework.project.preview_array import preview_array

        return preview_array(self.project, self.name)

    def preview(self, id: int | str | None = None, /, **labels: Any) -> "xr.DataArray":
        """A small picture of what it made of one unit; parameters as for `tile`.

        Returns
        -------
        xarray.DataArray
            Dims (c, y, x), at most 128 pixels along y and x; ``attrs["low"]`` and
            ``attrs["high"]`` have its contrast by channel.

        Raises
        ------
        ProjectError
            If it has made nothing of that tile yet, or its results are no pictures.
        """
        from latticework.project.preview_array import one_preview

        _, unit = self._made(id, labels)
        return one_preview(self.project, self.name, unit)

    def _reader(self) -> ArrayInput:
        return open_reader(self.project, self._node)

    # ---------------------------------------------------------------- looking

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        node = self._node
        made = "nothing yet" if node.output is None else node.output.kind
        if node.output is not None and node.output.dims is not None:
            sizes = zip(node.output.dims, node.output.shape or (), strict=True)
            made += f" {np.dtype(node.output.dtype)} ({', '.join(f'{d}: {n}' for d, n in sizes)})"
        counts = ", ".join(f"{n} {state}" for state, n in self.counts.items())
        after = f" after {', '.join(node.parents)}" if node.parents else ""
        return f"<stage {self.name!r}{after}{_units_of(node)}: {made}; {counts}>"

    def _repr_html_(self) -> str:
        from latticework.viz.summary import summary_html

        return summary_html({self.name: self._node.units.count()}, title=repr(self))


_KEPT = {"array": "arrays", "table": "tables", "record": "records"}


def _units_of(node: Node) -> str:
    """Where its units lie, if these are not the acquisition's tiles or one for all of them."""
    if node.key in (TILES, UNIT):
        return ""
    if node.key.startswith("planes:"):
        return f", once for each {node.lattice.dims[0]}"
    sizes = ", ".join(f"{dim}: {n}" for dim, n in node.lattice.sizes.items())
    return f" on a lattice of its own ({sizes})"


def open_reader(project: "Project", node: Node) -> ArrayInput:
    """What reads the pixels of a node's units, one by one."""
    assert node.output is not None
    spec = Input(node.name, same_tile(), node.key, node.output)
    return open_array_input(project.path, spec, node.lattice, project.lattice_version, cores=2)


__all__ = ["StageOutputs", "State", "open_reader"]
