"""The report says what was found, for every kind of lattice, and can be read anywhere."""

import csv
import html
import re
import shutil
import subprocess
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

import latticework as lw
from latticework.errors import LatticeError
from latticework.lattice import Box
from latticework.stitch import fuse, place, register, report_page, stitch
from latticework.stitch.images import plan_of
from latticework.stitch.placement_plot import plot_placement
from latticework.stitch.report import page_of, write_page
from latticework.stitch.report_facts import Findings
from latticework.stitch.report_grid import Grid, grid_in, grid_in_words
from latticework.stitch.report_seams import _cut, chosen_links, seams_of
from latticework.stitch.report_views import View, Volume, before_and_after
from latticework.stitch.report_words import light_in_words, remarks, verdict, warnings
from latticework.stitch.tiles import pairs_of, places_of

NOW = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


def simulated(grid, *, z=None, size=96, **options):
    shape = {"y": size, "x": size} if z is None else {"z": z, "y": size, "x": size}
    return lw.simulate(grid, tile_shape=shape, **options)[0]


def found_in(lattice, **more):
    return Findings("brain", lattice, place(lattice, register(lattice)), **more)


def made_up(lattice, *, wrong=0.1, seed=0):
    """What might have been found in a lattice, without looking at its pixels."""
    rng = np.random.default_rng(seed)
    places = places_of(lattice)
    along = pairs_of(lattice)
    pairs = np.concatenate(list(along.values()))
    nominal = places.positions[pairs[:, 1]] - places.positions[pairs[:, 0]]
    jitter = rng.normal(0, 2, places.positions.shape)
    offsets = nominal + jitter[pairs[:, 1]] - jitter[pairs[:, 0]]
    trusted = rng.random(len(pairs)) >= wrong
    links = pd.DataFrame(
        {
            "first": lattice.ids[pairs[:, 0]],
            "second": lattice.ids[pairs[:, 1]],
            "axis": np.repeat(list(along), [len(of) for of in along.values()]),
            "trusted": trusted,
            "why": np.where(trusted, "", "nothing in common"),
            "correlation": np.where(trusted, 0.8, 0.1),
            "runner_up": 0.05,
            "overlap": 1.0,
        }
    )
    for k, dim in enumerate(places.dims):
        links[f"nominal_{dim}_px"] = links[f"model_{dim}_px"] = nominal[:, k]
        links[f"offset_{dim}_px"] = offsets[:, k] + np.where(trusted, 0, 9)
    return Findings("brain", lattice, place(lattice, links))


def text_of(found):
    return page_of(found, "brain.links.csv", "brain.tiles.csv", NOW)


def words_of(page):
    return html.unescape(re.sub(r"<[^>]+>", " ", re.sub(r"<style>.*?</style>", "", page)))


@pytest.fixture(autouse=True)
def coarse(request, monkeypatch):
    """Pictures of few pixels, so that quick tests are quick; slow ones have them as they are."""
    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(report_page, "DPI", 20)


@pytest.fixture(scope="module")
def plain():
    """3 x 3 tiles, all of which links place."""
    return found_in(simulated({"y": 3, "x": 3}, seed=5))


# ------------------------------------------------------------------ what is said


def test_a_good_stitching_is_said_to_be_one(plain):
    assert verdict(plain).mood == "good"
    assert not warnings(plain)
    words = words_of(text_of(plain))
    assert f"{plain.n_trusted} of {len(plain.links)} links are trusted" in words
    assert "Every tile is placed by links" in words
    assert "there is none" in words  # no volume
    assert "01 March 2026" in words


def test_tiles_without_overlap_keep_their_places_and_it_is_said():
    rng = np.random.default_rng(3)
    pixels = rng.integers(100, 900, (64, 192)).astype("u2")
    lattice = lw.Lattice.from_array(pixels, block={"y": 64, "x": 64}, dims=("y", "x"))
    found = found_in(lattice)
    assert verdict(found).word == "Nominal positions kept"
    words = words_of(text_of(found))
    assert "do not overlap: nominal positions kept" in words
    assert "--overlap" in words
    assert "--pixel-size" in words
    assert seams_of(found) == []


