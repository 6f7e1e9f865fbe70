"""Layers of images that are files or arrays of their own: fused volumes, atlases, label images."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latticework.errors import LatticeworkError
from latticework.io.ome_zarr import COLOURS
from latticework.io.stored_image import StoredImage
from latticework.io.zarr_images import image_facts, is_zarr, level_count
from latticework.lattice.geometry import Box
from latticework.viz.neuroglancer.canvas import ArrayPixels, shown_dtype
from latticework.viz.neuroglancer.contrast import contrast_of
from latticework.viz.neuroglancer.layers import AXES, Layer, Source
from latticework.viz.neuroglancer.resources import Folder, ViewError
from latticework.viz.neuroglancer.tile_images import is_labels, shown
from latticework.viz.neuroglancer.virtual_images import VirtualImage

As = Literal["auto", "image", "labels"]


@dataclass(frozen=True)
class Overlay:
    """An image to lay over others: an atlas, a mask, a result of another program.

    Parameters
    ----------
    data
        Folder of an OME-Zarr image, or an array (NumPy, dask, xarray, zarr) of dims
        ``[c] [z] y x``.
    pixel_size_um, position_um
        By axis, of an array: size of its pixels, and where its first pixel lies.
    matrix
        Affine of shape (3, 4), for z y x: from its own micrometres to those of the view.
    show
        ``"image"``, ``"labels"``; ``"auto"`` takes integers of 32 bits and more for labels.
    opacity
        0 to 1.
    channels
        Names of the channels of an array.

    Examples
    --------
    >>> Overlay(np.zeros((4, 5, 6), "u4"), pixel_size_um={"z": 25, "y": 25, "x": 25}).show
    'auto'
    """

    data: Any = field(repr=False)
    pixel_size_um: Mapping[str, float] | None = None
    position_um: Mapping[str, float] | None = None
    matrix: Any = None
    show: As = "auto"
    opacity: float = 1.0
    channels: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.matrix is not None and np.shape(self.matrix) != (3, 4):
            raise ViewError(
                f"matrix of an overlay has the shape {np.shape(self.matrix)}: give (3, 4), for "
                "z y x, with the shift in micrometres in the last column"
            )
        given = {
            "pixel_size_um": list((self.pixel_size_um or {}).values()),
            "position_um": list((self.position_um or {}).values()),
            "matrix": [] if self.matrix is None else self.matrix,
        }
        for option, values in given.items():
            numbers = np.asarray(values, "f8")
            positive = option != "pixel_size_um" or (numbers > 0).all()
            if not (np.isfinite(numbers).all() and positive):
                raise ViewError(
                    f"{option} of an overlay is {getattr(self, option)!r}: give finite numbers"
                    + (", sizes above 0" if option == "pixel_size_um" else "")
                )


def overlay_layers(name: str, given: Any, *, key: str, visible: bool = True) -> list[Layer]:
    """Layers of an overlay, of a folder of an image, or of an array.

    Raises
    ------
    ViewError
        If it is nothing that can be shown.
    """
    overlay = given if isinstance(given, Overlay) else Overlay(given)
    if isinstance(overlay.data, str | Path):
        return image_layers(name, Path(overlay.data), key=key, overlay=overlay, visible=visible)
    return array_layers(name, overlay, key=key, visible=visible)


# -------------------------------------------------------------------- arrays


def array_layers(name: str, overlay: Overlay, *, key: str, visible: bool = True) -> list[Layer]:
    """Layers of an array, one for each channel."""
    array = overlay.data
    ndim, dtype = getattr(array, "ndim", None), getattr(array, "dtype", None)
    if dtype is None or ndim not in (2, 3, 4) or np.dtype(dtype).kind not in "biuf":
        raise ViewError(
            f"{name!r} is {type(array).__name__} with {ndim} dims of {dtype}: give the folder of "
            "an OME-Zarr image, or an array of numbers of dims [c] [z] y x"
        )
    _check_shown(name, array.shape, overlay, array.shape[0] if ndim == 4 else 1)
    array = getattr(array, "data", array) if hasattr(array, "dims") else array
    labels = _as_labels(overlay, dtype)
    size = tuple(float((overlay.pixel_size_um or {}).get(axis, 1.0)) for axis in AXES)
    origin = np.array([float((overlay.position_um or {}).get(axis, 0.0)) for axis in AXES])
    count = array.shape[0] if ndim == 4 else 1
    found = []
    for k in range(count):
        pixels = ArrayPixels(
            _Shown(array, k, shown_dtype(dtype, labels=labels)),
            shown_dtype(dtype, labels=labels),
            labels,
        )
        image = VirtualImage(pixels, size, name=name)
        names = overlay.channels or [f"c{n}" for n in range(count)]
        found.append(
            _layer(
                f"{name} {names[k]}" if count > 1 else name,
                [Source(f"{key}-c{k}", image, "zarr3", AXES, size, _moved(overlay, origin))],
                overlay,
                shape=pixels.shape,
                size=size,
                origin=origin,
                labels=labels,
                visible=visible,
                contrast=None if labels else contrast_of([_middle(pixels)]),
                colour=COLOURS[(k + (count > 1)) % len(COLOURS)],
                groups={"stage": name, **({"channel": names[k]} if count > 1 else {})},
            )
        )
    return found


@dataclass(frozen=True)
class _Shown:
    """One channel of an array as z y x, as the type as which it is served."""

    array: Any
    channel: int
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple((1, *self.array.shape)[-3:])

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        lead = {2: (), 3: (box[0],), 4: (self.channel, box[0])}[self.array.ndim]
        found = np.asarray(self.array[(*lead, *box[1:])])
        return shown(found.reshape((1, *found.shape)[-3:]), self.dtype)


def _middle(pixels: ArrayPixels) -> np.ndarray:
    z, y, x = pixels.shape
    a, b = max(0, y // 2 - 512), max(0, x // 2 - 512)
    stop = z // 2 + 1, min(y, a + 1024), min(x, b + 1024)
    return pixels.read((z // 2, a, b), stop, (1, 1, 1))[0]


# -------------------------------------------------------------------- OME-Zarr on disk


def image_layers(
    name: str,
    path: Path,
    *,
    key: str,
    overlay: Overlay | None = None,
    visible: bool = True,
    with_labels: bool = True,
) -> list[Layer]:
    """Layers of an OME-Zarr image on disk, one for each channel, and of its label images.

    Its files are served as they are where Neuroglancer can read them; else its pixels are read
    through the library.

    Raises
    ------
    SourceError
        If there is no image.
    """
    overlay = overlay or Overlay(path)
    facts, coarse = StoredImage.open(path), StoredImage.open(path, level=level_count(path) - 1)
    labels = _as_labels(overlay, facts.dtype) or (overlay.show == "auto" and _says_labels(path))
    count = dict(zip(facts.dims, facts.shape, strict=True)).get("c", 1)
    _check_shown(name, facts.shape, overlay, count)
    names = list(overlay.channels or facts.channels or [f"c{k}" for k in range(count)])
    size = tuple(facts.pixel_size_um.get(axis, 1.0) for axis in AXES)
    origin = np.array([facts.origin_um.get(axis, 0.0) for axis in AXES])
    shape = tuple(dict(zip(facts.dims, facts.shape, strict=True)).get(axis, 1) for axis in AXES)
    plain = _readable(path, facts, labels=labels)
    found = []
    for k in range(count):
        colour = facts.colours[k] if k < len(facts.colours) else COLOURS[(k + (count > 1)) % 7]
        if plain:
            source = _folder_source(key, path, facts, overlay)
        else:
            image = VirtualImage(stored_pixels(facts, k, labels=labels), size)
            moved = _moved(overlay, origin)
            source = Source(f"{key}-c{k}", image, "zarr3", AXES, size, moved)
        found.append(
            _layer(
                f"{name} {names[k]}" if count > 1 else name,
                [source],
                overlay,
                shape=shape,
                size=size,
                origin=origin,
                labels=labels,
                visible=visible,
                contrast=None if labels else _window(path, k) or contrast_of(_sampled(coarse, k)),
                colour=colour,
                groups={"stage": name, **({"channel": names[k]} if count > 1 else {})},
                channel=k if plain and "c" in facts.stored_dims else None,
            )
        )
    if with_labels and (path / "labels").is_dir():
        for folder in sorted((path / "labels").iterdir()):
            if folder.is_dir() and is_zarr(folder):
                shown_as = Overlay(folder, matrix=overlay.matrix, show="labels")
                more = f"{name} {folder.name}"
                found += image_layers(
                    more,
                    folder,
                    key=f"{key}-{_plain(folder.name)}",
                    overlay=shown_as,
                    visible=visible,
                    with_labels=False,
                )
    return found


def _plain(text: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in text)


def _readable(path: Path, facts: StoredImage, *, labels: bool) -> bool:
    """Whether Neuroglancer can read the files: an OME-Zarr image of a type that it has."""
    ome = facts.array != path
    return ome and shown_dtype(facts.dtype, labels=labels) == facts.dtype and _units(path)


def _units(path: Path) -> bool:
    """Whether an image says in which units of length it is."""
    attributes = _attributes(path)
    axes = (attributes.get("multiscales") or [{}])[0].get("axes") or []
    spatial = [axis for axis in axes if isinstance(axis, dict) and axis.get("type") == "space"]
    return bool(spatial) and all(axis.get("unit") for axis in spatial)


def _attributes(path: Path) -> dict[str, Any]:
    for name in ("zarr.json", ".zattrs"):
        try:
            found = json.loads((path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        found = found.get("attributes", found)
        return dict(found.get("ome", found))
    return {}


def _says_labels(path: Path) -> bool:
    return "image-label" in _attributes(path)


def _window(path: Path, channel: int) -> tuple[float, float] | None:
    """The values between which an image says that a channel is to be shown."""
    channels = _attributes(path).get("omero", {}).get("channels", [])
    try:
        window = channels[channel]["window"]
        low, high = float(window["start"]), float(window["end"])
    except (LookupError, TypeError, ValueError):
        return None
    return (low, high) if high > low else None


def _sampled(coarse: StoredImage, channel: int) -> list[np.ndarray]:
    """The middle plane of the coarsest level."""
    start, stop = [], []
    for dim, n in zip(coarse.dims, coarse.shape, strict=True):
        a, b = {"c": (channel, channel + 1), "z": (n // 2, n // 2 + 1)}.get(
            dim, (max(0, n // 2 - 512), min(n, n // 2 + 512))
        )
        start.append(a)
        stop.append(b)
    try:
        return [coarse.read(Box(tuple(start), tuple(stop)))]
    except (LatticeworkError, ValueError):
        return []


def _folder_source(key: str, path: Path, facts: StoredImage, overlay: Overlay) -> Source:
    scheme = "zarr3" if (path / "zarr.json").is_file() else "zarr2"
    if overlay.matrix is None:
        return Source(key, Folder(path), scheme, size_um=None)
    dims = tuple("c'" if dim == "c" else dim for dim in image_facts(path).dims)
    size = tuple(facts.pixel_size_um.get(dim, 1.0) for dim in dims)
    matrix = np.eye(len(dims), len(dims) + 1)
    given = np.asarray(overlay.matrix, "f8")
    at = [dims.index(axis) if axis in dims else None for axis in AXES]
    for i, row in enumerate(at):
        if row is not None:
            matrix[row, -1] = given[i, 3]
            for j, column in enumerate(at):
                if column is not None:
                    matrix[row, column] = given[i, j]
    return Source(key, Folder(path), scheme, dims, size, matrix)


def stored_pixels(image: StoredImage, channel: int, *, labels: bool) -> ArrayPixels:
    """The pixels of one channel of an image on disk, dims z y x."""
    dtype = shown_dtype(image.dtype, labels=labels)
    return ArrayPixels(_Stored(image, channel, dtype), dtype, labels)


@dataclass(frozen=True)
class _Stored:
    """One channel of a stored image as z y x."""

    image: StoredImage
    channel: int
    dtype: np.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        of = dict(zip(self.image.dims, self.image.shape, strict=True))
        return tuple(of.get(axis, 1) for axis in AXES)

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        of = {axis: (part.start, part.stop) for axis, part in zip(AXES, box, strict=True)}
        of["c"] = (self.channel, self.channel + 1)
        spans = [of[dim] for dim in self.image.dims]
        found = self.image.read(Box(tuple(a for a, _ in spans), tuple(b for _, b in spans)))
        return shown(found.reshape([part.stop - part.start for part in box]), self.dtype)


# -------------------------------------------------------------------- both


def _check_shown(name: str, shape: Sequence[int], overlay: Overlay, channels: int) -> None:
    """Refuse what has no pixels, and names of other channels than there are."""
    if 0 in shape:
        raise ViewError(f"{name!r} has no pixels: its shape is {tuple(shape)}")
    if overlay.channels is not None and len(overlay.channels) != channels:
        raise ViewError(
            f"{name!r} has {channels} channels, but {len(overlay.channels)} names of channels are "
            "given: give one for each"
        )


def _as_labels(overlay: Overlay, dtype: Any) -> bool:
    return overlay.show == "labels" or (overlay.show == "auto" and is_labels(dtype))


def _moved(overlay: Overlay, origin: np.ndarray) -> np.ndarray:
    """From micrometres behind the first pixel to those of the view."""
    given = np.eye(3, 4) if overlay.matrix is None else np.asarray(overlay.matrix, "f8")
    return np.concatenate([given[:, :3], (given[:, :3] @ origin + given[:, 3])[:, None]], axis=1)


def _layer(
    name: str,
    sources: list[Source],
    overlay: Overlay,
    *,
    shape: Sequence[int],
    size: tuple[float, ...],
    origin: np.ndarray,
    labels: bool,
    visible: bool,
    contrast: tuple[float, float] | None,
    colour: str,
    groups: dict[str, str],
    channel: int | None = None,
) -> Layer:
    low, high = origin - np.array(size) / 2, origin + (np.array(shape) - 0.5) * np.array(size)
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1)
    moved = _moved(overlay, np.zeros(3))
    corners = moved[:, :3] @ corners + moved[:, 3:]
    return Layer(
        name,
        "segmentation" if labels else "image",
        sources,
        corners.min(axis=1),
        corners.max(axis=1),
        pixel_um=size,
        contrast=contrast,
        colour=f"#{colour.lower()}",
        visible=visible,
        opacity=overlay.opacity,
        channel=channel,
        groups=groups,
    )


__all__ = ["Overlay", "array_layers", "image_layers", "overlay_layers", "stored_pixels"]
