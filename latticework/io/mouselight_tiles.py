"""Folders of MouseLight's tiles: two text files and a stack for every channel.

::

    2018-08-23/01/01189/01189-ngc.acquisition     where the stage was, and the place on the lattice
                        01189-ngc.microscope      field of view and overlap (its block ``fov``)
                        01189-ngc.0.tif           channel 0, all planes
                        01189-ngc.1.tif           channel 1
    channel-semantics.txt                         ``0: neurons``

A pixel is the field of view divided by the number of pixels, for z the step of the piezo where the
file has it. Stage positions are millimetres; tiles that are not there yet get the place that
the others suggest.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.errors import SourceError
from latticework.io.filenames import natural_key
from latticework.io.parts_source import PartsSource
from latticework.io.placing import Placing, Tiles
from latticework.io.plane_files import PlaneFiles, first_problem, some, stack_source
from latticework.io.scan import SCAN_THREADS, TIFF_SUFFIXES, Progress, scan_tiffs
from latticework.lattice.states import State

if TYPE_CHECKING:
    import pandas as pd

    from latticework.io.mouselight import MouseLightInput

STACK = re.compile(r".*\.(?P<c>\d+)\.(tiff?|btf|tf[28])", re.IGNORECASE)
SEMANTICS = "channel-semantics.txt"
_LINE = re.compile(r"\s*(?P<key>[A-Za-z]\w*)\s*(?:[:=]\s*(?P<value>.*?)\s*|(?P<open>:?\s*\{)\s*)")


def parse_settings(text: str) -> dict[str, str]:
    r"""Values of a text file in blocks, by their path.

    Examples
    --------
    >>> parse_settings('x_mm: 74.0\nfov {\n  x_size_um: 384.7\n}\npathsep: "/"')
    {'x_mm': '74.0', 'fov.x_size_um': '384.7', 'pathsep': '/'}
    """
    found: dict[str, str] = {}
    blocks: list[str] = []
    for line in text.splitlines():
        if line.strip() == "}":
            blocks = blocks[:-1]
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        if match["open"] is not None or match["value"] == "{":
            blocks.append(match["key"])
        else:
            found[".".join([*blocks, match["key"]])] = match["value"].strip("\"'")
    return found


@dataclass(slots=True)
class Folder:
    """What a tile's folder holds."""

    stacks: dict[int, str]
    """Files below the root, by channel."""
    settings: dict[str, str]
    """What the text files say."""
    problem: str | None = None
    """Why it cannot be used."""

    def triple(self, form: str) -> tuple[float, ...]:
        """Values for z, y and x of a key such as ``fov.{}_size_um``; NaN where missing."""
        return tuple(_number(self.settings.get(form.format(axis))) for axis in "zyx")

    def first(self, *forms: str) -> tuple[float, ...]:
        """The first of several keys that the files have."""
        for form in forms:
            if np.isfinite(values := self.triple(form)).all():
                return values
        return (float("nan"),) * 3


def _number(text: str | None) -> float:
    try:
        return float("nan") if text is None else float(text)
    except ValueError:
        return float("nan")


def read_folder(root: Path, path: str) -> Folder:
    """What a tile's folder holds: the text files read, the stacks listed."""
    folder = root / path
    stacks: dict[int, str] = {}
    others: list[str] = []
    settings: dict[str, str] = {}
    try:
        with os.scandir(folder) as entries:
            names = sorted((entry.name for entry in entries), key=natural_key)
        for name in names:
            if name.endswith((".acquisition", ".microscope")):
                text = (folder / name).read_text(encoding="utf-8", errors="replace")
                settings |= parse_settings(text)
            elif not name.lower().endswith(TIFF_SUFFIXES) or name.startswith("."):
                continue
            elif (match := STACK.fullmatch(name)) is None:
                others.append(name)
            elif (channel := int(match["c"])) in stacks:
                problem = (
                    f"{folder} has two stacks of channel {channel}, {stacks[channel]} and {name}; "
                    "expected one: remove one"
                )
                return Folder(stacks, settings, problem)
            else:
                stacks[channel] = name
    except OSError as error:
        return Folder(
            {}, {}, f"{folder} cannot be read ({error.strerror}); expected a tile's folder"
        )
    if not stacks and len(others) == 1:
        stacks = {0: others[0]}
    if not stacks:
        what = f"{len(others)} TIFF files ({some(others)})" if others else "no TIFF files"
        return Folder(
            {},
            settings,
            f"{folder} has {what}; expected a stack for each channel, <name>.0.tif ...",
        )
    return Folder({c: f"{path}/{name}" for c, name in stacks.items()}, settings)


def _read_folders(root: Path, paths: Iterable[str]) -> list[Folder]:
    with ThreadPoolExecutor(SCAN_THREADS) as pool:
        return list(pool.map(lambda path: read_folder(root, path), paths))