def test_tiles_that_no_link_reaches_are_named_with_the_reason(plain):
    links = plain.links.copy()
    of_tile = (links["first"] == 4) | (links["second"] == 4)
    links.loc[of_tile, ["trusted", "why"]] = False, "nothing in common"
    found = Findings("brain", plain.nominal, place(plain.nominal, links))
    assert found.alone["id"].tolist() == [4]
    assert found.alone["why"].tolist() == ["4 links: nothing in common"]
    assert verdict(found).mood == "look"
    assert any("y1_x1" in note and "stage" in note for note in warnings(found))
    assert repr(found.placement).endswith("1 by the stage model alone>")  # and no group by itself
    assert "Tiles that the stage alone placed (1)" in words_of(text_of(found))


def test_groups_that_links_do_not_join_are_counted(plain):
    links = plain.links.copy()
    ends = [plain.nominal.index[plain.nominal.rows_of(links[end])] for end in ("first", "second")]
    between = (ends[0][:, 0] == 0) & (ends[1][:, 0] == 1)
    links.loc[between, ["trusted", "why"]] = False, "nothing in common"
    found = Findings("brain", plain.nominal, place(plain.nominal, links))
    assert found.groups == [6, 3]
    assert any("2 groups (6, 3 tiles)" in note for note in warnings(found))
    assert "links join the others to 2 groups" in repr(found.placement)
    assert "group" not in repr(plain.placement)


def test_an_axis_of_which_hardly_a_link_is_trusted_is_doubted(plain):
    links = plain.links.copy()
    links.loc[links["axis"] == "x", ["trusted", "why"]] = False, "nothing in common"
    found = Findings("brain", plain.nominal, place(plain.nominal, links))
    assert any("along x" in note and "corner of the grid" in note for note in warnings(found))


def test_where_no_link_at_all_is_trusted_order_and_corner_are_asked_about(plain):
    links = plain.links.copy()
    links[["trusted", "why"]] = False, "nothing in common"
    found = Findings("brain", plain.nominal, place(plain.nominal, links))
    assert verdict(found).word == "Not measured"
    assert any("No link along" in note and "corner of the grid" in note for note in warnings(found))


def test_links_at_the_end_of_the_reach_are_pointed_out(plain):
    near = Findings("brain", plain.nominal, plain.placement, reach=(500.0, 500.0))
    assert not warnings(near)
    most = max(
        (plain.links[f"offset_{dim}_px"] - plain.links[f"nominal_{dim}_px"]).abs().max()
        for dim in "yx"
    )
    at = Findings("brain", plain.nominal, plain.placement, reach=(most, most))
    assert any("larger reach" in note for note in warnings(at))


def test_tiles_that_cannot_be_read_come_first():
    lattice = simulated({"y": 2, "x": 3}, seed=5).replace(problems={2: "the file is <cut> short"})
    found = made_up(lattice, wrong=0)
    assert warnings(found)[0] == (
        "1 tile could not be read and left a hole: y0_x2 (the file is <cut> short)."
    )
    assert verdict(found).mood == "look"


def test_tiles_that_cannot_be_read_are_not_counted_as_placed_by_the_stage(plain):
    lattice = plain.nominal.replace(problems={4: "the file is cut short"})
    of_tile = (plain.links["first"] == 4) | (plain.links["second"] == 4)
    found = Findings("brain", lattice, place(lattice, plain.links[~of_tile]))
    assert found.alone.empty
    assert found.unread["id"].tolist() == [4]
    words = words_of(text_of(found))
    assert "tiles placed by links, 0 by the stage alone, 1 could not be read" in words
    assert "Every tile that was read is placed by links" in words
    assert "Tiles that could not be read (1)" in words
    assert "the stage should have driven" not in words


def test_an_anchor_far_from_the_other_tiles_is_told(plain):
    lattice = plain.nominal
    at = lattice.position_um[4]
    near = Findings("brain", lattice, place(lattice, plain.links, anchors={4: at + 2}))
    assert not any("since that was said" in note for note in warnings(near))
    links = plain.links.copy()
    links.loc[(links["first"] == 4) | (links["second"] == 4), "trusted"] = False
    anchors = {0: lattice.position_um[0], 4: at + np.array([0, 500])}
    far = Findings("brain", lattice, place(lattice, links, anchors=anchors))
    [note] = [note for note in warnings(far) if "since that was said" in note]
    assert lattice.names[4] in note
    assert "micrometres" in note
    assert "2 where it was said" in words_of(text_of(far))


