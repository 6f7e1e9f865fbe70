"""From tiles to a volume in one call, through a project."""

import base64
import io
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import zarr
from PIL import Image
from scipy import ndimage

import latticework as lw
from latticework.errors import StoreError
from latticework.lattice import Lattice
from latticework.stitch import fuse, place, register
from latticework.stitch.images import plan_of
from latticework.stitch.seams import level_tiles
from tests.viz.test_notebook_reprs import harmless

SIZE, STEP = 160, 128


def scene_of(grid, seed=0, *, blur=1.5, contrast=150):
    """What a grid of tiles, and a little around it, shows."""
    shape = [STEP * n + SIZE - STEP + 10 for n in grid]
    fine = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), blur)
    return np.clip(700 + contrast * fine / fine.std(), 0, None)


def tiles_of(scene, grid, *, jitter=3, seed=1, noise=0.0, gains=None, lamp=None, offset=0.0):
    """Tiles cut at whole pixels: the lattice, and where they lie in the scene."""
    rng = np.random.default_rng(seed)
    arrays, truth, nominal = {}, [], []
    for row, column in np.ndindex(*grid):
        at = jitter + np.array([row, column]) * STEP
        true = at + rng.integers(-jitter, jitter + 1, 2)
        piece = scene[true[0] : true[0] + SIZE, true[1] : true[1] + SIZE].astype("f8")
        piece = piece * (1 if lamp is None else lamp) * (1 if gains is None else gains[row, column])
        piece = piece + offset + rng.normal(0, noise, piece.shape) if noise else piece + offset
        arrays[f"y{row}_x{column}"] = np.clip(np.rint(piece), 0, 65535).astype("u2")
        truth.append(true)
        nominal.append(at)
    lattice = lw.open_tiles(arrays, pattern="y{y:d}_x{x:d}", overlap=SIZE - STEP)
    return lattice, np.array(truth)


def pixels_of(image):
    return zarr.open_group(image, mode="r")["0"][:]


def test_a_project_makes_the_same_volume_as_the_functions(whole, tmp_path):
    tiles, _ = tiles_of(scene_of((3, 4)), (3, 4), noise=8)
    done = whole(tiles, light="no", gains="no")
    by_hand = place(tiles, register(tiles))
    np.testing.assert_allclose(done.placement.lattice.position_um, by_hand.lattice.position_um)
    assert done.placement.links.trusted.tolist() == by_hand.links.trusted.tolist()
    image = fuse(by_hand.lattice, tmp_path / "by_hand.ome.zarr")
    np.testing.assert_array_equal(pixels_of(done.image), pixels_of(image.path))
    assert set(done.project.counts["pairs"]) == {"complete"}


@pytest.mark.slow
def test_tiles_without_noise_give_the_scene_back(whole):
    scene = np.rint(scene_of((2, 3))).astype("u2")
    tiles, truth = tiles_of(scene, (2, 3))
    done = whole(tiles, blend="none", block=(64, 64))
    found = done.placement.lattice.position_um
    assert np.abs(found - found[0] - (truth - truth[0])).max() < 0.01
    assert not done.levels["even"].any()
    assert (done.levels["gain"] == 1).all()
    pixels, first = pixels_of(done.image), truth.min(axis=0)
    seen = pixels > 0
    part = scene[first[0] : first[0] + pixels.shape[0], first[1] : first[1] + pixels.shape[1]]
    assert seen.mean() > 0.9
    np.testing.assert_array_equal(pixels[seen], part[seen])


@pytest.mark.slow
def test_different_gains_are_levelled(whole):
    scene = scene_of((3, 4))
    gains = np.where(np.indices((3, 4)).sum(axis=0) % 2, 1.2, 1.0)
    tiles, truth = tiles_of(scene, (3, 4), noise=4, gains=gains, offset=100)
    done = whole(tiles)
    ratio = done.levels["gain"].to_numpy().reshape(3, 4) * gains
    assert ratio.max() / ratio.min() < 1.02
    pixels, first = pixels_of(done.image).astype("f8") - 100, truth.min(axis=0)
    part = scene[first[0] : first[0] + pixels.shape[0], first[1] : first[1] + pixels.shape[1]]
    inner = tuple(slice(20, -20) for _ in range(2))  # all of it is covered
    ratios = ndimage.gaussian_filter(pixels / part, 6)[inner]
    assert ratios.max() / ratios.min() < 1.05  # 1.2 where nothing is done


