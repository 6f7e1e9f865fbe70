"""OME-XML: which images a document describes, where they are, and which planes lie where.

Positions and sizes are turned into micrometres. A position without a unit, or in the schema's
``reference frame``, is taken as micrometres, which is what microscopes write there; ``pixel`` is
multiplied by the pixel size. Documents with a DOCTYPE are refused, so no entity is ever expanded.
"""

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path

from latticework.errors import SourceError

MICROMETRES = {
    "µm": 1.0, "\u03bcm": 1.0, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "nm": 1e-3, "pm": 1e-6, "mm": 1e3, "cm": 1e4, "m": 1e6,
    "Å": 1e-4, "angstrom": 1e-4, "\u212b": 1e-4,
    "nanometer": 1e-3, "nanometre": 1e-3, "millimeter": 1e3, "millimetre": 1e3, "centimeter": 1e4,
    "in": 25400.0, "inch": 25400.0, "reference frame": 1.0,
}  # fmt: skip
"""Micrometres in one unit of length, by the unit's usual spellings."""


@dataclass(frozen=True, slots=True)
class OmePlanes:
    """One TiffData element: planes that follow each other in one file."""

    first: dict[str, int]
    """Index along ``c``, ``z`` and ``t`` of the first plane."""
    page: int
    """Page of the first plane."""
    count: int | None
    """Number of planes; None for all of the image."""
    file: str | None
    """Name of the file, where it is not the one that holds the document."""


@dataclass(frozen=True, slots=True)
class OmeImage:
    """One image of a document."""

    name: str
    """Name, or the ID where it has none."""
    order: str
    """Dims of the planes, fastest first, such as ``czt``."""
    sizes: dict[str, int]
    """Planes along ``c`` (samples of one plane count once), ``z`` and ``t``."""
    pixel_size_um: dict[str, float]
    """By spatial axis, where given."""
    position_um: dict[str, float]
    """Position of the first plane (smallest z), where given."""
    channels: tuple[str, ...]
    """Names of the channels, as many as there are names."""
    planes: tuple[OmePlanes, ...]
    """Where the planes lie."""


@dataclass(frozen=True, slots=True)
class OmeDocument:
    """What an OME-XML document says of its images."""

    images: tuple[OmeImage, ...] = ()
    """Images in the order of the document."""
    metadata_file: str | None = None
    """The companion file that has the metadata instead, if so."""
    problems: tuple[str, ...] = field(default=())
    """Values that could not be understood and were left out."""


def is_ome(description: str) -> bool:
    """Whether a TIFF's description is OME-XML.

    Examples
    --------
    >>> is_ome('<?xml version="1.0"?><OME xmlns="x"></OME>'), is_ome("ImageJ=1.53")
    (True, False)
    """
    return "<OME" in description[:2000] and description.rstrip().endswith(("OME>", "/>"))


def parse_ome(text: str, path: Path) -> OmeDocument:
    """What an OME-XML document says.

    Parameters
    ----------
    text
        The document.
    path
        Where it was found, for messages.

    Raises
    ------
    SourceError
        If the XML is damaged or declares entities.

    Examples
    --------
    >>> xml = (
    ...     '<OME><Image ID="a"><Pixels DimensionOrder="XYZCT" SizeC="1" SizeZ="2" SizeT="1"'
    ...     ' PhysicalSizeX="400" PhysicalSizeXUnit="nm">'
    ...     '<Plane PositionX="1.5" PositionXUnit="mm"/></Pixels></Image></OME>'
    ... )
    >>> document = parse_ome(xml, Path("a.tif"))
    >>> document.images[0].pixel_size_um, document.images[0].position_um
    ({'x': 0.4}, {'x': 1500.0})
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SourceError(
            f"{path} has OME-XML with a DOCTYPE; expected plain OME-XML: remove the declaration",
            path,
        )
    try:
        root = ET.fromstring(text.strip().lstrip("\ufeff").encode())  # noqa: S314 (no DOCTYPE, no entities)
    except ET.ParseError as error:
        raise SourceError(
            f"{path} has damaged OME-XML ({error}); expected a whole document: write the file "
            "again, or "
            "open the folder with pattern=, positions= or grid=",
            path,
        ) from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    companion = root.find("BinaryOnly")
    problems: list[str] = []
    images = [
        _image(image, problems)
        for image in root.findall("Image")
        if image.find("Pixels") is not None
    ]
    return OmeDocument(
        tuple(images), None if companion is None else companion.get("MetadataFile"), tuple(problems)
    )


def _image(image: ET.Element, problems: list[str]) -> OmeImage:
    pixels = image.find("Pixels")
    assert pixels is not None
    channels = pixels.findall("Channel")
    size_c = int(pixels.get("SizeC", 1))
    per_pixel = int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    sizes = {
        "c": max(1, size_c // per_pixel),
        "z": int(pixels.get("SizeZ", 1)),
        "t": int(pixels.get("SizeT", 1)),
    }
    size_um = {}
    for axis in "zyx":
        value = _length(pixels, f"PhysicalSize{axis.upper()}", None, problems)
        if value is not None and value > 0:
            size_um[axis] = value
    return OmeImage(
        name=image.get("Name") or image.get("ID") or "",
        order=pixels.get("DimensionOrder", "XYCZT")[2:].lower(),
        sizes=sizes,
        pixel_size_um=size_um,
        position_um=_position(image, pixels, size_um, problems),
        channels=tuple(channel.get("Name") or "" for channel in channels),
        planes=tuple(_planes(data) for data in pixels.findall("TiffData")),
    )


def _position(
    image: ET.Element,
    pixels: ET.Element,
    size_um: dict[str, float],
    problems: list[str],
) -> dict[str, float]:
    position: dict[str, float] = {}
    for axis in "zyx":
        values = [
            value
            for plane in pixels.findall("Plane")
            if (
                value := _length(plane, f"Position{axis.upper()}", size_um.get(axis, 1.0), problems)
            )
            is not None
        ]
        if not values:
            label = image.find("StageLabel")
            value = (
                None
                if label is None
                else _length(label, axis.upper(), size_um.get(axis, 1.0), problems)
            )
            values = [] if value is None else [value]
        if values:
            position[axis] = min(values) if axis == "z" else values[0]
    return position


def _length(
    element: ET.Element, name: str, pixel_um: float | None, problems: list[str]
) -> float | None:
    text = element.get(name)
    if text is None:
        return None
    unit = element.get(f"{name}Unit", "reference frame").strip()
    scale = pixel_um if unit == "pixel" else MICROMETRES.get(unit)
    try:
        value = float(text) * (scale if scale is not None else float("nan"))
    except ValueError:
        value = float("nan")
    if not isfinite(value):
        problems.append(f"{name}={text!r} {unit!r}")
        return None
    return value


def _planes(data: ET.Element) -> OmePlanes:
    uuid = data.find("UUID")
    count = data.get("PlaneCount", data.get("NumPlanes"))
    explicit = data.get("IFD") is not None
    return OmePlanes(
        {axis: int(data.get(f"First{axis.upper()}", 0)) for axis in "czt"},
        int(data.get("IFD", 0)),
        int(count) if count is not None else (1 if explicit else None),
        None if uuid is None else uuid.get("FileName"),
    )