def test_anchored_tiles_are_not_counted_as_placed_by_the_stage(plain):
    anchors = {4: plain.nominal.position_um[4]}
    held = Findings("brain", plain.nominal, place(plain.nominal, plain.links, anchors=anchors))
    assert held.alone.empty
    assert held.groups == [9]


def test_what_is_not_known_of_the_pixel_size_is_a_remark_and_no_warning():
    lattice = lw.Lattice.from_grid(
        {"y": 1, "x": 2}, tile_shape={"y": 64, "x": 64}, dtype="u2", overlap={"x": 20}
    )
    found = made_up(lattice, wrong=0)
    assert any("1 µm is assumed" in note for note in remarks(found))
    assert verdict(found).mood == "good"


def test_the_page_says_whether_light_was_evened_and_why(plain):
    def levels(even, gain, apart_even):
        numbers = {"apart": 0.2, "apart_even": apart_even, "apart_level": 0.01}
        return pd.DataFrame({"id": plain.nominal.ids, "gain": gain, "even": even, **numbers})

    field = np.ones((96, 96), "f4") + np.linspace(-0.3, 0.3, 96, dtype="f4")
    gains = np.linspace(0.8, 1.2, 9)
    used = Findings(
        "brain", plain.nominal, plain.placement, levels=levels(True, gains, 0.05), light=field
    )
    words = words_of(text_of(used))
    assert "differ in brightness by 22.1% (median)" in words
    assert "flat-field by 5.1%: used" in words
    assert "0.80 to 1.20 over all tiles" in words
    left = Findings(
        "brain", plain.nominal, plain.placement, levels=levels(False, 1.0, 0.3), light=field
    )
    words = words_of(text_of(left))
    assert "by 35.0%: not used" in words
    assert "Estimated, and not used" in words


def test_what_was_given_of_light_is_said_and_steps_that_stay(plain):
    numbers = {"apart": 0.2, "apart_even": 0.3, "apart_level": 0.2, "overlaps": 12, "steps": 2}
    levels = pd.DataFrame({"id": plain.nominal.ids, "gain": 1.0, "even": False, **numbers})
    found = Findings(
        *("brain", plain.nominal, plain.placement, levels),
        dark=(103.5,),
        given=frozenset({"dark"}),
        asked={"gains": "no"},
    )
    words = words_of(text_of(found))
    assert "In 12 overlaps the two tiles differ in brightness by 22.1%" in words
    assert "Without light the camera counts 103.5 (as given)." in words
    assert "A gain for each tile was not asked for." in words
    assert any(
        note.startswith("2 overlaps of trusted links still differ") for note in warnings(found)
    )


@pytest.mark.parametrize(("remains", "seen"), [(0.06, True), (0.01, False), (np.nan, False)])
def test_neighbours_that_still_differ_after_correction_are_told_of(plain, remains, seen):
    numbers = {"apart": 0.2, "apart_even": 0.1, "apart_level": 0.001, "remains": remains}
    gains = np.linspace(0.9, 1.1, 9)
    levels = pd.DataFrame({"id": plain.nominal.ids, "gain": gains, "even": True, **numbers})
    levels["remains_worst"] = remains * 1.5
    found = Findings("brain", plain.nominal, plain.placement, levels)
    still = [note for note in warnings(found) if "they still differ in brightness" in note]
    assert bool(still) == seen
    assert (verdict(found).word == "See the notes") == seen
    if seen:
        assert (
            "by 6.2% (median; 9.4% or more in the worst tenth), with the flat-field and the gains."
            in still[0]
        )
        assert "A picture of an even specimen" in still[0]
    given = Findings(*("brain", plain.nominal, plain.placement, levels), given=frozenset({"light"}))
    assert not any("A picture" in note for note in warnings(given))
    said = " ".join(light_in_words(found))
    assert ("(median; " in said) == np.isfinite(remains)


