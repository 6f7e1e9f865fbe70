"""Parts of a fused image as TIFF: pyramidal OME-TIFF, or plain with a page for each plane."""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latticework.errors import StoreError
from latticework.io.image_planes import TILE, Half, Part, tiles
from latticework.io.pyramid import COARSEST, Pyramid
from latticework.io.stored_image import Region

LARGE = 2**32 - 2**26
"""Bytes of pixels from which on a file must be a BigTIFF."""
SMALLER = {"subfiletype": 1}
"""How a coarser resolution is marked."""


def ome_metadata(
    sizes: Mapping[str, int],
    *,
    name: str,
    pixel_size_um: Mapping[str, float],
    position_um: Mapping[str, float],
    channels: Sequence[str] | None,
) -> dict[str, Any]:
    """What tifffile turns into OME-XML.

    Examples
    --------
    >>> known = ome_metadata(
    ...     {"z": 2, "y": 8, "x": 8}, name="a", pixel_size_um={"z": 3.0, "y": 0.5, "x": 0.5},
    ...     position_um={"z": 10.0, "y": 0.0, "x": 4.0}, channels=None,
    ... )
    >>> known["axes"], known["Plane"]["PositionZ"], known["Plane"]["PositionX"]
    ('ZYX', [10.0, 13.0], [4.0, 4.0])
    """
    counts = sizes.get("c", 1), sizes.get("z", 1)
    known: dict[str, Any] = {"axes": "".join(sizes).upper(), "Name": name}
    for axis, um in pixel_size_um.items():
        known[f"PhysicalSize{axis.upper()}"] = float(um)
        known[f"PhysicalSize{axis.upper()}Unit"] = "µm"
    if channels is not None and len(channels) == counts[0]:
        known["Channel"] = {"Name": [str(channel) for channel in channels]}
    plane: dict[str, Any] = {}
    for axis, um in position_um.items():
        at = np.full(counts, float(um))
        if axis == "z":
            at = at + np.arange(counts[1]) * float(pixel_size_um.get("z", 1.0))
        plane[f"Position{axis.upper()}"] = at.ravel().tolist()
        plane[f"Position{axis.upper()}Unit"] = ["µm"] * at.size
    if plane:
        known["Plane"] = plane
    return known


