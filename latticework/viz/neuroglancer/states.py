"""The state with which Neuroglancer opens: layers, where one looks, which panels there are."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from latticework.viz.neuroglancer.layers import AXES, Layer
from latticework.viz.neuroglancer.resources import ViewError

Layout = Literal["auto", "xy", "xz", "yz", "4panel", "3d", "channels", "stages", "sheets"]
SINGLE = ("xy", "xz", "yz", "4panel", "3d")
"""Layouts of one panel with all layers."""
IN_A_ROW = 3
"""Panels that are beside each other; more are in rows."""
PANEL_PX = (900.0, 650.0)
"""Size of a window that is usual: width and height."""
FLAT = 0.05
"""What is thinner than so much of its width is shown in one panel, unless asked otherwise."""
TILES_ACROSS = 8
"""Of a mosaic that is larger, so much is shown at first."""


def state_of(layers: Sequence[Layer], base: str, view: str, *, layout: str) -> dict[str, Any]:
    """The state of a view.

    Parameters
    ----------
    layers
        What it shows.
    base, view
        Address of the server, and name of the view on it.
    layout
        One of `Layout`, or the name of a lattice dim that tells layers apart.

    Raises
    ------
    ViewError
        If there is nothing to see, or no such layout.

    Examples
    --------
    >>> layer = Layer("clean", "image", (), np.zeros(3), np.array([50.0, 200.0, 300.0]))
    >>> state = state_of([layer], "http://127.0.0.1:1/t/", "1", layout="auto")
    >>> state["position"], state["layout"]
    ([150.0, 100.0, 25.0], '4panel')
    """
    if not layers:
        raise ViewError(
            "there is nothing to view yet: run the project, or name a stage with results"
        )
    seen = [layer for layer in layers if layer.visible] or list(layers)
    size = np.min([layer.pixel_um for layer in seen], axis=0)
    low = np.min([layer.low_um for layer in seen], axis=0)
    high = np.max([layer.high_um for layer in seen], axis=0)
    extent = high - low
    flat = extent[0] <= max(1.5 * size[0], FLAT * extent[1:].max())
    panels, kind = _panels(layers, layout, flat=bool(flat))
    most = [TILES_ACROSS * np.array(layer.tile_um) for layer in seen if layer.tile_um]
    if most:
        extent = np.minimum(extent, np.max(most, axis=0))
    smallest = float(size.min())
    columns, rows = (2, 2) if kind == "4panel" else _grid(len(panels))
    across = max(extent[2] / (PANEL_PX[0] / columns), extent[1] / (PANEL_PX[1] / rows))
    state: dict[str, Any] = {
        "title": " · ".join(dict.fromkeys(layer.groups.get("stage", layer.name) for layer in seen)),
        "dimensions": {
            axis: [float(s) * 1e-6, "m"] for axis, s in zip("xyz", size[::-1], strict=True)
        },
        "position": ((low + high) / 2 / size)[::-1].tolist(),
        "crossSectionScale": max(float(across) / smallest, 0.01),
        "projectionScale": max(float(extent.max()) * 1.4 / smallest, 1.0),
        "layers": [layer.json(base, view) for layer in layers],
        "selectedLayer": {"layer": seen[-1].name, "visible": False},
        "showDefaultAnnotations": False,
        "showSlices": False,
        "showAxisLines": kind == "4panel",
        "crossSectionBackgroundColor": "#000000",
        "projectionBackgroundColor": "#000000",
    }
    if kind == "3d":
        for layer in state["layers"]:
            if layer["type"] == "image":
                layer["volumeRendering"] = "max"
    state["layout"] = _layout(panels, kind)
    return state


def _panels(
    layers: Sequence[Layer], layout: str, *, flat: bool
) -> tuple[list[tuple[str, list[str]]], str]:
    """Name and layers of each panel, and the kind of all of them."""
    single = "xy" if flat else "4panel"
    if layout == "auto":
        return [], single
    if layout in SINGLE:
        return [], layout
    key = {"channels": "channel", "stages": "stage", "sheets": "sheet"}.get(layout, layout)
    images = [layer for layer in layers if key in layer.groups and layer.kind != "annotation"]
    shared = [layer.name for layer in layers if layer not in images]
    values = list(dict.fromkeys(layer.groups[key] for layer in images))
    if not values:
        known = sorted({group for layer in layers for group in layer.groups})
        raise ViewError(
            f"layout={layout!r}: no layer has a {key!r}. Choose one of auto, {', '.join(SINGLE)}"
            + (f", or side by side by {', '.join(known)}" if known else "")
        )
    panels = [
        (value, [*(layer.name for layer in images if layer.groups[key] == value), *shared])
        for value in values
    ]
    return panels, "xy"


def _grid(panels: int) -> tuple[int, int]:
    """Columns and rows of so many panels."""
    columns = max(1, panels) if panels <= IN_A_ROW else math.ceil(math.sqrt(panels))
    return columns, math.ceil(max(1, panels) / columns)


def _layout(panels: Sequence[tuple[str, list[str]]], kind: str) -> Any:
    if not panels:
        return kind
    children = [{"type": "viewer", "layers": names, "layout": kind} for _, names in panels]
    if len(children) <= IN_A_ROW:
        return {"type": "row", "children": children}
    columns, _ = _grid(len(children))
    rows = [children[k : k + columns] for k in range(0, len(children), columns)]
    return {"type": "column", "children": [{"type": "row", "children": row} for row in rows]}


def rebased(state: Any, base: str, view: str) -> Any:
    """A state that was shared, with the addresses of the data as they are now.

    Examples
    --------
    >>> shared = {"url": "zarr3://http://127.0.0.1:1/old/d/7/clean/"}
    >>> rebased(shared, "http://127.0.0.1:2/new/", "1")
    {'url': 'zarr3://http://127.0.0.1:2/new/d/1/clean/'}
    """
    if isinstance(state, Mapping):
        return {key: rebased(value, base, view) for key, value in state.items()}
    if isinstance(state, list):
        return [rebased(value, base, view) for value in state]
    if isinstance(state, str):
        return re.sub(r"https?://[^/]+/[^/]+/d/\d+/", f"{base}d/{view}/", state)
    return state


__all__ = ["AXES", "Layout", "rebased", "state_of"]
