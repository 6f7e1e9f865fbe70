"""Tiles on disk with known positions, for the stitching benchmark; real ones if there are any."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class TileSet:
    """Files of tiles; where they are said to be, and where they are."""

    files: Sequence[str]
    #: TIFF
    places: Sequence[Sequence[int]]
    #: row and column in the grid
    nominal: Sequence[Sequence[float]]
    #: position along z, y, x in pixels
    truth: Sequence[Sequence[float]]
    known: Sequence[int]
    #: tiles whose true position is known

    def save(self, path: Path) -> str:
        """Write it as JSON, give the path."""
        path.write_text(json.dumps(asdict(self)))
        return str(path)

    @classmethod
    def load(cls, path: str) -> Self:
        """What `save` wrote."""
        return cls(**json.loads(Path(path).read_text()))

    @property
    def dims(self) -> str:
        """Of the tiles."""
        return "zyx"[-len(self.nominal[0]) :]

    def read(self, tile: int) -> np.ndarray:
        """All pixels of a tile."""
        import tifffile

        return np.asarray(tifffile.imread(self.files[tile]))

    def errors(self, positions: np.ndarray) -> dict[str, float]:
        """How far tiles are from where they are, beside their median; and how many by 2 pixels."""
        apart = np.asarray(positions) - np.asarray(self.truth)
        rows = list(self.known)
        distance = np.linalg.norm(apart[rows] - np.median(apart[rows], axis=0), axis=1)
        rms = float(np.sqrt(np.square(distance).mean()))
        return {"rms_px": rms, "misplaced": float((distance > 2).sum()), "tiles": len(rows)}


def shared_data() -> Path | None:
    """The folder of real acquisitions, if there is one."""
    given = os.environ.get("LATTICEWORK_SHARED_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    return folder if (folder / "wsi_brain_2d").is_dir() else None


def real_section(folder: Path) -> TileSet:
    """63 tiles of a brain section; 49 of them have a position that is known."""
    with (folder / "wsi_brain_2d" / "positions_reference.csv").open() as file:
        rows = list(csv.DictReader(file))
    return TileSet(
        [str(folder / "wsi_brain_2d" / "tiles" / row["file"]) for row in rows],
        [(int(row["row"]), int(row["col"])) for row in rows],
        *_columns(rows, ("nominal", "ref"), "yx"),
        [k for k, row in enumerate(rows) if int(row["n_measured_links"]) >= 2],
    )


def real_volume(folder: Path) -> TileSet:
    """8 tiles cut from a real volume."""
    folder = folder / "lattice3d_truth"
    with (folder / "positions_true.csv").open() as file:
        rows = list(csv.DictReader(file))
    return TileSet(
        [str(folder / "tiles" / f"tile_{int(row['tile']):02d}.tif") for row in rows],
        [(int(row["iy"]), int(row["ix"])) for row in rows],
        *_columns(rows, ("nominal", "true"), "zyx"),
        list(range(len(rows))),
    )


def _columns(rows: Sequence[dict[str, str]], names: Sequence[str], dims: str) -> Any:
    return [[[float(row[f"{name}_{dim}"]) for dim in dims] for row in rows] for name in names]


def made(folder: Path, grid: tuple[int, int], size: tuple[int, ...], seed: int = 1) -> TileSet:
    """Tiles of a made scene, 10 % overlap, on whole pixels, with noise of their own."""
    import tifffile
    from scipy import ndimage

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    step = [round(0.9 * n) for n in size[-2:]]
    places = list(np.ndindex(*grid))
    flat = (0,) * (len(size) - 2)
    nominal = np.array([(*flat, r * step[0], c * step[1]) for r, c in places], float)
    move = rng.integers(-3, 4, nominal.shape) * (np.array(size) > 60)
    truth = nominal + move - move.min(axis=0)
    whole = np.ceil(truth.max(axis=0)).astype(int) + size
    scene = ndimage.gaussian_filter(rng.normal(size=whole).astype("f4"), 1.5)
    scene = 800 + 300 * scene / scene.std()
    files = []
    for k, at in enumerate(truth.astype(int)):
        piece = scene[tuple(slice(a, a + n) for a, n in zip(at, size, strict=True))]
        pixels = np.clip(piece + rng.normal(0, 10, piece.shape), 0, 65535).astype("u2")
        files.append(str(folder / f"tile_{k:05d}.tif"))
        tifffile.imwrite(files[-1], pixels)
    return TileSet(files, places, nominal.tolist(), truth.tolist(), list(range(len(files))))