@pytest.mark.parametrize("known", [True, False])
def test_what_gains_leave_as_it_is_is_said_and_not_another_offset(plain, known):
    numbers = {"apart": 0.75, "apart_even": 0.7, "apart_level": 0.001, "pivot": 93.8}
    numbers |= {"apart_pivot": np.log(1.2)} if known else {}
    gains = np.linspace(0.9, 1.1, 9)
    levels = pd.DataFrame({"id": plain.nominal.ids, "gain": gains, "even": False, **numbers})
    found = Findings("brain", plain.nominal, plain.placement, levels, dark=(366.4,))
    words = " ".join(light_in_words(found))
    assert ("differ by 20.0% in brightness above 93.8 (median)" in words) == known
    assert "Gains leave a count of 93.8 as it is" in words
    assert "366.4" not in words
    assert "111" not in words


def test_a_single_trusted_link_is_told_of_as_one():
    lattice = lw.Lattice.from_grid(
        {"y": 1, "x": 2}, tile_shape={"y": 64, "x": 64}, dtype="u2", overlap={"x": 20}
    )
    assert "1 of 1 link is trusted and forms no loop" in verdict(made_up(lattice, wrong=0)).text


@pytest.mark.parametrize("given", [True, False])
def test_what_was_given_is_not_advised(plain, given):
    levels = pd.DataFrame({"id": plain.nominal.ids, "gain": 1.0, "even": True})
    found = Findings(
        *("brain", plain.nominal, plain.placement, levels),
        given=frozenset({"dark"} if given else ()),
    )
    (said,) = grid_in_words(found, Grid(0.07, True, 31))
    assert ("--dark" in said) != given


# ------------------------------------------------------------------ kinds of lattices


def test_a_single_tile_has_a_report():
    found = found_in(simulated({"y": 1, "x": 1}, seed=2))
    assert verdict(found).mood == "good"
    assert "A single tile" in words_of(text_of(found))


def test_places_of_the_grid_without_a_tile_are_told():
    lattice = lw.Lattice.from_grid(
        {"y": 3, "x": 4}, tile_shape={"y": 64, "x": 64}, dtype="u2", overlap={"y": 9, "x": 9}
    )
    assert not any("no tile" in note for note in remarks(made_up(lattice)))
    found = made_up(lattice.take([0, 1, 2, 3, 4, 5, 7, 8, 9, 11]))
    assert "2 places of the grid of 3 x 4 have no tile." in remarks(found)


def test_planes_and_channels_are_shown_plane_by_plane(tmp_path):
    lattice = simulated(
        {"z": 2, "y": 1, "x": 2}, z=12, size=48, overlap={"z": 0.4, "y": 0.2, "x": 0.2},
        channels=("red", "green"), seed=5,
    )  # fmt: skip
    found = made_up(lattice)
    image = fuse(found.placement.lattice, tmp_path / "brain.ome.zarr").path
    found = Findings("brain", lattice, found.placement, image=image, channel=1)
    words = words_of(text_of(found))
    assert "red, green" in words
    assert "of plane z 1, their middle plane" in words
    assert "z from nominal" in words
    figure = plot_placement(found.placement)
    assert [axes.get_title(loc="left") for axes in figure.axes[:2]] == ["z 0", "z 1"]


def test_many_planes_are_left_out_and_it_is_said():
    lattice = simulated({"z": 9, "y": 2, "x": 2}, z=8, size=48, seed=5)
    figure = plot_placement(made_up(lattice).placement)
    assert any("3 more not shown" in text.get_text() for text in figure.texts)


def test_tiles_of_different_size_and_holes_have_a_report():
    rng = np.random.default_rng(4)
    pixels = rng.integers(100, 900, (100, 130)).astype("u2")
    ragged = lw.Lattice.from_array(pixels, block={"y": 40, "x": 50}, dims=("y", "x"))
    holes = ragged.take([0, 1, 2, 3, 5, 8])
    for lattice in (ragged, holes):
        found = made_up(lattice)
        assert len(found.tiles) == len(lattice)
        assert "Before and after" in words_of(text_of(found))


