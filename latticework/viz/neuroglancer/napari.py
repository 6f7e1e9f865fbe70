"""A view's layers as napari takes them: tuples of data, options and kind. napari is not imported.

viewer = napari.Viewer()
for data, options, kind in lw.napari_layers(project.view("clean", "spots")):
    getattr(viewer, f"add_{kind}")(data, **options)
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.viz.neuroglancer.annotations import Annotations
from latticework.viz.neuroglancer.canvas import Pixels, Place
from latticework.viz.neuroglancer.exporting import placed_pixels
from latticework.viz.neuroglancer.layers import Layer, Source
from latticework.viz.neuroglancer.opening import view
from latticework.viz.neuroglancer.views import View
from latticework.viz.neuroglancer.virtual_images import Level, levels_of

if TYPE_CHECKING:
    import dask.array as da

MOST_LINES = 20_000
"""Lines of a layer; napari draws each as a shape of its own."""


def napari_layers(what: Any, **options: Any) -> list[tuple[Any, dict[str, Any], str]]:
    """Layers for napari, of a view or of anything that `latticework.view` shows.

    Parameters
    ----------
    what
        A view, a project, an image, tiles, arrays.
    **options
        As for `latticework.view`, where it is no view yet.

    Returns
    -------
    list of tuple
        ``(data, options, kind)``: images and labels with their resolutions as lazy dask arrays of
        dims z y x, points and lines (``shapes``), all placed in micrometres.

    Examples
    --------
    >>> import latticework as lw
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 200, "x": 200})
    >>> (data, options, kind), = lw.napari_layers(tiles)
    >>> kind, [level.shape for level in data], options["blending"]
    ('image', [(1, 380, 380), (1, 190, 190)], 'additive')
    """
    if isinstance(what, View):
        return [made for layer in what.layers for made in _of_layer(layer)]
    with view(what, **options) as shown:
        return napari_layers(shown)


def _of_layer(layer: Layer) -> list[tuple[Any, dict[str, Any], str]]:
    if layer.kind == "annotation":
        return [_of_annotations(layer)]
    return [_of_pixels(layer, source) for source in layer.sources]


def _of_pixels(layer: Layer, source: Source) -> tuple[Any, dict[str, Any], str]:
    pixels, size, affine = placed_pixels(layer, source)
    levels = [_lazy(pixels, level) for level in levels_of(pixels.shape, size.tolist())]
    options: dict[str, Any] = {
        "name": layer.name,
        "affine": np.concatenate([affine, [[0.0, 0.0, 0.0, 1.0]]]),
        "multiscale": True,
        "visible": layer.visible,
        "opacity": layer.opacity,
        "units": ("um", "um", "um"),
    }
    if layer.kind == "segmentation":
        return levels, options, "labels"
    options |= {"blending": "additive", "colormap": _colormap(layer.colour)}
    if layer.contrast is not None:
        options["contrast_limits"] = layer.contrast
    return levels, options, "image"


def _colormap(colour: str) -> Any:
    """A colour's name where napari has it, else from black to it."""
    known = {"#ffffff": "gray", "#00ff00": "green", "#ff00ff": "magenta", "#00ffff": "cyan"}
    known |= {"#ffff00": "yellow", "#ff0000": "red", "#0000ff": "blue"}
    full = tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return known.get(colour.lower(), {"colors": [(0.0, 0.0, 0.0), full], "name": colour})


def _lazy(pixels: Pixels, level: Level) -> "da.Array":
    import dask.array as da

    chunks = tuple(
        tuple(min(c, n - a) for a in range(0, n, c))
        for n, c in zip(level.shape, level.chunk, strict=True)
    )

    def read(block_info: Any = None) -> np.ndarray:
        spans = block_info[None]["array-location"]
        start: Place = (spans[0][0], spans[1][0], spans[2][0])
        stop: Place = (spans[0][1], spans[1][1], spans[2][1])
        return pixels.read(start, stop, level.factor)[0]

    meta = np.zeros((0, 0, 0), pixels.dtype)
    lazy: da.Array = da.map_blocks(read, chunks=chunks, dtype=pixels.dtype, meta=meta)
    return lazy


def _of_annotations(layer: Layer) -> tuple[Any, dict[str, Any], str]:
    found = layer.sources[0].resource
    assert isinstance(found, Annotations)
    options: dict[str, Any] = {"name": layer.name, "visible": layer.visible}
    features = {name: np.asarray(values) for name, values in found.properties.items()}
    if found.second_um is None:
        options |= {"face_color": layer.colour, "size": 6, "features": features}
        return found.first_um, options, "points"
    lines = np.stack([found.first_um, found.second_um], axis=1)[:MOST_LINES]
    features = {name: values[:MOST_LINES] for name, values in features.items()}
    options |= {"shape_type": "line", "edge_color": layer.colour, "features": features}
    return list(lines), options, "shapes"


__all__ = ["napari_layers"]
