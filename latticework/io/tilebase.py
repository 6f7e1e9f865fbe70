"""``tilebase.cache.yml``: where stitched MouseLight tiles are, as its renderer reads it.

Every tile has a box, a 5 x 5 matrix from pixels to nanometres, and a grid of control points: pixel
coordinates of the nodes along each axis, and for every node where it is in the sample. The file
counts axes x, y, z and has x change fastest; here arrays are in the order z, y, x::

    xlims: [0, 15]   ylims: [0, 31]   zlims: [0, 63]         nodes_px["x"] == [0, 15]
    coordinates: [x, y, z of node (0, 0, 0), of (15, 0, 0)   coordinates_nm[z, y, x] == (z, y, x)
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latticework.errors import LatticeError, SourceError
from latticework.lattice import Lattice
from latticework.lattice.source import TileSource

if TYPE_CHECKING:
    import pandas as pd

FILE = "tilebase.cache.yml"
"""The name that the renderer expects."""
_COORDINATES = re.compile(r"^(?P<key>\s+coordinates:\s*)\[(?P<numbers>[^\]#]*)\]", re.MULTILINE)
"""Nearly all of a file; NumPy reads it in a third of the time that YAML takes."""
_TAKEN = "numbers taken out: "
_PLAIN = re.compile(r"/[\w./-]*")


@dataclass(frozen=True, slots=True)
class StitchedTile:
    """One tile of a `Tilebase`."""

    path: str
    """Folder below the tilebase's path, without a slash in front."""
    origin_nm: tuple[int, int, int]
    """Least corner of the tile's box: z, y, x."""
    extent_nm: tuple[int, int, int]
    """Size of the box: z, y, x."""
    size_px: tuple[int, int, int]
    """Pixels of the tile: z, y, x."""
    channels: int = 1
    dtype: str = "uint16"
    homography: np.ndarray | None = None
    """From pixels to nanometres, 5 x 5 as in the file: rows and columns x, y, z, channel, 1."""
    nodes_px: Mapping[str, np.ndarray] | None = None
    """Pixel coordinates of the control points, by axis."""
    coordinates_nm: np.ndarray | None = None
    """Where each control point is, shape (nodes along z, y, x, 3), the last being z, y, x."""


