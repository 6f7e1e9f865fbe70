"""Positions in the XML files of BigStitcher and BigDataViewer (``dataset.xml``).

Every *view* is a *setup* (a tile in one channel, angle and illumination) at a time point. Its
registration is a chain of affine transforms from pixels (x, y, z) to the world; the first of the
chain is applied last::

    <ViewRegistration timepoint="0" setup="3">
      <ViewTransform type="affine"><Name>Stitching Transform</Name> ...   last
      <ViewTransform type="affine"><Name>Translation</Name> ...
      <ViewTransform type="affine"><Name>calibration</Name> ...          first

The world's unit is what the chain makes of a pixel: BigStitcher's ``calibration`` scales to the
smallest side of a voxel, other writers scale to micrometres, or not at all. So a position in
pixels is the translation of the composed transform over its scale along that axis, and
micrometres are pixels times ``voxelSize``. Only translations are positions: where views are turned
or sheared beyond a pixel, a warning says how far.
"""

import warnings
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.io.ome import MICROMETRES
from latticework.io.position_table import PositionTable, name_below
from latticework.io.tile_files import spatial_only, tile_files
from latticework.io.xml_files import add, child, numbers, whole_number, write_xml
from latticework.lattice import Lattice

PIXELS = ("", "pixel", "pixels", "px", "voxel", "voxels")
DTYPES = ("uint8", "uint16", "int16", "uint32", "float32")
"""Pixels that BigStitcher reads with Bio-Formats."""
FARTHEST_PX = 1.0
"""How far a view's corner may be from where a translation alone would put it."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One ViewSetup."""

    id: int
    name: str
    size: np.ndarray
    """Pixels along x, y, z; zeros where not given."""
    voxel_um: tuple[float, float, float] | None
    """Micrometres along x, y, z."""
    tile: int
    angle: int


def read_bigstitcher(root: ET.Element, path: Path, folder: Path) -> PositionTable:
    """Positions of the views of a dataset, in pixels: by file where it lists files, else by tile.

    Parameters
    ----------
    root
        The document.
    path
        Where it was found.
    folder
        Folder of the acquisition.

    Raises
    ------
    SourceError
        For an element that is missing or says something else than expected, for views that are
        mirrored or turned onto another axis, and for several angles.
    """
    import pandas as pd

    sequence = child(root, "SequenceDescription", path)
    setups = _setups(sequence, path)
    missing = {
        _view(view, path, "MissingView") for view in sequence.findall("MissingViews/MissingView")
    }
    views, chains = [], []
    for element in child(root, "ViewRegistrations", path).findall("ViewRegistration"):
        view = _view(element, path, "ViewRegistration")
        if view[1] not in setups:
            raise SourceError(
                f"{path}: a ViewRegistration is of setup {view[1]}, which no ViewSetup has; "
                f"expected one of {', '.join(map(str, list(setups)[:10]))}",
                path,
            )
        if view not in missing:
            views.append(view)
            chains.append(_composed(element, path, view))
    if not views:
        raise SourceError(f"{path} has no ViewRegistration; expected one per view", path)
    affine = np.stack(chains)
    scale = _scale(affine, [setups[view[1]] for view in views], path)
    position = affine[:, :, 3] / scale
    files = _files(sequence, root, path, folder)
    listed = [row for row, view in enumerate(views) if view in files]
    rows = listed or [row for row, view in enumerate(views) if view[0] == views[0][0]]
    table = pd.DataFrame(
        {
            "name": [files.get(views[row], "") for row in rows],
            "number": [setups[views[row][1]].tile for row in rows],
            **{f"{axis}_px": position[rows, column] for column, axis in enumerate("xyz")},
        }
    )
    table = table.drop_duplicates("name" if listed else "number").reset_index(drop=True)
    tiles = [f"tile {tile}" for tile in table["number"]]
    if listed:  # a tile with a file per channel is called by its first
        first = dict(zip(reversed(tiles), reversed(table["name"].tolist()), strict=True))
        tiles = [first[tile] for tile in tiles]
    table = table.drop(columns="number" if listed else "name")
    return PositionTable(table, str(path), _pixel_size(list(setups.values()), path), tiles)


