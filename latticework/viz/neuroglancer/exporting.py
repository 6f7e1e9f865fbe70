"""The images of a view as files of their own: Neuroglancer's precomputed volumes."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latticework.io.precomputed import Precomputed, write_precomputed
from latticework.io.stored_image import StoredImage
from latticework.viz.neuroglancer.canvas import Pixels, Place
from latticework.viz.neuroglancer.layers import AXES, Layer, Source
from latticework.viz.neuroglancer.resources import Folder, ViewError
from latticework.viz.neuroglancer.stored_images import stored_pixels
from latticework.viz.neuroglancer.virtual_images import VirtualImage

if TYPE_CHECKING:
    from latticework.viz.neuroglancer.views import View


def placed_pixels(layer: Layer, source: Source) -> tuple[Pixels, np.ndarray, np.ndarray]:
    """Pixels of a source; sizes of a pixel; and the affine (3, 4) from pixels to micrometres."""
    resource = source.resource
    if isinstance(resource, VirtualImage):
        size = np.array(resource.size_um)
        matrix = np.eye(3, 4) if source.matrix is None else source.matrix
        pixels: Pixels = resource.pixels
    elif isinstance(resource, Folder):
        image = StoredImage.open(resource.root)
        pixels = stored_pixels(image, layer.channel or 0, labels=layer.kind == "segmentation")
        size = np.array([image.pixel_size_um.get(axis, 1.0) for axis in AXES])
        matrix = np.eye(3, 4)
        matrix[:, 3] = [image.origin_um.get(axis, 0.0) for axis in AXES]
        if source.matrix is not None:
            matrix = _onto(source, matrix)
    else:
        raise ViewError(f"layer {layer.name!r} has no pixels")
    return pixels, size, np.concatenate([matrix[:, :3] * size, matrix[:, 3:]], axis=1)


def _onto(source: Source, matrix: np.ndarray) -> np.ndarray:
    """An overlay's transform after that of the image itself."""
    assert source.matrix is not None
    outer = np.eye(4)
    at = [source.dims.index(axis) if axis in source.dims else None for axis in AXES]
    for i, row in enumerate(at):
        if row is None:
            continue
        outer[i, 3] = source.matrix[row, -1]
        for j, column in enumerate(at):
            if column is not None:
                outer[i, j] = source.matrix[row, column]
    return np.asarray((outer @ np.concatenate([matrix, [[0, 0, 0, 1]]]))[:3])


def export_view(view: "View", folder: Path, *, overwrite: bool = False) -> list[Precomputed]:
    """Write the visible images of a view; see `View.export`."""
    layers = [layer for layer in view.layers if layer.kind != "annotation" and layer.visible]
    if not layers:
        raise ViewError("no image is visible in this view: name the stages that are to be exported")
    several = [layer.name for layer in layers if len(layer.sources) > 1]
    if several:
        raise ViewError(
            f"{several[0]!r} is {len(layers[0].sources)} tiles at positions between pixels: fuse "
            "them (latticework.stitch), and export the volume"
        )
    found = []
    for layer in layers:
        pixels, size, affine = placed_pixels(layer, layer.sources[0])
        if np.abs(affine[:, :3] - np.diag(size)).max() > 1e-9 * size.max():
            raise ViewError(f"{layer.name!r} is turned or scaled: such images are not exported")
        name = "".join(c if c.isalnum() or c in "-_. " else "_" for c in layer.name).strip(". ")

        def read(start: Place, stop: Place, pixels: Pixels = pixels) -> np.ndarray:
            return pixels.read(start, stop, (1, 1, 1))[0]

        found.append(
            write_precomputed(
                folder / (name or "image"),
                read,
                shape=pixels.shape,
                dtype=pixels.dtype,
                pixel_size_um=size.tolist(),
                origin_um=affine[:, 3].tolist(),
                labels=layer.kind == "segmentation",
                overwrite=overwrite,
            )
        )
    return found


__all__ = ["export_view", "placed_pixels"]