@pytest.mark.slow
def test_uneven_light_is_taken_out_only_where_there_is_some(whole):
    y, x = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE), indexing="ij")
    lamp = 1.1 - 0.35 * (y**2 + x**2)
    scene = scene_of((5, 5), contrast=120)
    uneven, _ = tiles_of(scene, (5, 5), noise=4, lamp=lamp, offset=50)
    done = whole(uneven)
    levels = done.levels.iloc[0]
    assert levels["even"]
    assert levels["apart_even"] < 0.6 * levels["apart"]
    even, _ = tiles_of(scene, (5, 5), noise=4, offset=50)
    assert not whole(even, "even.ome.zarr").levels["even"].any()


def test_nothing_runs_twice_and_other_options_make_another_volume(whole):
    tiles, _ = tiles_of(scene_of((2, 3)), (2, 3), noise=4)
    done = whole(tiles)
    attempts = len(done.project.attempts())
    again = whole(tiles)
    assert again
    assert len(again.project.attempts()) == attempts
    with pytest.raises(lw.errors.StoreError, match="overwrite=True"):
        whole(tiles, blend="maximum")
    before, key = pixels_of(done.image), plan_of(done.image)
    other = whole(tiles, blend="maximum", overwrite=True)
    assert plan_of(other.image) != key
    assert (pixels_of(other.image) != before).any()
    ran = other.project.attempts().iloc[attempts:]
    assert set(ran["stage"]) == {"volume", "image"}
    assert not list(done.image.parent.glob("*.part"))


@pytest.mark.slow
def test_an_image_that_was_removed_is_made_again(whole):
    import shutil

    tiles, _ = tiles_of(scene_of((2, 3)), (2, 3), noise=4)
    done = whole(tiles)
    before = pixels_of(done.image)
    shutil.rmtree(done.image)
    again = whole(tiles)
    np.testing.assert_array_equal(pixels_of(again.image), before)


@pytest.mark.slow
def test_something_else_at_the_place_of_the_image_is_left_alone(whole, tmp_path):
    (tmp_path / "brain.ome.zarr").mkdir()
    (tmp_path / "brain.ome.zarr" / "mine.txt").write_text("mine")
    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2))
    with pytest.raises(lw.errors.StoreError, match="exists"):
        whole(tiles)
    with pytest.raises(lw.errors.StageError, match="is no OME-Zarr image"):
        whole(tiles, overwrite=True)
    assert (tmp_path / "brain.ome.zarr" / "mine.txt").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("grid", [(1, 1), (1, 3), (3, 1)])
def test_rows_columns_and_single_tiles(whole, grid):
    scene = scene_of((3, 3))
    tiles, truth = tiles_of(scene, grid, noise=3)
    done = whole(tiles)
    found = done.placement.lattice.position_um
    assert np.abs(found - found[0] - (truth - truth[0])).max(initial=0) < 0.1
    assert pixels_of(done.image).max() > 500


def test_tiles_that_do_not_overlap_stay_where_they_should_be_and_it_is_said(whole):
    rng = np.random.default_rng(0)
    arrays = {f"y0_x{x}": rng.integers(100, 900, (64, 64)).astype("u2") for x in range(3)}
    tiles = lw.open_tiles(arrays, pattern="y{y:d}_x{x:d}")
    done = whole(tiles)
    np.testing.assert_array_equal(done.placement.lattice.position_um, tiles.position_um)
    assert set(done.placement.links["why"]) == {"the tiles do not overlap"}
    assert set(done.placement.tiles["placed_by"]) == {"stage model"}
    np.testing.assert_array_equal(pixels_of(done.image), np.hstack(list(arrays.values())))


@pytest.mark.slow
def test_channels_are_placed_by_one_and_fused_each(whole):
    scene = scene_of((2, 2))
    tiles, truth = tiles_of(scene, (2, 2), noise=4)
    arrays = {}
    for tile in tiles:
        plain = tiles.source.read(tile.id, tile.box)
        arrays[tile.name] = np.stack([np.full_like(plain, 300), plain])
    both = lw.open_tiles(
        arrays,
        pattern="y{y:d}_x{x:d}",
        overlap=SIZE - STEP,
        dims=("c", "y", "x"),
        channels=["flat", "dots"],
    )
    done = whole(both, channel=1)
    found = done.placement.lattice.position_um
    assert np.abs(found - found[0] - (truth - truth[0])).max() < 0.1
    pixels = pixels_of(done.image)
    assert set(np.unique(pixels[0])) <= {0, 300}
    assert pixels[1].std() > 50