def channel_names(root: Path) -> dict[int, str]:
    """Names by channel from ``channel-semantics.txt``; none where it is missing."""
    try:
        text = (root / SEMANTICS).read_text(encoding="utf-8")
    except OSError:
        return {}
    found = re.findall(r"^\s*(\d+)\s*[:=]\s*(.+?)\s*$", text, re.MULTILINE)
    return {int(number): name for number, name in found}


def is_tile_folders(root: Path, names: Sequence[str]) -> bool:
    """Whether the first stack lies beside an ``.acquisition`` file."""
    first = next((name for name in names if STACK.fullmatch(name.rpartition("/")[2])), None)
    if first is None:
        return False
    with os.scandir((root / first).parent) as entries:
        return any(entry.name.endswith(".acquisition") for entry in entries)


def folder_tiles(
    root: Path, names: Sequence[str], placing: Placing, progress: Progress | None = None
) -> tuple[Tiles, Placing]:
    """Tiles of folders that no list names; their text files say where they are.

    Parameters
    ----------
    root
        The folder above them, at any depth.
    names
        TIFF files below it.
    placing, progress
        What the caller of `open_tiles` said.

    Returns
    -------
    The tiles, and `placing` with the overlap that the files say.
    """
    paths = list(dict.fromkeys(name.rpartition("/")[0] for name in names))
    folders = _read_folders(root, paths)
    position = np.array(
        [folder.first("current_lattice_position.{}", "{}") for folder in folders], float
    )
    unknown = ~np.isfinite(position).all(axis=1)
    if unknown.all():  # older files: only where the stage was
        position = np.full((len(folders), 3), np.nan)
    elif unknown.any():
        row = int(np.flatnonzero(unknown)[0])
        raise SourceError(
            f"{root / paths[row]} does not say where tile {paths[row]!r} is; expected an "
            ".acquisition file with current_lattice_position, as in the other folders: restore it, "
            "or choose files with files=",
            root / paths[row],
        )
    else:
        _refuse_twins(root, paths, position)
    return _assemble(root, paths, folders, position, np.ones(len(paths), bool), placing, progress)


def listed_tiles(
    listed: "MouseLightInput", placing: Placing, progress: Progress | None = None
) -> tuple[Tiles, Placing]:
    """Tiles of a list; those that are not complete wait."""
    paths, complete = list(listed.paths), listed.complete
    if not complete.any():
        raise SourceError(
            f"{listed.file} lists {len(paths)} tiles, none of them complete, so that nothing says "
            "what a tile is like; expected one that is: wait for the first",
            listed.file,
        )
    read = iter(_read_folders(listed.root, [p for p, c in zip(paths, complete, strict=True) if c]))
    folders = [next(read) if there else Folder({}, {}) for there in complete]
    tiles, placing = _assemble(
        listed.root, paths, folders, listed.position.astype(float), complete, placing, progress
    )
    source = PartsSource.of(tiles.source)
    tiles.source = source.with_presence(np.flatnonzero(~complete), State.WAITING)
    return tiles, placing


def _refuse_twins(root: Path, paths: Sequence[str], position: np.ndarray) -> None:
    _, first, number = np.unique(position, axis=0, return_index=True, return_inverse=True)
    second = np.flatnonzero(first[number.reshape(-1)] != np.arange(len(paths)))
    if len(second):
        a, b = int(first[number.reshape(-1)[second[0]]]), int(second[0])
        z, y, x = position[b].astype(int).tolist()
        raise SourceError(
            f"{root}: tiles {paths[a]!r} and {paths[b]!r} are both at x={x}, y={y}, z={z}; "
            "expected one at each place: choose with files=, or list the tiles that count in "
            "pipeline-input.json",
            root / paths[b],
        )


