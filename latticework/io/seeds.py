"""Acquisitions that are known by how their folders and files are named: no arguments needed."""

from collections.abc import Sequence
from pathlib import Path

from latticework.errors import LatticeError
from latticework.io import lavision, mouselight, mouselight_tiles, smartspim
from latticework.io.placing import Placing, to_lattice
from latticework.io.scan import Progress
from latticework.lattice import Lattice


def open_listed(root: Path, placing: Placing, progress: Progress | None) -> Lattice | None:
    """The lattice of a folder with a list of its tiles (MouseLight), else None.

    Raises
    ------
    SourceError
        Also for a SmartSPIM's planes that are not TIFF.
    """
    if (file := mouselight.find_input(root)) is not None:
        return mouselight.opened(mouselight.read_mouselight_input(file), placing, progress).lattice
    if root.is_dir():
        smartspim.refuse_other_planes(root)
    return None


def open_named(
    root: Path,
    names: Sequence[str],
    placing: Placing,
    progress: Progress | None,
    *,
    sheet: str | None = None,
) -> Lattice | None:
    """The lattice of TIFF files in MouseLight's, LaVision's or SmartSPIM's folders, else None."""
    if lavision.is_lavision(names):
        tiles = lavision.lavision_tiles(root, names, placing, sheet=sheet, progress=progress)
        return to_lattice(tiles, placing)
    refuse_sheet(sheet, root)
    if smartspim.is_smartspim(root, names):
        tiles = smartspim.smartspim_tiles(root, names, placing, progress=progress)
        return to_lattice(tiles, placing)
    if mouselight_tiles.is_tile_folders(root, names):
        return to_lattice(*mouselight_tiles.folder_tiles(root, names, placing, progress))
    return None


def refuse_sheet(sheet: str | None, root: Path) -> None:
    """Refuse a name for a light sheet where no UltraMicroscope named the files."""
    if sheet is not None:
        raise LatticeError(
            f"sheet={sheet!r} names the light sheet of a LaVision UltraMicroscope, but the files "
            f"of {root} are not named by one, or grid=, positions=, pattern=, dims= or block= says "
            "where they are: leave it out"
        )
