"""MouseLight's lists of tiles and tile folders."""

import json
import shutil

import numpy as np
import pytest

from latticework.errors import LatticeError, SourceError
from latticework.io import (
    load_source,
    open_tiles,
    read_mouselight,
    read_mouselight_input,
    save_source,
)
from latticework.io.memory import MemorySource
from latticework.io.mouselight_tiles import parse_settings
from latticework.lattice import Box, Lattice, State
from latticework.testing import mouselight_list, write_mouselight

PIXEL = {"z": 1.0, "y": 0.25, "x": 0.5}
OVERLAP = {"z": 1, "y": 4, "x": 2}
TILE = '{"relativePath": "a", "position": {"x": 1, "y": 1, "z": 2}}'
SHAPE = {"c": 2, "z": 4, "y": 12, "x": 16}


def acquisition(grid=(("z", 3), ("y", 3), ("x", 3)), shape=SHAPE, **options):
    """A lattice in memory whose pixels are random."""
    rng = np.random.default_rng(0)
    n = int(np.prod([count for _, count in grid]))
    size = tuple(shape.values())
    arrays = [rng.integers(0, 2**16, size, dtype="u2") for _ in range(n)]
    return Lattice.from_grid(
        dict(grid),
        tile_shape=shape,
        dtype="u2",
        overlap={axis: OVERLAP[axis] for axis, _ in grid},
        pixel_size_um=PIXEL,
        channels=["neurons", "background"][: shape.get("c", 1)] if "c" in shape else None,
        source=MemorySource(arrays),
        **options,
    )


def facts(lattice):
    return (
        lattice.sizes,
        {dim: labels.tolist() for dim, labels in lattice.labels.items()},
        lattice.index.tolist(),
        lattice.names.tolist(),
        dict(lattice.tile_shape),
        dict(lattice.step_px),
        dict(lattice.pixel_size_um),
        lattice.position_um.round(9).tolist(),
        lattice.channels,
        dict(lattice.problems),
    )


def rewrite(folder, name="pipeline-input.json", **changes):
    """The list of tiles with other values; a callable changes the old one."""
    said = json.loads((folder / name).read_text())
    for key, value in changes.items():
        said[key] = value(said[key]) if callable(value) else value
    (folder / name).write_text(json.dumps(said))


def first_at(folder, path):
    """The list of tiles with another path for the first."""
    rewrite(folder, tiles=lambda tiles: [{**tiles[0], "relativePath": path}, *tiles[1:]])


def test_both_lists_give_the_same_lattice(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path / "a", form="dashboard", backslashes=True)
    write_mouselight(simulated, tmp_path / "b", form="pipeline")
    write_mouselight(simulated, tmp_path / "c", spelling="relative_path", as_object=True)
    first, *others = [open_tiles(tmp_path / name) for name in "abc"]
    assert first.n_tiles == 27
    assert facts(first) == facts(others[0]) == facts(others[1])
    assert first.sizes == {"tile_z": 3, "tile_y": 3, "tile_x": 3}
    assert first.names[5] == "2018-08-23/00/00005"
    assert first.channels == ("neurons", "background")
    assert dict(first.step_px) == {"z": 3, "y": 8, "x": 14}
    assert dict(first.pixel_size_um) == pytest.approx(PIXEL)
    np.testing.assert_allclose(first.position_um, simulated.position_um, atol=1e-9)
    box = Box((1, 2, 3, 4), (2, 4, 10, 16))
    for tile in (0, 13, 26):
        np.testing.assert_array_equal(
            first.source.read(tile, box), simulated.source.read(tile, box)
        )