@pytest.mark.slow
def test_a_notebook_shows_the_volume_with_the_words_of_the_report(whole):
    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2), noise=4)
    evil = "<script>alert(1)</script>"
    done = whole(tiles, f"{evil.replace('/', ' ')}.ome.zarr")
    page = done._repr_html_()
    harmless(page)
    assert 'src="data:image/png' in page
    assert "4 of 4 links are trusted" in page
    assert "&lt;script&gt;" in page  # where the volume is
    picture = base64.b64decode(re.search(r"base64,([^\"]+)", page)[1])
    assert np.ptp(np.asarray(Image.open(io.BytesIO(picture))).astype(int)) > 200
    for text in (*done.account.light, done.account.took, str(done.project.path)):
        assert text.replace("<", "&lt;").replace(">", "&gt;") in page
    assert done.account.judged.text in repr(done)
    noted = replace(done, account=replace(done.account, notes=(f"a note {evil}",)))
    harmless(noted._repr_html_())
    assert "a note &lt;script&gt;" in noted._repr_html_()
    shutil.rmtree(done.image)
    page = done._repr_html_()
    harmless(page)
    assert "<img" not in page
    assert "not there any more" in page
    assert "no volume" in repr(replace(done, image=None))
    assert "see why" in replace(done, image=None)._repr_html_()


def test_a_tile_that_was_marked_unreadable_is_a_hole(whole, tmp_path):
    import tifffile

    tiles, _ = tiles_of(scene_of((2, 3)), (2, 3), noise=4)
    folder = tmp_path / "tiles"
    folder.mkdir()
    for tile in tiles:
        tifffile.imwrite(folder / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))
    torn = folder / "y1_x1.tif"
    torn.write_bytes(torn.read_bytes()[:1000])
    marked = lw.open_tiles(folder, pattern="y{y:d}_x{x:d}.tif", overlap=SIZE - STEP, errors="mark")
    assert marked.problems
    done = whole(marked)
    assert done
    row = done.placement.tiles.set_index("name").loc["y1_x1.tif"]
    assert row["placed_by"] == "neighbours"


RUN = """
import sys
import numpy as np
import latticework as lw
from latticework.stitch import stitch

if __name__ == "__main__":
    tiles = lw.open_tiles(sys.argv[1], pattern="y{y:d}_x{x:d}.tif", overlap=32)
    stitch(tiles, sys.argv[2], block=(32, 32), report=False, progress="none")
"""


@pytest.mark.slow
def test_a_stitching_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(tmp_path, whole):
    import psutil
    import tifffile

    tiles, _ = tiles_of(scene_of((6, 6)), (6, 6), noise=4)
    folder, out = tmp_path / "tiles", tmp_path / "killed.ome.zarr"
    folder.mkdir()
    for tile in tiles:
        tifffile.imwrite(folder / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))
    words = [sys.executable, "-c", RUN, str(folder), str(out)]
    process = subprocess.Popen(words)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("killed.ome.zarr.*.part/0/c/*")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    psutil.wait_procs(children, timeout=20)
    project = lw.open_project(tmp_path / "killed.lw")
    done_before = project.counts["volume"].get("complete", 0)
    assert done_before < len(project.pipeline["volume"].lattice)
    subprocess.run(words, check=True, timeout=120)
    opened = lw.open_tiles(folder, pattern="y{y:d}_x{x:d}.tif", overlap=32)
    undisturbed = whole(opened, block=(32, 32))
    np.testing.assert_array_equal(pixels_of(out), pixels_of(undisturbed.image))
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_a_selection_is_stitched(whole):
    scene = scene_of((2, 2))
    tiles, _ = tiles_of(scene, (2, 2), noise=4)
    arrays = {
        f"w{well}_{tile.name}": tiles.source.read(tile.id, tile.box) + np.uint16(100 * well)
        for well in range(2)
        for tile in tiles
    }
    wells = lw.open_tiles(arrays, pattern="w{well:d}_y{y:d}_x{x:d}", overlap=SIZE - STEP)
    with pytest.raises(lw.errors.LatticeError, match="well"):
        whole(wells)
    first, second = (
        pixels_of(whole(wells.sel(well=k), f"w{k}.ome.zarr").image).astype(int) for k in range(2)
    )
    assert np.median(second - first) == 100


