"""``TileConfiguration.txt`` of Fiji's Grid/Collection stitching.

A line per image, ``name; series; (x, y)`` or ``(x, y, z)``: the file's name relative to the
text file, the number of the image within the file (mostly empty), and the position of the first
pixel in pixels, x first. Lines that begin with ``#`` are comments. What Fiji calls
``TileConfiguration.registered.txt`` looks the same.
"""

import re
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.position_table import PositionTable, name_below
from latticework.io.tile_files import channel_number, spatial_only, tile_files
from latticework.io.xml_files import write_whole
from latticework.lattice import Lattice

_SETTING = re.compile(r"(dim|multiSeries)\s*=\s*(\S+)", re.IGNORECASE)
_IMAGE = re.compile(r"(?P<name>[^;]+?)\s*;(?P<series>[^;]*);\s*\((?P<numbers>[^()]*)\)")


def read_fiji(path: Path, folder: Path) -> PositionTable | None:
    """Positions of a tile configuration, in pixels; None where the text is something else.

    Parameters
    ----------
    path
        The text file.
    folder
        Folder of the acquisition.

    Raises
    ------
    SourceError
        For a line that is no image, names the line.
    """
    import pandas as pd

    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        return None
    told = [
        (number, line.strip())
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not any(_SETTING.fullmatch(line) or _IMAGE.fullmatch(line) for _, line in told):
        return None
    dims: int | None = None
    names, positions = [], []
    for number, line in told:
        if setting := _SETTING.fullmatch(line):
            if setting[1].lower() == "dim":
                dims = int(setting[2]) if setting[2] in ("2", "3") else None
                if dims is None:
                    raise SourceError(f"{path}, line {number}: {line!r}; expected 2 or 3", path)
            continue
        image = _IMAGE.fullmatch(line)
        values = [] if image is None else _floats(image["numbers"])
        if image is None or len(values) != (dims or len(values)) or len(values) not in (2, 3):
            raise SourceError(
                f"{path}, line {number}: {line[:120]!r}; expected name; ; "
                f"({'x, y, z' if dims == 3 else 'x, y'}) with numbers",
                path,
            )
        dims = len(values)
        names.append(image["name"])
        positions.append(values)
    if not names:
        raise SourceError(f"{path} lists no images; expected lines such as a.tif; ; (0, 0)", path)
    table = pd.DataFrame({"file": [name_below(folder, path.parent, name) for name in names]})
    for axis, column in zip("xyz", np.array(positions, float).T, strict=False):
        table[f"{axis}_px"] = column
    return PositionTable(table, str(path), tiles=names)


def _floats(text: str) -> list[float]:
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        return []
    return values if np.isfinite(values).all() else []


def write_fiji(lattice: Lattice, path: Path, position_px: np.ndarray, channel: int | str) -> None:
    """Write a tile configuration.

    Parameters
    ----------
    lattice
        Tiles with a file each, or with names that are files.
    path
        The text file.
    position_px
        Positions in pixels, shape (n, 3), in z, y, x.
    channel
        Which channel's files to name, where channels are files of their own.

    Raises
    ------
    LatticeError
        If tiles are spread over files, or a name cannot be written.
    """
    flat = lattice.tile_shape.get("z", 1) == 1
    axes = ("tile_y", "tile_x") if flat else ("tile_z", "tile_y", "tile_x")
    spatial_only(lattice, "Fiji's stitching of images" if flat else "Fiji's stitching", axes)
    files = tile_files(lattice)
    present = np.ones(len(lattice), bool)
    if files is None:
        names = [str(name) for name in lattice.names]
    else:
        files.one_file_each("Fiji")
        names = files.first(path.parent, channel_number(lattice, channel))
        present = files.present
    wrong = next((n for n in names if re.search(r"[;\n\r]", n) or n.lstrip().startswith("#")), None)
    if wrong is not None:
        raise LatticeError(
            f"Fiji cannot read the name {wrong!r}: it ends at ';' and a line that begins with '#' "
            "is a comment; rename the file"
        )
    lines = ["# Number of dimensions", f"dim = {2 if flat else 3}", ""]
    lines.append("# Positions of the images in pixels, x first")
    columns = position_px[:, :0:-1] if flat else position_px[:, ::-1]
    for row in np.flatnonzero(present).tolist():
        numbers = ", ".join(map(repr, columns[row].tolist()))
        lines.append(f"{names[row]}; ; ({numbers})")
    write_whole(path, "\n".join(lines) + "\n")