def test_the_order_of_the_list_changes_nothing(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    before = facts(open_tiles(tmp_path))
    rewrite(tmp_path, tiles=lambda tiles: tiles[::-1])
    assert facts(open_tiles(tmp_path)) == before


def test_incomplete_tiles_wait_on_the_lattice(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path, complete=set(range(27)) - {4, 20})
    lattice = open_tiles(tmp_path)
    presence = lattice.source.presence()
    assert lattice.n_tiles == 27
    assert not lattice.problems
    assert presence.dtype == np.uint8
    assert np.flatnonzero(presence == State.WAITING).tolist() == [4, 20]
    assert (np.delete(presence, [4, 20]) == State.COMPLETE).all()
    np.testing.assert_allclose(lattice.position_um, simulated.position_um, atol=1e-6)
    with pytest.raises(SourceError, match="tile 4 has no file"):
        lattice.source.read(4, Box((0, 0, 0, 0), (1, 1, 1, 1)))


def test_half_written_files_of_a_waiting_tile_are_not_looked_at(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    stack = tmp_path / "2018-08-23/00/00007/00007-ngc.0.tif"
    stack.write_bytes(stack.read_bytes()[:100])
    with pytest.raises(SourceError, match=r"00007-ngc\.0\.tif"):
        open_tiles(tmp_path)
    rewrite(tmp_path, tiles=lambda tiles: [{**t, "isComplete": t["id"] != 8} for t in tiles])
    lattice = open_tiles(tmp_path)
    assert np.flatnonzero(lattice.source.presence() == State.WAITING).tolist() == [7]


def test_a_tile_that_arrives_changes_its_fingerprint_only(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path, complete=range(26))
    before = open_tiles(tmp_path).source.fingerprints()
    write_mouselight(simulated, tmp_path / "other")
    shutil.copytree(tmp_path / "other/2018-08-23/00/00026", tmp_path / "2018-08-23/00/00026")
    (tmp_path / "pipeline-input.json").write_text(json.dumps(mouselight_list(simulated)))
    after = open_tiles(tmp_path).source.fingerprints()
    assert np.flatnonzero(before != after).tolist() == [26]


def test_waiting_tiles_survive_saving(tmp_path):
    write_mouselight(acquisition(), tmp_path / "in", complete=range(20))
    source = open_tiles(tmp_path / "in").source
    save_source(source, tmp_path / "source")
    loaded = load_source(tmp_path / "source")
    np.testing.assert_array_equal(loaded.presence(), source.presence())
    np.testing.assert_array_equal(loaded.fingerprints(), source.fingerprints())
    box = Box((0, 0, 0, 0), (2, 4, 12, 16))
    np.testing.assert_array_equal(loaded.read(3, box), source.read(3, box))


def test_skipped_planes_parameters_and_extents_are_reachable(tmp_path):
    write_mouselight(
        acquisition(),
        tmp_path,
        skipped={"z": [1], "x": [2, 0]},
        parameters={"gain": 3, "who": "ml"},
    )
    found = read_mouselight(tmp_path)
    assert found.skipped == {"z": (1,), "y": (), "x": (0, 2)}
    assert found.parameters == {"gain": 3, "who": "ml"}
    assert found.extents == {"z": (0, 2), "y": (0, 2), "x": (0, 2)}
    assert found.input.ids.tolist() == list(range(1, 28))
    assert (found.input.step == 1).all()
    write_mouselight(acquisition(), tmp_path / "d", form="dashboard", skipped={"z": [1]})
    assert read_mouselight(tmp_path / "d").skipped["z"] == (1,)
    assert read_mouselight(tmp_path / "d").extents["z"] == (0, 2)


def test_the_pipelines_list_counts_where_both_are_there(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path, form="dashboard")
    write_mouselight(simulated, tmp_path, form="pipeline", parameters={"from": "pipeline"})
    assert read_mouselight(tmp_path).parameters == {"from": "pipeline"}
    assert read_mouselight(tmp_path / "dashboard.json").input.form == "dashboard"


def test_a_list_of_any_name_opens_by_its_path(tmp_path):
    write_mouselight(acquisition(), tmp_path, form="dashboard")
    (tmp_path / "dashboard.json").rename(tmp_path / "curated.json")
    assert open_tiles(tmp_path / "curated.json").n_tiles == 27
    assert read_mouselight(tmp_path / "curated.json").input.form == "dashboard"


def test_a_tile_that_was_imaged_again_counts_as_its_last_complete_image(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    shutil.copytree(tmp_path / "2018-08-23/00/00005", tmp_path / "2018-08-24/00/00027")
    again = {
        "id": 99, "relativePath": "2018-08-24\\00\\00027", "isComplete": True,
        "position": {"x": 2, "y": 1, "z": 0}, "step": {"x": 1, "y": 1, "z": 1},
    }  # fmt: skip
    rewrite(tmp_path, tiles=lambda tiles: [again, *tiles])
    found = read_mouselight(tmp_path)
    assert found.lattice.n_tiles == 27
    assert found.lattice.tile(z=0, y=1, x=2).name == "2018-08-24/00/00027"
    assert found.superseded == {"2018-08-23/00/00005": "2018-08-24/00/00027"}
    rewrite(tmp_path, tiles=lambda tiles: [{**tiles[0], "isComplete": False}, *tiles[1:]])
    found = read_mouselight(tmp_path)
    assert found.lattice.tile(z=0, y=1, x=2).name == "2018-08-23/00/00005"
    assert found.superseded == {"2018-08-24/00/00027": "2018-08-23/00/00005"}
    assert (found.lattice.source.presence() == State.COMPLETE).all()


def test_a_lattice_of_large_positions_keeps_them_as_labels(tmp_path):
    write_mouselight(acquisition(), tmp_path)

    def far(tiles):
        places = [{axis: t["position"][axis] + 1588 for axis in "xyz"} for t in tiles]
        return [{**t, "position": place} for t, place in zip(tiles, places, strict=True)]

    rewrite(tmp_path, tiles=far)
    lattice = open_tiles(tmp_path)
    assert lattice.labels["tile_z"].tolist() == [1588, 1589, 1590]
    assert lattice.tile(z=1589, y=1588, x=1590).name == "2018-08-23/00/00011"


def test_drives_of_another_computer_are_mapped(tmp_path):
    write_mouselight(acquisition(), tmp_path / "data" / "brain")
    remote = "/groups/mouse"
    drive = {"remote": remote, "local": str(tmp_path / "data")}
    assert read_mouselight(f"{remote}/brain", drive_mapping=drive).lattice.n_tiles == 27
    first_at(tmp_path / "data/brain", f"{remote}/brain/2018-08-23/00/00000")
    found = read_mouselight(f"{remote}/brain", drive_mapping=[drive]).lattice
    box = Box((0, 0, 0, 0), (2, 4, 12, 16))
    row = found.names.tolist().index(str(tmp_path / "data/brain/2018-08-23/00/00000"))
    assert found.source.read(row, box).shape == (2, 4, 12, 16)
    first_at(tmp_path / "data/brain", "Z:\\a\\b")
    with pytest.raises(SourceError, match=r"drive of another computer.*drive_mapping"):
        open_tiles(tmp_path / "data/brain")


def test_tile_folders_open_without_a_list(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path, form="none")
    lattice = open_tiles(tmp_path)
    assert lattice.n_tiles == 27
    assert dict(lattice.step_px) == {"z": 3, "y": 8, "x": 14}
    assert lattice.channels == ("neurons", "background")
    np.testing.assert_allclose(lattice.position_um, simulated.position_um, atol=1e-9)
    again = tmp_path / "2018-08-24/00/00027"
    shutil.copytree(tmp_path / "2018-08-23/00/00005", again)
    with pytest.raises(SourceError, match=r"00005.*00027.*both at x=2, y=1, z=0"):
        open_tiles(tmp_path)


def test_folders_that_say_only_where_the_stage_was_make_a_grid(tmp_path):
    simulated = acquisition()
    write_mouselight(simulated, tmp_path, form="none")
    for path in tmp_path.rglob("*.acquisition"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line for line in lines if "_mm" in line))
    lattice = open_tiles(tmp_path)
    assert lattice.sizes == {"tile_z": 3, "tile_y": 3, "tile_x": 3}
    assert dict(lattice.step_px) == {"z": 3, "y": 8, "x": 14}


def test_images_that_run_against_the_stage_are_turned(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    lattice = open_tiles(tmp_path, flip="yx")
    assert lattice.labels["tile_x"].tolist() == [2, 1, 0]
    first, right = lattice.tile(z=0, y=0, x=2), lattice.tile(z=0, y=0, x=1)
    assert right.index[2] == first.index[2] + 1
    assert right.position_um["x"] > first.position_um["x"]


def test_a_missing_channel_is_named_and_others_stay(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    (tmp_path / "2018-08-23/00/00011/00011-ngc.1.tif").unlink()
    with pytest.raises(SourceError, match=r"2 channels expected, 1 found: channel 1 of tile "
                       r"'2018-08-23/00/00011' is missing"):  # fmt: skip
        open_tiles(tmp_path)
    lattice = open_tiles(tmp_path, errors="mark")
    assert list(lattice.problems) == [11]
    assert lattice.source.read(11, Box((0, 0, 0, 0), (1, 4, 12, 16))).shape == (1, 4, 12, 16)


def test_a_folder_that_is_gone_is_named_and_others_stay(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    shutil.rmtree(tmp_path / "2018-08-23/00/00011")
    with pytest.raises(SourceError, match=r"00011 cannot be read.*expected a tile's folder"):
        open_tiles(tmp_path)
    lattice = open_tiles(tmp_path, errors="mark")
    assert list(lattice.problems) == [11]
    assert lattice.n_tiles == 27


def test_fields_of_view_that_differ_are_refused(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    path = tmp_path / "2018-08-23/00/00011/00011-ngc.microscope"
    path.write_text(path.read_text().replace("x_size_um: 8.0", "x_size_um: 9.0"))
    with pytest.raises(SourceError, match=r"00011.*size of.*9.0.*00000.*8.0"):
        open_tiles(tmp_path)


def test_the_step_of_the_piezo_is_the_pixel_along_z(tmp_path):
    write_mouselight(acquisition(), tmp_path)
    for path in tmp_path.rglob("*.microscope"):
        piezo = "scanner3d {\n  zpiezo {\n    um_max: 6\n    um_min: 0\n    um_step: 2\n  }\n}\n"
        path.write_text(piezo + path.read_text())
    assert open_tiles(tmp_path).pixel_size_um["z"] == 2.0


def test_settings_in_blocks():
    text = 'a: 1\nblock {\n  b: "two"\n  inner {\n    c: 3.5\n  }\n  d = 4\n}\n# note\ne: 5'
    expected = {"a": "1", "block.b": "two", "block.inner.c": "3.5", "block.d": "4", "e": "5"}
    assert parse_settings(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"tiles": [{"relativePath": "a"', "half written"),
        ('{"pipelineFormat": 1}', "tiles is None"),
        ('{"monitor": {}}', "neither tiles nor tileMap, but monitor"),
        ("[1]", "holds a list"),
        ('{"tiles": []}', "lists no tiles"),
        ('{"tiles": [{"isComplete": true}]}', "tile 0 has relativePath None"),
        ('{"tiles": [{"relativePath": "a/b", "position": {"x": 1, "y": null, "z": 2}}]}',
         "tile 'a/b' has the position"),
        ('{"tiles": [' + TILE + "]}", "none of them complete"),
        ('{"planeMarkers": {"z": 3}, "tiles": [' + TILE + "]}", "planeMarkers has z=3"),
    ],
)  # fmt: skip
def test_lists_that_cannot_be_used_say_why(tmp_path, text, said):
    file = tmp_path / "pipeline-input.json"
    file.write_text(text)
    with pytest.raises(SourceError) as caught:
        open_tiles(tmp_path)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_no_list_at_all(tmp_path):
    with pytest.raises(SourceError, match=r"no list of tiles; expected pipeline-input\.json"):
        read_mouselight(tmp_path)


def test_the_list_alone_is_read_fast(tmp_path):
    tiles = [
        {"id": i, "relativePath": f"d/{i // 1000:02d}/{i:05d}", "isComplete": i % 2 == 0,
         "position": {"x": i % 100, "y": i // 100 % 20, "z": i // 2000}}
        for i in range(10_000)
    ]  # fmt: skip
    (tmp_path / "pipeline-input.json").write_text(json.dumps({"tiles": tiles}))
    found = read_mouselight_input(tmp_path)
    assert len(found.paths) == 10_000
    assert found.complete.sum() == 5000
    assert np.isnan(found.step).all()


def test_one_channel_and_one_plane_need_no_c(tmp_path):
    simulated = acquisition((("y", 1), ("x", 2)), {"z": 1, "y": 12, "x": 16})
    write_mouselight(simulated, tmp_path)
    lattice = open_tiles(tmp_path)
    assert dict(lattice.tile_shape) == {"z": 1, "y": 12, "x": 16}
    assert lattice.channels is None


def test_a_sheet_is_only_for_lavision(tmp_path):
    write_mouselight(acquisition(), tmp_path, form="none")
    with pytest.raises(LatticeError, match="sheet='left' names the light sheet of a LaVision"):
        open_tiles(tmp_path, sheet="left")