def test_a_tile_that_was_never_measured_is_listed(plain):
    known = plain.placement.tiles[plain.placement.tiles["tile"] != 8]
    links = plain.links[(plain.links["second"] != 8)]
    placement = type(plain.placement)(plain.placement.lattice, known, links)
    found = Findings("brain", plain.nominal, placement)
    assert found.alone["id"].tolist() == [8]
    assert np.isfinite(found.tiles[["moved_y_px", "moved_x_px"]].to_numpy()).all()
    assert "y2_x2" in words_of(text_of(found))


def test_a_lattice_of_ten_thousand_tiles_makes_a_page_of_bounded_size():
    """Tiles without pixels, so that only the report's own work is measured."""
    lattice = lw.Lattice.from_grid(
        {"y": 100, "x": 100}, tile_shape={"y": 64, "x": 64}, dtype="u2", overlap={"y": 9, "x": 9}
    )
    page = text_of(made_up(lattice))
    assert len(page) < 6_000_000
    assert page.count("<rect") == 0
    assert page.count("<tr>") < 100


def test_no_tiles_have_no_map():
    lattice = lw.Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u2")
    found = made_up(lattice).placement
    with pytest.raises(LatticeError, match="needs tiles"):
        plot_placement(type(found)(lattice.take([]), found.tiles, found.links))


# ------------------------------------------------------------------ safe to open


def test_names_are_text_and_never_markup():
    lattice = simulated({"y": 1, "x": 2}, seed=5)
    nasty = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>']
    lattice = lattice.replace(names=nasty, problems={1: "<b>broken</b>"})
    found = made_up(lattice, wrong=1.0)
    found = Findings("<i>brain</i>", lattice, found.placement)
    page = text_of(found)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "<b>broken" not in page
    assert "<i>brain" not in page
    assert "&lt;script&gt;" in page


def test_nothing_is_fetched(plain):
    page = text_of(plain)
    for address in re.findall(r'(?:src|srcset|href)="([^"]*)"', page):
        assert address.startswith(("data:", "#", "brain.")), address
    assert "<script" not in page
    assert "url(" not in page
    assert "@import" not in page


# ------------------------------------------------------------------ pictures are right


def test_strips_show_the_second_tile_where_it_lies():
    rng = np.random.default_rng(6)
    scene = rng.normal(500, 100, (60, 90))

    def read(box):
        return scene[box.slices]

    window = Box((10, 20), (30, 60))
    whole = _cut(read, window, np.array([3.0, -5.0]), (60, 90))
    np.testing.assert_allclose(whole, scene[7:27, 25:65], rtol=1e-6)
    half = _cut(read, window, np.array([0.0, 0.5]), (60, 90))
    np.testing.assert_allclose(half, (scene[10:30, 19:59] + scene[10:30, 20:60]) / 2, rtol=1e-5)
    beyond = _cut(read, window, np.array([20.0, 0.0]), (60, 90))
    assert np.isnan(beyond[:10]).all()
    assert np.isfinite(beyond[10:]).all()


def test_a_seam_is_grey_where_it_was_stitched_and_coloured_before():
    """Colour is what one of the tiles shows and the other does not."""
    found = found_in(simulated({"y": 1, "x": 2}, size=128, overlap={"x": 0.3}, seed=8))
    row = found.links.iloc[0]
    moved = max(abs(row[f"offset_{dim}_px"] - row[f"nominal_{dim}_px"]) for dim in "yx")
    assert moved > 1.5  # the simulated stage misses by that
    before, after = seams_of(found)[0].strips[:2]

    def colour(strip):
        both = strip.picture.astype(float)
        both = both[(both > 20).all(axis=-1)]
        return np.abs(both[:, 0] - both[:, 1]).mean()

    assert colour(after) < 0.7 * colour(before)


