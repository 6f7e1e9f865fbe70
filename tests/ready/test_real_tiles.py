"""The ready stages on a real section: its lamp, its empty tiles, its dust."""

import numpy as np
import pandas as pd
import pytest
import tifffile

from latticework.stages.ready import correct_flatfield, estimate_flatfield, mosaic

OFFSET = 590  # counts of this camera in the dark


@pytest.fixture(scope="module")
def section(shared_data):
    folder = shared_data / "wsi_brain_2d"
    tiles = np.stack([tifffile.imread(path) for path in sorted((folder / "tiles").glob("*.tif"))])
    places = pd.read_csv(folder / "positions_reference.csv")[["ref_y", "ref_x"]].to_numpy()
    return tiles, places.round().astype(int)


def seams(tiles, places):
    """Ratios of brightness of the same tissue in two tiles, as logarithms."""
    ratios = []
    for i in range(len(tiles)):
        for j in range(i + 1, len(tiles)):
            shift = places[j] - places[i]
            if np.abs(shift).max() > 500 or np.abs(shift).min() > 60:
                continue
            (a, b), (c, d) = np.maximum(shift, 0), np.minimum(shift + 512, 512)
            here = tiles[i, a:c, b:d]
            there = tiles[j, a - shift[0] : c - shift[0], b - shift[1] : d - shift[1]]
            tissue = (here > 600) & (there > 600) & (here < 20000) & (there < 20000)
            if tissue.sum() > 4000:
                ratios.append(np.median(np.log(there[tissue] / here[tissue])))
    return np.abs(ratios)


def test_the_lamp_of_a_real_section_is_taken_out(section):
    tiles, places = section
    field = estimate_flatfield(tiles, offset=OFFSET)
    raw = (tiles.astype("float32") - OFFSET) / 1.0
    clean = np.stack([correct_flatfield(t, field, offset=OFFSET, dtype="float32") for t in tiles])
    before, after = seams(raw, places), seams(clean, places)
    assert len(after) > 40
    assert np.median(before) > 0.2
    assert np.median(after) < 0.05
    picture = mosaic(clean, position_px=places, downsample=16)
    assert np.isfinite(picture).mean() > 0.95
