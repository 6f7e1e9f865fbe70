"""`write_positions`: where the tiles are, in the files of other programs."""

import csv
import io
import re
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from latticework.errors import LatticeError
from latticework.io.bigstitcher import write_bigstitcher
from latticework.io.fiji import write_fiji
from latticework.io.terastitcher import write_terastitcher
from latticework.io.tile_files import channel_number, tile_files
from latticework.io.xml_files import write_whole
from latticework.lattice import Lattice

PositionFormat = Literal["auto", "fiji", "terastitcher", "bigstitcher", "csv"]


def write_positions(
    lattice: Lattice,
    path: str | Path,
    *,
    positions_um: Any = None,
    positions_px: Any = None,
    format: PositionFormat = "auto",  # noqa: A002 - what the user calls it
    channel: int | str = 0,
) -> Path:
    """Write where the tiles are, so that another stitching program opens the acquisition.

    `latticework.io.open_tiles` reads all of these with ``positions=``. What is written:

    ================ ==========================================================================
    ``fiji``         ``TileConfiguration.txt`` of Fiji's stitching: pixels, a file per tile
    ``terastitcher`` XML for TeraStitcher: one layer of stacks in TIFF files, a file per stack
                     or per plane. It knows whole pixels only, so it sees the nearest ones; the
                     exact ones are beside them and come back when the file is read here. Where
                     the grid has holes, run TeraStitcher with ``--sparse_data``
    ``bigstitcher``  XML dataset for BigStitcher: TIFF files, all channels, as affine transforms
    ``csv``          table with the columns ``file z_um y_um x_um``
    ================ ==========================================================================

    Parameters
    ----------
    lattice
        Tiles, for all but ``csv`` and ``fiji`` in TIFF files.
    path
        The file to write; an existing one is replaced.
    positions_um, positions_px
        Positions of the tiles' first pixels, such as solved ones, shape (n, number of axes) in
        order of ``lattice.spatial_dims``, in micrometres or pixels; the lattice's own if not
        given.
    format
        ``"auto"`` goes by the name: ``.csv``; ``.txt`` is Fiji's; an ``.xml`` named ``xml_...``
        or ``...terastitcher...`` is TeraStitcher's, one named ``dataset...``, ``...bigstitcher...``
        or ``...bdv...`` BigStitcher's.
    channel
        Index or name of the channel whose files are written, where channels are files of their
        own and the program takes one.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    LatticeError
        If the positions do not fit the lattice, or the program could not open the tiles.
    SourceError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.lattice import Lattice
    >>> lattice = Lattice.from_grid(
    ...     {"y": 1, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2", names=["a.tif", "b.tif"]
    ... )
    >>> path = write_positions(lattice, Path(tempfile.mkdtemp(), "TileConfiguration.txt"))
    >>> print(path.read_text().splitlines()[-1])
    b.tif; ; (8.0, 0.0)
    """
    path = Path(path)
    program = _format(path, format)
    position_um = _positions(lattice, positions_um, positions_px)
    pixel = np.array([lattice.pixel_size_um.get(axis, 1.0) for axis in "zyx"])
    if program == "fiji":
        write_fiji(lattice, path, position_um / pixel, channel)
    elif program == "terastitcher":
        write_terastitcher(lattice, path, position_um, channel)
    elif program == "bigstitcher":
        write_bigstitcher(lattice, path, position_um)
    else:
        _write_csv(lattice, path, position_um, channel)
    return path


def _format(path: Path, format: str) -> str:  # noqa: A002 - as above
    formats = get_args(PositionFormat)
    if format not in formats:
        raise LatticeError(f"format={format!r}: expected one of {', '.join(formats)}")
    if format != "auto":
        return format
    name = path.name.casefold()
    if name.endswith((".csv", ".txt")):
        return "csv" if name.endswith(".csv") else "fiji"
    if name.endswith(".xml"):
        if name.startswith("xml_") or "terastitcher" in name:
            return "terastitcher"
        if re.search(r"dataset|bigstitcher|bdv", name):
            return "bigstitcher"
    raise LatticeError(
        f"whose file is {path.name}? say format= one of {', '.join(formats[1:])}, or name it "
        "TileConfiguration.txt, xml_import.xml, dataset.xml or positions.csv"
    )


def _positions(lattice: Lattice, positions_um: Any, positions_px: Any) -> np.ndarray:
    """Positions in z, y, x, micrometres, zero along axes that the lattice does not have."""
    if positions_um is not None and positions_px is not None:
        raise LatticeError("positions_um and positions_px are both given: give one of them")
    axes = lattice.spatial_dims
    pixel = np.array([lattice.pixel_size_um[axis] for axis in axes])
    given = lattice.position_um if positions_um is None else positions_um
    called = "positions_um"
    if positions_px is not None:
        given, called = positions_px, "positions_px"
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (len(lattice), len(axes)):
        raise LatticeError(
            f"{called} has the shape {values.shape}; expected {(len(lattice), len(axes))}: "
            f"{', '.join(axes)} of every tile"
        )
    wrong = ~np.isfinite(values).all(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise LatticeError(
            f"{called} of {int(wrong.sum())} tiles is no number, such as of tile "
            f"{int(lattice.ids[row])} ({lattice.names[row]}): {values[row].tolist()}; expected "
            "finite numbers"
        )
    if positions_px is not None:
        values = values * pixel
    position = np.zeros((len(lattice), 3))
    for column, axis in enumerate(axes):
        position[:, "zyx".index(axis)] = values[:, column]
    return position


def _write_csv(lattice: Lattice, path: Path, position_um: np.ndarray, channel: int | str) -> None:
    files = tile_files(lattice)
    number = channel_number(lattice, channel)
    names = [str(name) for name in lattice.names]
    if files is not None:
        names = [
            files.names[row] if row >= 0 else name
            for row, name in zip(files.file[:, number, 0].tolist(), names, strict=True)
        ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *(f"{axis}_um" for axis in lattice.spatial_dims)])
    columns = ["zyx".index(axis) for axis in lattice.spatial_dims]
    rows = position_um[:, columns].tolist()
    writer.writerows([name, *map(repr, row)] for name, row in zip(names, rows, strict=True))
    write_whole(path, text.getvalue())