def test_the_seams_that_are_shown_are_the_telling_ones(plain):
    links = plain.links.copy()
    links.loc[2, ["trusted", "why"]] = False, "nothing in common"
    found = Findings("brain", plain.nominal, place(plain.nominal, links))
    chosen = dict(chosen_links(found))
    good = found.residuals[found.trusted]
    assert found.residuals[chosen["largest residual"]] == good.max()
    lone = np.flatnonzero(found.trusted & ~found.looped)
    if len(lone):
        assert chosen["in no loop, least alike"] in lone
    else:
        assert found.residuals[chosen["smallest residual"]] <= np.median(good)
    assert chosen["not trusted, most alike"] == 2
    assert len(set(chosen.values())) == len(chosen)


def test_links_that_no_loop_checks_have_a_seam_to_look_at():
    lattice = simulated({"y": 1, "x": 4}, size=48, seed=5)
    found = made_up(lattice, wrong=0.0)
    found.links["correlation"] = [0.9, 0.3, 0.8]
    assert dict(chosen_links(found))["in no loop, least alike"] == 1


def test_before_and_after_show_the_same_place(tmp_path):
    lattice = simulated({"y": 3, "x": 3}, seed=5)
    found = found_in(lattice)
    image = fuse(found.placement.lattice, tmp_path / "brain.ome.zarr").path
    found = Findings("brain", lattice, found.placement, image=image)
    both = before_and_after(found)
    assert both.n_tiles == 9
    assert not both.part
    expected = Volume(image).view((0.0, 0.0, 50.0, 80.0))
    assert expected.picture.shape == (50, 80)
    for view, tiles in zip((both.before, both.after), both.outlines, strict=True):
        near = np.array([tile.box_um for tile in tiles])
        np.testing.assert_allclose(view.box_um[:2], near[:, :2].min(axis=0), atol=1.0)
        np.testing.assert_allclose(view.box_um[2:], near[:, 2:].max(axis=0), atol=1.0)


def test_a_map_tells_links_that_are_not_trusted_from_those_that_are():
    lattice = lw.Lattice.from_grid(
        {"y": 4, "x": 5}, tile_shape={"y": 64, "x": 64}, dtype="u2", overlap={"y": 9, "x": 9}
    )
    found = made_up(lattice, wrong=0.3)
    axes = plot_placement(found.placement, theme="dark").axes[0]
    dotted, alone, looped = lines_in(axes)
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert dotted == (~found.trusted).sum()
    assert (alone, looped) == ((found.trusted & ~found.looped).sum(), found.looped.sum())
    assert sum(len(line.get_xdata()) for line in crosses) == dotted


def lines_in(axes):
    """Links that are drawn: not trusted, in no loop, and in a loop."""
    return [len(of.get_segments()) for of in axes.collections if "Line" in repr(of)]


def test_a_map_tells_links_that_no_loop_checks_and_moves_along_z():
    lattice = lw.Lattice.from_grid(
        {"y": 1, "x": 3}, tile_shape={"z": 9, "y": 64, "x": 64}, dtype="u2", overlap={"x": 9}
    )
    figure = plot_placement(made_up(lattice).placement)
    assert lines_in(figure.axes[0]) == [0, 2, 0]
    (legend,) = figure.legends
    words = [text.get_text() for text in legend.get_texts()]
    assert "trusted, in no loop that could check it" in words
    assert "moved along z, in pixels" in words
    told = [text.get_text() for text in figure.axes[0].texts]
    assert sum(text.startswith("z ") for text in told) == 3


# ------------------------------------------------------------------ files


