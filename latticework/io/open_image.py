"""An OME-Zarr image as a lazy, labelled `xarray.DataArray`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.io.pyramid import Pyramid
from latticework.io.stored_image import StoredImage

if TYPE_CHECKING:
    import xarray as xr


def open_image(image: Pyramid | Path | str, *, level: int = 0) -> "xr.DataArray":
    """One resolution of an image, lazily: pixels are read when they are asked for.

    Parameters
    ----------
    image
        What `latticework.stitch.fuse` returned, or the folder of an OME-Zarr image, such as
        ``done.image`` of `latticework.stitch.stitch`.
    level
        0 is the finest.

    Returns
    -------
    xarray.DataArray
        Dims are some of ``c z y x``, chosen by pixel as in ``.isel(y=slice(0, 100))``. Coordinates
        ``z_um y_um x_um`` are the middles of pixels in micrometres, chosen by as in
        ``.sel(y_um=slice(10, 250))``; ``c`` are the names of channels, where it says so.
        ``attrs["pixel_size_um"]`` by axis. A dask chunk is a file of the image.

    Raises
    ------
    StoreError
        If it has no such resolution.
    SourceError
        If it is no image.

    Examples
    --------
    >>> import tempfile
    >>> import latticework as lw
    >>> from latticework.stitch import fuse
    >>> size = {"y": 0.5, "x": 0.5}
    >>> tiles, truth = lw.simulate(
    ...     {"y": 2, "x": 2}, tile_shape={"y": 64, "x": 64}, pixel_size_um=size, seed=2
    ... )
    >>> volume = open_image(fuse(tiles, Path(tempfile.mkdtemp()) / "image.ome.zarr"))
    >>> volume.dims, volume.sel(x_um=slice(10, 19.9)).sizes["x"]
    (('y', 'x'), 20)
    """
    import dask.array as da
    import xarray as xr

    pixels = LazyImage(Path(image.path if isinstance(image, Pyramid) else image), level)
    stored = pixels.stored
    lazy = da.from_array(  # type: ignore[no-untyped-call, unused-ignore]
        pixels,
        chunks=stored.file_chunk,
        name=False,  # an image may be replaced: no two openings share results
        asarray=True,
        fancy=False,
        meta=np.empty((0,) * len(stored.shape), stored.dtype),
    )
    coords: dict[str, Any] = {}
    for dim, size in zip(stored.dims, stored.shape, strict=True):
        if dim in stored.pixel_size_um:
            middles = stored.origin_um[dim] + np.arange(size) * stored.pixel_size_um[dim]
            coords[f"{dim}_um"] = (dim, middles, {"units": "um"})
        elif stored.channels is not None and len(stored.channels) == size:
            coords[dim] = np.array(stored.channels)
    name = stored.path.name.removesuffix(".zarr").removesuffix(".ome")
    about = {"pixel_size_um": dict(stored.pixel_size_um)}
    array = xr.DataArray(lazy, dims=stored.dims, coords=coords, name=name, attrs=about)
    for dim in stored.pixel_size_um:
        array = array.set_xindex(f"{dim}_um")
    return array


class LazyImage:
    """What dask slices; sent to a worker, it opens the image there."""

    def __init__(self, path: Path, level: int) -> None:
        self.path, self.level = path, level
        self.stored = StoredImage.open(path, level=level)
        self.shape, self.dtype, self.ndim = (
            self.stored.shape,
            self.stored.dtype,
            len(self.stored.shape),
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return LazyImage, (self.path, self.level)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        return self.stored.pixels((*index, *[slice(None)] * (self.ndim - len(index))))


__all__ = ["open_image"]
