"""The pipeline of 'latticework demo'.

Change something, say ``threshold``, and type ``latticework run brain.lw`` in this folder: only what
depends on it is made again.
"""

from typing import Any

import pandas as pd
from scipy.ndimage import median_filter

from latticework.project import Project
from latticework.stages import all_tiles
from latticework.stages.ready import (
    correct_flatfield,
    detect_spots,
    estimate_flatfield,
    spot_halo,
    subtract_background,
)

OFFSET = 100.0  # counts of the camera in the dark
CELL = {"z": 1.5, "y": 2.8, "x": 2.8}  # size of a cell's image: standard deviation in pixels


def count(spots: pd.DataFrame) -> dict[str, Any]:
    """A function of one's own: spots in all and in the fullest tile, as a small record."""
    by_tile = spots.groupby("tile").size()
    return {"spots": len(spots), "most": int(by_tile.max()), "in": str(by_tile.idxmax())}


def pipeline(project: Project) -> None:
    """Add the stages: each a plain function, with what it reads and its parameters."""
    lamp = project.add(estimate_flatfield, name="lamp", reads=all_tiles(), offset=OFFSET)
    even = project.add(correct_flatfield, name="even", after=[project.source, lamp], offset=OFFSET)
    smooth = project.add(
        median_filter, name="smooth", after=even, size=[1, 3, 3], overlap={"y": 1, "x": 1}
    )
    clean = project.add(
        subtract_background, name="clean", after=smooth, radius_px=12,
        overlap={"y": 12, "x": 12}, boundary="reflect",
    )  # fmt: skip
    spots = project.add(
        detect_spots, name="spots", after=clean, sigma_px=CELL, threshold=300,
        overlap=spot_halo(CELL, ("y", "x")),
    )  # fmt: skip
    project.add(count, after=spots, reads=all_tiles())
