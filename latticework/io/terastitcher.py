r"""Positions in TeraStitcher's XML files (``xml_import.xml``, ``xml_placetiles.xml`` ...).

A volume is a grid of stacks, each a series of 2-D or 3-D images in one folder::

    <voxel_dims V="0.8" H="-0.8" D="1" />           micrometres; V is y, H is x, D is z
    <origin V="7.2" H="15.8" D="13.9" />             millimetres, of the first stack's first pixel
    <mechanical_displacements V="300" H="-300" />    micrometres, nominal step of the stage
    <dimensions stack_rows="2" stack_columns="2" stack_slices="600" />
    <Stack ROW="0" COL="1" ABS_V="0" ABS_H="375" ABS_D="0" STITCHABLE="no"
           DIR_NAME="072000/072000_151000" Z_RANGES="[0,600)" IMG_REGEX=".*\.tif" />

``ABS_V ABS_H ABS_D`` are whole pixels from the origin and grow with the image's rows, columns and
planes, also where a size is negative, which says that the stage runs against the image (names of
folders alone are in tenths of micrometres). The files of a stack are those in ``DIR_NAME``, within
``stacks_dir``, whose whole name fits ``IMG_REGEX``, in alphabetical order; ``Z_RANGES`` are the
planes that there are, and nothing where the stack is empty.

Where a position lies between pixels, we write the nearest whole one, which TeraStitcher reads, and
the exact one beside it (``ABS_V_EXACT`` ...), which it ignores. On reading, the exact one counts
only where it still agrees with the whole one.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.position_table import PositionTable
from latticework.io.tile_files import TileFiles, channel_number, spatial_only, tile_files
from latticework.io.xml_files import add, child, number, whole_number, write_xml
from latticework.lattice import Lattice

AXES = {"z": "D", "y": "V", "x": "H"}
DOCTYPE = '<!DOCTYPE TeraStitcher SYSTEM "TeraStitcher.DTD">'
_SPECIAL = re.compile(r"([\\.^$|()\[\]{}*+?])")
_PLAIN = re.compile(r"(?:\\[^\w\s]|[^\\.^$|()\[\]{}*+?])*")
"""Characters that stand for themselves."""
_RANGE = re.compile(r"\[\s*(\d+)\s*,\s*(\d+)\s*\)")


@dataclass(frozen=True, slots=True)
class Stack:
    """What one Stack element says of its files."""

    row: int
    folder: tuple[str, ...]
    """Parts of DIR_NAME."""
    pattern: str
    """IMG_REGEX."""
    literal: str
    """How the names of its files begin."""
    regex: re.Pattern[str] | None
    """The pattern, or None where it is no more than the literal."""
    ranges: tuple[tuple[int, int], ...]
    """First plane, and the one after the last, of every run of planes that the element names."""

    def fits(self, name: str) -> bool:
        """Whether a file of that name, in its folder, belongs to it."""
        return name == self.literal if self.regex is None else bool(self.regex.fullmatch(name))


@dataclass(slots=True)
class Folder:
    """The stacks of one folder by how the names of their files begin."""

    begins: dict[str, list[Stack]] = field(default_factory=dict)
    lengths: set[int] = field(default_factory=set)

    def add(self, stack: Stack) -> None:
        """One more stack."""
        self.begins.setdefault(stack.literal, []).append(stack)
        self.lengths.add(len(stack.literal))

    def stacks_of(self, name: str) -> list[Stack]:
        """Stacks that a file belongs to: one, if all is well."""
        return [
            stack
            for length in self.lengths
            if length <= len(name)
            for stack in self.begins.get(name[:length], ())
            if stack.fits(name)
        ]


@dataclass(frozen=True, slots=True)
class StackFiles:
    """Which files belong to which stack."""

    path: Path
    """The XML file."""
    root: Path
    """What names of files are relative to."""
    stacks: Sequence[Stack]

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Row of the stack of every file, -1 where there is none."""
        folders: dict[tuple[str, ...], Folder] = {}
        for stack in self.stacks:
            folders.setdefault(stack.folder, Folder()).add(stack)
        depths = sorted({len(parts) for parts in folders}, reverse=True)
        known: dict[str, list[Folder]] = {}
        rows = np.full(len(names), -1)
        for i, name in enumerate(names):
            parent, _, base = name.rpartition("/")
            if parent not in known:
                parts = (self.root / parent).parts
                tails = [parts[len(parts) - depth :] for depth in depths if depth <= len(parts)]
                known[parent] = [folders[tail] for tail in tails if tail in folders]
            found = next((stacks for one in known[parent] if (stacks := one.stacks_of(base))), [])
            if len(found) > 1:
                raise SourceError(
                    f"{self.path}: {name!r} belongs to {len(found)} stacks by DIR_NAME and "
                    f"IMG_REGEX, such as {found[0].pattern!r} and {found[1].pattern!r}; expected "
                    "one",
                    self.path,
                )
            if found:
                rows[i] = found[0].row
        return rows

    def planes(self, names: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Number of the plane of every file within its stack: they go in alphabetical order."""
        planes = np.zeros(len(names), np.int64)
        order = np.array(sorted(range(len(names)), key=lambda i: (int(rows[i]), names[i])))
        cuts = np.flatnonzero(np.diff(rows[order])) + 1
        for run in np.split(order, cuts):
            told = [np.arange(*one) for one in self.stacks[int(rows[run[0]])].ranges]
            known = np.concatenate([*told, np.zeros(0, np.int64)])[: len(run)]
            after = int(known[-1]) + 1 if len(known) else 0
            planes[run] = np.concatenate([known, after + np.arange(len(run) - len(known))])
        return planes


def read_terastitcher(root: ET.Element, path: Path, folder: Path) -> PositionTable:
    """Positions of TeraStitcher's stacks, in pixels, with their rows and columns.

    Parameters
    ----------
    root
        The document.
    path
        Where it was found.
    folder
        Folder of the acquisition.

    Raises
    ------
    SourceError
        For an element that is missing or says something else than expected.
    """
    import pandas as pd

    volume = root.get("volume_format", "TiledXY")
    if not volume.startswith("TiledXY"):
        raise SourceError(
            f"{path}: volume_format is {volume!r}; expected TiledXY|2Dseries or TiledXY|3Dseries",
            path,
        )
    dims = child(root, "voxel_dims", path)
    signed = {axis: number(dims, letter, path) for axis, letter in AXES.items()}
    if 0.0 in signed.values():
        raise SourceError(f"{path}: <voxel_dims> is {dict(dims.attrib)}; expected no zero", path)
    origin_px = dict.fromkeys(AXES, 0.0)
    if (origin := root.find("origin")) is not None:
        for axis, letter in AXES.items():
            origin_px[axis] = number(origin, letter, path) * 1000 / signed[axis]
    columns: dict[str, list[float]] = {
        name: [] for name in ("tile_y", "tile_x", "z_px", "y_px", "x_px")
    }
    stacks: list[Stack] = []
    called: list[str] = []
    for place, element in enumerate(child(root, "STACKS", path).findall("Stack")):
        name = f"Stack {place} (ROW={element.get('ROW')}, COL={element.get('COL')})"
        if element.get("Z_RANGES") == "":
            continue
        stacks.append(_stack(element, len(stacks), path, name))
        called.append(f"{name} in {element.get('DIR_NAME')!r}")
        for axis, attribute in (("y", "ROW"), ("x", "COL")):
            value = whole_number(element.get(attribute), path, called=f"{attribute} of {name}")
            columns[f"tile_{axis}"].append(value)
        for axis in AXES:
            columns[f"{axis}_px"].append(origin_px[axis] + _absolute(element, axis, path, name))
    if not stacks:
        raise SourceError(f"{path}: <STACKS> has no Stack with files; expected one per tile", path)
    files = StackFiles(path, folder.absolute(), stacks)
    slices = volume.endswith("2Dseries") and _slices(root, path) > 1
    return PositionTable(
        pd.DataFrame(columns),
        str(path),
        {axis: abs(size) for axis, size in signed.items()},
        called,
        files.rows,
        files.planes if slices else None,
    )


def _slices(root: ET.Element, path: Path) -> int:
    dims = child(root, "dimensions", path)
    return whole_number(dims.get("stack_slices"), path, called="stack_slices of <dimensions>")


def _absolute(element: ET.Element, axis: str, path: Path, called: str) -> float:
    """Pixels from the origin."""
    name = f"ABS_{AXES[axis]}"
    whole = number(element, name, path, called=called)
    if element.get(f"{name}_EXACT") is None:
        return whole
    exact = number(element, f"{name}_EXACT", path, called=called)
    return exact if round(exact) == whole else whole


def _stack(element: ET.Element, row: int, path: Path, called: str) -> Stack:
    folder = element.get("DIR_NAME")
    if folder is None:
        raise SourceError(f"{path}: {called} has no DIR_NAME; expected the folder of its files")
    pattern = element.get("IMG_REGEX") or r".*\..*"
    literal, rest = _literal(pattern)
    try:
        regex = re.compile(pattern) if rest else None
    except re.error as error:
        raise SourceError(
            f"{path}: IMG_REGEX of {called} is {pattern!r} ({error}); expected a regular "
            "expression for the whole name of a file",
            path,
        ) from error
    parts = tuple(part for part in folder.replace("\\", "/").split("/") if part not in ("", "."))
    ranges = [(int(a), int(b)) for a, b in _RANGE.findall(element.get("Z_RANGES", ""))]
    return Stack(row, parts, pattern, literal, regex, tuple(ranges))


def _literal(pattern: str) -> tuple[str, str]:
    """How all names that fit begin, and the rest of the pattern."""
    plain = None if "|" in pattern else _PLAIN.match(pattern)
    if plain is None or pattern[plain.end() :].startswith(("*", "+", "?", "{")):
        return "", pattern
    return re.sub(r"\\(.)", r"\1", plain[0]), pattern[plain.end() :]


# ------------------------------------------------------------------------- writing


def write_terastitcher(
    lattice: Lattice, path: Path, position_um: np.ndarray, channel: int | str
) -> None:
    """Write an XML that TeraStitcher imports (``--projin``).

    Parameters
    ----------
    lattice
        One layer of tiles, in TIFF files.
    path
        The XML file.
    position_um
        Positions in micrometres, shape (n, 3), in z, y, x.
    channel
        Which channel's files to name.

    Raises
    ------
    LatticeError
        If TeraStitcher could not open the files.
    """
    spatial_only(lattice, "TeraStitcher", ("tile_y", "tile_x"))
    files = tile_files(lattice)
    if files is None:
        raise LatticeError(
            "TeraStitcher opens TIFF files, and the pixels of this lattice are not in any: write "
            "the tiles as TIFF first, and open them"
        )
    depth = lattice.tile_shape.get("z", 1)
    missing = [
        axis
        for axis in ("z", "y", "x")
        if axis not in lattice.known_pixel_size_um and (axis != "z" or depth > 1)
    ]
    if missing:
        raise LatticeError(
            f"TeraStitcher needs the size of a pixel, and that along {', '.join(missing)} is not "
            "known: open the acquisition with pixel_size_um={...}"
        )
    if lattice.dtype.itemsize > 2:
        raise LatticeError(
            f"TeraStitcher reads 8 and 16 bit per pixel, and these are {lattice.dtype}: write the "
            'tiles as uint16, or use format="bigstitcher"'
        )
    pixel = {axis: lattice.pixel_size_um.get(axis, 1.0) for axis in AXES}
    least = position_um.min(axis=0) if len(position_um) else np.zeros(3)
    position_px = (position_um - least) / np.array([pixel[axis] for axis in AXES])
    chosen = channel_number(lattice, channel)
    split, plane_names = _plane_names(files, chosen)
    root = ET.Element(
        "TeraStitcher",
        {
            "volume_format": f"TiledXY|{'2D' if split or depth == 1 else '3D'}series",
            "input_plugin": f"tiff{'2D' if split or depth == 1 else '3D'}",
        },
    )
    step = {axis: lattice.step_px.get(axis, lattice.tile_shape[axis]) for axis in "yx"}
    add(root, "stacks_dir", value=str(files.root.resolve()))
    add(root, "ref_sys", ref1="1", ref2="2", ref3="3")
    add(root, "voxel_dims", **{AXES[axis]: repr(pixel[axis]) for axis in "yxz"})
    millimetres = dict(zip(AXES, (least / 1000).tolist(), strict=True))
    add(root, "origin", **{AXES[axis]: repr(millimetres[axis]) for axis in "yxz"})
    add(
        root,
        "mechanical_displacements",
        **{AXES[axis]: repr(float(step[axis] * pixel[axis])) for axis in "yx"},
    )
    rows, columns, tile_at = _grid(lattice)
    add(
        root,
        "dimensions",
        stack_rows=str(rows),
        stack_columns=str(columns),
        stack_slices=str(depth),
    )
    regexes = _Regexes(files.root)
    stacks = add(root, "STACKS")
    for at in range(rows * columns):
        row, column = divmod(at, columns)
        tile = int(tile_at[row, column])
        here = plane_names[tile] if tile >= 0 else []
        nominal = np.array([0.0, row * step["y"], column * step["x"]])
        where = dict(zip(AXES, (position_px[tile] if here else nominal).tolist(), strict=True))
        folder, regex = regexes.of(here)
        stack = add(
            stacks,
            "Stack",
            N_CHANS=str(int(files.sample.max()) + 1),
            N_BYTESxCHAN=str(lattice.dtype.itemsize),
            ROW=str(row),
            COL=str(column),
            **{f"ABS_{AXES[axis]}": str(round(where[axis])) for axis in "yxz"},
            STITCHABLE="no",
            DIR_NAME=folder,
            Z_RANGES=f"[0,{depth})" if here else "",
            IMG_REGEX=regex,
            **{
                f"ABS_{AXES[axis]}_EXACT": repr(where[axis])
                for axis in "yxz"
                if where[axis] != round(where[axis])
            },
        )
        for side in ("NORTH", "EAST", "SOUTH", "WEST"):
            add(stack, f"{side}_displacements")
    write_xml(root, path, doctype=DOCTYPE)


def _grid(lattice: Lattice) -> tuple[int, int, np.ndarray]:
    """Rows, columns, and the row of the tile at each; -1 in holes."""
    index = {
        axis: lattice.index[:, lattice.dims.index(f"tile_{axis}")]
        if f"tile_{axis}" in lattice.dims
        else np.zeros(len(lattice), np.int64)
        for axis in "yx"
    }
    rows, columns = (lattice.sizes.get(f"tile_{axis}", 1) for axis in "yx")
    tile_at = np.full((rows, columns), -1)
    tile_at[index["y"], index["x"]] = np.arange(len(lattice))
    return rows, columns, tile_at


def _plane_names(files: TileFiles, channel: int) -> tuple[bool, list[list[str]]]:
    """Whether planes are files of their own, and every tile's files (none where unreadable)."""
    names, pages = files.file[:, channel], files.page[:, channel]
    there = np.asarray((names >= 0).all(axis=1))
    depth = names.shape[1]
    one = (names == names[:, :1]).all(axis=1) & (pages == np.arange(depth)).all(axis=1)
    each = np.array([len(set(row)) == depth for row in names.tolist()]) & (pages == 0).all(axis=1)
    others = np.delete(files.file, channel, axis=1)
    own_sample = files.sample.max() > 0
    mixed = not own_sample and np.isin(names[there], others[there & (others >= 0).all(axis=(1, 2))])
    if bool(np.any(mixed)) or not (one[there].all() or each[there].all()):
        row = int(np.flatnonzero(there)[0])
        raise LatticeError(
            "TeraStitcher reads stacks of one channel: a file per tile with its planes one after "
            f"another, or a file per plane; {files.names[int(names[row, 0])]!r} holds more than "
            "that: write the channels to files of their own"
        )
    split = depth > 1 and not one[there].all()
    listed = [
        ([files.names[name] for name in (row if split else row[:1])] if ok else [])
        for row, ok in zip(names.tolist(), there.tolist(), strict=True)
    ]
    return split, listed


class _Regexes:
    """Regular expressions that fit exactly the files of a stack, among all in their folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[str, list[str]] = {}

    def of(self, names: list[str]) -> tuple[str, str]:
        """Folder and expression."""
        if not names:
            return ".", "no file is here"
        folders = {name.rpartition("/")[0] for name in names}
        own = [name.rpartition("/")[2] for name in names]
        if len(folders) > 1 or own != sorted(own):
            raise LatticeError(
                f"TeraStitcher takes the planes of a stack from one folder in alphabetical order, "
                f"and those of {names[0]!r} are not so ({', '.join(names[:3])} ...): rename the "
                "files with leading zeros"
            )
        folder = folders.pop()
        if len(own) == 1:
            return folder or ".", _escape(own[0])
        if folder not in self._listed:
            self._listed[folder] = [one.name for one in (self.root / folder).iterdir()]
        pattern = _common_pattern(own)
        if pattern is not None:
            fits = re.compile(pattern)
            if sorted(name for name in self._listed[folder] if fits.fullmatch(name)) == own:
                return folder or ".", pattern
        return folder or ".", "(" + "|".join(map(_escape, own)) + ")"


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def _common_pattern(names: list[str]) -> str | None:
    """Names that differ in their digits only, as one expression."""
    split = [re.split(r"(\d+)", name) for name in names]
    if len({len(parts) for parts in split}) > 1:
        return None
    pattern = ""
    for place, parts in enumerate(zip(*split, strict=True)):
        alike = len(set(parts)) == 1
        if not alike and place % 2 == 0:
            return None
        pattern += _escape(parts[0]) if alike else "[0-9]+"
    return pattern