@dataclass(frozen=True, slots=True)
class Tilebase:
    """Where stitched tiles are.

    Examples
    --------
    >>> import tempfile, latticework as lw
    >>> lattice, truth = lw.simulate(
    ...     {"y": 1, "x": 2}, tile_shape={"z": 4, "y": 32, "x": 32}, overlap=0.25,
    ...     pixel_size_um={"z": 1.0, "y": 0.5, "x": 0.5})
    >>> base = Tilebase.of(lattice)
    >>> path = write_tilebase(base, tempfile.mkdtemp())
    >>> read_tilebase(path).position_um.tolist()
    [[0.0, 0.0, 0.0], [0.0, 0.0, 12.0]]
    """

    path: str
    """Folder that the tiles' paths are below."""
    tiles: tuple[StitchedTile, ...]

    @property
    def position_um(self) -> np.ndarray:
        """Least corner of every tile's box, micrometres, shape (n, 3), in the order z, y, x."""
        return np.array([tile.origin_nm for tile in self.tiles], float).reshape(-1, 3) / 1000.0

    @property
    def names(self) -> tuple[str, ...]:
        """Paths of the tiles."""
        return tuple(tile.path for tile in self.tiles)

    @property
    def table(self) -> "pd.DataFrame":
        """Positions as a table: ``file z_um y_um x_um``."""
        import pandas as pd

        table = pd.DataFrame(self.position_um, columns=["z_um", "y_um", "x_um"])
        table.insert(0, "file", list(self.names))
        return table

    def lattice(self, *, source: TileSource | None = None) -> Lattice:
        """The tiles as a lattice at their stitched positions.

        Parameters
        ----------
        source
            Where the pixels come from, tiles in the order of this tilebase.

        Raises
        ------
        LatticeError
            If the tiles differ in shape or type, or lie in no grid.
        """
        kinds = {(tile.channels, *tile.size_px, tile.dtype) for tile in self.tiles}
        if len(kinds) != 1:
            raise LatticeError(
                f"the tiles of {self.path} are of {len(kinds)} kinds (channels, z, y, x, type): "
                f"{sorted(kinds)[:3]}; expected one"
            )
        channels, *size, dtype = kinds.pop()
        shape = {**({"c": channels} if channels > 1 else {}), **dict(zip("zyx", size, strict=True))}
        extent = np.median([tile.extent_nm for tile in self.tiles], axis=0) / 1000.0
        return Lattice.from_positions(
            self.position_um,
            tile_shape=shape,
            dtype=dtype,
            pixel_size_um=dict(zip("zyx", (extent / size).tolist(), strict=True)),
            names=self.names,
            source=source,
        )

    @classmethod
    def of(
        cls, lattice: Lattice, *, position_um: Any = None, path: str = "/", nodes: int = 2
    ) -> "Tilebase":
        """Tiles that are only shifted, at the lattice's positions or others.

        Parameters
        ----------
        lattice
            The tiles; their names become paths.
        position_um
            Stitched positions, shape (n, number of spatial dims of the lattice).
        path
            Folder that the names are below.
        nodes
            Control points along each axis.
        """
        given = lattice.position_um if position_um is None else np.asarray(position_um, float)
        if given.shape != lattice.position_um.shape:
            raise LatticeError(
                f"position_um has the shape {given.shape}; expected {lattice.position_um.shape}, "
                f"the {', '.join(lattice.spatial_dims)} of every tile"
            )
        pixel = np.array([lattice.pixel_size_um.get(axis, 1.0) for axis in "zyx"]) * 1000.0
        size = np.array([lattice.tile_shape.get(axis, 1) for axis in "zyx"])
        where = np.zeros((len(lattice), 3))
        for column, axis in enumerate(lattice.spatial_dims):
            where[:, "zyx".index(axis)] = given[:, column] * 1000.0
        axes = [np.rint(np.linspace(0, n - 1, nodes)).astype(np.int64) for n in size]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * pixel
        tiles = []
        for name, origin in zip(lattice.names, where, strict=True):
            matrix = np.eye(5)
            matrix[[0, 1, 2], [0, 1, 2]] = pixel[::-1]
            matrix[:3, 4] = origin[::-1]
            tiles.append(
                StitchedTile(
                    str(name).lstrip("/"),
                    _triple(origin),
                    _triple(size * pixel),
                    _triple(size),
                    lattice.tile_shape.get("c", 1),
                    lattice.dtype.name,
                    matrix,
                    dict(zip("zyx", axes, strict=True)),
                    np.rint(grid + origin).astype(np.int64),
                )
            )
        return cls(path, tuple(tiles))


def _triple(values: Any) -> tuple[int, int, int]:
    z, y, x = (round(float(value)) for value in values)
    return z, y, x


_TYPES = {"u8": "uint8", "u16": "uint16", "u32": "uint32", "f32": "float32", "f64": "float64"}
_SHORT = {name: short for short, name in _TYPES.items()}


def read_tilebase(path: Path | str) -> Tilebase:
    """What a ``tilebase.cache.yml`` says.

    Parameters
    ----------
    path
        The file, or the folder that it is in.

    Raises
    ------
    SourceError
        If it is missing, damaged, or a tile lacks something; names the tile.
    """
    import yaml

    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    blocks: list[np.ndarray] = []

    def taken(match: re.Match[str]) -> str:
        try:
            numbers = np.array(match["numbers"].split(","), dtype=np.str_).astype(np.int64)
        except ValueError:
            return match[0]  # YAML says what is wrong
        blocks.append(numbers)
        return f'{match["key"]}"{_TAKEN}{len(blocks) - 1}"'

    try:
        text = _COORDINATES.sub(taken, file.read_text(encoding="utf-8"))
        content = yaml.load(text, Loader=loader)  # noqa: S506 (a safe loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SourceError(
            f"{file} cannot be read ({error}); expected a whole {FILE}: check the path, or write "
            "it again",
            file,
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("tiles"), list):
        raise SourceError(f"{file} has no list of tiles; expected path and tiles, as {FILE}", file)
    tiles = tuple(
        _tile(entry, number, file, blocks) for number, entry in enumerate(content["tiles"])
    )
    return Tilebase(str(content.get("path", "")), tiles)


