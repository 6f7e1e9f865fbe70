"""tilebase.cache.yml, read and written."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.errors import LatticeError, SourceError
from latticework.io import StitchedTile, Tilebase, read_tilebase, write_tilebase
from latticework.lattice import Lattice

TEXT = """path: /data/brain
tiles:
- path: /00/00001
  aabb:
    ori: [10000000, 20000000, 30000000]
    shape: [16000, 32000, 64000]
  shape:
    type: u16
    dims: [16, 32, 64, 2]
  homography: []
  grid:
    xlims: [0, 15]
    ylims: [0, 10, 31]
    zlims: [0, 63]
    coordinates: [
      1, 2, 3,
      16, 2, 3,
      1, 12, 3,
      16, 12, 3,
      1, 33, 3,
      16, 33, 3,
      1, 2, 66,
      16, 2, 66,
      1, 12, 66,
      16, 12, 66,
      1, 33, 66,
      16, 33, 66]
"""


def lattice(**options):
    return Lattice.from_grid(
        {"z": 2, "y": 2, "x": 3},
        tile_shape={"c": 2, "z": 5, "y": 16, "x": 20},
        dtype="u2",
        overlap={"z": 1, "y": 4, "x": 5},
        pixel_size_um={"z": 1.0, "y": 0.3, "x": 0.25},
        channels=["a", "b"],
        names=[f"2018-08-23/00/{i:05d}" for i in range(12)],
        **options,
    )


def same(a, b):
    assert a.path == b.path
    assert len(a.tiles) == len(b.tiles)
    for one, other in zip(a.tiles, b.tiles, strict=True):
        plain = {"homography": None, "nodes_px": None, "coordinates_nm": None}
        assert replace(one, **plain) == replace(other, **plain)
        np.testing.assert_array_equal(one.homography, other.homography)
        np.testing.assert_array_equal(one.coordinates_nm, other.coordinates_nm)
        assert (one.nodes_px is None) == (other.nodes_px is None)
        for axis in one.nodes_px or {}:
            np.testing.assert_array_equal(one.nodes_px[axis], other.nodes_px[axis])


def test_what_the_renderer_reads_is_read(tmp_path):
    (tmp_path / "tilebase.cache.yml").write_text(TEXT)
    base = read_tilebase(tmp_path)
    (tile,) = base.tiles
    assert (base.path, tile.path) == ("/data/brain", "00/00001")
    assert tile.origin_nm == (30000000, 20000000, 10000000)
    assert tile.size_px == (64, 32, 16)
    assert (tile.channels, tile.dtype, tile.homography) == (2, "uint16", None)
    assert tile.nodes_px["y"].tolist() == [0, 10, 31]
    assert tile.coordinates_nm.shape == (2, 3, 2, 3)
    assert tile.coordinates_nm[1, 2, 0].tolist() == [66, 33, 1]
    assert base.position_um.tolist() == [[30000.0, 20000.0, 10000.0]]
    assert base.table.loc[0].to_dict() == {
        "file": "00/00001", "z_um": 30000.0, "y_um": 20000.0, "x_um": 10000.0,
    }  # fmt: skip
    write_tilebase(base, tmp_path / "again.yml")
    same(read_tilebase(tmp_path / "again.yml"), base)


def test_stitched_positions_survive_the_file_to_a_nanometre(tmp_path):
    tiles = lattice()
    stitched = tiles.position_um + np.random.default_rng(0).normal(0, 0.2, (12, 3))
    base = Tilebase.of(tiles, position_um=stitched, path="/nrs/brain, one", nodes=3)
    path = write_tilebase(base, tmp_path)
    again = read_tilebase(path)
    same(again, base)
    np.testing.assert_allclose(again.position_um, stitched, atol=0.0006)
    found = again.lattice()
    assert found.sizes == tiles.sizes
    assert found.names.tolist() == tiles.names.tolist()
    assert dict(found.pixel_size_um) == pytest.approx(dict(tiles.pixel_size_um))
    assert dict(found.tile_shape) == dict(tiles.tile_shape)


def test_matrix_and_grid_say_the_same_of_a_shifted_tile():
    base = Tilebase.of(lattice(), nodes=4)
    for tile in base.tiles:
        nodes = np.stack(
            np.meshgrid(*(tile.nodes_px[axis] for axis in "zyx"), indexing="ij"), axis=-1
        )
        pixels = np.concatenate(
            [nodes[..., ::-1], np.zeros((*nodes.shape[:-1], 1)), np.ones((*nodes.shape[:-1], 1))],
            axis=-1,
        )
        where = pixels @ tile.homography.T
        np.testing.assert_allclose(where[..., 2::-1], tile.coordinates_nm, atol=0.5)


numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(
    st.lists(numbers, min_size=25, max_size=25),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)),
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/"), min_size=1),
    st.randoms(use_true_random=False),
)
def test_any_tile_survives_the_file(tmp_path_factory, matrix, counts, name, random):
    z, y, x = counts
    coordinates = [random.randrange(-(10**10), 10**10) for _ in range(3 * z * y * x)]
    tile = StitchedTile(
        name, (-5, 0, 7), (100, 200, 300), (9, 8, 7), 1, "uint16",
        np.array(matrix).reshape(5, 5),
        {axis: np.arange(n) * 2 for axis, n in zip("zyx", counts, strict=True)},
        np.array(coordinates).reshape(z, y, x, 3),
    )  # fmt: skip
    base = Tilebase(name, (tile,))
    same(read_tilebase(write_tilebase(base, tmp_path_factory.mktemp("yml"))), base)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("16, 33, 66]", "16, 33]", "has 35 coordinates; expected 36"),
        ("homography: []", "homography: [1, 2]", "homography has 2 numbers; expected 25"),
        ("  aabb:", "  box:", "lacks something.*aabb"),
        ("dims: [16, 32, 64, 2]", "dims: [16, 32]", "expected x, y, z each"),
        ("xlims: [0, 15]", "xlims: [0, a]", "no number"),
        ("16, 33, 66]", "16, 33, a]", "no number"),
    ],
)
def test_what_a_tile_lacks_is_named(tmp_path, old, new, said):
    path = tmp_path / "tilebase.cache.yml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(SourceError, match=f"tile 0 \\(/00/00001\\).*{said}"):
        read_tilebase(path)


@pytest.mark.parametrize("text", ["tiles: [", "- 1", "path: a"])
def test_files_of_another_kind_are_refused(tmp_path, text):
    path = tmp_path / "tilebase.cache.yml"
    path.write_text(text)
    with pytest.raises(SourceError, match=r"tilebase\.cache\.yml"):
        read_tilebase(path)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "tilebase.cache.yml"
    path.write_text("path: !!python/object/apply:os.getcwd []\ntiles: []\n")
    with pytest.raises(SourceError, match="cannot be read"):
        read_tilebase(path)


def test_positions_of_another_shape_are_refused():
    with pytest.raises(
        LatticeError, match=r"position_um has the shape \(3, 3\); expected \(12, 3\)"
    ):
        Tilebase.of(lattice(), position_um=np.zeros((3, 3)))


def test_tiles_of_two_kinds_are_no_lattice():
    base = Tilebase.of(lattice())
    odd = replace(base.tiles[0], size_px=(1, 2, 3))
    with pytest.raises(LatticeError, match="of 2 kinds"):
        replace(base, tiles=(odd, *base.tiles[1:])).lattice()