def _view(element: ET.Element, path: Path, called: str) -> tuple[int, int]:
    timepoint, setup = (
        whole_number(element.get(name), path, called=f"{name} of a {called}")
        for name in ("timepoint", "setup")
    )
    return timepoint, setup


def _setups(sequence: ET.Element, path: Path) -> dict[int, Setup]:
    setups: dict[int, Setup] = {}
    for element in child(sequence, "ViewSetups", path).findall("ViewSetup"):
        id = whole_number(element.findtext("id"), path, called="<id> of a ViewSetup")
        called = f"ViewSetup {id}"
        size = element.find("size")
        voxel = element.find("voxelSize")
        voxel_um = None
        if voxel is not None:
            sizes = numbers(voxel.find("size"), 3, path, called=f"voxelSize of {called}")
            unit = (voxel.findtext("unit") or "").strip()
            if min(sizes) <= 0 or (unit.lower() not in PIXELS and unit not in MICROMETRES):
                raise SourceError(
                    f"{path}: voxelSize of {called} is {sizes} {unit!r}; expected three sizes "
                    f"above 0 and one of the units {', '.join(MICROMETRES)}",
                    path,
                )
            if unit.lower() not in PIXELS:
                x, y, z = (one * MICROMETRES[unit] for one in sizes)
                voxel_um = (x, y, z)
        given = {
            name: whole_number(text, path, called=f"{name} of {called}")
            for name in ("tile", "angle")
            if (text := element.findtext(f"attributes/{name}")) is not None
        }
        setups[id] = Setup(
            id,
            element.findtext("name") or str(id),
            np.zeros(3) if size is None else np.array(numbers(size, 3, path, called=called)),
            voxel_um,
            given.get("tile", id),
            given.get("angle", 0),
        )
    if not setups:
        raise SourceError(f"{path}: <ViewSetups> has no ViewSetup; expected one per view", path)
    angles = sorted({setup.angle for setup in setups.values()})
    if len(angles) > 1:
        raise SourceError(
            f"{path} has views from {len(angles)} angles; expected one: a lattice is of tiles that "
            "are seen from one side",
            path,
        )
    return setups


def _pixel_size(setups: list[Setup], path: Path) -> dict[str, float]:
    known = [setup for setup in setups if setup.voxel_um is not None]
    if not known:
        return {}
    sizes = np.array([setup.voxel_um for setup in known])
    if (different := np.abs(sizes / sizes[0] - 1).max(axis=1) > 1e-3).any():
        other = known[int(different.argmax())]
        raise SourceError(
            f"{path}: voxelSize of ViewSetup {known[0].id} is {known[0].voxel_um} um, of "
            f"{other.id} {other.voxel_um}; expected the same for all tiles",
            path,
        )
    return dict(zip("xyz", sizes[0].tolist(), strict=True))


def _composed(element: ET.Element, path: Path, view: tuple[int, int]) -> np.ndarray:
    """The chain as one transform, shape (3, 4)."""
    composed = np.eye(4)
    for place, transform in enumerate(element.findall("ViewTransform")):
        called = f"affine of ViewTransform {place} (timepoint {view[0]}, setup {view[1]})"
        values = numbers(transform.find("affine"), 12, path, called=called)
        composed = composed @ np.vstack([np.reshape(values, (3, 4)), [0.0, 0.0, 0.0, 1.0]])
    return composed[:3]


def _scale(affine: np.ndarray, setups: list[Setup], path: Path) -> np.ndarray:
    """World units of a pixel along x, y, z, the same for all views."""
    linear = affine[:, :, :3]
    diagonal = np.diagonal(linear, axis1=1, axis2=2)
    others = np.abs(linear).copy()
    others[:, [0, 1, 2], [0, 1, 2]] = 0
    turned = (diagonal <= 0) | (diagonal < others.max(axis=2)) | (diagonal < others.max(axis=1))
    if turned.any():
        row = int(turned.any(axis=1).argmax())
        raise SourceError(
            f"{path}: the transform of setup {setups[row].id} mirrors its axes or turns them onto "
            "each other; expected x, y and z to stay: apply the turn to the images, or undo it in "
            "the dataset",
            path,
        )
    scale: np.ndarray = np.median(diagonal, axis=0)
    size = np.stack([setup.size for setup in setups])
    corner = np.einsum("vij,vj->vi", np.abs(linear - np.diag(scale)), size) / scale
    farthest = corner.max(axis=1)
    if (bent := farthest > FARTHEST_PX).any():
        warnings.warn(
            f"{path}: {int(bent.sum())} of {len(setups)} views are turned, scaled or sheared, by "
            f"up to {farthest.max():.1f} px at a corner (setup {setups[int(farthest.argmax())].id})"
            "; only their translations are taken",
            UserWarning,
            stacklevel=2,
        )
    return scale


