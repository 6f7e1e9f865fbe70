"""``latticework stitch``, as it is typed."""

import numpy as np
import pytest
import tifffile
import zarr

import latticework as lw
from latticework.cli.stitching import BLENDS
from latticework.stitch import blending
from latticework.stitch.stitching import PHASES
from tests.stitch.test_report import words_of
from tests.stitch.test_stitching import SIZE, STEP, scene_of, tiles_of

PLACES = ("--pattern", "y{y:d}_x{x:d}.tif", "--overlap", str(SIZE - STEP))


@pytest.fixture
def folder(tmp_path):
    tiles, _ = tiles_of(scene_of((2, 3)), (2, 3), noise=4)
    path = tmp_path / "as acquired"
    path.mkdir()
    for tile in tiles:
        tifffile.imwrite(path / f"{tile.name}.tif", tiles.source.read(tile.id, tile.box))
    return path


def test_one_line_makes_a_volume_and_a_report_and_tells_where(typed, folder, tmp_path, scheduler):
    out = tmp_path / "brain.ome.zarr"
    said = typed("stitch", folder, out, *PLACES, *scheduler, "--progress", "lines")
    assert "7 of 7 links" in said
    assert said.count("dashboard:") <= 1
    phases = [said.index(f"\n{words}\n") for words in PHASES]
    assert phases == sorted(phases)
    assert phases[0] < said.index("\npairs: 6/6 (100 %), done\n") < phases[1]
    assert phases[1] < said.index("\nplaces: 1/1 (100 %), done\n") < phases[2]
    assert phases[2] < said.index("\nimage: 1/1 (100 %), done\n")
    words = words_of((tmp_path / "brain.html").read_text())
    told = said[said.index(" ended: ") :].splitlines()[1:]
    judged, *rest = told[: next(k for k, line in enumerate(told) if line.startswith("Volume"))]
    for text in (*judged.split(": ", 1), *(line.removeprefix("  - ") for line in rest)):
        kind, _, after = text.partition(": ")
        assert (after if kind in ("Light", "Took") else text.removesuffix(":")) in words
    assert said.count(" after ") == 0  # the time is said once, as on the page
    assert f"Volume: {out}" in said
    assert f"Report: {tmp_path / 'brain.html'}" in said
    assert "<html" in (tmp_path / "brain.html").read_text()[:500]
    assert zarr.open_group(out, mode="r")["0"].shape[0] > 280
    assert set(lw.open_project(tmp_path / "brain.lw").counts["image"]) == {"complete"}
    assert lw.open_tiles(out).n_tiles == 1
    other = typed("stitch", folder, out, *PLACES[:2], "--overlap", "20", code=2)
    for words in ("(--overwrite)", "of another acquisition", "(--project OTHER.lw)"):
        assert words in " ".join(other.split())
    for stage in ("volume", "image"):
        file = tmp_path / f"{stage}.ome.tif"
        assert f"Wrote {file}" in typed("export", tmp_path / "brain.lw", stage, file)
        np.testing.assert_array_equal(tifffile.imread(file), zarr.open_group(out, mode="r")["0"][:])
    words = ("export", tmp_path / "brain.lw", "volume", tmp_path / "volume.ome.tif")
    assert "--overwrite" in typed(*words, code=2)
    assert "Wrote" in typed(*words, "--overwrite")


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tiff", "out.png", "OUT.H5"])
def test_names_of_other_kinds_of_files_are_refused(typed, folder, tmp_path, name):
    said = typed("stitch", folder, tmp_path / name, *PLACES, code=2)
    assert "ome.zarr" in said
    assert ("export" in said) == (".tif" in name)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_what_cannot_be_one_volume_is_refused_in_words_of_the_command_line(typed, tmp_path):
    for well in range(2):
        tifffile.imwrite(tmp_path / f"w{well}_x0.tif", np.zeros((32, 32), "u2"))
    words = ("stitch", tmp_path, tmp_path / "out.ome.zarr", "--pattern", "w{well:d}_x{x:d}.tif")
    said = typed(*words, code=2)
    assert "--only well=LABEL" in said
    assert "--merge well" in said
    assert "well" in typed(*words, "--only", "well=7", code=2)
    assert not (tmp_path / "out.lw").exists()


def test_a_torn_file_ends_with_its_name_and_what_to_do(typed, folder, tmp_path, scheduler):
    torn = folder / "y1_x1.tif"
    torn.write_bytes(torn.read_bytes()[:1000])
    words = ("stitch", folder, tmp_path / "brain.ome.zarr", *PLACES, "--no-report", *scheduler)
    assert "y1_x1.tif" in typed(*words, code=2)
    said = typed(*words, "--errors", "mark")
    assert "1 tile could not be read and left a hole: y1_x1.tif (" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--volume-pixel-size", "0"), "--volume-pixel-size 0: give one number above 0"),
        (("--volume-pixel-size", "nan"), "--volume-pixel-size nan: give one number above 0"),
        (("--volume-pixel-size", "1e-6"), "in micrometres? --volume-pixel-size 1e-06"),
        (("--volume-pixel-size", "1e9"), "one pixel would be larger than all tiles together"),
        (("--light", "nofile.tif"), "--light nofile.tif: there is no such file; choose one of"),
        (("--reach", "y=20"), "--reach y=20: give pixels, above 0: one number, or one along each"),
        (("--channel", "3"), "--channel 3: the tiles have channels 0 to 0"),
    ],
)
def test_options_of_no_sense_are_refused_by_their_names(typed, folder, tmp_path, words, said):
    text = typed("stitch", folder, tmp_path / "brain.ome.zarr", *PLACES, *words, code=2)
    assert said in " ".join(text.split())
    assert "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_a_tile_that_cannot_be_decoded_is_named_with_the_verdict_and_what_to_do(
    typed, folder, tmp_path, scheduler
):
    torn = folder / "y1_x2.tif"
    pixels = tifffile.imread(torn)
    tifffile.imwrite(torn, pixels, compression="zlib", rowsperstrip=16)
    whole = torn.read_bytes()
    at = len(whole) // 2
    torn.write_bytes(whole[:at] + bytes(400) + whole[at + 400 :])  # the header is whole
    words = ("stitch", folder, tmp_path / "brain.ome.zarr", *PLACES, "--no-report", *scheduler)
    said = typed(*words, code=1)
    assert "Nothing stands out" not in said
    assert "No volume: " in said
    assert f"withdraw {tmp_path / 'brain.lw'} y1_x2.tif, and the same again" in said


def test_where_nothing_can_be_written_is_said_in_a_line(typed, folder, tmp_path):
    text = typed("stitch", folder, "/proc/none/brain.ome.zarr", *PLACES, code=1)
    assert "Error: /proc/none" in text
    assert "Traceback" not in text
    assert "give the image a name" in typed("stitch", folder, ".", *PLACES, code=2)
    (tmp_path / "brain.html").write_text("mine")
    text = typed("stitch", folder, tmp_path / "brain.ome.zarr", *PLACES, code=2)
    assert "is no report of a stitching" in text
    assert "--no-report" in text


def test_the_blends_are_those_of_the_library():
    assert set(BLENDS) == set(blending.BLENDS)


def test_a_silent_display_is_known_to_be_silent():
    """So that what must be known, as that a disk is full, goes into the log."""
    from latticework.cli.working import Spoken
    from latticework.viz.progress_phases import PhasedProgress

    assert Spoken("none").silent
    assert PhasedProgress(Spoken("none")).silent
    assert not Spoken("lines").silent
