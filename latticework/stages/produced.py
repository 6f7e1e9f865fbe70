"""Files that commands made of a unit: a folder that appears as a whole, and what is in it."""

import contextlib
import functools
import json
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from latticework.errors import StoreError
from latticework.io.publish import exchange, never, put_in_place
from latticework.lattice.lattice import Lattice
from latticework.stages.paths import files_folder, tile_folder

FACTS = ".latticework.json"
"""File in each folder that says which of its files were declared, and what made it."""


class Files(Mapping[str, Path]):
    """The files that a command made of one unit: declared ones by name.

    Examples
    --------
    >>> files = Files(Path("/data/brain.lw/stages/classify/files/0/7-y1_x2"), {"prob": "prob.h5"})
    >>> files["prob"].name, list(files), files.folder.name
    ('prob.h5', ['prob'], '7-y1_x2')
    """

    def __init__(self, folder: Path, declared: Mapping[str, str]) -> None:
        self.folder = folder
        """The folder, with all of its files."""
        self._declared = dict(declared)

    def __getitem__(self, name: str) -> Path:
        try:
            return self.folder / self._declared[name]
        except KeyError:
            names = ", ".join(self._declared) or "none"
            raise KeyError(
                f"no file {name!r} was declared; declared are: {names}; everything is in "
                f"{self.folder}"
            ) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __len__(self) -> int:
        return len(self._declared)

    def __repr__(self) -> str:
        return f"Files({str(self.folder)!r}, {self._declared!r})"

    @property
    def path(self) -> Path:
        """The one declared file; the folder where there are none or several."""
        return self[next(iter(self))] if len(self) == 1 else self.folder

    @property
    def all(self) -> list[Path]:
        """Every file in the folder, declared or not."""
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return [path for path in found if path.name != FACTS]


def staged_files(staging: Path, folder: str) -> Path:
    """Where an attempt writes its files, below its batch's staging folder."""
    return staging / "files" / folder


def write_facts(folder: Path, declared: Mapping[str, str], facts: Mapping[str, Any]) -> None:
    """Say in a folder which of its files were declared, and what made them."""
    text = json.dumps({**facts, "files": dict(declared)}, indent=1)
    (folder / FACTS).write_text(text, encoding="utf-8")


def publish_files(
    staging: Path,
    project: Path,
    stage: str,
    folder: str,
    *,
    again: Callable[[OSError], bool] = never,
) -> None:
    """Move the folder of a unit from a batch's staging folder into place, as a whole.

    What was there is exchanged with it, so that there is a complete folder at every moment, and
    is removed with the staging folder. (Where the file system cannot exchange, as on NFS, the old
    folder is moved away first.)

    Parameters
    ----------
    staging
        The batch's staging folder.
    project, stage
        The project folder, and the stage that made the files.
    folder
        The unit's `latticework.stages.paths.tile_folder`.
    again
        Asked where it cannot be moved: whether that is to be tried once more. It may wait.

    Raises
    ------
    StoreError
        Where there is nothing to publish, or it cannot be moved.
    """
    source, target = staged_files(staging, folder), files_folder(project, stage) / folder
    if not source.is_dir():
        raise StoreError(
            f"cannot publish {folder}: the attempt left no such folder in {staging}; nothing was "
            "published, run the tile again"
        )
    put_in_place(functools.partial(_move_folder, staging), source, target, again)


def _move_folder(staging: Path, source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.is_dir():
        source.rename(target)
    elif not exchange(source, target):
        aside = staging / f"old-{uuid.uuid4().hex[:8]}"
        target.rename(aside)
        source.rename(target)


def read_files(project: Path, stage: str, lattice: Lattice, unit: int) -> Files:
    """The files that a stage made of a unit.

    Parameters
    ----------
    project, stage
        The project folder, and the stage that made the files.
    lattice
        The lattice of that stage's units.
    unit
        Id of the unit.

    Raises
    ------
    StoreError
        If there are none.
    """
    tile = lattice.tile(int(unit))
    folder = files_folder(project, stage) / tile_folder(tile.id, tile.name)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        files = Files(folder, facts["files"])
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"stage {stage!r} has no files of tile {tile.name} {tile.address}: {folder}: {error}; "
            "run the stage again for it"
        ) from error
    lost = [name for name, path in files.items() if not path.exists()]
    if lost:
        raise StoreError(
            f"stage {stage!r}, tile {tile.name} {tile.address}: {', '.join(lost)} is not in "
            f"{folder} any more; run the stage again for it"
        )
    return files


files_of = read_files


def remove_all_but(folder: Path, kept: set[Path]) -> None:
    """Remove everything in a folder but these files and folders."""
    for path in folder.iterdir():
        if path in kept:
            continue
        if path.is_dir() and not path.is_symlink():
            if any(keep.is_relative_to(path) for keep in kept):
                remove_all_but(path, kept)
            else:
                shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
