"""Any lattice written to disk as a microscope would have left it."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from latticework.errors import LatticeError
from latticework.lattice import Box, Lattice, Tile


def _tiles(lattice: Lattice) -> Iterator[tuple[Tile, npt.NDArray[Any]]]:
    """Tiles with their pixels, one after the other."""
    if lattice.source is None:
        raise LatticeError("this lattice has no source: there are no pixels to write")
    for tile in lattice:
        yield tile, np.asarray(lattice.source.read(tile.id, Box.whole(tile.shape)))


def _file_name(lattice: Lattice, tile: Tile, ending: str) -> str:
    digits = max(3, len(str(int(lattice.ids.max()))))
    return f"tile_{tile.id:0{digits}d}{ending}"


def _ome_metadata(lattice: Lattice, tile: Tile) -> dict[str, Any]:
    """What tifffile turns into OME-XML: names, pixel size, and the position of every plane."""
    sizes = dict(zip(tile.dims, tile.shape, strict=True))
    channels, planes = sizes.get("c", 1), sizes.get("z", 1)
    known: dict[str, Any] = {"axes": "".join(tile.dims).upper(), "Name": tile.name}
    for axis in tile.pixel_size_um:
        known[f"PhysicalSize{axis.upper()}"] = tile.pixel_size_um[axis]
        known[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if lattice.channels is not None:
        known["Channel"] = {"Name": list(lattice.channels)}
    step = tile.pixel_size_um.get("z", 1.0)
    where: dict[str, Any] = {}
    for axis, um in tile.position_um.items():
        per_plane = np.full((channels, planes), um)
        if axis == "z":
            per_plane = per_plane + np.arange(planes) * step
        where[f"Position{axis.upper()}"] = per_plane.ravel().tolist()
        where[f"Position{axis.upper()}Unit"] = ["µm"] * (channels * planes)
    known["Plane"] = where
    return known


def write_ome_tiff(lattice: Lattice, folder: Path | str, *, compression: str | None = None) -> Path:
    """A folder with one OME-TIFF per tile, positions and pixel sizes in its metadata.

    Parameters
    ----------
    lattice
        With a source.
    folder
        Made if missing.
    compression
        As tifffile names it (``"zlib"``, ``"lzw"`` ...); plain if not given, so that parts can be
        read alone.

    Returns
    -------
    The folder. Files are named by tile id (``tile_007.ome.tif``).

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 2, "x": 2}, tile_shape={"y": 32, "x": 32})
    >>> folder = write_ome_tiff(lattice, tempfile.mkdtemp())
    >>> sorted(path.name for path in folder.iterdir())[0]
    'tile_000.ome.tif'
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for tile, pixels in _tiles(lattice):
        tifffile.imwrite(
            folder / _file_name(lattice, tile, ".ome.tif"),
            pixels,
            ome=True,
            photometric="minisblack",
            compression=compression,
            metadata=_ome_metadata(lattice, tile),
        )
    return folder