def _files(
    sequence: ET.Element, root: ET.Element, path: Path, folder: Path
) -> dict[tuple[int, int], str]:
    """File or Zarr image of every view, where the dataset lists them."""
    loader = child(sequence, "ImageLoader", path)
    if loader.get("format", "").startswith("split"):
        raise SourceError(
            f"{path} is a dataset that BigStitcher has split into virtual tiles; expected one of "
            "real tiles: give the XML from before",
            path,
        )
    base = _located(root.find("BasePath"), path.parent)
    files: dict[tuple[int, int], str] = {}
    series: dict[str, tuple[str, int]] = {}
    for mapping in loader.iter("FileMapping"):
        timepoint, setup = (
            whole_number(mapping.get(name), path, called=f"{name} of a FileMapping")
            for name in ("timepoint", "view_setup")
        )
        file = child(mapping, "file", path)
        name = name_below(folder, path.parent, str(_located(file, base)))
        number = mapping.get("series", "0")
        if series.setdefault(name, (number, setup))[0] != number:
            raise SourceError(
                f"{path}: {name!r} holds several tiles (series {series[name][0]} is setup "
                f"{series[name][1]}, series {number} is setup {setup}); expected a file per tile: "
                "give a table of positions",
                path,
            )
        files[timepoint, setup] = name
    container = _located(loader.find("zarr"), base)
    for group in loader.iter("zgroup"):
        view = (
            whole_number(group.get("timepoint", group.get("tp")), path, called="tp of a zgroup"),
            whole_number(group.get("setup"), path, called="setup of a zgroup"),
        )
        name = group.get("path") or group.findtext("path") or ""
        files[view] = name_below(folder, container, name)
    return files


def _located(element: ET.Element | None, base: Path) -> Path:
    """The path that an element holds; relative ones from `base`."""
    text = "" if element is None else (element.text or "").strip().replace("\\", "/")
    return base / text.removeprefix("file:") if text else base


# ------------------------------------------------------------------------- writing


