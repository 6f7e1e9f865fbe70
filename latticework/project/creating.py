"""Making projects, and opening them."""

import json
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import LatticeError, ProjectExistsError
from latticework.io.growth_store import replacing
from latticework.io.journal import Journal
from latticework.io.lattice_store import save_lattice
from latticework.io.sources import save_source, saved_form
from latticework.lattice.lattice import Lattice
from latticework.lattice.source import TileSource
from latticework.project.desk import Desk
from latticework.project.facts import FORMAT
from latticework.project.growing import grow_project
from latticework.project.project import Project
from latticework.stages import paths


def create(
    path: Path | str,
    tiles: Lattice | Sequence[Any],
    *,
    name: str | None = None,
    exist_ok: bool = False,
) -> Project:
    """Make a project folder for the tiles of an acquisition.

    Pixels stay where they are; only tiles held in memory are written into the project, so that
    workers can read them.

    Parameters
    ----------
    path
        Folder to make, such as ``"brain.lw"``.
    tiles
        What `open_tiles` or `Lattice.from_array` gave, or a selection of it, whose tiles are
        numbered anew.
    name
        Name of the project; the folder's if not given.
    exist_ok
        Whether a project of the same lattice that is there already is opened instead.

    Raises
    ------
    ProjectExistsError
        If there is a project (or anything else) at `path`.
    LatticeError
        If the lattice has no tiles or no source, or is not whole.
    """
    path = Path(path).expanduser().resolve()
    if not isinstance(tiles, Lattice):
        raise LatticeError(
            f"tiles are a Lattice (see latticework.open_tiles), not {type(tiles).__name__}"
        )
    tiles = tiles.replace(ids=None) if tiles.shuffled else tiles
    if paths.project_file(path).exists():
        return _existing(path, tiles, exist_ok=exist_ok)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ProjectExistsError(f"{path} exists and is not a project: choose another folder")
    check_tiles(tiles)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        fill_folder(temporary, tiles, name or path.stem)
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return Project(path)


def check_tiles(tiles: Lattice) -> None:
    """Refuse lattices that a project cannot have."""
    if not len(tiles):
        raise LatticeError("the lattice has no tiles: there is nothing to do")
    if tiles.source is None:
        raise LatticeError(
            "the lattice has no source of pixels: open it with latticework.open_tiles"
        )


def fill_folder(folder: Path, tiles: Lattice, name: str) -> None:
    """Everything that a new project folder holds."""
    assert tiles.source is not None
    save_lattice(tiles, paths.lattice_folder(folder))
    save_source(tiles.source, paths.source_folder(folder), base=folder)
    Journal.create(paths.journal_file(folder)).close()
    facts = {
        "latticework_project": FORMAT,
        "name": name,
        "key": uuid.uuid4().hex,
        "lattice_version": 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    paths.project_file(folder).write_text(json.dumps(facts, indent=2) + "\n")


def _existing(path: Path, tiles: Lattice, *, exist_ok: bool) -> Project:
    if not exist_ok:
        raise ProjectExistsError(
            f"there is a project at {path} already: open it with latticework.open_project, or "
            "give create(..., exist_ok=True) to go on with it"
        )
    project = Project(path)
    different = differences(project.lattice, tiles)
    if different:
        raise ProjectExistsError(
            f"the project at {path} is of another acquisition than the one given: it has "
            f"{'; '.join(different)}. Choose another folder, or remove that one"
        )
    if tiles.source is not None and not same_pixels(project.lattice, tiles):
        renew_source(project, tiles.source)
    return project


def differences(old: Lattice, new: Lattice) -> list[str]:
    """What two lattices differ in, in words; empty if they are the same."""
    found = [
        f"{what} {mine} instead of {theirs}"
        for what, mine, theirs in (
            ("lattice axes", old.sizes, new.sizes),
            ("tiles", len(old), len(new)),
            ("tile shape", dict(old.tile_shape), dict(new.tile_shape)),
            ("pixel type", old.dtype, new.dtype),
            ("steps (px)", dict(old.step_px), dict(new.step_px)),
            ("pixel sizes (µm)", dict(old.pixel_size_um), dict(new.pixel_size_um)),
            ("channels", old.channels, new.channels),
        )
        if mine != theirs
    ]
    if found:
        return found
    rows = {
        "at another grid position": (old.index != new.index).any(axis=1),
        "at another position (µm)": ~np.isclose(old.position_um, new.position_um).all(axis=1),
        "with another name": old.names != new.names,
    }
    for what, differ in rows.items():
        if differ.any():
            first = int(np.flatnonzero(differ)[0])
            count = int(np.count_nonzero(differ))
            return [f"{count} tile(s) {what}, the first of them {old.names[first]!r}"]
    return []


def same_pixels(old: Lattice, new: Lattice) -> bool:
    """Whether the sources of two lattices say that their pixels are the same."""
    if old.source is None or new.source is None:
        return old.source is new.source
    return np.array_equal(old.source.fingerprints(), saved_form(new.source).fingerprints())


def renew_source(project: Project, source: TileSource) -> None:
    """Let a project read its tiles from a source whose files have changed.

    What was made from tiles whose fingerprints changed is stale from now on.
    """
    growth = replacing(project.lattice, saved_form(source))
    if growth is None:
        return
    with project.lock().held():
        grow_project(Desk(project), growth)
        project.close_writer()
    project.seen_now()


def open_project(path: Path | str) -> Project:
    """Open the project in a folder; changes nothing.

    Raises
    ------
    ProjectNotFoundError
        If there is none.
    """
    return Project(Path(path).expanduser().resolve())
