"""What OME-Zarr says of an image: axes, resolutions, where it lies, how to show its channels."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

COLOURS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF")
"""Of the channels; the first where there is one."""
Version = Literal["0.5", "0.4"]
"""Of OME-Zarr: 0.5 is Zarr 3, 0.4 is Zarr 2."""


def image_attributes(
    name: str,
    dims: Sequence[str],
    scales: Sequence[Sequence[float]],
    origin: Sequence[float],
    *,
    version: Version = "0.5",
) -> dict[str, Any]:
    """The attributes of a multi-resolution image.

    Parameters
    ----------
    name
        Of the image.
    dims
        Its axes, of ``c z y x``.
    scales
        For each resolution, the finest first, the size of a pixel along each axis, micrometres.
    origin
        Position of the first pixel of the finest one along each axis, micrometres.
    version
        Of OME-Zarr.

    Examples
    --------
    >>> found = image_attributes("brain", "yx", [(1, 1), (2, 2)], (10, 0))
    >>> sets = found["multiscales"][0]["datasets"]
    >>> [of["coordinateTransformations"][1]["translation"] for of in sets]
    [[10.0, 0.0], [10.5, 0.5]]
    """
    axes = [
        {"name": dim, "type": "channel"}
        if dim == "c"
        else {"name": dim, "type": "space", "unit": "micrometer"}
        for dim in dims
    ]
    datasets = []
    for number, scale in enumerate(scales):
        shift = [
            float(o + (s - finest) / 2)  # pixels are told by their middles
            for o, s, finest in zip(origin, scale, scales[0], strict=True)
        ]
        steps = [
            {"type": "scale", "scale": [float(s) for s in scale]},
            {"type": "translation", "translation": shift},
        ]
        datasets.append({"path": str(number), "coordinateTransformations": steps})
    image: dict[str, Any] = {"name": name, "axes": axes, "datasets": datasets, "type": "mean"}
    if version == "0.4":
        image["version"] = "0.4"
    return {"multiscales": [image]}


def channel_attributes(
    channels: Sequence[str], windows: Sequence[tuple[float, float]], dtype: np.dtype
) -> dict[str, Any]:
    """Names and colours of channels, and the values between which a viewer shows them."""
    found = []
    for k, (name, (low, high)) in enumerate(zip(channels, windows, strict=False)):
        ends = (
            (int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
            if dtype.kind in "iu"
            else (low, high)
        )
        found.append(
            {
                "label": name,
                "color": COLOURS[(k + (len(channels) > 1)) % len(COLOURS)],
                "active": True,
                "window": {"min": ends[0], "max": ends[1], "start": low, "end": high},
            }
        )
    return {"channels": found, "rdefs": {"model": "color"}}


def write_attributes(
    path: Path,
    attributes: Mapping[str, Any],
    *,
    version: Version,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Write the metadata of an image's group, and what else there is to say about it."""
    if version == "0.4":
        (path / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        (path / ".zattrs").write_text(json.dumps({**attributes, **about}, indent=1))
        return
    ome = {"version": "0.5", **attributes}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome, **about}}
    (path / "zarr.json").write_text(json.dumps(group, indent=1))


__all__ = ["Version", "channel_attributes", "image_attributes", "write_attributes"]
