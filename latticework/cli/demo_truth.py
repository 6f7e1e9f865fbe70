"""What the demo found beside what the simulator planted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from latticework.project import Project
    from latticework.testing import Truth

NEAR_UM = 5.0
"""A spot is a cell if its centre is as near as this."""
AXES = ("z", "y", "x")


def simulated(size: Mapping[str, int], seed: int) -> Any:
    """The demo's acquisition and its truth: a cell stain, tiles of 48 x 256 x 256 um."""
    from latticework.testing import simulate

    return simulate(
        dict(size),
        seed=seed,
        tile_shape={"z": 24, "y": 256, "x": 256},
        pixel_size_um={"z": 2.0, "y": 1.0, "x": 1.0},
        overlap={"y": 0.12, "x": 0.12},
        snake=True,
        stains=((1.0, 0.4, 0.9),),
        vignetting=0.7,
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results beside the truth."""

    lamp_error: float
    """Mean deviation of the estimated illumination from the true one, as a share."""
    lamp_range: float
    """Darkest over brightest place of the true illumination."""
    planted: int
    """Cells in tiles; those in overlaps count once for each tile that shows them."""
    found: int
    """Those of them with a spot."""
    spots: int
    """Spots in all."""
    wrong: int
    """Spots with no cell near them."""
    away_um: float
    """Median distance of a found cell from its spot."""

    @property
    def good(self) -> bool:
        """Whether everything worked as it should."""
        return self.lamp_error < 0.05 and self.found >= 0.9 * self.planted

    def lines(self) -> list[str]:
        """As text."""
        found = self.found / max(1, self.planted)
        wrong = self.wrong / max(1, self.spots)
        uneven = f"{1 - self.lamp_range:.0%}"
        away = f"half of them within {self.away_um:.1f} µm of their true place"
        return [
            f"illumination  off by {self.lamp_error:.1%} on average, of an unevenness of {uneven}",
            f"cells         {self.found:,} of {self.planted:,} found ({found:.1%}), {away}",
            f"spots         {self.wrong:,} of {self.spots:,} are no cell ({wrong:.1%})",
        ]


def compare(project: "Project", truth: "Truth") -> Comparison:
    """Compare the results of the demo with the truth."""
    true = truth.flatfield
    lamp = np.asarray(project["lamp"].data)
    spots = project["spots"].data
    matches = [_match(project, truth, spots, tile.id) for tile in project.lattice]
    planted, found, wrong = np.sum([match[:3] for match in matches], axis=0, dtype=int).tolist()
    away = np.concatenate([m[3] for m in matches]) if matches else np.zeros(0)
    return Comparison(
        lamp_error=float(np.abs(lamp / true - 1).mean()),
        lamp_range=float(true.min() / true.max()),
        planted=planted,
        found=found,
        spots=len(spots),
        wrong=wrong,
        away_um=float(np.median(away)) if len(away) else float("nan"),
    )


def _match(
    project: "Project", truth: "Truth", spots: "pd.DataFrame", tile: int
) -> tuple[int, int, int, np.ndarray]:
    """Cells planted, cells found, wrong spots, and distances, of one tile."""
    from scipy.spatial import cKDTree

    pixel = np.array([project.lattice.pixel_size_um[axis] for axis in AXES])
    here = spots[spots["tile"] == project.lattice.tile(tile).name]
    places = here[list(AXES)].to_numpy(dtype=float) * pixel
    cells = truth.cells(tile)[list(AXES)].to_numpy(dtype=float) * pixel
    if not len(places):
        return len(cells), 0, 0, np.zeros(0)
    distance, _ = cKDTree(places).query(cells, distance_upper_bound=NEAR_UM)
    found = np.isfinite(distance)
    around = _cells_around(truth, tile) - truth.position_um[tile]
    near, _ = cKDTree(around).query(places, distance_upper_bound=NEAR_UM)
    return len(cells), int(found.sum()), int((~np.isfinite(near)).sum()), distance[found]


def _cells_around(truth: "Truth", tile: int) -> np.ndarray:
    """Centres in um of all cells in a tile and just outside, which show in it as well."""
    source = truth.source
    size = np.array(source.microscope.volume_tile) * source.microscope.pixel_um
    low = truth.position_um[tile] - 10.0
    found = source.phantom.cells(tuple(low.tolist()), tuple((low + size + 20.0).tolist()))
    return np.vstack([found.centre_um, np.full((1, 3), 1e9)])
