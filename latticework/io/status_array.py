"""The states of all units as a Zarr group that `xarray.open_zarr` opens anywhere, at any time.

Every variable has the dims ``(stage, *lattice dims)`` and one uncompressed chunk for each stage::

    status.zarr/
        state/     c.0.0.0   first stage       uint8, CF flags: 5 is "failed"
                   c.1.0.0   second stage
        attempts/  duration_s/  ...
        stage/  tile_y/  tile_x/  tile/        coordinates; `tile` holds the ids, -1 in holes

A chunk is replaced by rename, so a reader sees a stage as it was or as it is. New stages, or a
lattice that has grown, make a new group, which takes the old one's place at once. The group is
derived from the journal: where it is damaged or gone, it is written anew.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import (
    array_metadata,
    fill_value,
    read_group,
    replace_file,
    settle_folder,
    swap_folder,
    write_array,
    write_group,
    write_json,
)
from latticework.lattice.lattice import Lattice
from latticework.lattice.states import State

Columns = Mapping[str, Any]
"""Variables of one stage: name to values per tile id."""
_NAME_LENGTH = 64
"""Room for a stage's name, so that a longer one rarely changes how the others are stored."""


def write_status(
    path: Path | str,
    lattice: Lattice,
    stages: Mapping[str, Columns],
    *,
    order: Sequence[str] | None = None,
) -> None:
    """Write the states of some stages; the others stay as they are.

    Parameters
    ----------
    path
        Folder of the group.
    lattice
        All tiles of the project.
    stages
        For each changed stage its variables, each 1-D with one value per tile id. ``state`` gets
        the names of the states as CF flags.
    order
        All stages, in order; those of the store that are not named here are dropped. By default,
        the stages of the store with new ones at the end.

    Examples
    --------
    >>> import tempfile, xarray
    >>> path = Path(tempfile.mkdtemp()) / "status.zarr"
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    >>> write_status(path, lattice, {"clean": {"state": np.array([4, 4, 4, 5, 1, 1], "u1")}})
    >>> xarray.open_zarr(path).state.sel(stage="clean", tile_y=1).values
    array([5, 1, 1], dtype=uint8)
    """
    StatusArray(path, lattice).write(stages, order=order)