@pytest.mark.slow
def test_blocks_know_the_plan_they_are_of(whole, local_client):
    """Positions that changed under a plan are not fused by it."""
    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2), noise=4)
    done = whole(tiles)
    project = done.project
    project.change("levels", gains="yes")
    assert not project.run(local_client, progress="none")
    failed = project.attempts("volume")
    assert "settled anew" in str(failed["message"].iloc[-1])
    assert whole(tiles, gains="yes", overwrite=True)


def test_options_that_do_not_exist_are_refused_before_any_work(whole, tmp_path):
    tiles = Lattice.from_grid({"y": 1, "x": 1}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    for wrong in ({"blend": "soft"}, {"light": "maybe"}, {"version": "0.6"}):
        with pytest.raises(ValueError, match="choose one of"):
            whole(tiles, **wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_picture_of_the_lamp_takes_its_light_out(whole, tmp_path):
    import tifffile

    y, x = np.meshgrid(np.linspace(-1, 1, SIZE), np.linspace(-1, 1, SIZE), indexing="ij")
    lamp = 1.1 - 0.35 * (y**2 + x**2)
    scene = scene_of((2, 3))
    tiles, truth = tiles_of(scene, (2, 3), noise=3, lamp=lamp, offset=100)
    tifffile.imwrite(tmp_path / "lamp.tif", (3000 * lamp).astype("f4"))
    done = whole(tiles, light=tmp_path / "lamp.tif", dark=100)
    pixels, first = pixels_of(done.image).astype("f8") - 100, truth.min(axis=0)
    part = scene[first[0] : first[0] + pixels.shape[0], first[1] : first[1] + pixels.shape[1]]
    ratios = ndimage.gaussian_filter(pixels / part, 4)[20:-20, 20:-20]
    assert ratios.max() / ratios.min() < 1.03  # 1.8 under this lamp
    with pytest.raises(ValueError, match="picture of an even specimen"):
        whole(tiles, light="lamp.tif")
    with pytest.raises(lw.errors.StageError, match="does not fit tiles"):
        whole(tiles, "other.ome.zarr", light=lamp[:50], project=tmp_path / "other.lw")
    assert not (tmp_path / "other.lw").exists()


def test_light_of_tiles_of_several_sizes_is_refused_before_any_work(whole, tmp_path):
    pixels = np.random.default_rng(1).integers(100, 900, (100, 130)).astype("u2")
    ragged = lw.Lattice.from_array(pixels, block={"y": 40, "x": 50}, dims=("y", "x"))
    with pytest.raises(
        lw.errors.LatticeError, match=r"has .* pixels and others 40 x 50.*--light no"
    ):
        whole(ragged, light="yes")
    assert not list(tmp_path.iterdir())


def seams_between(ratios, *, apart_even, spread=0.01, even_spread=0.01):
    """What `measure_seams` might say of tiles in a row, of these logarithms of ratios."""
    n = len(ratios)
    bright = 1000.0
    rows = pd.DataFrame({"first": np.arange(n), "second": np.arange(1, n + 1), "axis": "x"})
    for kind, apart in (("", np.abs(ratios)), ("even_", np.full(n, apart_even))):
        rows[f"{kind}bright"] = bright
        rows[f"{kind}other"] = bright * np.exp(ratios)
        rows[f"{kind}spread"] = even_spread if kind else spread
        rows[f"{kind}patches"], rows[f"{kind}uneven"] = 40, 0.0
        rows[f"{kind}apart"] = apart
        rows[f"{kind}slope"], rows[f"{kind}error"], rows[f"{kind}cross"] = np.nan, np.nan, np.nan
        rows[f"{kind}low"], rows[f"{kind}top"] = 0.5 * bright, 1.5 * bright
    return rows


@pytest.mark.parametrize("trusted", [True, False])
def test_only_overlaps_of_trusted_links_decide_on_light(trusted):
    ratios = np.tile([0.3, -0.3], 5)
    seams = seams_between(ratios, apart_even=0.01, spread=0.2)
    places = pd.DataFrame({"id": np.arange(11)})
    links = seams[["first", "second"]].assign(trusted=trusted)
    found = level_tiles(places, links, seams, {"dark": [0.0]}).iloc[0]
    assert found["even"] == trusted
    assert found["overlaps"] == (10 if trusted else 0)
    gains = level_tiles(places, links, seams, {"dark": [0.0]}, light="no")["gain"]
    assert (gains.to_numpy().std() > 0.1) == trusted


def test_a_volume_in_a_folder_that_is_a_file_is_refused_before_any_work(whole, tmp_path):
    (tmp_path / "notes").write_text("not a folder")
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2))
    with pytest.raises(StoreError, match=r"notes is a file; choose another folder"):
        whole(tiles, "notes/deep/a.ome.zarr")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def grid_pairs(n):
    """Neighbours in a grid of n x n, those along x first."""
    ids = np.arange(n * n).reshape(n, n)
    return np.concatenate(
        [np.stack([ids[:, :-1], ids[:, 1:]], -1), np.stack([ids[:-1].T, ids[1:].T], -1)]
    ).reshape(-1, 2)


