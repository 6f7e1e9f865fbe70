"""LifeCanvas SmartSPIM: a tree of folders whose names are positions, a file for every plane.

::

    Ex_488_Em_0/  012300/  012300_045600/  000020.tif
    channel       x        x      y        z            positions in tenths of a micrometre

Planes are named by where they are (``000000 000020 000040``: 2 um apart) or just counted
(``0000 0001 0002``); names that are one apart are counts, and their distance has to be given.
Folders beside the channels (``..._stitched``, ``..._corrected``) are products, not tiles.
Planes are TIFF; PNG and raw files are refused with a message.
"""

import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.placing import Placing, Tiles, to_lattice
from latticework.io.plane_files import (
    PlaneFiles,
    first_problem,
    renumbered,
    same_pixel_size,
    some,
    stack_source,
)
from latticework.io.scan import TIFF_SUFFIXES, Progress, Scan, list_files, scan_tiffs
from latticework.lattice import Lattice
from latticework.lattice.arguments import overlap_argument, pixel_size_argument

CHANNEL = re.compile(r"Ex_(?P<wavelength>\d+)_Em_(?P<filter>\d+)")
PLANE = re.compile(
    r"(?P<channel>Ex_\d+_Em_\d+)/(?P<x>-?\d+)/(?P=x)_(?P<y>-?\d+)/(?P<before>\D*)(?P<z>\d+)\.tiff?",
    re.IGNORECASE,
)
UNIT_UM = 0.1
"""Micrometres in one unit of the names."""
OTHER_SUFFIXES = (".png", ".raw")


def is_smartspim(root: Path, names: Sequence[str]) -> bool:
    """Whether the files lie in a SmartSPIM's folders.

    Examples
    --------
    >>> is_smartspim(Path("raw"), ["Ex_488_Em_0/000000/000000_000000/000000.tif"])
    True
    >>> is_smartspim(Path("raw/Ex_488_Em_0"), ["000000/000000_000000/000000.tif"])
    True
    """
    paths = [_placed(root, name) for name in names]
    raw = [path for path in paths if CHANNEL.fullmatch(path.partition("/")[0])]
    return bool(raw) and 2 * sum(PLANE.fullmatch(path) is not None for path in raw) > len(raw)


def refuse_other_planes(root: Path) -> None:
    """Say so where a SmartSPIM's planes are PNG or raw files, and none are TIFF."""
    if not CHANNEL.fullmatch(root.name):
        with os.scandir(root) as entries:
            if not any(CHANNEL.fullmatch(entry.name) and entry.is_dir() for entry in entries):
                return
    if _first_file(root, TIFF_SUFFIXES) is None and (other := _first_file(root, OTHER_SUFFIXES)):
        raise SourceError(
            f"{root} is a SmartSPIM acquisition of {other.suffix} files such as "
            f"{other.relative_to(root)}; expected TIFF planes: convert them, keeping their names",
            other,
        )


def _first_file(root: Path, suffixes: Sequence[str]) -> Path | None:
    """Any file with one of these endings; looks no further once it has one."""
    for folder, _, names in os.walk(root):
        for name in names:
            if name.lower().endswith(tuple(suffixes)):
                return Path(folder) / name
    return None


