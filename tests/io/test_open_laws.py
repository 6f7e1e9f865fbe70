"""Whichever way an acquisition is described, it opens as the same lattice."""

import tempfile
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.io.open_tiles import open_tiles
from latticework.io.sources import load_source, save_source
from latticework.lattice import Box

CORNERS = ["top-left", "top-right", "bottom-left", "bottom-right"]


@settings(max_examples=20)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 5),
    start=st.sampled_from(CORNERS),
    order=st.sampled_from(["row", "column"]),
    snake=st.booleans(),
    overlap=st.integers(0, 5),
)
def test_grid_positions_table_names_and_metadata_agree(rows, columns, start, order, snake, overlap):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n = rows * columns
        for i in range(n):
            tifffile.imwrite(folder / f"t{i}.tif", np.full((12, 15), i, "u2"))
        scan = {"grid": {"y": rows, "x": columns}, "start": start, "order": order, "snake": snake}
        lattice = open_tiles(folder, overlap={"y": overlap, "x": overlap}, **scan)
        y, x = lattice.index.T
        by_position = open_tiles(
            folder, positions=dict(zip("yx", lattice.position_um.T[-2:], strict=True)), unit="um"
        )
        shuffled = np.random.default_rng(n).permutation(n)
        table = {"file": [f"t{i}.tif" for i in shuffled], "row": y[shuffled], "col": x[shuffled]}
        by_table = open_tiles(folder, positions=table, overlap={"y": overlap, "x": overlap})
        for i in range(n):
            (folder / f"t{i}.tif").rename(folder / f"n{i}_row{y[i]}_col{x[i]}.tif")
        by_name = open_tiles(folder, overlap={"y": overlap, "x": overlap})
        for other in (by_position, by_table, by_name):
            np.testing.assert_array_equal(other.index, lattice.index)
            np.testing.assert_allclose(other.position_um, lattice.position_um)
        save_source(by_name.source, folder / "saved")
        saved = load_source(folder / "saved")
        for i in range(n):
            assert (saved.read(i, Box((0, 0), (12, 15))) == i).all()