def seams_of_grid(pairs, ratios):
    """What `measure_seams` might say of a grid, and links that are all trusted."""
    seams = seams_between(ratios, apart_even=1.0)
    seams["first"], seams["second"] = pairs.T
    seams["axis"] = np.where(np.arange(len(pairs)) < len(pairs) // 2, "x", "y")
    return seams, seams[["first", "second"]].assign(trusted=True)


@pytest.mark.parametrize("step", [5.0, 1.2, 1.03])
def test_a_step_between_two_halves_is_levelled_though_most_overlaps_agree(step):
    n, gains = 6, np.repeat([step, 1.0], 18)  # rows of a grid of 6 x 6
    pairs = grid_pairs(n)
    seams, links = seams_of_grid(pairs, np.log(gains[pairs[:, 1]] / gains[pairs[:, 0]]))
    assert np.median(seams["apart"]) == 0
    places = pd.DataFrame({"id": np.arange(n * n)})
    made = level_tiles(places, links, seams, {"dark": [0.0]})
    even = made["gain"] * gains
    assert even.max() / even.min() < 1 + 0.05 * (step - 1)
    assert (made["steps"] == 0).all()
    left = level_tiles(places, links, seams, {"dark": [0.0]}, gains="no")
    assert (left["steps"] == (n if step > 1.2 else 0)).all()


@pytest.mark.parametrize("helps", [True, False])
def test_the_flat_field_is_used_if_it_helps_beside_the_gains(helps):
    pairs = grid_pairs(4)
    gains = np.where(np.arange(16) % 2, 1.2, 1.0)
    ratios = np.log(gains[pairs[:, 1]] / gains[pairs[:, 0]])
    seams, links = seams_of_grid(pairs, ratios)
    seams["spread"], seams["even_spread"] = 0.05, 0.01 if helps else 0.05
    seams["even_apart"] = 0.5 * seams["apart"]  # as a flat-field may make them seem
    seams["even_other"] = seams["even_bright"] * np.exp(0.5 * ratios)
    made = level_tiles(pd.DataFrame({"id": np.arange(16)}), links, seams, {"dark": [0.0]})
    assert (made["even"] == helps).all()
    left = made["gain"] * (np.sqrt(gains) if helps else gains)
    assert left.max() / left.min() < 1.01


def test_a_line_that_the_others_contradict_decides_nothing():
    pairs = grid_pairs(4)
    gains = np.where(np.arange(16) % 3, 1.2, 1.0)
    seams, links = seams_of_grid(pairs, np.zeros(len(pairs)))
    for kind in ("", "even_"):
        seams[[f"{kind}bright", f"{kind}other", f"{kind}spread", f"{kind}apart"]] = np.nan
        seams[f"{kind}patches"] = 0  # cells on nothing: only the lines tell
        seams[f"{kind}slope"] = gains[pairs[:, 1]] / gains[pairs[:, 0]]
        seams[f"{kind}cross"] = np.where(seams[f"{kind}slope"] == 1, np.inf, 100.0)
        seams[f"{kind}error"], seams[f"{kind}low"] = 0.003, 110.0
        seams.loc[5, f"{kind}slope"] = 14.0
    made = level_tiles(pd.DataFrame({"id": np.arange(16)}), links, seams, {"dark": [108.0]})
    left = made["gain"] * gains
    assert left.max() / left.min() < 1.01
    assert made["pivot"].iloc[0] == 100.0


@pytest.mark.parametrize("gains", [(1.2, 1.0), (1.0, 1.2, 1.0), (1.0, 1.0, 1.2)])
def test_gains_of_a_few_tiles_are_told_above_what_the_camera_counts_without_light(whole, gains):
    grid = (1, len(gains))
    scene = scene_of(grid) - 400
    tiles, _ = tiles_of(scene, grid, gains=np.array([gains]), offset=100, noise=4)
    levels = whole(tiles).levels
    left = levels["gain"].to_numpy() * gains
    assert left.max() / left.min() == pytest.approx(1, abs=0.02)
    assert levels["pivot"].iloc[0] == pytest.approx(100, abs=15)


@pytest.mark.parametrize("grid", [(1, 2), (2, 3)])
def test_gains_of_cells_on_nothing_are_told_by_the_cells(whole, grid):
    cells = np.clip(scene_of(grid, blur=5, contrast=300) - 1200, 0, None)
    gains = np.random.default_rng(3).permutation(np.resize([1.2, 1.0], np.prod(grid)))
    tiles, _ = tiles_of(cells, grid, gains=gains.reshape(grid), offset=100, noise=4)
    assert np.mean(cells == 0) > 0.5
    levels = whole(tiles).levels
    left = levels["gain"].to_numpy() * gains
    assert left.max() / left.min() == pytest.approx(1, abs=0.02)
    assert levels["pivot"].iloc[0] == pytest.approx(100, abs=5)


def test_single_overlaps_that_are_far_off_are_no_matter_of_gains():
    pairs = grid_pairs(8)
    places = pd.DataFrame({"id": np.arange(64)})
    for seed in range(20):
        chance = np.random.default_rng(seed).standard_t(1.5, len(pairs)) * 0.02
        seams, links = seams_of_grid(pairs, np.clip(chance, -0.5, 0.5))
        made = level_tiles(places, links, seams, {"dark": [0.0]})
        assert (made["gain"] == 1).all(), seed


def test_a_project_that_is_used_for_another_image_leaves_the_first_alone(whole, tmp_path):
    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2), noise=4)
    first = whole(tiles, "a.ome.zarr")
    before = pixels_of(first.image)
    second = whole(tiles, "b.ome.zarr", project=tmp_path / "a.lw")
    assert second
    np.testing.assert_array_equal(pixels_of(second.image), before)
    np.testing.assert_array_equal(pixels_of(first.image), before)
    assert whole(tiles, "a.ome.zarr")


