"""The states of all units as a Zarr group that `xarray.open_zarr` opens anywhere, at any time.

Every variable has the dims ``(stage, *lattice dims)`` and one uncompressed chunk for each stage::

    status.zarr/
        state/     c.0.0.0   first stage       uint8, CF flags: 5 is "failed"
                   c.1.0.0   second stage
        attempts/  duration_s/  ...
        stage/  tile_y/  tile_x/  tile/        coordinates; `tile` holds the ids, -1 in holes

A chunk is replaced by rename, so a reader sees a stage as it was or as it is. New stages, or a
lattice that has got more labels, make a new group, which takes the old one's place at once; tiles
that arrive where there were holes need none. The group is derived from the journal: where it is
damaged or gone, it is written anew.
"""

import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import (
    array_metadata,
    chunk_file,
    clear_unfinished,
    fill_value,
    read_array,
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
        self._begun = False
        self.grow(lattice)

    def grow(self, lattice: Lattice) -> None:
        """Go on with a lattice of more tiles, whatever its labels are now; nothing is written yet.

        What stages had of tiles that were there before stays theirs, by the tiles' ids.
        """
        self.lattice = lattice
        self._flat = _flat_order(lattice)
        self._facts = _lattice_facts(lattice, self._flat)

    def write(self, stages: Mapping[str, Columns], *, order: Sequence[str] | None = None) -> None:
        """Write the states of some stages; see `write_status`."""
        present = self._present()
        if not self._begun:
            clear_unfinished(self.path, *self.path.glob("*/"))
            shutil.rmtree(self._new, ignore_errors=True)
            self._begun = True
        known = present["stages"] if present else []
        order = (
            list(order) if order is not None else [*known, *(s for s in stages if s not in known)]
        )
        dtypes = {**(present["dtypes"] if present else {}), **_dtypes(stages)}
        whole = {"stages": order, "dtypes": dtypes, "lattice": self._facts}
        if present == whole and self._intact(whole):
            self._write_chunks(self.path, order, stages)
        elif self._has_room(present, whole):
            self._write_chunks(self.path, order, stages)
            ids = np.ascontiguousarray(self.lattice.id_grid, "<i8")
            file = chunk_file(len(self.lattice.dims))
            replace_file(self.path / "tile" / file, ids.reshape(-1).view(np.uint8).data)
            members = read_group(self.path, what="status")["members"]
            write_group(self.path, members, {"latticework_status": whole})
        else:
            self._rebuild(whole, present, stages)

    def remove(self) -> None:
        """Delete the group."""
        shutil.rmtree(self.path, ignore_errors=True)

    # -- what is there --------------------------------------------------------------------

    def _present(self) -> dict[str, Any] | None:
        if self.path.exists() and not self.path.is_dir():
            raise StoreError(f"{self.path} is a file, where the folder of states is to be")
        settle_folder(self.path, self._new)
        try:
            stored = read_group(self.path, what="status")["attributes"].get("latticework_status")
        except StoreError:
            return None
        return stored if isinstance(stored, dict) else None

    def _intact(self, whole: Mapping[str, Any]) -> bool:
        """Whether the arrays' own metadata are there; a deleted folder is written anew."""
        return all((self.path / name / "zarr.json").exists() for name in whole["dtypes"])

    def _has_room(self, present: Mapping[str, Any] | None, whole: Mapping[str, Any]) -> bool:
        """Whether all that is new is tiles where there were holes."""
        if present is None or not self._intact(whole):
            return False
        old, new = present["lattice"], whole["lattice"]
        if {**present, "lattice": 0} != {**whole, "lattice": 0} or any(
            old.get(fact) != new[fact] for fact in ("sizes", "labels")
        ):
            return False
        ids = self._stored_ids(present)
        return ids is not None and bool(((ids < 0) | (ids == self.lattice.id_grid)).all())

    def _stored_ids(self, present: Mapping[str, Any]) -> np.ndarray | None:
        """Ids of tiles on the grid that is there; None where these are not of this lattice."""
        try:
            ids = read_array(self.path, "tile")
        except StoreError:
            return None
        same = list(present["lattice"]["sizes"]) == list(self.lattice.dims)
        known = same and ids.size and ids.max() < len(self.lattice)
        return ids if known else None

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
        little = values.dtype.newbyteorder("<")
        if self._flat is None:
            grid = np.ascontiguousarray(values, dtype=little)
        else:
            grid = np.full(int(np.prod(self.lattice.shape)), _blank(little), dtype=little)
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
        if present:
            self._keep_chunks(present, whole, stages)
        self._write_chunks(new, order, stages)
        write_group(new, members, {"latticework_status": dict(whole)})
        swap_folder(new, self.path)

    def _keep_chunks(
        self, present: Mapping[str, Any], whole: Mapping[str, Any], stages: Mapping[str, Columns]
    ) -> None:
        """Copy what there is of stages that are not written now, to where the tiles are now."""
        ids = None
        if present["lattice"] != whole["lattice"]:
            ids = self._stored_ids(present)
            if ids is None:
                return
        for name, dtype in present["dtypes"].items():
            if whole["dtypes"].get(name) != dtype:
                continue
            for stage in set(present["stages"]) & set(whole["stages"]) - set(stages):
                old = self.path / name / self._chunk(present["stages"].index(stage))
                new = self._new / name / self._chunk(whole["stages"].index(stage))
                if not old.exists():
                    continue
                if ids is None:
                    shutil.copyfile(old, new)
                    continue
                grid = np.fromfile(old, np.dtype(dtype).newbyteorder("<"))
                if grid.size == ids.size:
                    moved = self._by_id(grid.reshape(ids.shape), ids)
                    replace_file(new, self._on_grid(stage, name, moved))

    def _by_id(self, grid: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """Values on the grid that is there as values per tile id; blank for new tiles."""
        values = np.full(len(self.lattice), _blank(grid.dtype), grid.dtype)
        values[ids[ids >= 0]] = grid[ids >= 0]
        return values

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


def _blank(dtype: np.dtype) -> float:
    """What holes have."""
    return np.nan if dtype.kind == "f" else 0


def _lattice_facts(lattice: Lattice, flat: np.ndarray | None) -> dict[str, Any]:
    """What of the lattice a change of calls for more than new values."""
    labels = repr([lattice.labels[dim].tolist() for dim in lattice.dims])
    return {
        "n_tiles": len(lattice),
        "sizes": lattice.sizes,
        "labels": zlib.crc32(labels.encode()),
        "places": None if flat is None else zlib.crc32(flat.data),
    }


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
