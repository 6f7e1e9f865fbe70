"""A lattice on disk: a Zarr group ``lattice.zarr`` that opens in xarray, one row per tile.

::

    lattice.zarr/   attributes: tile_dims, tile_shape, dtype, pixel_size_um, step_px, ...
        index           (tile, lattice_dim)   grid positions
        ids             (tile,)
        position_um     (tile, axis)
        names           (tile,)               where tiles have names of their own
        shapes          (tile, tile_dim)      where tiles differ
        labels_tile_y   (tile_y,)             and so on

Everything but the source of the pixels is kept, exactly. The whole group appears at once, so a
lattice that grows is never seen half written.
"""

import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.plain_zarr import (
    chunk_file,
    decode_text,
    read_array,
    read_group,
    read_json,
    settle_folder,
    swap_folder,
    write_array,
    write_group,
)
from latticework.lattice.lattice import Lattice

GROUP = "lattice.zarr"
"""Name of the group within the folder."""
_NEW = ".lattice.zarr.new"
_LABELS = "labels_"


def save_lattice(lattice: Lattice, folder: Path | str, *, version: int | None = None) -> None:
    """Write a lattice to ``folder/lattice.zarr``, in place of one that is there.

    `version` is the one of a lattice that grows, for `load_version`.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> lattice = Lattice.from_grid({"y": 2, "x": 3}, tile_shape={"y": 64, "x": 64}, dtype="u2")
    >>> save_lattice(lattice, folder)
    >>> load_lattice(folder).tile(y=1, x=2).name
    'y1_x2'
    """
    folder = Path(folder)
    new = folder / _NEW
    shutil.rmtree(new, ignore_errors=True)
    arrays: dict[str, tuple[Any, tuple[str, ...]]] = {
        "index": (lattice.index, ("tile", "lattice_dim")),
        "ids": (lattice.ids, ("tile",)),
        "position_um": (lattice.position_um, ("tile", "axis")),
        **{_LABELS + dim: (labels, (dim,)) for dim, labels in lattice.labels.items()},
    }
    names = lattice.given_names  # names made from labels need no file
    if names is not None:
        arrays["names"] = (np.asarray(names, dtype=object), ("tile",))
    if lattice.shapes is not None:
        arrays["shapes"] = (lattice.shapes, ("tile", "tile_dim"))
    members = {
        name: write_array(new, name, values, dims=dims) for name, (values, dims) in arrays.items()
    }
    write_group(
        new, members, {**lattice_facts(lattice), "token": uuid.uuid4().hex, "version": version}
    )
    swap_folder(new, folder / GROUP)


def load_lattice(folder: Path | str) -> Lattice:
    """The lattice of ``folder/lattice.zarr``, without a source; names are read when asked for.

    Raises
    ------
    StoreError
        Where there is none, or it is damaged.
    """
    return load_version(folder)[0]


def load_version(folder: Path | str) -> tuple[Lattice, int | None]:
    """The lattice as `load_lattice` gives it, and its version, if it was saved with one."""
    folder = Path(folder)
    settle_folder(folder / GROUP, folder / _NEW)
    for patience in (0.05, 0.2, 1.0, None):
        try:
            return _load(folder / GROUP)
        except (StoreError, ValueError) as error:
            if patience is None:
                if isinstance(error, StoreError):
                    raise
                raise StoreError(f"the lattice at {folder / GROUP} is damaged: {error}") from error
            if not (folder / GROUP).exists():
                raise
            time.sleep(patience)  # another process may be putting a new one in place
    raise AssertionError


def _load(path: Path) -> tuple[Lattice, int | None]:
    group = read_group(path, what="lattice")
    facts, members = dict(group["attributes"]), group["members"]
    token = facts.pop("token", None)
    if token is None:
        raise StoreError(f"{path} is not a lattice: it was not written by latticework")
    index = read_array(path, "index")
    nominal = facts.get("nominal", False)
    if nominal:  # not needed, but a damaged lattice is not one to go on with
        read_json(path / "position_um" / "zarr.json", what="lattice")
    lattice = lattice_from(
        facts,
        labels={dim: read_array(path, _LABELS + dim) for dim in facts["dims"]},
        index=index,
        ids=read_array(path, "ids"),
        position_um=None if nominal else read_array(path, "position_um"),
        shapes=read_array(path, "shapes") if "shapes" in members else None,
        names=StoredNames(path / "names", len(index)) if "names" in members else None,
    )
    if read_group(path, what="lattice")["attributes"].get("token") != token:
        raise StoreError(f"the lattice at {path} was replaced while it was read; read it again")
    return lattice, facts.get("version")


def lattice_from(facts: Mapping[str, Any], **rows: Any) -> Lattice:
    """The lattice of what `lattice_facts` gave, and of its labels and rows."""
    known: Any = facts.get("known_pixel_size", facts["pixel_size_um"])  # all, in older ones
    sizes = facts["pixel_size_um"]
    return Lattice(
        dims=facts["dims"],
        tile_dims=facts["tile_dims"],
        tile_shape=facts["tile_shape"],
        dtype=np.dtype(facts["dtype"]),
        pixel_size_um={axis: size for axis, size in sizes.items() if axis in known},
        step_px=facts["step_px"],
        problems={int(tile): text for tile, text in facts["problems"].items()},
        channels=facts["channels"],
        volume_shape=facts["volume_shape"],
        **rows,
    )


def lattice_facts(lattice: Lattice) -> dict[str, Any]:
    """What a lattice is other than its labels and rows, for JSON."""
    volume = lattice.volume_shape
    return {
        "dims": list(lattice.dims),
        "tile_dims": list(lattice.tile_dims),
        "tile_shape": list(lattice.tile_shape.values()),
        "dtype": lattice.dtype.str,
        "pixel_size_um": dict(lattice.pixel_size_um),
        "known_pixel_size": list(lattice.known_pixel_size_um),
        "step_px": dict(lattice.step_px),
        "nominal": lattice.given_position_um is None,  # then positions need not be read
        "problems": {str(tile): text for tile, text in lattice.problems.items()},
        "channels": None if lattice.channels is None else list(lattice.channels),
        "volume_shape": None if volume is None else dict(volume),
    }


class StoredNames:
    """Names of tiles that are read from the store when one is first asked for."""

    def __init__(self, folder: Path, number: int) -> None:
        self._folder = folder
        self._number = number

    @cached_property
    def _texts(self) -> list[str]:
        try:
            texts = decode_text((self._folder / chunk_file(1)).read_bytes())
        except (OSError, ValueError) as error:
            raise StoreError(f"the names of the tiles at {self._folder} are damaged") from error
        if len(texts) < self._number:
            raise StoreError(f"{len(texts)} names at {self._folder} for {self._number} tiles")
        return texts[: self._number]

    def __len__(self) -> int:
        return self._number

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __getitem__(self, row: Any) -> Any:
        if isinstance(row, int | np.integer):
            return self._texts[row]
        return np.asarray(self)[row]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(self._texts, dtype=dtype or object)