@pytest.mark.slow
def test_an_image_in_the_making_that_is_damaged_is_mended(whole, monkeypatch, tmp_path):
    import shutil

    from latticework.stitch import pipeline

    tiles, _ = tiles_of(scene_of((3, 3)), (3, 3), noise=4)
    undisturbed = pixels_of(whole(tiles, "good.ome.zarr", block=(64, 64)).image)
    for harm in ("a shard", "a level"):
        name = f"{harm[-1]}.ome.zarr"
        monkeypatch.setattr("latticework.stitch.stitching.MAKING", ("volume",))
        assert not whole(tiles, name, block=(64, 64))
        [part] = tmp_path.glob(f"{name}.*.part")
        if harm == "a shard":
            shards = sorted((part / "0" / "c").rglob("[0-9]*"))
            [shard for shard in shards if shard.is_file()][3].unlink()
        else:
            shutil.rmtree(part / "0")
        monkeypatch.setattr("latticework.stitch.stitching.MAKING", pipeline.MAKING)
        done = whole(tiles, name, block=(64, 64))
        np.testing.assert_array_equal(pixels_of(done.image), undisturbed)


@pytest.mark.slow
def test_a_tile_that_is_replaced_makes_another_image(whole, tmp_path):
    import tifffile

    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2), noise=4)
    folder = tmp_path / "tiles"
    folder.mkdir()
    for tile in tiles:
        tifffile.imwrite(folder / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))

    def opened():
        return lw.open_tiles(folder, pattern="y{y:d}_x{x:d}.tif", overlap=SIZE - STEP)

    before = pixels_of(whole(opened()).image)
    pixels = tifffile.imread(folder / "y0_x0.tif")
    pixels[40, 40] = 60_000
    tifffile.imwrite(folder / "y0_x0.tif", pixels)
    with pytest.raises(lw.errors.StoreError, match="exists"):
        whole(opened())
    after = pixels_of(whole(opened(), overwrite=True).image)
    assert (after == 60_000).sum() == 1
    assert (after != before).sum() < 20


