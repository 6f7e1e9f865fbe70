"""What a stitching writes, replaces and removes: only what is its own, and whole."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

import latticework as lw
from latticework.errors import ProjectExistsError, StoreError
from latticework.stitch import stitching
from latticework.stitch.images import in_the_making
from latticework.stitch.pipeline import MEASURING, kept_picture
from latticework.stitch.report_files import Mark, tables_of
from tests.stitch.test_report import words_of
from tests.stitch.test_stitching import SIZE, STEP, pixels_of, scene_of, tiles_of

KEY = "0123456789abcdef"


def test_only_what_was_begun_by_a_stitching_of_this_very_image_is_removed(
    whole, tmp_path, monkeypatch
):
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4)
    kept = [
        *("y[1].ome.zarr.my.part", f"y[1].ome.zarr.{KEY}.part", "y1.ome.zarr.abcdef.part"),
        *(f"y1.ome.zarr.{KEY}.part", f"y[1].ome.zarr.{KEY.upper()}.part", "y[1].ome.zarr.0.part"),
    ]
    for name in kept:
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    monkeypatch.setattr("latticework.stitch.stitching.MAKING", ("volume",))
    whole(tiles, "y[1].ome.zarr", block=(64, 64))  # begun, and not complete
    [begun] = in_the_making(tmp_path / "y[1].ome.zarr")
    monkeypatch.undo()
    done = whole(tiles, "y[1].ome.zarr", block=(48, 48))
    assert not begun.exists()
    assert pixels_of(done.image).any()
    for name in kept:
        assert (tmp_path / name / "mine.txt").read_text() == "mine"


@pytest.fixture
def named(whole):
    """Stitch two tiles, quickly, with a page."""
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4)
    return lambda **options: whole(
        tiles, **{"report": True, "light": "no", "gains": "no", **options}
    )


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tiff", "OUT.H5"])
def test_an_image_is_not_named_as_another_kind_of_file(whole, tmp_path, name):
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4)
    with pytest.raises(StoreError, match=r"name it (out|OUT)\.ome\.zarr") as refused:
        whole(tiles, name)
    assert ("to_ome_tiff" in str(refused.value)) == (".tif" in name)
    assert not list(tmp_path.iterdir())


def test_an_image_and_a_project_of_another_acquisition_are_told_at_once(named, whole, tmp_path):
    named(report=False)
    other, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4, seed=3)
    nearer = other.replace(position_um=other.position_um * 0.95)
    how = {"light": "no", "gains": "no"}
    with pytest.raises(StoreError, match=r"overwrite=True.* of another acquisition.*project="):
        whole(nearer, **how)
    with pytest.raises(ProjectExistsError, match=r'another acquisition.*project="OTHER.lw"'):
        whole(nearer, overwrite=True, **how)
    assert whole(nearer, overwrite=True, project=tmp_path / "other.lw", **how)
    assert (tmp_path / "brain.lw").is_dir()


@pytest.mark.parametrize("name", ["brain.html", "brain.links.csv", "brain.tiles.csv"])
def test_files_that_are_none_of_a_report_are_not_replaced(named, tmp_path, name):
    (tmp_path / name).write_text("plate,well\n1,E07\n")
    with pytest.raises(StoreError, match=rf"{name} exists, and is no .*report=False"):
        named(overwrite=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [
        (name, "plate,well\n1,E07\n")
    ]


def test_a_report_of_another_image_is_not_replaced(named, tmp_path):
    (tmp_path / "brain.html").write_text(Mark("brain.zarr").html)
    with pytest.raises(StoreError, match=r"is the report of brain\.zarr"):
        named()


def test_a_table_that_was_edited_or_is_given_stays_and_the_new_one_gets_a_number(named, tmp_path):
    first = named()
    table = tmp_path / "brain.links.csv"
    links = pd.read_csv(table)
    assert [path.name for path in tables_of(first.report)] == ["brain.links.csv", "brain.tiles.csv"]
    links["trusted"], links["comment"] = False, "a bubble"
    links.to_csv(table, index=False)
    edited = table.read_text()
    for _ in range(2):  # the second one has nothing to do
        again = named(links=table, overwrite=True)
        assert table.read_text() == edited
        assert not again.placement.links["trusted"].any()
        assert sorted(path.name for path in tmp_path.glob("*.csv")) == [
            *("brain.links.2.csv", "brain.links.csv", "brain.tiles.csv")
        ]
    assert "brain.links.2.csv" in again.report.read_text()
    assert not pd.read_csv(tmp_path / "brain.links.2.csv")["trusted"].any()
    tiles = tmp_path / "brain.tiles.csv"
    before = tiles.read_text()
    named(keep=[tiles], overwrite=True)  # as positions, say
    assert tiles.read_text() == before
    assert tables_of(again.report) == [
        tmp_path / "brain.links.2.csv",
        tmp_path / "brain.tiles.2.csv",
    ]


def test_a_page_of_an_earlier_image_is_written_anew(named):
    page = named().report
    earlier = page.read_text()
    with pytest.warns(UserWarning, match="of an earlier image"):
        named(report=False, pixel_size_um=2, overwrite=True)
    assert page.read_text() == earlier
    assert named(pixel_size_um=2, overwrite=True).report == page
    assert "of y 2 × x 2 µm" in words_of(page.read_text())
    written = page.stat().st_mtime_ns
    named(pixel_size_um=2, overwrite=True)
    assert page.stat().st_mtime_ns == written


def test_a_plan_that_was_cut_short_is_written_anew(named, tmp_path):
    named(report=False)
    for file, kept in (("plan.json", 0), ("plan.json", 40), ("plan.npz", 100)):
        [torn] = (tmp_path / "brain.lw" / "plans").glob(f"*/*/{file}")
        torn.write_bytes(torn.read_bytes()[:kept])
        shutil.rmtree(tmp_path / "brain.ome.zarr")
        assert named(report=False)


def test_a_picture_of_light_that_was_cut_short_is_written_anew(tmp_path):
    project = SimpleNamespace(path=tmp_path)
    picture = np.ones((40, 50), "f4")
    file = Path(kept_picture(project, picture))
    file.write_bytes(file.read_bytes()[:100])
    assert Path(kept_picture(project, picture)) == file
    np.testing.assert_array_equal(np.load(file), picture)
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("stages", [MEASURING, ("volume",)])
def test_a_tile_that_is_replaced_before_the_image_has_its_name_is_no_image(
    whole, tmp_path, monkeypatch, stages
):
    tiles, _ = tiles_of(scene_of((1, 2)), (1, 2), noise=4)
    folder = tmp_path / "tiles"
    folder.mkdir()
    for tile in tiles:
        tifffile.imwrite(folder / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))

    def opened():
        return lw.open_tiles(folder, pattern="y{y:d}_x{x:d}.tif", overlap=SIZE - STEP)

    def replacing(project, place, chosen, *about):
        made = run(project, place, chosen, *about)
        if chosen == stages:
            file = folder / "y0_x1.tif"
            tifffile.imwrite(file, tifffile.imread(file)[::-1].copy())
        return made

    run = stitching._run
    monkeypatch.setattr(stitching, "_run", replacing)
    done = whole(opened().sel(y=0), light="no", gains="no")
    assert not done
    assert not (tmp_path / "brain.ome.zarr").exists()
    assert not list(tmp_path.glob("*.part"))
    assert done.account.judged.mood == "bad"
    assert done.account.lines[0].startswith("No volume: y0_x1.tif was changed or replaced")
    monkeypatch.undo()
    assert whole(opened().sel(y=0), light="no", gains="no")
