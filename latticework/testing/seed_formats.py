"""Any lattice written as MouseLight, LaVision UltraMicroscope or SmartSPIM would have left it."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tifffile

from latticework.errors import LatticeError
from latticework.lattice import Box, Lattice, Tile

Pixels = npt.NDArray[Any]


def _stacks(lattice: Lattice) -> Iterator[tuple[Tile, Pixels]]:
    """Tiles with their pixels as (c, z, y, x), one after the other."""
    if lattice.source is None:
        raise LatticeError("this lattice has no source: there are no pixels to write")
    for tile in lattice:
        pixels = np.asarray(lattice.source.read(tile.id, Box.whole(tile.shape)))
        for place, dim in enumerate(("c", "z")):
            if dim not in tile.dims:
                pixels = np.expand_dims(pixels, place)
        yield tile, pixels


def mouselight_path(tile: Tile, *, day: str = "2018-08-23") -> str:
    """The folder of a tile below the acquisition's: day, hundreds, number.

    Examples
    --------
    >>> from latticework import Lattice
    >>> lattice = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    >>> mouselight_path(lattice.tile(0))
    '2018-08-23/00/00000'
    """
    return f"{day}/{tile.id // 1000:02d}/{tile.id:05d}"


def mouselight_list(
    lattice: Lattice,
    *,
    form: Literal["pipeline", "dashboard"] = "pipeline",
    complete: Collection[int] | None = None,
    backslashes: bool = False,
    spelling: str = "relativePath",
    as_object: bool = False,
    skipped: Mapping[str, Sequence[int]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What ``pipeline-input.json`` or ``dashboard.json`` says of a lattice.

    Parameters
    ----------
    lattice
        Tiles and their labels; axes that it has not are 0.
    form
        Which of the two.
    complete
        Ids of the tiles that are there; all if not given.
    backslashes
        Write paths as Windows does.
    spelling, as_object
        How the pipeline's file calls the path, and whether tiles are an object of arrays.
    skipped
        Planes to leave out, by axis.
    parameters
        ``customParameters`` of the project (of the pipeline's form only).
    """
    entries: list[dict[str, Any]] = []
    for tile in lattice:
        path = mouselight_path(tile)
        place = {axis: int(tile.labels.get(f"tile_{axis}", 0)) for axis in "xyz"}
        entries.append(
            {
                "id": tile.id + 1,
                "path": path.replace("/", "\\") if backslashes else path,
                "isComplete": complete is None or tile.id in complete,
                "place": place,
                "step": dict.fromkeys("xyz", 1),
            }
        )
    extents = {}
    for axis in "xyz":
        places = [entry["place"][axis] for entry in entries]
        extents[f"minimum{axis.upper()}"] = min(places, default=0)
        extents[f"maximum{axis.upper()}"] = max(places, default=0)
    markers = {axis: list((skipped or {}).get(axis, ())) for axis in "xyz"}
    if form == "dashboard":
        planes: dict[str, list[dict[str, Any]]] = {}
        for entry in entries:
            contents = {"latticePosition": entry["place"], "latticeStep": entry["step"]}
            planes.setdefault(str(entry["place"]["z"]), []).append(
                {
                    "id": entry["id"],
                    "relativePath": entry["path"],
                    "isComplete": entry["isComplete"],
                    "contents": contents,
                }
            )
        return {"monitor": {"extents": extents}, "planeMarkers": markers, "tileMap": planes}
    tiles = [
        {
            "id": entry["id"],
            spelling: entry["path"],
            "isComplete": entry["isComplete"],
            "position": entry["place"],
            "step": entry["step"],
        }
        for entry in entries
    ]
    return {
        "pipelineFormat": "default",
        "extents": extents,
        "projectInfo": {"customParameters": dict(parameters or {})},
        "planeMarkers": markers,
        "tiles": {"0": tiles[: len(tiles) // 2], "1": tiles[len(tiles) // 2 :]}
        if as_object
        else tiles,
    }


def write_mouselight(
    lattice: Lattice,
    folder: Path | str,
    *,
    form: Literal["pipeline", "dashboard", "none"] = "pipeline",
    complete: Collection[int] | None = None,
    **options: Any,
) -> Path:
    """A folder as MouseLight's microscope leaves it: tile folders, and a list of them.

    Parameters
    ----------
    lattice
        With a source and pixel sizes.
    folder
        Made if missing.
    form
        Which list to write, if any.
    complete
        Ids of the tiles that are there; the others are in the list only.
    **options
        Of `mouselight_list`.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 1}, tile_shape={"z": 2, "y": 32, "x": 32})
    >>> folder = write_mouselight(lattice, tempfile.mkdtemp())
    >>> sorted(path.name for path in (folder / "2018-08-23/00/00000").iterdir())
    ['00000-ngc.0.tif', '00000-ngc.acquisition', '00000-ngc.microscope']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if lattice.channels is not None:
        lines = [f"{number}: {name}\n" for number, name in enumerate(lattice.channels)]
        (folder / "channel-semantics.txt").write_text("".join(lines), encoding="utf-8")
    for tile, pixels in _stacks(lattice):
        if complete is None or tile.id in complete:
            write_mouselight_tile(lattice, tile, pixels, folder / mouselight_path(tile))
    if form != "none":
        name = {"pipeline": "pipeline-input.json", "dashboard": "dashboard.json"}[form]
        said = mouselight_list(lattice, form=form, complete=complete, **options)
        (folder / name).write_text(json.dumps(said, indent=1), encoding="utf-8")
    return folder


def write_mouselight_tile(lattice: Lattice, tile: Tile, pixels: Pixels, folder: Path) -> None:
    """One tile's folder; `pixels` are (c, z, y, x)."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{folder.name}-ngc"
    sizes = dict(zip("zyx", pixels.shape[1:], strict=True))
    fov = {}
    for axis in "xyz":
        pixel = lattice.pixel_size_um.get(axis, 1.0)
        fov[f"{axis}_size_um"] = sizes[axis] * pixel
        fov[f"{axis}_overlap_um"] = lattice.overlap_px.get(axis, 0) * pixel
    block = "".join(f"  {key}: {value!r}\n" for key, value in fov.items())
    where = "".join(f"{axis}_mm: {tile.position_um.get(axis, 0.0) / 1000!r}\n" for axis in "xyz")
    place = "".join(f"  {axis}: {tile.labels.get(f'tile_{axis}', 0)}\n" for axis in "xyz")
    (folder / f"{stem}.acquisition").write_text(
        f"{where}current_lattice_position {{\n{place}}}\ncut_count: "
        f"{tile.labels.get('tile_z', 0)}\n",
        encoding="utf-8",
    )
    (folder / f"{stem}.microscope").write_text(
        f'fov {{\n{block}  rotation_radians: 0\n}}\nfile_prefix: "ngc"\n', encoding="utf-8"
    )
    for channel, stack in enumerate(pixels):
        tifffile.imwrite(folder / f"{stem}.{channel}.tif", stack, photometric="minisblack")


LAVISION = (
    "10-59-43_UltraII_raw_RawDataStack{tile}_C{sheet:02d}_xyz-Table Z{z:04d}_UltraII "
    "Filter{c:04d}.ome.tif"
)
"""How the UltraMicroscope names a plane."""


def write_lavision(
    lattice: Lattice,
    folder: Path | str,
    *,
    tiled: bool = True,
    ome: bool = True,
) -> Path:
    """A folder as a LaVision UltraMicroscope leaves it: an OME-TIFF for every plane.

    Parameters
    ----------
    lattice
        With a source; a dim ``sheet`` becomes ``C00`` and ``C01``, others but y and x are refused.
    folder
        Made if missing.
    tiled
        Whether names say ``[row x column]``; without it there is one tile for each sheet.
    ome
        Write OME metadata with the pixel size; else plain pixels with the same names.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 1}, tile_shape={"z": 1, "y": 32, "x": 32})
    >>> folder = write_lavision(lattice, tempfile.mkdtemp())
    >>> next(folder.iterdir()).name
    '10-59-43_UltraII_raw_RawDataStack[00 x 00]_C00_xyz-Table Z0000_UltraII Filter0000.ome.tif'
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if extra := set(lattice.dims) - {"sheet", "tile_y", "tile_x"}:
        raise LatticeError(f"an UltraMicroscope has no {', '.join(sorted(extra))} of tiles")
    sheets = {
        label: i for i, label in enumerate(lattice.labels.get("sheet", np.array([])).tolist())
    }
    known = {
        f"PhysicalSize{axis.upper()}": size for axis, size in lattice.known_pixel_size_um.items()
    }
    for tile, pixels in _stacks(lattice):
        row, column = (int(tile.labels.get(f"tile_{axis}", 0)) for axis in "yx")
        address = f"[{row:02d} x {column:02d}]" if tiled else ""
        for c, z in np.ndindex(*pixels.shape[:2]):
            name = LAVISION.format(
                tile=address, sheet=sheets.get(tile.labels.get("sheet"), 0), z=z, c=c
            )
            tifffile.imwrite(
                folder / name,
                pixels[c, z],
                photometric="minisblack",
                ome=ome,
                metadata={"axes": "YX", **known} if ome else None,
            )
    return folder


def write_smartspim(
    lattice: Lattice,
    folder: Path | str,
    *,
    wavelengths: Sequence[int] = (488, 561, 642, 785),
    counted: bool = False,
) -> Path:
    """A tree as a SmartSPIM leaves it: channel, x, x and y, a TIFF for every plane.

    Parameters
    ----------
    lattice
        With a source; positions are rounded to 0.1 um.
    folder
        Made if missing.
    wavelengths
        Excitation of the channels, in order.
    counted
        Name planes 0, 1, 2 ... instead of by where they are.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate(
    ...     {"y": 1, "x": 1}, tile_shape={"z": 1, "y": 32, "x": 32},
    ...     pixel_size_um={"y": 1.8, "x": 1.8})
    >>> folder = write_smartspim(lattice, tempfile.mkdtemp())
    >>> [path.relative_to(folder).as_posix() for path in folder.rglob("*.tif")]
    ['Ex_488_Em_0/000000/000000_000000/000000.tif']
    """
    folder = Path(folder)
    apart = 1 if counted else round(lattice.pixel_size_um.get("z", 1.0) * 10)
    for tile, pixels in _stacks(lattice):
        y, x = (round(tile.position_um[axis] * 10) for axis in "yx")
        for c, stack in enumerate(pixels):
            home = folder / f"Ex_{wavelengths[c]}_Em_{c}" / f"{x:06d}" / f"{x:06d}_{y:06d}"
            home.mkdir(parents=True, exist_ok=True)
            for z, plane in enumerate(stack):
                tifffile.imwrite(home / f"{z * apart:06d}.tif", plane, photometric="minisblack")
    return folder