@pytest.mark.slow
def test_units_that_fail_are_no_image_and_run_again(whole, tmp_path):
    import tifffile

    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2), noise=4)
    folder = tmp_path / "tiles"
    folder.mkdir()
    for tile in tiles:
        tifffile.imwrite(folder / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))
    opened = lw.open_tiles(folder, pattern="y{y:d}_x{x:d}.tif", overlap=SIZE - STEP)
    away = (folder / "y1_x1.tif").rename(tmp_path / "away.tif")
    done = whole(opened)
    assert not done
    assert done.summary.failures
    away.rename(folder / "y1_x1.tif")
    assert whole(opened)


def test_what_makes_no_sense_is_refused_before_any_work(whole, tmp_path):
    tiles, _ = tiles_of(scene_of((2, 2)), (2, 2))
    for wrong, words in (
        ({"channel": 1}, "channels 0 to 0"),
        ({"reach": (5,)}, "one along each of y, x"),
        ({"reach": (-5, 5)}, "above 0"),
        ({"reach": {"z": 5, "y": 5}}, r"reach=\{'z': 5, 'y': 5\}: give pixels"),
        ({"block": (64,)}, "block"),
    ):
        with pytest.raises(ValueError, match=words):
            whole(tiles, **wrong)
    far = tiles.replace(position_um=tiles.position_um * 1e4)
    with pytest.raises(lw.errors.LatticeError, match="in micrometres"):
        whole(far)
    assert not list(tmp_path.iterdir())


def test_what_the_lamp_leaves_in_empty_glass_proves_no_gains():
    """Where nothing but glass is seen, its patches vary by the lamp, alike in all tiles."""
    pairs = grid_pairs(6)
    glass = (pairs % 6 == 0).any(axis=1)  # the first column shows nothing
    seams, links = seams_of_grid(pairs, np.zeros(len(pairs)))
    for kind in ("", "even_"):
        along = np.where(seams["axis"] == "y", 0.45, np.nan)
        seams[f"{kind}slope"], seams[f"{kind}error"] = np.where(glass, along, 1.0), 0.02
        seams[f"{kind}cross"], seams[f"{kind}spread"] = 450.0, np.where(glass, 0.5, 0.05)
        seams.loc[glass, [f"{kind}bright", f"{kind}other", f"{kind}top"]] = 520.0, 540.0, 560.0
    places = pd.DataFrame({"id": np.arange(36)})
    made = level_tiles(places, links, seams, {"dark": [450.0]}, gains="yes")
    assert (np.abs(np.log(made["gain"])) < 0.05).all()


def test_lines_of_glass_that_pass_the_pivot_prove_no_gains():
    """Glass may show a tenth of what specimen shows; but no gain changes what the camera counts."""
    pairs = grid_pairs(6)
    glass = (pairs % 6 == 0).any(axis=1) & (np.arange(len(pairs)) % 2 == 0)
    seams, links = seams_of_grid(pairs, np.zeros(len(pairs)))
    for kind in ("", "even_"):
        seams[f"{kind}slope"], seams[f"{kind}error"] = np.where(glass, 0.4, 1.0), 0.02
        seams[f"{kind}cross"] = np.where(glass, 1180.0, np.inf)
        seams[f"{kind}spread"] = np.where(glass, 0.35, 0.05)
        seams[f"{kind}low"], seams[f"{kind}top"] = 900.0, np.where(glass, 1450.0, 5000.0)
        seams[[f"{kind}bright", f"{kind}other"]] = 4000.0
        seams.loc[glass, [f"{kind}bright", f"{kind}other"]] = 940.0, 1100.0
    places = pd.DataFrame({"id": np.arange(36)})
    made = level_tiles(places, links, seams, {"dark": [600.0]}, gains="yes")
    assert (np.abs(np.log(made["gain"])) < 0.05).all()