def _tile(entry: Any, number: int, file: Path, blocks: Sequence[np.ndarray]) -> StitchedTile:
    said = entry if isinstance(entry, dict) else {}
    where = f"{file}: tile {number} ({said.get('path', 'without a path')})"
    try:
        box, shape = said["aabb"], said["shape"]
        dims = [int(n) for n in shape["dims"]]
        kind = str(shape.get("type", "u16"))
        origin, extent = box["ori"], box["shape"]
        if len(origin) != 3 or len(extent) != 3 or len(dims) not in (3, 4):
            raise SourceError(
                f"{where} has aabb {origin}, {extent} and dims {dims}; expected x, y, z each, and "
                "channels in dims",
                file,
            )
        matrix = _matrix(said.get("homography", said.get("transform")), where, file)
        nodes, coordinates = _grid(said.get("grid"), where, file, blocks)
        return StitchedTile(
            str(said["path"]).replace("\\", "/").lstrip("/"),
            _triple(origin[::-1]),
            _triple(extent[::-1]),
            _triple(dims[2::-1]),
            dims[3] if len(dims) == 4 else 1,
            np.dtype(_TYPES.get(kind, kind)).name,
            matrix,
            nodes,
            coordinates,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{where} lacks something or has what is no number ({type(error).__name__}: {error}); "
            "expected path, aabb (ori, shape), shape (type, dims), homography and grid",
            file,
        ) from error


def _matrix(values: Any, where: str, file: Path) -> np.ndarray | None:
    if not values:
        return None
    matrix = np.array(values, float).ravel()
    if matrix.size != 25:
        raise SourceError(f"{where}: homography has {matrix.size} numbers; expected 25", file)
    return matrix.reshape(5, 5)


def _grid(
    grid: Any, where: str, file: Path, blocks: Sequence[np.ndarray]
) -> tuple[dict[str, np.ndarray] | None, np.ndarray | None]:
    if not grid:
        return None, None
    nodes = {axis: np.array(grid[f"{axis}lims"], np.int64).ravel() for axis in "zyx"}
    given = grid["coordinates"]
    if isinstance(given, str) and given.startswith(_TAKEN):
        given = blocks[int(given.removeprefix(_TAKEN))]
    coordinates = np.array(given, np.int64).ravel()
    counts = [len(nodes[axis]) for axis in "zyx"]
    expected = 3 * int(np.prod(counts))
    if coordinates.size != expected:
        raise SourceError(
            f"{where}: grid has {coordinates.size} coordinates; expected {expected}, "
            f"three for each of {' x '.join(str(n) for n in counts)} nodes (z, y, x)",
            file,
        )
    return nodes, coordinates.reshape(*counts, 3)[..., ::-1]


def write_tilebase(tilebase: Tilebase, path: Path | str) -> Path:
    """Write a ``tilebase.cache.yml``; coordinates are rounded to whole nanometres.

    Parameters
    ----------
    tilebase
        What to write; see `Tilebase.of` for shifted tiles.
    path
        The file, or a folder to write it to.

    Returns
    -------
    The file.
    """
    file = Path(path) / FILE if Path(path).is_dir() else Path(path)
    partial = file.with_name(file.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="\n") as out:
        out.write(f"path: {_text(tilebase.path)}\ntiles:\n")
        for tile in tilebase.tiles:
            out.write(_entry(tile))
    partial.replace(file)
    return file


def _entry(tile: StitchedTile) -> str:
    kind = _SHORT.get(np.dtype(tile.dtype).name, tile.dtype)
    text = (
        f"- path: {_text('/' + tile.path)}\n  aabb:\n    ori: {_list(tile.origin_nm[::-1])}\n"
        f"    shape: {_list(tile.extent_nm[::-1])}\n  shape:\n    type: {kind}\n"
        f"    dims: {_list((*tile.size_px[::-1], tile.channels))}\n  homography: "
    )
    matrix = () if tile.homography is None else tile.homography.ravel().tolist()
    text += f"[{', '.join(np.format_float_positional(value, trim='0') for value in matrix)}]\n"
    if tile.nodes_px is None or tile.coordinates_nm is None:
        return text
    text += "  grid:\n"
    for axis in "xyz":
        text += f"    {axis}lims: {_list(np.asarray(tile.nodes_px[axis]).tolist())}\n"
    rows = np.rint(tile.coordinates_nm[..., ::-1].reshape(-1, 3)).astype(np.int64).tolist()
    lines = ",\n".join(f"      {x}, {y}, {z}" for x, y, z in rows)
    return f"{text}    coordinates: [\n{lines}]\n"


def _list(values: Any) -> str:
    return f"[{', '.join(str(int(value)) for value in values)}]"


def _text(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
