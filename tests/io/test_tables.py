"""Tables come back as they were, tile by tile."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.errors import StoreError
from latticework.io.tables import read_tables, stage_table, table_key


@settings(max_examples=15)
@given(rows=st.lists(st.integers(0, 4), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_tables_of_any_length_come_back(tmp_path_factory, rows, seed):
    folder = tmp_path_factory.mktemp("tables")
    random = np.random.default_rng(seed)
    frames = []
    for tile_id, n in enumerate(rows):
        frame = pd.DataFrame(
            {
                "y": random.random(n),
                "count": random.integers(0, 9, n),
                "kind": pd.array(["cell"] * n, dtype="str"),
                "seen": np.ones(n, bool),
                "small": random.random(n).astype("f4"),
            }
        )
        stage_table(folder, 999 + tile_id, frame)
        frames.append(frame.assign(tile_id=np.int64(999 + tile_id)))
    whole = read_tables(folder, range(999, 999 + len(rows)))
    columns = ["tile_id", *frames[0].columns[:-1]]
    pd.testing.assert_frame_equal(whole, pd.concat(frames, ignore_index=True)[columns])


def test_arrow_tables_and_named_indices(tmp_path):
    stage_table(tmp_path, 1, pa.table({"cell": [3, 4], "x": [1.0, 2.0]}))
    frame = pd.DataFrame({"x": [5.0]}, index=pd.Index([6], name="cell"))
    stage_table(tmp_path, 2, frame)
    whole = read_tables(tmp_path, [2, 1])
    assert whole.tile_id.tolist() == [2, 1, 1]
    assert whole.cell.tolist() == [6, 3, 4]


def test_integers_and_floats_meet_as_floats(tmp_path):
    stage_table(tmp_path, 0, pd.DataFrame({"n": [1]}))
    stage_table(tmp_path, 1, pd.DataFrame({"n": [0.5]}))
    assert read_tables(tmp_path, [0, 1]).n.tolist() == [1.0, 0.5]


def test_no_tiles_give_an_empty_table(tmp_path):
    assert read_tables(tmp_path, []).columns.tolist() == ["tile_id"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "return a pandas.DataFrame"),
        (pd.DataFrame({"tile_id": [1]}), "leave it out or rename it"),
        (pd.DataFrame({0: [1]}), "names must be texts"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "each once"),
        (pd.DataFrame({"a": [1, "x"]}), "one type"),
        (pd.DataFrame({"a": [object()]}), "one type"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, table, message):
    with pytest.raises(StoreError, match=message):
        stage_table(tmp_path, 3, table)


def test_missing_damaged_and_disagreeing_tables_say_so(tmp_path):
    stage_table(tmp_path, 0, pd.DataFrame({"n": [1]}))
    stage_table(tmp_path, 1, pd.DataFrame({"n": ["a"]}))
    with pytest.raises(StoreError, match="same columns and types"):
        read_tables(tmp_path, [0, 1])
    with pytest.raises(StoreError, match="no table of tile 2"):
        read_tables(tmp_path, [0, 2])
    file = tmp_path / table_key(1)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StoreError, match="table of tile 1 cannot be read"):
        read_tables(tmp_path, [1])
