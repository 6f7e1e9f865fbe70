"""MetaMorph and ImageXpress: PlaneInfo XML in a TIFF's description, and their file names.

Stage positions are micrometres of the field. Along x they grow to the right of the image (checked
on a real plate by the continuity across fields); along y they are taken to grow downwards, as other
readers of such plates do. A microscope wired the other way is opened with ``flip="y"``.
Positions differ from those of the first pixel by the same half field for all tiles.
"""

import html
import re
from dataclasses import dataclass

from latticework.io.ome import MICROMETRES

_PROPERTY = re.compile(
    r'<prop\s+id="(stage-position-[xy]|z-position|spatial-calibration-(?:state|x|y|units)|image-name'
    r'|stage-label)"[^>]*?\bvalue="([^"]*)"'
)
_GUID = r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_NAME = re.compile(
    rf"(?:^|_)(?P<well>[A-Z]{{1,2}}\d{{2}})(?:_s(?P<site>\d+))?(?:_w(?P<c>\d+?))?(?P<thumb>_thumb)?(?:{_GUID})?$"
)
_LABEL = re.compile(r"^\s*(?P<well>[A-Z]{1,2}\d{1,2})\s*:\s*Site\s*(?P<site>\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PlaneInfo:
    """What MetaMorph wrote about one plane."""

    position_um: dict[str, float]
    """Stage position by spatial axis, where given."""
    pixel_size_um: dict[str, float]
    """By ``y`` and ``x``, where calibrated."""
    channel: str
    """``image-name``, the name of the wavelength setting."""
    stage_label: str
    """Such as ``E07 : Site 1``."""


def parse_plane_info(description: str) -> PlaneInfo | None:
    """What MetaMorph wrote in a TIFF's description, or None where it did not.

    Examples
    --------
    >>> info = parse_plane_info('<MetaData><PlaneInfo><prop id="stage-position-x" type="float" '
    ...     'value="79813.4"/><prop id="image-name" value="FITC"/></PlaneInfo></MetaData>')
    >>> info.position_um, info.channel
    ({'x': 79813.4}, 'FITC')
    """
    if "<PlaneInfo>" not in description:
        return None
    found = dict(_PROPERTY.findall(description))
    position = {}
    for axis, key in {"z": "z-position", "y": "stage-position-y", "x": "stage-position-x"}.items():
        if (value := _number(found.get(key))) is not None:
            position[axis] = value
    scale = MICROMETRES.get(html.unescape(found.get("spatial-calibration-units", "")).strip())
    pixel = {}
    if found.get("spatial-calibration-state", "on") == "on" and scale is not None:
        for axis in "yx":
            value = _number(found.get(f"spatial-calibration-{axis}"))
            if value is not None and value > 0:
                pixel[axis] = value * scale
    return PlaneInfo(
        position,
        pixel,
        html.unescape(found.get("image-name", "")),
        html.unescape(found.get("stage-label", "")),
    )


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < float("inf") else None


def plane_address(name: str, info: PlaneInfo | None) -> dict[str, str | int] | None:
    """Well, site, wavelength, z step and time point of a plane, from its file name or stage label.

    None for thumbnails; an empty mapping where neither says anything.

    Examples
    --------
    >>> plane_address("ZStep_10/Plate_E07_s1_w12BFD0E01-D7F8-4596-8904-3209AD741437.tif", None)
    {'well': 'E07', 'site': 1, 'c': 1, 'z': 10}
    """
    folder, _, file = name.replace("\\", "/").rpartition("/")
    address: dict[str, str | int] = {}
    if match := _NAME.search(file.rsplit(".", 1)[0]):
        if match["thumb"]:
            return None
        address["well"] = match["well"]
        address |= {key: int(match[key]) for key in ("site", "c") if match[key]}
    elif info is not None and (match := _LABEL.match(info.stage_label)):
        address |= {"well": match["well"], "site": int(match["site"])}
    for key, pattern in {"z": r"ZStep_(\d+)", "time": r"TimePoint_(\d+)"}.items():
        if match := re.search(pattern, folder, re.IGNORECASE):
            address[key] = int(match[1])
    return address