def to_ome_tiff(
    image: Pyramid | Path | str,
    path: Path | str,
    *,
    region: Region | None = None,
    level: int = 0,
    compression: str | None = "zlib",
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Path:
    """Write a fused image, or part of it, as pyramidal OME-TIFF.

    Tiled, with coarser resolutions in SubIFDs, a BigTIFF where it is large; pixel sizes, positions
    and channels are in its OME-XML. Memory is bounded, whatever the size of the image.

    Parameters
    ----------
    image
        What `latticework.stitch.fuse` returned, or the folder of an OME-Zarr image.
    path
        Of the new file, such as ``plane.ome.tif``.
    region
        By axis one pixel or a range of pixels of that resolution, as in
        ``{"z": 40, "y": (0, 2000)}``; all of it if not given.
    level
        Which resolution is the finest of the new file; 0 is the image's own.
    compression
        Such as ``"zlib"``, ``"zstd"``, ``"lzw"``, or None.
    threads
        That compress; as many as there are cores if not given.
    progress
        Called with the number of planes that are done, and of all, of all resolutions.

    Returns
    -------
    Path
        The file. It has its name only when it is complete.

    Raises
    ------
    StoreError
        If something is there already, the region is not within the image, or TIFF has no such
        pixels (integers of 64 bits).

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import fuse
    >>> folder = Path(tempfile.mkdtemp())
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, seed=2)
    >>> image = fuse(tiles, folder / "image.ome.zarr")
    >>> to_ome_tiff(image, folder / "image.ome.tif", region={"y": (0, 50)}).name
    'image.ome.tif'
    """
    import tifffile

    part, path = Part.of(image, level, region), _free(path)
    count = _level_count(part.shape[-2:])
    sizes = dict(zip(part.kept, part.shape, strict=True))
    metadata = ome_metadata(
        sizes,
        name=path.name.split(".")[0],
        pixel_size_um={d: s for d, s in part.stored.pixel_size_um.items() if d in sizes},
        position_um=part.position_um,
        channels=part.channels,
    )
    if part.colours and "Channel" in metadata:
        metadata["Channel"]["Color"] = [_colour(colour) for colour in part.colours]
    options = _pixels(part, compression)
    options |= {"tile": (TILE, TILE), "maxworkers": threads or os.cpu_count()}
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as room:
        file = Path(room) / "image.tif"
        with tifffile.TiffWriter(file, ome=True, bigtiff=part.bytes * 4 / 3 > LARGE) as writer:
            strips: Callable[[int], Iterator[np.ndarray]] = part.strips
            shape = part.shape[-2:]
            for number in range(count + 1):
                half = None
                if number < count:
                    half = Half.of(Path(room) / str(number), part, shape)
                extra = {"metadata": metadata, "subifds": count} if not number else SMALLER
                finished = _counting(progress, part.planes * number, part.planes * (count + 1))
                writer.write(
                    tiles(strips, part.planes, half, finished),
                    shape=(*part.shape[:-2], *shape),
                    resolution=_resolution(part, 2**number),
                    **extra,
                    **options,
                )
                finished(part.planes)
                if half is not None:
                    strips, shape = half.strips, half.shape
        file.replace(path)
    return path


def to_tiff(
    image: Pyramid | Path | str,
    path: Path | str,
    *,
    region: Region | None = None,
    level: int = 0,
    compression: str | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Path:
    """Write a fused image, or part of it, as plain TIFF with a page for each plane.

    A BigTIFF where it is large. One plane is in memory at a time, or as many as share chunks and
    fit into half a gigabyte.

    Parameters
    ----------
    image, path, region, level, compression, progress
        As of `to_ome_tiff`.

    Returns
    -------
    Path
        The file. It has its name only when it is complete.

    Raises
    ------
    StoreError
        As `to_ome_tiff`.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import fuse
    >>> folder = Path(tempfile.mkdtemp())
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, seed=2)
    >>> to_tiff(fuse(tiles, folder / "image.ome.zarr"), folder / "image.tif").name
    'image.tif'
    """
    import tifffile

    part, path = Part.of(image, level, region), _free(path)

    def planes() -> Iterator[np.ndarray]:
        for number in range(part.planes):
            plane = np.empty(part.shape[-2:], part.stored.dtype)
            top = 0
            for strip in part.strips(number):
                plane[top : top + len(strip)] = strip
                top += len(strip)
            progress(number + 1, part.planes)
            yield plane

    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with tifffile.TiffWriter(beside, bigtiff=part.bytes > LARGE) as writer:
            writer.write(
                planes(),
                shape=part.shape,
                resolution=_resolution(part),
                metadata={
                    "axes": "".join(part.kept).upper(),
                    "unit": "um",
                    "spacing": part.stored.pixel_size_um.get("z", 1.0),
                },
                **_pixels(part, compression),
            )
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _pixels(part: Part, compression: str | None) -> dict[str, Any]:
    """How pixels are written, as options of tifffile."""
    return {
        "dtype": part.stored.dtype.newbyteorder("="),
        "photometric": "minisblack",
        "compression": compression,
        "predictor": compression is not None,
        "resolutionunit": "CENTIMETER",
    }


def _resolution(part: Part, factor: int = 1) -> tuple[float, float]:
    """Pixels per centimetre along x and y, of pixels so many times as large."""
    size = part.stored.pixel_size_um
    return 1e4 / (size["x"] * factor), 1e4 / (size["y"] * factor)


def _counting(progress: Callable[[int, int], None], before: int, of: int) -> Callable[[int], None]:
    """Counts planes of one resolution among those of all."""
    return lambda done: progress(before + done, of)


def _level_count(shape: Sequence[int]) -> int:
    """How many coarser resolutions a plane of this shape has."""
    count, largest = 0, max(shape)
    while largest > COARSEST:
        count, largest = count + 1, -(-largest // 2)
    return count


def _colour(text: str) -> int:
    """A colour such as ``FF0000`` as OME has it: red, green, blue, alpha in a signed integer."""
    value = int(text[:6], 16) << 8 | 0xFF
    return value - 2**32 if value >= 2**31 else value


def _free(path: Path | str) -> Path:
    path = Path(path)
    if path.exists():
        raise StoreError(f"{path} exists already: remove it, or choose another name")
    return path


__all__ = ["ome_metadata", "to_ome_tiff", "to_tiff"]