def write_bigstitcher(lattice: Lattice, path: Path, position_um: np.ndarray) -> None:
    """Write a dataset that BigStitcher opens, with every channel of every tile as a view.

    Parameters
    ----------
    lattice
        Tiles in TIFF files, one per tile, or per tile and channel.
    path
        The XML file.
    position_um
        Positions in micrometres, shape (n, 3), in z, y, x.

    Raises
    ------
    LatticeError
        If BigStitcher could not open the files.
    """
    spatial_only(lattice, "BigStitcher", ("tile_z", "tile_y", "tile_x"))
    files = tile_files(lattice)
    if files is None:
        raise LatticeError(
            "BigStitcher is told of TIFF files, and the pixels of this lattice are not in any: "
            "write the tiles as TIFF first, and open them"
        )
    files.one_file_each("BigStitcher")
    if lattice.dtype.name not in DTYPES:
        raise LatticeError(
            f"BigStitcher reads pixels of {', '.join(DTYPES)} from TIFF files, and these are "
            f"{lattice.dtype}: write the tiles as one of those"
        )
    voxel, unit = _voxel(lattice)
    sizes = lattice.tile_shape
    smallest = float(voxel.min())
    n, channels = len(lattice), sizes.get("c", 1)
    names = [files.first(path.parent, channel) for channel in range(channels)]
    within = _channel_within(files.file[:, :, 0])
    there = np.asarray((files.file >= 0).all(axis=2))
    shapes = lattice.shapes if lattice.shapes is not None else np.tile(list(sizes.values()), (n, 1))
    extent = {dim: shapes[:, column] for column, dim in enumerate(lattice.tile_dims)}
    root = ET.Element("SpimData", version="0.2")
    add(root, "BasePath", ".", type="relative")
    sequence = add(root, "SequenceDescription")
    loader = add(sequence, "ImageLoader", format="spimreconstruction.filemap2")
    add(loader, "ZGrouped", "false")
    mappings = add(loader, "files")
    setups = add(sequence, "ViewSetups")
    add(add(sequence, "Timepoints", type="pattern"), "integerpattern", "0")
    absent = add(sequence, "MissingViews")
    registrations = add(root, "ViewRegistrations")
    calibration = _affine(np.diag(voxel / smallest), np.zeros(3))
    for channel in range(channels):
        for tile in range(n):
            id = str(channel * n + tile)
            setup = add(setups, "ViewSetup")
            add(setup, "id", id)
            add(setup, "name", id)
            size = [str(int(extent[dim][tile])) if dim in extent else "1" for dim in "xyz"]
            add(setup, "size", " ".join(size))
            of = add(setup, "voxelSize")
            add(of, "unit", unit)
            add(of, "size", " ".join(map(repr, voxel.tolist())))
            attributes = add(setup, "attributes")
            for name, value in (("illumination", 0), ("channel", channel), ("tile", tile)):
                add(attributes, name, value)
            add(attributes, "angle", 0)
            if there[tile, channel]:
                mapping = add(
                    mappings,
                    "FileMapping",
                    view_setup=id,
                    timepoint="0",
                    series="0",
                    channel=str(int(within[tile, channel])),
                )
                add(mapping, "file", names[channel][tile], type="relative")
            else:
                add(absent, "MissingView", timepoint="0", setup=id)
            view = add(registrations, "ViewRegistration", timepoint="0", setup=id)
            moved = _affine(np.eye(3), position_um[tile, ::-1] / smallest)
            for label, affine in (("Translation", moved), ("calibration", calibration)):
                transform = add(view, "ViewTransform", type="affine")
                add(transform, "Name", label)
                add(transform, "affine", affine)
    _attributes(setups, lattice, position_um)
    for name in ("ViewInterestPoints", "BoundingBoxes", "PointSpreadFunctions"):
        add(root, name)
    for name in ("StitchingResults", "IntensityAdjustments"):
        add(root, name)
    write_xml(root, path)


def _voxel(lattice: Lattice) -> tuple[np.ndarray, str]:
    """Size of a pixel along x, y, z, and its unit; 1 pixel where it is not known at all."""
    known = lattice.known_pixel_size_um
    needed = [axis for axis in "xyz" if axis != "z" or lattice.tile_shape.get("z", 1) > 1]
    unknown = [axis for axis in needed if axis not in known]
    if unknown and len(unknown) < len(needed):
        raise LatticeError(
            f"the size of a pixel along {', '.join(unknown)} is not known, but along others it is: "
            "open the acquisition with pixel_size_um={...}"
        )
    voxel = np.array([lattice.pixel_size_um.get(axis, 1.0) for axis in "xyz"])
    if "z" not in needed and "z" not in known:
        voxel[2] = voxel[:2].min()
    return voxel, "pixel" if unknown else "µm"


def _affine(linear: np.ndarray, translation: np.ndarray) -> str:
    return " ".join(map(repr, np.column_stack([linear, translation]).ravel().tolist()))


def _channel_within(files: np.ndarray) -> np.ndarray:
    """Number of every channel among those of the same file, shape (n, channels)."""
    within = np.zeros_like(files)
    for channel in range(1, files.shape[1]):
        within[:, channel] = (files[:, :channel] == files[:, channel : channel + 1]).sum(axis=1)
    return within


def _attributes(setups: ET.Element, lattice: Lattice, position_um: np.ndarray) -> None:
    """What the numbers in the setups' attributes mean."""
    count = lattice.tile_shape.get("c", 1)
    channels = list(lattice.channels or map(str, range(count)))
    for kind, names in (("Illumination", ["0"]), ("Channel", channels), ("Angle", ["0"])):
        group = add(setups, "Attributes", name=kind.lower())
        for number, name in enumerate(names):
            one = add(group, kind)
            add(one, "id", number)
            add(one, "name", name)
    group = add(setups, "Attributes", name="tile")
    for number, name in enumerate(lattice.names.tolist()):
        one = add(group, "Tile")
        add(one, "id", number)
        add(one, "name", name)
        add(one, "location", " ".join(map(repr, position_um[number, ::-1].tolist())))
