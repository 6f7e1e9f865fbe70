"""Layers of a view: what each shows, from which data, how bright and in which colour."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from latticework.viz.neuroglancer.resources import Folder, Resource

AXES = ("z", "y", "x")
Kind = Literal["image", "segmentation", "annotation"]

SPACING_PX = 1.0
"""Between annotations on the screen, below which some are left out."""
SHADER = """#uicontrol invlerp normalized
#uicontrol vec3 colour color
void main() {
  emitRGB(colour * normalized());
}
"""
"""Of an image: its contrast and colour are controls in the viewer."""
POINT_SHADER = """void main() {
  setColor(defaultColor());
  setPointMarkerSize(5.0);
  setPointMarkerBorderWidth(1.0);
}
"""
LINE_SHADER = """void main() {
  setColor(defaultColor());
  setLineWidth(2.0);
  setEndpointMarkerSize(0.0);
}
"""
TRUST_SHADER = """void main() {
  setColor(prop_trusted() == 1u ? vec3(0.3, 1.0, 0.4) : vec3(1.0, 0.25, 0.2));
  setLineWidth(2.0);
  setEndpointMarkerSize(0.0);
}
"""
"""Of links: those that are not trusted are red."""


@dataclass(frozen=True, slots=True)
class Source:
    """Data of a layer, and where they lie."""

    key: str
    """Under which it is served in its view."""
    resource: Resource = field(repr=False)
    scheme: str
    """Of Neuroglancer: ``zarr3``, ``zarr2`` or ``precomputed``."""
    dims: tuple[str, ...] = AXES
    """Of the data; channels are ``c'``."""
    size_um: tuple[float, ...] | None = (1.0, 1.0, 1.0)
    """Of a pixel along each of `dims`; 1 for those that are no length. None for data that say
    where they lie."""
    matrix: np.ndarray | None = field(default=None, repr=False)
    """Affine, shape (dims, dims + 1): from micrometres of the data to micrometres of the view.
    None where they are the same."""

    def json(self, base: str, view: str) -> dict[str, Any]:
        """As Neuroglancer's state has it."""
        found: dict[str, Any] = {"url": f"{self.scheme}://{base}d/{view}/{self.key}/"}
        if self.size_um is None:
            return found
        n, sizes = len(self.dims), np.array(self.size_um)
        matrix = np.eye(n, n + 1) if self.matrix is None else self.matrix
        scaled = np.concatenate(
            [matrix[:, :n] * sizes / sizes[:, None], matrix[:, n:] / sizes[:, None]], axis=1
        )
        space = {
            dim: [size * 1e-6, "m"] if dim in AXES else [1, ""]
            for dim, size in zip(self.dims, sizes.tolist(), strict=True)
        }
        found["transform"] = {
            "matrix": np.round(scaled, 9).tolist(),
            "inputDimensions": space,
            "outputDimensions": space,
        }
        return found


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a view."""

    name: str
    """Stage and channel."""
    kind: Kind
    sources: Sequence[Source]
    low_um: np.ndarray
    """Corner of what it shows, along z, y and x."""
    high_um: np.ndarray
    """The opposite one."""
    pixel_um: tuple[float, ...] = (1.0, 1.0, 1.0)
    """Of its finest pixels, along z, y and x."""
    tile_um: tuple[float, ...] | None = None
    """Extent of one tile."""
    contrast: tuple[float, float] | None = None
    """Values that are shown black and full."""
    colour: str = "#ffffff"
    visible: bool = True
    opacity: float = 1.0
    channel: int | None = None
    """Of data that have all channels in one array."""
    blend: Literal["default", "additive"] = "additive"
    """Whether it covers what lies below, or adds to it."""
    shader: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    """What it is one of, for layouts: ``stage``, ``channel``, lattice dims such as ``sheet``."""

    def json(self, base: str, view: str) -> dict[str, Any]:
        """As Neuroglancer's state has it."""
        sources = [source.json(base, view) for source in self.sources]
        found: dict[str, Any] = {
            "type": self.kind,
            "name": self.name,
            "source": sources[0] if len(sources) == 1 else sources,
            "visible": self.visible,
        }
        if self.channel is not None:
            found |= {"localDimensions": {"c'": [1, ""]}, "localPosition": [self.channel]}
        if self.kind == "image":
            found |= {"opacity": self.opacity, "blend": self.blend, "shader": self.shader or SHADER}
            if self.contrast is not None:
                low, high = self.contrast
                window = [min(0.0, low), max(high + (high - low), low + 1e-6)]
                controls = {"range": [low, high], "window": window}
                found["shaderControls"] = {"normalized": controls, "colour": self.colour}
        elif self.kind == "segmentation":
            found |= {"selectedAlpha": 0.4 * self.opacity, "notSelectedAlpha": 0.0, "segments": []}
        else:
            found |= {"annotationColor": self.colour, "shader": self.shader or POINT_SHADER}
            found |= {  # all of them, unless they are denser than pixels
                "crossSectionAnnotationSpacing": SPACING_PX,
                "projectionAnnotationSpacing": SPACING_PX,
            }
        return found


def unique_names(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with numbers behind names that come again.

    Examples
    --------
    >>> from latticework.viz.neuroglancer.layers import Layer
    >>> layer = Layer("clean", "image", (), np.zeros(3), np.ones(3))
    >>> [each.name for each in unique_names([layer, layer])]
    ['clean', 'clean 2']
    """
    seen: dict[str, int] = {}
    found = []
    for layer in layers:
        seen[layer.name] = number = seen.get(layer.name, 0) + 1
        found.append(layer if number == 1 else replace(layer, name=f"{layer.name} {number}"))
    return found


def unique_keys(layers: Sequence[Layer]) -> list[Layer]:
    """The layers, with numbers behind keys under which other data are served already.

    Keys are made of names, of which an address has the plain letters only: other names may have
    the same ones. Channels of one image on disk share it, and its key.

    Examples
    --------
    >>> from latticework.viz.neuroglancer.layers import Layer, Source
    >>> from latticework.viz.neuroglancer.resources import Text
    >>> a, b = (Source("_", Text(text), "zarr3") for text in (b"a", b"b"))
    >>> layers = [Layer("n", "image", [each], np.zeros(3), np.ones(3)) for each in (a, b, a)]
    >>> [each.sources[0].key for each in unique_keys(layers)]
    ['_', '_.2', '_']
    """
    taken: dict[str, Resource] = {}

    def named(source: Source) -> Source:
        number, key = 1, source.key
        while not _same(taken.setdefault(key, source.resource), source.resource):
            number += 1
            key = f"{source.key}.{number}"
        return source if number == 1 else replace(source, key=key)

    return [replace(layer, sources=[named(each) for each in layer.sources]) for layer in layers]


def _same(one: Resource, other: Resource) -> bool:
    """Whether two resources serve the same."""
    if isinstance(one, Folder) and isinstance(other, Folder):
        return one.root == other.root
    return one is other


__all__ = [
    "AXES",
    "LINE_SHADER",
    "POINT_SHADER",
    "TRUST_SHADER",
    "Kind",
    "Layer",
    "Source",
    "unique_keys",
    "unique_names",
]