def test_tables_lie_beside_the_page_with_a_row_for_everything(plain, tmp_path):
    page = write_page(plain, tmp_path / "my brain.html", now=NOW)
    assert 'href="my%20brain.links.csv"' in page.read_text(encoding="utf-8")
    links = pd.read_csv(tmp_path / "my brain.links.csv")
    assert len(links) == len(plain.links)
    assert links["first_name"][0] == plain.name_of(links["first"][0])
    with (tmp_path / "my brain.tiles.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(plain.nominal.names)
    at = [float(row["position_x_um"]) for row in rows]
    x = plain.nominal.spatial_dims.index("x")
    np.testing.assert_allclose(at, plain.placement.lattice.position_um[:, x], rtol=1e-4)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
def test_what_the_page_says_of_corrections_by_hand_runs(tmp_path, monkeypatch):
    lattice = simulated({"y": 2, "x": 3}, seed=5)
    done = stitch(lattice, tmp_path / "brain.ome.zarr", report=True, progress="none")
    assert done.report == tmp_path / "brain.html"
    page = done.report.read_text(encoding="utf-8")
    words = words_of(page)
    assert "brain.ome.zarr: y" in words
    assert "starting up and pauses not counted" in words
    plan = plan_of(done.image)
    code = html.unescape(re.search(r"<pre>(.*?)</pre>", page, re.DOTALL)[1])
    monkeypatch.chdir(tmp_path)
    exec(code.replace("overwrite=True", "overwrite=True, progress='none'"), {})
    links = lw.open_project(tmp_path / "brain.lw")["links"].data
    assert (links["why"] == "by hand").sum() == 2
    assert plan_of(done.image) != plan


# ------------------------------------------------------------------ real ones, a real browser


@pytest.mark.slow
def test_real_tiles_without_overlap_are_reported_as_such(shared_data, tmp_path):
    wells = lw.open_tiles(shared_data / "imagexpress_3d_zero_overlap")
    done = stitch(wells.sel(well="E08"), tmp_path / "well.ome.zarr", progress="none")
    assert "nominal positions kept" in words_of(done.report.read_text(encoding="utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_opens_in_a_browser_without_complaint(plain, tmp_path, width):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium on this machine")
    page = write_page(plain, tmp_path / "brain.html", now=NOW)
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--v=0", f"--window-size={width},2000"),
            *(f"--screenshot={picture}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    assert picture.stat().st_size > 20_000


# ------------------------------------------------------------------ the grid of tiles


def glass(rng, *, glow, grid=(5, 5), side=40):
    """A picture of glass with a specimen in its middle, and where its tiles lie."""
    n, m = grid[0] * side, grid[1] * side
    y, x = np.indices((n, m))
    picture = rng.normal(100, 2, (n, m))
    inside = np.hypot(y - n / 2, x - m / 2) < 0.25 * n
    picture[inside] += rng.uniform(100, 300, inside.sum())
    lamp = 1 - np.hypot(*(np.indices((side, side)) - side / 2)) / side
    picture += glow * np.tile(lamp, grid)
    boxes = [
        (float(a), float(b), a + side * 1.1, b + side * 1.1)
        for a in range(0, n - side, side)
        for b in range(0, m - side, side)
    ]
    return View(picture.astype("f4"), (0.0, 0.0, float(n), float(m))), boxes


def test_a_grid_of_tiles_that_is_left_in_empty_glass_is_seen_and_said(plain):
    rng = np.random.default_rng(4)
    assert grid_in(*glass(rng, glow=0)) is None
    assert grid_in(*glass(rng, glow=3)) is None  # nobody sees it
    left = grid_in(*glass(rng, glow=60))
    assert left.dim
    assert 0.1 < left.share < 0.2
    [words] = grid_in_words(plain, left)
    assert "The tiles can still be seen in the volume" in words
    assert "--light yes" in words
    levels = pd.DataFrame({"id": plain.nominal.ids, "gain": 1.0, "even": [True] * 9})
    evened = Findings("brain", plain.nominal, plain.placement, levels=levels)
    assert "glass that glows" in grid_in_words(evened, left)[0]
    assert grid_in_words(plain, None) == []


@pytest.mark.parametrize("seed", range(8))
def test_a_specimen_is_no_grid(seed):
    rng = np.random.default_rng(seed)
    n = 240
    y, x = np.indices((n, n)) / n - 0.5
    blob = np.clip(1 - (y**2 + x**2) / rng.uniform(0.1, 0.3), 0, 1) ** rng.uniform(0.3, 1)
    fine = ndimage.gaussian_filter(rng.normal(size=(n, n)), rng.uniform(3, 40))
    picture = 100 + blob * (300 + 100 * fine / fine.std()) + rng.normal(0, 3, (n, n))
    boxes = [(a, b, a + 46.0, b + 46.0) for a in range(0, 200, 40) for b in range(0, 200, 40)]
    assert grid_in(View(picture.astype("f4"), (0.0, 0.0, n, n)), boxes) is None
