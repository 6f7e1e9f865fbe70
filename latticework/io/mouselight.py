"""MouseLight: acquisitions that list their tiles in ``pipeline-input.json`` or ``dashboard.json``.

Both list tiles with a folder, a place on the lattice and whether they are complete. As in the
MouseLight pipeline, ``pipeline-input.json`` is taken where both are there, a file with
``pipelineFormat`` is read as the pipeline's whatever it is called, and paths may be written with
backslashes. Tiles are in the order of their paths, which is that of the acquisition. The folders
themselves are read by `latticework.io.mouselight_tiles`.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from latticework.errors import SourceError
from latticework.io.filenames import natural_key
from latticework.io.placing import Placing, to_lattice
from latticework.io.scan import Progress
from latticework.lattice import Lattice
from latticework.lattice.arguments import overlap_argument, pixel_size_argument

FILES = ("pipeline-input.json", "dashboard.json")
"""Lists of tiles; the first that is there counts."""


@dataclass(frozen=True, slots=True)
class MouseLightInput:
    """What a list of tiles says, without a look at the tiles; cheap enough to ask every second.

    Arrays have a row per tile, in order of the paths.
    """

    file: Path
    """The list."""
    form: Literal["pipeline", "dashboard"]
    """How it is written."""
    paths: tuple[str, ...]
    """Folders of the tiles below the list's, with forward slashes."""
    position: np.ndarray
    """Places on the lattice, int64 of shape (n, 3), in the order z, y, x."""
    complete: np.ndarray
    """Whether each tile has been acquired."""
    step: np.ndarray
    """``step`` or ``latticeStep``, float of shape (n, 3), in the order z, y, x, or NaN."""
    ids: np.ndarray
    """The list's own ``id`` of each tile; -1 where not given."""
    superseded: Mapping[str, str]
    """Tiles that were imaged again elsewhere, and what counts instead of them."""
    skipped: Mapping[str, tuple[int, ...]]
    """Planes to leave out, by axis (``planeMarkers``)."""
    parameters: Mapping[str, Any]
    """``customParameters`` of the project."""
    extents: Mapping[str, tuple[int, int]]
    """First and last plane of the sample by axis, where given."""

    @property
    def root(self) -> Path:
        """The folder of the acquisition."""
        return self.file.parent


@dataclass(frozen=True, slots=True)
class MouseLightAcquisition:
    """A MouseLight acquisition: the lattice, and what else the list of tiles says.

    Examples
    --------
    >>> import tempfile, latticework as lw
    >>> from latticework.testing import write_mouselight
    >>> simulated, truth = lw.simulate(
    ...     {"z": 2, "y": 1, "x": 2}, tile_shape={"z": 4, "y": 32, "x": 32},
    ...     pixel_size_um={"z": 1.0, "y": 0.5, "x": 0.5})
    >>> folder = write_mouselight(simulated, tempfile.mkdtemp(), skipped={"z": [1]})
    >>> acquisition = read_mouselight(folder)
    >>> acquisition.lattice.sizes, acquisition.skipped["z"]
    ({'tile_z': 2, 'tile_y': 1, 'tile_x': 2}, (1,))
    """

    lattice: Lattice
    """The tiles; those that are announced only wait (``lattice.source.presence()``)."""
    input: MouseLightInput
    """The list of tiles."""

    @property
    def skipped(self) -> Mapping[str, tuple[int, ...]]:
        """Planes to leave out, by axis; neighbours along it step over them."""
        return self.input.skipped

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The project's own parameters."""
        return self.input.parameters

    @property
    def extents(self) -> Mapping[str, tuple[int, int]]:
        """First and last plane of the sample by axis, where given."""
        return self.input.extents

    @property
    def superseded(self) -> Mapping[str, str]:
        """Tiles that were imaged again elsewhere, and what counts instead of them."""
        return self.input.superseded


def find_input(path: Path) -> Path | None:
    """The list of tiles of a folder, or None where it has none; a JSON file is one itself."""
    if path.suffix == ".json" and path.is_file():
        return path
    return next((path / name for name in FILES if (path / name).is_file()), None)