def open_smartspim(
    path: Path | str,
    *,
    planes: int | None = None,
    files: str | None = None,
    overlap: Mapping[str, Any] | str | float | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    channels: Sequence[str] | None = None,
    flip: str = "",
    errors: Literal["raise", "mark"] = "raise",
    progress: Progress | None = None,
) -> Lattice:
    """The lattice of a SmartSPIM's tree of folders.

    `open_tiles` does the same for a folder of such a tree.

    Parameters
    ----------
    path
        The folder that holds the folders ``Ex_488_Em_0`` ..., or one of them.
    planes
        How many planes were acquired; without it, gaps between the first and the last are found.
    pixel_size_um
        Needed for y and x, unless the files say it: the names give positions only. For z the
        names' distance is used unless given.
    files, overlap, channels, flip, errors, progress
        As for `open_tiles`.

    Returns
    -------
    Lattice
        Tiles at the folders' positions, channels named by their folders.

    Raises
    ------
    SourceError
        For planes that are missing, there twice or off the raster, and files that do not belong.
    LatticeError
        If the pixel size is not known.
    """
    root = Path(path).absolute()
    names = list_files(root, files)
    if not names and root.is_dir():
        refuse_other_planes(root)
    placing = Placing(
        overlap=overlap_argument(overlap),
        flip=flip,
        pixel_size_um=pixel_size_argument(pixel_size_um),
        channels=channels,
        mark=errors == "mark",
    )
    return to_lattice(
        smartspim_tiles(root, names, placing, planes=planes, progress=progress), placing
    )


def smartspim_tiles(
    root: Path,
    names: Sequence[str],
    placing: Placing,
    *,
    planes: int | None = None,
    progress: Progress | None = None,
) -> Tiles:
    """Tiles of a SmartSPIM's tree; see `open_smartspim`."""
    import pandas as pd

    kept, matches = _planes(root, names, placing)
    scan = scan_tiffs(root, kept, progress)
    facts = scan.common()
    if facts.pages > 1:
        raise SourceError(
            f"{scan.path(0)} holds {facts.text}; expected one plane in each file of a SmartSPIM: "
            "open the folder with pattern=",
            scan.path(0),
        )
    channel_names = sorted({match["channel"] for match in matches}, key=_channel_key)
    place = {name: i for i, name in enumerate(channel_names)}
    channel = np.array([place[match["channel"]] for match in matches])
    z = np.array([int(match["z"]) for match in matches], np.int64)
    at = np.array([(int(match["y"]), int(match["x"])) for match in matches], np.int64)
    unique, tile = np.unique(at, axis=0, return_inverse=True)
    tile = tile.reshape(-1)
    z_numbers = _raster(scan, z, planes)
    slot = channel * len(z_numbers) + np.searchsorted(z_numbers, z)
    files = PlaneFiles(
        np.arange(len(kept)),
        np.zeros(len(kept), np.int64),
        tile,
        slot,
        len(unique),
        len(channel_names) * len(z_numbers),
    )
    first = np.full(len(unique), len(kept))
    np.minimum.at(first, tile, np.arange(len(kept)))
    titles = [kept[row].split("/")[-2] for row in first]

    def gap(number: int, missing: np.ndarray) -> str:
        return _gap(scan, matches, titles[number], first[number], missing, z_numbers, channel_names)

    file_of, page_of, problems = files.arrange(scan, gap)
    if problems and not placing.mark:
        raise first_problem(problems, scan)
    dims, shape, source = stack_source(
        scan, facts, file_of, page_of, channels=len(channel_names), planes=len(z_numbers),
        paged=False,
    )  # fmt: skip
    apart = int(z_numbers[1] - z_numbers[0]) if len(z_numbers) > 1 else 1
    pixel = same_pixel_size(scan)
    table = pd.DataFrame({"y_um": unique[:, 0] * UNIT_UM, "x_um": unique[:, 1] * UNIT_UM})
    if apart > 1:
        pixel["z"] = apart * UNIT_UM
        table["z_um"] = z_numbers[0] * UNIT_UM
    unknown = [axis for axis in "yx" if axis not in placing.pixel_size(pixel)]
    if unknown and len(unique) > 1:
        raise LatticeError(
            f"{root}: neither the names nor the files of a SmartSPIM say how large a pixel is "
            f"along {' and '.join(unknown)}, which is needed to tell how its {len(unique)} tiles "
            'overlap: give pixel_size_um={"y": ..., "x": ...}'
        )
    return Tiles(
        table,
        titles,
        dims,
        shape,
        source.dtype,
        pixel,
        tuple(channel_names) if len(channel_names) > 1 else None,
        source,
        str(root),
        problems,
        titles,
        layer=True,
    )


