"""From tiles on a grid to a list of tiles, for a lattice that begins to grow: no pixel is copied.

::

    data.zarr/clean/c.0.1.0.0   ->   data.zarr/clean/c.1.0.0      tile 1 at grid position (0, 1)

The list is built beside the store from hard links, and then takes its place. Where the file system
has no hard links the files themselves move; a note in the new folder says so, and whoever finds it
goes on with the move. Until the list is in place the store opens as it was.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.layout import LIST_DIM, ArrayLayout
from latticework.io.plain_zarr import settle_folder, swap_folder
from latticework.io.stage_group import stored_layout, write_metadata

MOVING = ".moving"
"""In a folder whose files were moved there, not linked: it must not be thrown away."""


def convert_to_list(path: Path | str, lattice: Any) -> ArrayLayout:
    """Store the tiles of a stage by their ids, so that the lattice can grow.

    Call it again after a kill, at any point, with the same lattice: it goes on, or has nothing to
    do. A volume, a reduction and what is a list already are left as they are.

    Parameters
    ----------
    path
        Folder of the group, such as ``stages/clean/data.zarr``; nobody writes to it meanwhile.
    lattice
        The lattice on which the stage ran, before it grows.

    Returns
    -------
    ArrayLayout
        The layout that the store has now.

    Raises
    ------
    StoreError
        If the lattice has no tile for a file of the store; nothing is changed then.
    """
    path = Path(path)
    new = path.with_name(f".{path.name}.list")
    settle_folder(path, new)
    layout = stored_layout(path)
    if layout.kind == "list":
        for left in (new, path.with_name(f".{path.name}.old")):
            shutil.rmtree(left, ignore_errors=True)
        (path / MOVING).unlink(missing_ok=True)
        return layout
    if layout.kind == "volume" or not layout.lattice_dims:
        return layout
    if layout.name == LIST_DIM and LIST_DIM not in layout.lattice_dims:
        raise StoreError(
            f"{path} cannot be stored by tile ids while its stage is called {LIST_DIM!r}, as the "
            "ids are: add the stage under another name"
        )
    if layout.lattice_dims != tuple(lattice.dims):
        raise StoreError(
            f"{path} has tiles over {layout.lattice_dims}, and the lattice has {lattice.dims}"
        )
    capacity = int(lattice.ids.max()) + 1 if len(lattice) else 0
    listed = replace(layout, kind="list", labels=(), capacity=capacity)
    moves = list(_renamed(path / layout.name, layout, lattice))
    if not (new / MOVING).exists():
        shutil.rmtree(new, ignore_errors=True)
    (new / layout.name).mkdir(parents=True, exist_ok=True)
    _link_or_move(path / layout.name, new / layout.name, moves)
    write_metadata(new, listed, lattice)
    swap_folder(new, path)
    (path / MOVING).unlink(missing_ok=True)
    return listed


def _renamed(folder: Path, layout: ArrayLayout, lattice: Any) -> Iterator[tuple[str, str]]:
    """Names of the files of tiles, as they are and as they are in a list."""
    ids = _ids(layout, lattice)
    lead = len(layout.lattice_dims)
    with os.scandir(folder) as found:
        for entry in found:
            head, *parts = entry.name.split(".")
            if head != "c" or not all(map(str.isdigit, parts)):
                continue
            unit = int(ids[tuple(map(int, parts[:lead]))])
            if unit < 0:
                raise StoreError(
                    f"{folder / entry.name} is of a tile that the lattice does not have: give the "
                    "lattice with which the stage was run"
                )
            yield entry.name, ".".join(["c", str(unit), *parts[lead:]])


def _ids(layout: ArrayLayout, lattice: Any) -> np.ndarray:
    """Tile id at each place of the stored grid, whose labels may be fewer than the lattice's."""
    columns, known = [], np.ones(layout.grid, dtype=bool)
    for k, (dim, labels) in enumerate(zip(layout.lattice_dims, layout.labels, strict=True)):
        at = {label: i for i, label in enumerate(lattice.labels[dim].tolist())}
        column = np.array([at.get(label, -1) for label in labels], dtype=np.int64)
        columns.append(column)
        known &= (column >= 0).reshape([-1 if k == j else 1 for j in range(known.ndim)])
    return np.where(known, np.asarray(lattice.id_grid)[np.ix_(*columns)], -1)


def _link_or_move(old: Path, new: Path, moves: list[tuple[str, str]]) -> None:
    note = new.parent / MOVING
    linked = not note.exists()
    for name, renamed in moves:
        source, target = f"{old}{os.sep}{name}", f"{new}{os.sep}{renamed}"
        try:
            if linked:
                try:
                    os.link(source, target)
                except OSError:  # of which there are many kinds: no links here
                    linked = False
                    _note(note)
            if not linked:
                os.replace(source, target)  # noqa: PTH105 - half a million paths
        except OSError as error:
            raise StoreError(
                f"cannot move {source} to {target}: {error.strerror or error}; give yourself "
                "access to both folders, and try again"
            ) from error


def _note(note: Path) -> None:
    """Leave a note that is on the disk before the first file moves."""
    with note.open("w", encoding="utf-8") as file:
        file.write("files were moved here from the store: do not delete this folder\n")
        file.flush()
        os.fsync(file.fileno())


__all__ = ["convert_to_list"]