def read_mouselight(
    path: Path | str,
    *,
    drive_mapping: Mapping[str, str] | Sequence[Mapping[str, str]] = (),
    overlap: Mapping[str, Any] | str | float | None = None,
    pixel_size_um: Mapping[str, float] | float | None = None,
    channels: Sequence[str] | None = None,
    flip: str = "",
    errors: Literal["raise", "mark"] = "raise",
    progress: Progress | None = None,
) -> MouseLightAcquisition:
    """A MouseLight acquisition from its list of tiles.

    `open_tiles` gives the lattice alone.

    Parameters
    ----------
    path
        The folder with ``pipeline-input.json`` or ``dashboard.json``, or a file written as these
        are; tiles are below its folder.
    drive_mapping
        ``{"remote": "/groups/data", "local": "/mnt/data"}``, or several: what the acquisition's
        computer calls a drive, and what this one does. For `path`, and for tiles with absolute
        paths.
    overlap, pixel_size_um
        Instead of what the tiles' ``.microscope`` and ``.acquisition`` files say.
    channels
        Names, instead of those of ``channel-semantics.txt``.
    flip
        Axes along which the image runs against the stage (``"yx"`` for MouseLight's own).
    errors, progress
        As for `open_tiles`.

    Raises
    ------
    SourceError
        For a list that is half written or lacks something, and for complete tiles whose files are
        missing or damaged.
    """
    placing = Placing(
        overlap=overlap_argument(overlap),
        flip=flip,
        pixel_size_um=pixel_size_argument(pixel_size_um),
        channels=channels,
        mark=errors == "mark",
    )
    return opened(read_mouselight_input(path, drive_mapping=drive_mapping), placing, progress)


def opened(
    listed: MouseLightInput, placing: Placing, progress: Progress | None = None
) -> MouseLightAcquisition:
    """The acquisition of a list that was read."""
    from latticework.io.mouselight_tiles import listed_tiles

    tiles, placing = listed_tiles(listed, placing, progress)
    return MouseLightAcquisition(to_lattice(tiles, placing), listed)


def read_mouselight_input(
    path: Path | str,
    *,
    drive_mapping: Mapping[str, str] | Sequence[Mapping[str, str]] = (),
) -> MouseLightInput:
    """What the list of tiles says; no tile is looked at.

    Parameters
    ----------
    path, drive_mapping
        As for `read_mouselight`.

    Raises
    ------
    SourceError
        If the list is missing, half written, or lacks something.
    """
    mapping = [drive_mapping] if isinstance(drive_mapping, Mapping) else list(drive_mapping)
    where = Path(_mapped(str(path), mapping)).absolute()
    file = find_input(where)
    if file is None:
        raise SourceError(
            f"{where} has no list of tiles; expected {' or '.join(FILES)}: check the path, or give "
            "drive_mapping= if another computer wrote it",
            where,
        )
    content = _content(file)
    pipeline = content.get("pipelineFormat") is not None or "tiles" in content
    entries = list(_pipeline_tiles(content, file) if pipeline else _dashboard_tiles(content, file))
    rows = [_row(entry, number, file, mapping) for number, entry in enumerate(entries)]
    kept, superseded = _latest(rows, file)
    project = _mapping(content.get("projectInfo"), "projectInfo", file)
    monitor = _mapping(content.get("monitor"), "monitor", file)
    extents = content.get("extents") if pipeline else monitor.get("extents")
    try:
        positions = np.array([row.position for row in kept], np.int64).reshape(-1, 3)
        ids = np.array([row.id for row in kept], np.int64)
        ends = _extents(_mapping(extents, "extents", file))
    except (OverflowError, ValueError) as error:  # 1e308, or no number at all
        raise SourceError(
            f"{file} has positions, ids or extents that are no whole numbers of a usual size "
            f"({error}): write the list again",
            file,
        ) from error
    return MouseLightInput(
        file,
        "pipeline" if pipeline else "dashboard",
        tuple(row.path for row in kept),
        positions,
        np.array([row.complete for row in kept], bool),
        np.array([row.step for row in kept], float).reshape(-1, 3),
        ids,
        superseded,
        _skipped(_mapping(content.get("planeMarkers"), "planeMarkers", file), file),
        dict(_mapping(project.get("customParameters"), "customParameters", file)),
        ends,
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """One tile of a list."""

    path: str
    position: tuple[int, ...]
    complete: bool
    step: tuple[float, ...]
    id: int


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{file} cannot be read as JSON ({error}); expected a whole list of tiles: it may be "
            "half written, try again",
            file,
        ) from error
    if not isinstance(content, dict):
        raise SourceError(
            f"{file} holds a {type(content).__name__}; expected an object with tiles or tileMap",
            file,
        )
    return content


def _mapping(value: Any, what: str, file: Path) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise SourceError(f"{file}: {what} is {value!r}; expected an object", file)
    return value


def _flat(groups: Any, what: str, file: Path) -> Iterator[Any]:
    """Tiles of an array, or of an object of arrays (or of tiles)."""
    if isinstance(groups, list):
        yield from groups
    elif isinstance(groups, Mapping):
        for group in groups.values():
            yield from group if isinstance(group, list) else [group]
    else:
        raise SourceError(
            f"{file}: {what} is {groups!r}; expected an array of tiles, or an object of arrays",
            file,
        )


def _pipeline_tiles(content: Mapping[str, Any], file: Path) -> Iterator[Any]:
    yield from _flat(content.get("tiles"), "tiles", file)
    # the README's form: further arrays beside "tiles", by number
    for key, group in content.items():
        if key.isdigit():
            yield from _flat(group, key, file)