def _assemble(
    root: Path,
    paths: list[str],
    folders: list[Folder],
    position: np.ndarray,
    complete: np.ndarray,
    placing: Placing,
    progress: Progress | None,
) -> tuple[Tiles, Placing]:
    channels = sorted({c for folder in folders for c in folder.stacks})
    lost = {i: folder.problem for i, folder in enumerate(folders) if folder.problem is not None}
    if lost and (not placing.mark or not channels):
        raise SourceError(next(iter(lost.values())), root / paths[min(lost)])
    found = [(tile, c, name) for tile, f in enumerate(folders) for c, name in f.stacks.items()]
    scan = scan_tiffs(root, [name for _, _, name in found], progress)
    facts = scan.common()
    files = PlaneFiles(
        np.arange(len(found)),
        np.zeros(len(found), np.int64),
        np.array([tile for tile, _, _ in found]),
        np.array([channels.index(c) for _, c, _ in found]),
        len(paths),
        len(channels),
    )

    def gap(tile: int, missing: np.ndarray) -> str:
        if tile in lost or not complete[tile]:
            return lost.get(tile, "")
        return (
            f"{root / paths[tile]}: {len(channels)} channels expected, "
            f"{len(channels) - len(missing)} found: channel {channels[missing[0]]} of tile "
            f"{paths[tile]!r} is missing; expected a file ending in .{channels[missing[0]]}.tif: "
            'complete the folder, or go on with errors="mark"'
        )

    file_of, page_of, problems = files.arrange(scan, gap)
    problems = {tile: text for tile, text in problems.items() if complete[tile]}
    if problems and not placing.mark:
        raise first_problem(problems, scan)
    dims, shape, source = stack_source(
        scan, facts, file_of, page_of, channels=len(channels), planes=facts.pages, paged=True
    )
    size_px = np.array([facts.pages, facts.length, facts.width])
    pixel, overlap = _field_of_view(root, paths, folders, complete, size_px)
    pixel = {**facts.pixel_size_um, **pixel}
    placing = replace(placing, overlap=overlap if placing.overlap is None else placing.overlap)
    known = placing.pixel_size(pixel)
    step_um = (size_px - [(overlap or {}).get(axis, 0) for axis in "zyx"]) * [
        known.get(axis, 1.0) for axis in "zyx"
    ]
    table = _table(folders, position, step_um, placing)
    named = channel_names(root)
    names = tuple(named.get(c, f"channel {c}") for c in channels)
    tiles = Tiles(
        table,
        paths,
        dims,
        shape,
        source.dtype,
        pixel,
        names if len(names) > 1 else None,
        source,
        str(root),
        problems,
        paths,
    )
    return tiles, placing


def _field_of_view(
    root: Path,
    paths: Sequence[str],
    folders: Sequence[Folder],
    complete: np.ndarray,
    size_px: np.ndarray,
) -> tuple[dict[str, float], dict[str, int] | None]:
    """Pixel size, and overlap in pixels, that the folders agree on."""
    size = np.array([folder.first("fov.{}_size_um", "fov_{}_size_um") for folder in folders])
    shared = np.array([f.first("fov.{}_overlap_um", "fov_{}_overlap_um") for f in folders])
    for what, values in (("size", size), ("overlap", shared)):
        rows = np.flatnonzero(complete & np.isfinite(values).all(axis=1))
        differ = rows[(np.abs(values[rows] - values[rows[:1]]) > 1e-3).any(axis=1)]
        if len(differ):
            a, b = int(rows[0]), int(differ[0])
            raise SourceError(
                f"{root / paths[b]}: the field of view of tile {paths[b]!r} has a {what} of "
                f"{values[b].tolist()} um (z, y, x), but tile {paths[a]!r} says "
                f"{values[a].tolist()}; expected one for all: open them apart",
                root / paths[b],
            )
    rows = np.flatnonzero(np.isfinite(size).all(axis=1))
    if not len(rows):
        return {}, None
    row = int(rows[0])
    pixel = dict(zip("zyx", (size[row] / size_px).tolist(), strict=True))
    if (step := _piezo_step(folders[row], int(size_px[0]))) is not None:
        pixel["z"] = step
    if not np.isfinite(shared[row]).all():
        return pixel, None
    return pixel, {
        axis: round(um / pixel[axis]) for axis, um in zip("zyx", shared[row].tolist(), strict=True)
    }


def _piezo_step(folder: Folder, planes: int) -> float | None:
    """Distance of planes, where the piezo's settings fit the number of planes."""
    for key in folder.settings:
        if key.endswith("zpiezo.um_step"):
            stem = key.removesuffix("um_step")
            step, low, high = (
                _number(folder.settings.get(f"{stem}{name}"))
                for name in ("um_step", "um_min", "um_max")
            )
            if step > 0 and round((high - low) / step) + 1 == planes:
                return step
    return None


def _table(
    folders: Sequence[Folder], position: np.ndarray, step_um: np.ndarray, placing: Placing
) -> "pd.DataFrame":
    """Places on the lattice, and positions in micrometres where the stage's are known."""
    import pandas as pd

    columns: Mapping[str, np.ndarray] = {}
    stage = np.array([folder.triple("{}_mm") for folder in folders], float) * 1000.0
    labelled = bool(np.isfinite(position).all())
    if labelled:
        columns = {f"tile_{axis}": position[:, i].astype(np.int64) for i, axis in enumerate("zyx")}
    table = pd.DataFrame(dict(columns), index=range(len(folders)))
    for i, axis in enumerate("zyx"):
        um = stage[:, i]
        there = np.isfinite(um)
        if not there.any():
            continue
        if labelled:
            nominal = position[:, i] * step_um[i]
            um = np.where(there, um, nominal + np.median(um[there] - nominal[there]))
        # labels are turned by `flip` where they become a lattice; positions have to follow
        table[f"{axis}_um"] = -um if labelled and axis in placing.flip else um
    return table