@pytest.mark.parametrize("uneven", [0.0, 0.3])
def test_ratios_that_change_over_an_overlap_prove_no_gains(uneven):
    """Stripes that differ from tile to tile make two tiles brighter or darker by chance."""
    pairs, places = grid_pairs(3), pd.DataFrame({"id": np.arange(9)})
    rng = np.random.default_rng(0)
    gains, chance = rng.normal(0, 0.1, 9), rng.normal(0, uneven / 3, len(pairs))
    seams, links = seams_of_grid(pairs, gains[pairs[:, 1]] - gains[pairs[:, 0]] + chance)
    for kind in ("", "even_"):
        seams[f"{kind}uneven"] = uneven
        seams.loc[::3, f"{kind}uneven"] = np.nan  # too little is seen there
    made = level_tiles(places, links, seams, {"dark": [0.0]})
    asked = level_tiles(places, links, seams, {"dark": [0.0]}, gains="yes")
    told = level_tiles(places, links, seams.assign(uneven=0.0), {"dark": [0.0]}, gains="yes")
    if uneven:
        assert (made["gain"] == 1).all()
        assert np.log(asked["gain"]).std() < 0.8 * np.log(told["gain"]).std()
        assert made["remains"].iloc[0] >= 0.3
    else:
        assert np.ptp(np.log(made["gain"]) + gains) < 0.01
        assert made["remains"].iloc[0] < 0.001


def test_overlaps_that_are_mostly_empty_tell_the_pivot_by_what_they_show():
    """The noise of a camera without offset is cut at 0: in the mean, nothing counts more than 0."""
    pairs = grid_pairs(3)
    gains = np.where(np.arange(9) % 2, 1.2, 1.0)
    seams, links = seams_of_grid(pairs, np.zeros(len(pairs)))
    rng = np.random.default_rng(1)
    for kind in ("", "even_"):
        seams[[f"{kind}bright", f"{kind}other"]] = rng.normal(1.6, 0.04, (len(pairs), 2))
        seams[f"{kind}spread"], seams[f"{kind}patches"] = 0.2, 90
        seams[f"{kind}slope"] = gains[pairs[:, 1]] / gains[pairs[:, 0]]
        seams[f"{kind}error"] = 0.008
        seams[f"{kind}cross"] = 1.6 + rng.normal(0, 0.4, len(pairs))
        seams[f"{kind}low"], seams[f"{kind}top"] = 1.2, 600.0
    places = pd.DataFrame({"id": np.arange(9)})
    made = level_tiles(places, links, seams, {"dark": [0.0]})
    left = made["gain"] * gains
    assert left.max() / left.min() < 1.02
    assert made["pivot"].iloc[0] == pytest.approx(1.6, abs=0.3)


def test_an_unsure_overlap_that_nothing_contradicts_is_believed():
    """Nothing else joins the two halves of a row, and overlaps within them agree perfectly."""
    gains = np.repeat([1.0, 1.2], 4)
    ratios = np.diff(np.log(gains))
    seams = seams_between(ratios, apart_even=1.0, spread=0.001)
    for kind in ("", "even_"):
        seams.loc[3, [f"{kind}bright", f"{kind}other", f"{kind}spread"]] = np.nan
        seams[f"{kind}slope"] = np.where(np.arange(7) == 3, 1.2, np.nan)
        seams.loc[3, [f"{kind}error", f"{kind}cross"]] = 0.05, 0.0
    links = seams[["first", "second"]].assign(trusted=True)
    places = pd.DataFrame({"id": np.arange(8)})
    made = level_tiles(places, links, seams, {"dark": [0.0]}, light="no", gains="yes")
    left = made["gain"] * gains
    assert left.max() / left.min() < 1.03


def test_where_light_is_uneven_counts_tell_of_gains_rather_than_lines():
    """Of tissue that is bright everywhere, uneven light turns the line through its patches."""
    pairs = grid_pairs(3)
    gains = np.where(np.arange(9) % 2, 1.2, 1.0)
    seams, links = seams_of_grid(pairs, np.log(gains[pairs[:, 1]] / gains[pairs[:, 0]]))
    turned = np.random.default_rng(2).normal(0, 0.2, len(pairs))
    for kind in ("", "even_"):
        seams[f"{kind}uneven"], seams[f"{kind}error"] = 0.06, 0.015
        seams[f"{kind}slope"] = np.exp(turned) * gains[pairs[:, 1]] / gains[pairs[:, 0]]
        seams[f"{kind}cross"] = 0.0
    places = pd.DataFrame({"id": np.arange(9)})
    made = level_tiles(places, links, seams, {"dark": [0.0]}, gains="yes")
    left = made["gain"] * gains
    assert left.max() / left.min() < 1.05
