"""Images on disk: by which plan they were made, and which may be replaced."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latticework.errors import LatticeError, StageError
from latticework.lattice.lattice import Lattice

MAKING_OF = "making"
"""Attribute of an image in the making: the key of its plan."""


def check_replaceable(image: Path) -> None:
    """Refuse to replace what is no image.

    Raises
    ------
    StageError
        If there is something that is not an OME-Zarr image.
    """
    if image.is_symlink() or (image.exists() and "multiscales" not in _attributes(image)):
        raise StageError(
            f"{image} is no OME-Zarr image, and is not replaced by one: choose another name, or "
            "remove it yourself"
        )


def _attributes(image: Path) -> Mapping[str, Any]:
    """What an image says of itself; empty for what is no image."""
    for name in ("zarr.json", ".zattrs"):
        try:
            found = json.loads((image / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        about = found.get("attributes", found)
        return {**about, **about.get("ome", {})}
    return {}


def plan_of(image: Path, what: str = "plan") -> str | None:
    """Key of the plan that an image was made by; None if it was not, or there is none.

    Parameters
    ----------
    image
        Folder of the image.
    what
        ``"plan"``, or ``"asked"`` for a hash of what was asked for.
    """
    about = _attributes(image).get("latticework", {})
    return str(about[what]) if what in about else None


def in_the_making(image: Path) -> list[Path]:
    """Folders in which an image was begun, by whatever plan: only those that say so themselves.

    Parameters
    ----------
    image
        Folder of the image when it is complete.
    """
    named = re.compile(re.escape(image.name) + r"\.([0-9a-f]{16})\.part")
    found = []
    for folder in sorted(image.parent.iterdir()):
        match = named.fullmatch(folder.name)
        if match is None or folder.is_symlink() or not folder.is_dir():
            continue
        if match[1] in (plan_of(folder, MAKING_OF), plan_of(folder)):
            found.append(folder)
    return found


def check_not_tiles(image: Path, lattice: Lattice, *given: Path) -> None:
    """Refuse to put an image where the tiles are.

    Parameters
    ----------
    image
        Where the image belongs.
    lattice
        The tiles.
    given
        Further folders and files that they are read from.

    Raises
    ------
    LatticeError
        If one of them is the image's folder, or lies in it.
    """
    source = lattice.source
    roots = [getattr(source, name, None) for name in ("root", "path", "folder")]
    for place in (Path(of).resolve() for of in (*given, *roots) if isinstance(of, str | Path)):
        if image == place or image in place.parents:
            raise LatticeError(f"{image} holds the tiles themselves: choose another name")


__all__ = ["MAKING_OF", "check_not_tiles", "check_replaceable", "in_the_making", "plan_of"]