def _placed(root: Path, name: str) -> str:
    """The path from the folder above the channels."""
    return f"{root.name}/{name}" if CHANNEL.fullmatch(root.name) else name


def _channel_key(name: str) -> tuple[int, int]:
    match = CHANNEL.fullmatch(name)
    assert match is not None
    return int(match["wavelength"]), int(match["filter"])


def _planes(
    root: Path, names: Sequence[str], placing: Placing
) -> tuple[list[str], list[re.Match[str]]]:
    """The planes among the files; others within the channels' folders are refused or left out."""
    kept, matches, extra = [], [], []
    for name in names:
        path = _placed(root, name)
        match = PLANE.fullmatch(path)
        if match is not None:
            kept.append(name)
            matches.append(match)
        elif CHANNEL.fullmatch(path.partition("/")[0]):
            extra.append(name)
    if not kept:
        raise SourceError(
            f"{root} holds no planes of a SmartSPIM; expected files such as "
            f"Ex_488_Em_0/012300/012300_045600/000020.tif, found {some(extra) or 'none'}: check "
            "the path",
            root,
        )
    if extra:
        text = (
            f"{root}: {len(kept)} files are planes of a SmartSPIM, and {len(extra)} in its "
            f"channels' folders are not: {some(extra)}; expected planes only "
            "(x/x_y/z.tif): move them away, or choose files with files="
        )
        if not placing.mark:
            raise SourceError(text, root / extra[0])
        warnings.warn(f"left out: {text}", UserWarning, stacklevel=4)
    return kept, matches


def _raster(scan: Scan, z: np.ndarray, planes: int | None) -> np.ndarray:
    """Numbers of all planes from the first to the last, as far apart as most are."""
    found, count = np.unique(z, return_counts=True)
    if len(found) == 1:
        numbers = found
    else:
        steps, votes = np.unique(np.diff(found), return_counts=True)
        apart = int(steps[np.argmax(votes)])
        off = (found - found[int(np.argmax(count))]) % apart != 0
        if off.any():
            row = int(np.flatnonzero(z == found[off][0])[0])
            raise SourceError(
                f"{scan.path(row)} is plane {found[off][0]}, but most planes are {apart} apart "
                f"({found[~off][0]}, {found[~off][0] + apart} ...); expected a multiple: remove "
                "the file, or choose others with files=",
                scan.path(row),
            )
        numbers = np.arange(found[0], found[-1] + 1, apart)
    if planes is not None and len(numbers) != planes:
        raise SourceError(
            f"{scan.root}: {planes} planes expected, but the files go from {found[0]} to "
            f"{found[-1]}, {len(numbers)} planes: complete the folder, or correct planes=",
            scan.root,
        )
    return numbers


def _gap(
    scan: Scan,
    matches: list[re.Match[str]],
    title: str,
    like: int,
    missing: np.ndarray,
    z_numbers: np.ndarray,
    channels: list[str],
) -> str:
    """What to say of a tile without some planes."""
    channel, plane = divmod(missing, len(z_numbers))
    first = int(channel[0])
    lost = z_numbers[plane[channel == first]]
    match = matches[like]
    name = renumbered(match.string, match.span("z"), int(lost[0]))
    name = f"{channels[first]}/{name.partition('/')[2]}"
    digits = len(match["z"])
    more = len(missing) - len(lost)
    return (
        f"{scan.root}: {len(z_numbers)} planes expected, {len(z_numbers) - len(lost)} found: "
        f"{some([f'z={z:0{digits}d}' for z in lost])} of tile {title} channel {channels[first]} "
        f"{'is' if len(lost) == 1 else 'are'} missing"
        f"{f' (and {more} planes of other channels)' if more else ''}; expected a file {name}: "
        'complete the folder, or go on with errors="mark"'
    )