def write_tiff_csv(
    lattice: Lattice,
    folder: Path | str,
    *,
    table: str = "positions.csv",
    compression: str | None = None,
) -> Path:
    """A folder with one plain TIFF per tile and a CSV table of positions in um.

    Returns
    -------
    The folder. The table has the columns ``file`` and ``z_um y_um x_um`` (spatial dims of the
    lattice).

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 40})
    >>> folder = write_tiff_csv(lattice, tempfile.mkdtemp())
    >>> (folder / "positions.csv").read_text().split()
    ['file,y_um,x_um', 'tile_000.tif,0.0,0.0', 'tile_001.tif,0.0,36.0']
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for tile, pixels in _tiles(lattice):
        name = _file_name(lattice, tile, ".tif")
        tifffile.imwrite(folder / name, pixels, photometric="minisblack", compression=compression)
        rows.append([name, *tile.position_um.values()])
    with (folder / table).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["file", *(f"{axis}_um" for axis in lattice.spatial_dims)])
        writer.writerows(rows)
    return folder


def write_pattern(
    lattice: Lattice,
    folder: Path | str,
    *,
    pattern: str = "tile_z{tile_z:02d}_y{tile_y:02d}_x{tile_x:02d}.tif",
) -> Path:
    """A folder of plain TIFFs whose names say where each belongs.

    Parameters
    ----------
    lattice
        With a source.
    folder
        Made if missing; the pattern may name folders below it.
    pattern
        With fields in braces: lattice dims (``{tile_y}``; 0 for one that the lattice has not),
        ``{id}``, and ``{z}`` and ``{c}``, with which every plane (channel) of a tile gets a file of
        its own.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 1}, tile_shape={"z": 2, "y": 32, "x": 32})
    >>> folder = write_pattern(lattice, tempfile.mkdtemp(), pattern="s{id}_z{z}.tif")
    >>> sorted(path.name for path in folder.iterdir())
    ['s0_z0.tif', 's0_z1.tif']
    """
    folder = Path(folder)
    for tile, pixels in _tiles(lattice):
        split = [dim for dim in ("c", "z") if dim in tile.dims and f"{{{dim}" in pattern]
        counts = [tile.shape[tile.dims.index(dim)] for dim in split]
        for planes in np.ndindex(*counts):
            numbers = dict(zip(split, planes, strict=True))
            labels: Mapping[str, int | str] = {"tile_z": 0, "tile_y": 0, "tile_x": 0, **tile.labels}
            path = folder / pattern.format(id=tile.id, name=tile.name, **labels, **numbers)
            path.parent.mkdir(parents=True, exist_ok=True)
            region = tuple(numbers.get(dim, slice(None)) for dim in tile.dims)
            tifffile.imwrite(path, pixels[region], photometric="minisblack")
    return folder


def write_zarr(
    lattice: Lattice,
    folder: Path | str,
    *,
    chunk: Mapping[str, int] | None = None,
    ome: bool = True,
) -> Path:
    """A folder with one Zarr v3 image per tile, as OME-Zarr (NGFF 0.5) unless `ome` is false.

    Parameters
    ----------
    lattice
        With a source.
    folder
        Made if missing.
    chunk
        Pixels of a chunk by dim; 1, 32, 128, 128 along c, z, y, x where not given.
    ome
        An OME-Zarr group with one resolution, scale and translation in um; else a bare array with
        dimension names.

    Examples
    --------
    >>> import tempfile, zarr
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32})
    >>> folder = write_zarr(lattice, tempfile.mkdtemp())
    >>> group = zarr.open_group(folder / "tile_001.ome.zarr", mode="r")
    >>> group["0"].shape, group.attrs["ome"]["version"]
    ((32, 32), '0.5')
    """
    import zarr

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    usual = {"c": 1, "z": 32, "y": 128, "x": 128, **(chunk or {})}
    for tile, pixels in _tiles(lattice):
        chunks = tuple(min(usual[dim], n) for dim, n in zip(tile.dims, tile.shape, strict=True))
        if ome:
            group = zarr.open_group(
                folder / _file_name(lattice, tile, ".ome.zarr"), mode="w", zarr_format=3
            )
            group.attrs["ome"] = _ngff_metadata(lattice, tile)
            array = group.create_array(
                "0", shape=tile.shape, chunks=chunks, dtype=tile.dtype, dimension_names=tile.dims
            )
        else:
            array = zarr.create_array(
                folder / _file_name(lattice, tile, ".zarr"),
                shape=tile.shape,
                chunks=chunks,
                dtype=tile.dtype,
                dimension_names=tile.dims,
                overwrite=True,
            )
        array[...] = pixels
    return folder


def _ngff_metadata(lattice: Lattice, tile: Tile) -> dict[str, Any]:
    axes: list[dict[str, str]] = []
    scale, shift = [], []
    for dim in tile.dims:
        spatial = dim != "c"
        axes.append(
            {"name": dim, "type": "space", "unit": "micrometer"}
            if spatial
            else {"name": dim, "type": "channel"}
        )
        scale.append(tile.pixel_size_um[dim] if spatial else 1.0)
        shift.append(tile.position_um[dim] if spatial else 0.0)
    metadata: dict[str, Any] = {
        "version": "0.5",
        "multiscales": [
            {
                "name": tile.name,
                "axes": axes,
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": scale},
                            {"type": "translation", "translation": shift},
                        ],
                    }
                ],
            }
        ],
    }
    if lattice.channels is not None:
        metadata["omero"] = {
            "channels": [{"label": name, "color": "FFFFFF"} for name in lattice.channels]
        }
    return metadata


def write_truth(truth: Any, path: Path | str) -> Path:
    """What is true of a simulated acquisition as JSON: its spec, and true positions in pixels.

    Examples
    --------
    >>> import tempfile
    >>> from latticework.testing import simulate
    >>> lattice, truth = simulate({"y": 1, "x": 2}, tile_shape={"y": 32, "x": 32})
    >>> path = write_truth(truth, Path(tempfile.mkdtemp()) / "truth.json")
    >>> len(json.loads(path.read_text())["position_px"])
    2
    """
    path = Path(path)
    facts = {"source": truth.source.spec(), "position_px": truth.position_px.tolist()}
    path.write_text(json.dumps(facts), encoding="utf-8")
    return path