class StatusArray:
    """The status group of one project, for whoever writes it again and again.

    Parameters
    ----------
    path
        Folder of the group.
    lattice
        All tiles of the project.
    """

    def __init__(self, path: Path | str, lattice: Lattice) -> None:
        self.path = Path(path)
        self.lattice = lattice
        self._flat = _flat_order(lattice)

    def write(self, stages: Mapping[str, Columns], *, order: Sequence[str] | None = None) -> None:
        """Write the states of some stages; see `write_status`."""
        present = self._present()
        known = present["stages"] if present else []
        order = (
            list(order) if order is not None else [*known, *(s for s in stages if s not in known)]
        )
        dtypes = {**(present["dtypes"] if present else {}), **_dtypes(stages)}
        whole = {"stages": order, "dtypes": dtypes, "lattice": self._lattice_facts()}
        if present == whole and self._intact(whole):
            self._write_chunks(self.path, order, stages)
        else:
            self._rebuild(whole, present, stages)

    def remove(self) -> None:
        """Delete the group."""
        shutil.rmtree(self.path, ignore_errors=True)

    # -- what is there --------------------------------------------------------------------

    def _present(self) -> dict[str, Any] | None:
        settle_folder(self.path, self._new)
        try:
            stored = read_group(self.path, what="status")["attributes"].get("latticework_status")
        except StoreError:
            return None
        return stored if isinstance(stored, dict) else None

    def _intact(self, whole: Mapping[str, Any]) -> bool:
        """Whether the arrays' own metadata are there; a deleted folder is written anew."""
        return all((self.path / name / "zarr.json").exists() for name in whole["dtypes"])

    def _lattice_facts(self) -> dict[str, Any]:
        """What of the lattice a change of calls for a new group."""
        edge = {
            dim: labels[[0, -1]].tolist()
            for dim, labels in self.lattice.labels.items()
            if len(labels)
        }
        return {"n_tiles": len(self.lattice), "sizes": self.lattice.sizes, "edges": edge}

    @property
    def _new(self) -> Path:
        return self.path.with_name(f".{self.path.name}.new")

    # -- writing --------------------------------------------------------------------------

    def _write_chunks(
        self, path: Path, order: Sequence[str], stages: Mapping[str, Columns]
    ) -> None:
        for stage, columns in stages.items():
            if stage not in order:
                raise StoreError(f"stage {stage!r} is not one of {list(order)}")
            for name, values in columns.items():
                file = path / name / self._chunk(order.index(stage))
                replace_file(file, self._on_grid(stage, name, np.asarray(values)))

    def _chunk(self, stage: int) -> str:
        return ".".join(["c", str(stage), *["0"] * len(self.lattice.dims)])

    def _on_grid(self, stage: str, name: str, values: np.ndarray) -> memoryview:
        """Values per tile id as the bytes of a chunk."""
        if values.shape != (len(self.lattice),):
            raise StoreError(
                f"status of stage {stage!r}: {name!r} has shape {values.shape}, "
                f"but there are {len(self.lattice)} tiles"
            )
        blank = np.nan if values.dtype.kind == "f" else 0
        little = values.dtype.newbyteorder("<")
        if self._flat is None:
            grid = np.ascontiguousarray(values, dtype=little)
        else:
            grid = np.full(int(np.prod(self.lattice.shape)), blank, dtype=little)
            grid[self._flat] = values
        return grid.view(np.uint8).data

    def _rebuild(
        self,
        whole: Mapping[str, Any],
        present: Mapping[str, Any] | None,
        stages: Mapping[str, Columns],
    ) -> None:
        """A new group with all stages, kept ones included, in place of the old."""
        new, order = self._new, whole["stages"]
        shutil.rmtree(new, ignore_errors=True)
        members = self._write_coordinates(new, order)
        for name, dtype in whole["dtypes"].items():
            members[name] = self._metadata(len(order), np.dtype(dtype), name)
            write_json(new / name / "zarr.json", members[name])
        if present and present["lattice"] == whole["lattice"]:
            self._keep_chunks(present, whole, stages)
        self._write_chunks(new, order, stages)
        write_group(new, members, {"latticework_status": dict(whole)})
        swap_folder(new, self.path)

    def _keep_chunks(
        self, present: Mapping[str, Any], whole: Mapping[str, Any], stages: Mapping[str, Columns]
    ) -> None:
        """Copy the chunks of stages that are not written now."""
        for name, dtype in present["dtypes"].items():
            if whole["dtypes"].get(name) != dtype:
                continue
            for stage in set(present["stages"]) & set(whole["stages"]) - set(stages):
                old = self.path / name / self._chunk(present["stages"].index(stage))
                if old.exists():
                    shutil.copyfile(
                        old, self._new / name / self._chunk(whole["stages"].index(stage))
                    )

    def _metadata(self, n_stages: int, dtype: np.dtype, name: str) -> dict[str, Any]:
        attributes: dict[str, Any] = {"coordinates": "tile"}
        if name == "state":
            attributes["flag_values"] = [int(state) for state in State]
            attributes["flag_meanings"] = " ".join(state.label for state in State)
        if name.endswith("_s"):
            attributes["units"] = "s"
        dims = ("stage", *self.lattice.dims)
        metadata = array_metadata(
            (n_stages, *self.lattice.shape), dtype, dims=dims, attributes=attributes
        )
        metadata["chunk_grid"]["configuration"]["chunk_shape"][0] = 1
        metadata["fill_value"] = fill_value(dtype)
        return metadata

    def _write_coordinates(self, new: Path, order: Sequence[str]) -> dict[str, Any]:
        members = {
            dim: write_array(new, dim, labels, dims=(dim,))
            for dim, labels in self.lattice.labels.items()
        }
        members["tile"] = write_array(new, "tile", self.lattice.id_grid, dims=self.lattice.dims)
        text = np.dtype(f"<U{max([_NAME_LENGTH, *map(len, order)])}")
        stage = array_metadata((len(order),), text, dims=("stage",))
        stage["chunk_grid"]["configuration"]["chunk_shape"] = [1]
        for at, name in enumerate(order):  # a chunk each: readers of fewer stages read on
            replace_file(new / "stage" / f"c.{at}", np.array([name], text).tobytes())
        write_json(new / "stage" / "zarr.json", stage)
        members["stage"] = stage
        return members


def _dtypes(stages: Mapping[str, Columns]) -> dict[str, str]:
    found: dict[str, str] = {}
    for stage, columns in stages.items():
        for name, values in columns.items():
            dtype = np.asarray(values).dtype
            if dtype.kind not in "biuf" or found.setdefault(name, dtype.name) != dtype.name:
                raise StoreError(f"status of stage {stage!r}: {name!r} cannot be of type {dtype}")
    return found


def _flat_order(lattice: Lattice) -> np.ndarray | None:
    """Place of each tile id on the flattened grid; None where ids run through a full grid."""
    flat = np.empty(len(lattice), dtype=np.int64)
    if not lattice.dims:
        return None
    flat[lattice.ids] = np.ravel_multi_index(tuple(lattice.index.T), lattice.shape)
    full = len(flat) == int(np.prod(lattice.shape))
    return None if full and np.array_equal(flat, np.arange(len(flat))) else flat