def _dashboard_tiles(content: Mapping[str, Any], file: Path) -> Iterator[Any]:
    if "tileMap" not in content:
        raise SourceError(
            f"{file} has neither tiles nor tileMap, but {', '.join(content) or 'nothing'}; "
            "expected a list of tiles of a MouseLight acquisition",
            file,
        )
    for tile in _flat(content["tileMap"], "tileMap", file):
        contents = tile.get("contents") if isinstance(tile, Mapping) else None
        if not isinstance(contents, Mapping):
            yield tile
            continue
        yield {
            **tile,
            "position": contents.get("latticePosition"),
            "step": contents.get("latticeStep"),
        }


def _row(entry: Any, number: int, file: Path, mapping: Sequence[Mapping[str, str]]) -> _Row:
    if not isinstance(entry, Mapping):
        raise SourceError(f"{file}: tile {number} is {entry!r}; expected an object", file)
    given = entry.get("relativePath", entry.get("relative_path"))
    if not isinstance(given, str) or not given.strip("/\\ "):
        raise SourceError(
            f"{file}: tile {number} has relativePath {given!r}; expected the tile's folder", file
        )
    path = _mapped(given, mapping)
    if path == given:
        path = given.replace("\\", "/")
        if path.startswith("//") or path[1:2] == ":":
            raise SourceError(
                f"{file}: tile {number} is at {given!r}, on a drive of another computer; "
                "expected a path below the list's folder: give "
                'drive_mapping={"remote": ..., "local": ...}',
                file,
            )
        path = "/".join(part for part in path.split("/") if part not in ("", ".")) or "."
    position = _triple(entry.get("position"))
    if not all(value.is_integer() for value in position):
        raise SourceError(
            f"{file}: tile {given!r} has the position {entry.get('position')!r}; expected whole "
            "numbers x, y and z, its place on the lattice: correct or remove it",
            file,
        )
    own = entry.get("id")
    complete = entry.get("isComplete")
    return _Row(
        path,
        tuple(int(value) for value in position),
        complete is True or str(complete).lower() == "true",
        _triple(entry.get("step")),
        own if isinstance(own, int) else -1,
    )


def _triple(given: Any) -> tuple[float, ...]:
    """z, y and x of an object; NaN where something is missing."""
    values = given if isinstance(given, Mapping) else {}
    found = [values.get(axis) for axis in "zyx"]
    try:
        return tuple([math.nan if value is None else float(value) for value in found])
    except (TypeError, ValueError):
        return (math.nan,) * 3


def _mapped(path: str, mapping: Sequence[Mapping[str, str]]) -> str:
    """The path on this computer."""
    for drive in mapping:
        remote, local = drive.get("remote"), drive.get("local")
        if not remote or local is None:
            raise SourceError(f"drive_mapping has {dict(drive)}; expected remote and local")
        start = remote.replace("\\", "/").rstrip("/")
        if f"{path}/".replace("\\", "/").startswith(f"{start}/"):
            return local.rstrip("/") + path[len(start) :].replace("\\", "/")
    return path


def _latest(rows: list[_Row], file: Path) -> tuple[list[_Row], dict[str, str]]:
    """One tile for each path and place: the last complete one, else the last."""
    by_path = {row.path: row for row in rows}  # a tile listed twice is as listed last
    places: dict[tuple[int, ...], _Row] = {}
    superseded: dict[str, str] = {}
    keys = {path: natural_key(path) for path in by_path}
    ordered = sorted(by_path.values(), key=lambda row: keys[row.path])
    if not ordered:
        raise SourceError(f"{file} lists no tiles; expected at least one: wait for the first", file)
    for row in ordered:
        before = places.get(row.position)
        if before is not None and before.complete and not row.complete:
            superseded[row.path] = before.path  # until it is there
            continue
        if before is not None:
            superseded[before.path] = row.path
        places[row.position] = row
    for lost in superseded:  # whoever counts in the end
        superseded[lost] = places[by_path[lost].position].path
    kept = sorted(places.values(), key=lambda row: keys[row.path])
    return kept, superseded


def _skipped(markers: Mapping[str, Any], file: Path) -> dict[str, tuple[int, ...]]:
    skipped = {}
    for axis in "zyx":
        planes = markers.get(axis) or []
        if not isinstance(planes, list) or not all(isinstance(plane, int) for plane in planes):
            raise SourceError(
                f"{file}: planeMarkers has {axis}={planes!r}; expected a list of planes", file
            )
        skipped[axis] = tuple(sorted(set(planes)))
    return skipped


def _extents(extents: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    found = {}
    for axis in "zyx":
        ends = extents.get(f"minimum{axis.upper()}"), extents.get(f"maximum{axis.upper()}")
        if isinstance(ends[0], int | float) and isinstance(ends[1], int | float):
            found[axis] = int(ends[0]), int(ends[1])
    return found
