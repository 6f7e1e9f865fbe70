"""Links that are corrected by hand, and tiles whose places are known, in a project."""

import numpy as np
import pandas as pd
import pytest

from latticework.errors import LatticeError, StoreError
from latticework.stitch import place, register, stitch
from latticework.stitch.corrections import anchors_of, apply_corrections, corrected_rows
from tests.stitch.test_stitching import scene_of, tiles_of


@pytest.fixture(scope="module")
def tiles():
    return tiles_of(scene_of((2, 3)), (2, 3), noise=4)[0]


@pytest.fixture(scope="module")
def links(tiles):
    return register(tiles)


def test_only_rows_that_were_changed_are_corrections(links):
    edited = links.copy()
    edited.loc[2, "trusted"] = False
    edited.loc[4, "offset_x_px"] += 3.0
    rows = corrected_rows(edited, links)
    assert [(row["first"], row["second"]) for row in rows] == [
        tuple(links.loc[k, ["first", "second"]]) for k in (2, 4)
    ]
    assert [row["trusted"] for row in rows] == [False, True]
    assert corrected_rows(links, links) == []


def test_a_table_that_went_through_a_file_is_the_same_table(links, tmp_path):
    far = links.assign(offset_y_px=links.offset_y_px + 123_456.7)
    far.to_csv(tmp_path / "links.csv", float_format="%.6g", index=False)
    assert corrected_rows(tmp_path / "links.csv", far) == []


@pytest.mark.parametrize(("sep", "decimal"), [(";", ","), (";", "."), ("\t", ".")])
def test_a_table_saved_by_any_spreadsheet_is_the_same_table(links, tmp_path, sep, decimal):
    edited = links.copy()
    edited.loc[2, "offset_x_px"] += 3.5
    file = tmp_path / "links.csv"
    edited.to_csv(file, sep=sep, decimal=decimal, index=False, encoding="utf-8-sig")
    (row,) = corrected_rows(file, links)
    assert row["offset_x_px"] == pytest.approx(edited.loc[2, "offset_x_px"])


@pytest.mark.parametrize("name", ["first", "axis", "correlation", "model_x_px"])
def test_a_column_of_links_that_is_missing_is_named(tiles, links, name):
    with pytest.raises(LatticeError, match=f"no column {name}:"):
        place(tiles, links.drop(columns=name))


def test_links_from_a_file_place_as_they_did(tiles, links, tmp_path):
    links.to_csv(tmp_path / "links.csv", index=False)
    again = place(tiles, pd.read_csv(tmp_path / "links.csv"))
    np.testing.assert_allclose(
        again.lattice.position_um, place(tiles, links).lattice.position_um, atol=1e-6
    )


def test_corrections_are_kept_as_they_are_said(tiles, links):
    edited = links.copy()
    edited.loc[4, ["offset_y_px", "offset_x_px"]] += 5.0
    edited.loc[1, "trusted"] = False
    again = place(tiles, apply_corrections(links, corrected_rows(edited, links))).links
    assert not again.loc[1, "trusted"]
    assert again.loc[4, "trusted"]
    assert again.loc[4, "offset_y_px"] == edited.loc[4, "offset_y_px"]
    assert again.loc[[1, 4], "why"].tolist() == ["by hand", "by hand"]
    # and said again from what came of it, they are corrections still
    assert len(corrected_rows(again, again)) == 2


@pytest.mark.parametrize("word", ["no", "False", "0"])
def test_words_for_no_are_a_no(links, tmp_path, word):
    table = links.astype({"trusted": object})
    table.loc[3, "trusted"] = word
    table.to_csv(tmp_path / "links.csv", index=False)
    [row] = corrected_rows(tmp_path / "links.csv", links)
    assert row["trusted"] is False
    table.loc[3, "trusted"] = "vielleicht"
    with pytest.raises(LatticeError, match="write True or False"):
        corrected_rows(table, links)


def test_what_is_no_link_or_no_tile_is_named(tiles, links):
    with pytest.raises(LatticeError, match="tiles 0 and 5 are no pair"):
        apply_corrections(links, [{"first": 0, "second": 5, "trusted": True}])
    with pytest.raises(LatticeError, match="trusted is missing"):
        corrected_rows(links.drop(columns="trusted"), links)
    with pytest.raises(LatticeError, match="'nobody' is no tile"):
        anchors_of(tiles, {"nobody": (0, 0)})
    with pytest.raises(LatticeError, match="give its position"):
        anchors_of(tiles, {0: (0, 0, 0)})


def test_a_table_with_some_of_its_offsets_is_refused_by_the_column_that_is_missing(
    tiles, links, tmp_path
):
    misspelt = links.rename(columns={"offset_y_px": "off_y"})
    misspelt.to_csv(tmp_path / "links.csv", index=False)
    for table in (misspelt, tmp_path / "links.csv"):
        with pytest.raises(LatticeError, match=r"no column offset_y_px \(is it off_y\?\): give"):
            corrected_rows(table, links)
    with pytest.raises(LatticeError, match=r"no column offset_y_px: give offset_y_px, offset_x"):
        stitch(tiles, tmp_path / "brain.ome.zarr", links=links.drop(columns="offset_y_px"))
    assert [path.name for path in tmp_path.iterdir()] == ["links.csv"]  # before any work
    short = links[["first", "second", "trusted"]].assign(trusted=False, comment="dust")
    assert len(corrected_rows(short, links)) == len(links)


def test_anchors_come_by_id_by_name_or_from_a_file(tiles, tmp_path):
    name = str(tiles.names[2])
    assert anchors_of(tiles, {0: (1, 2), name: {"y": 3, "x": 4}}) == {"0": [1, 2], "2": [3, 4]}
    table = pd.DataFrame({"tile": [name], "position_y_um": [3.0], "position_x_um": [4.0]})
    table.to_csv(tmp_path / "anchors.csv", index=False)
    assert anchors_of(tiles, tmp_path / "anchors.csv") == {"2": [3.0, 4.0]}


@pytest.mark.slow
def test_a_project_places_by_corrections_and_anchors(tiles, tmp_path, local_client):
    from latticework.stitch import stitch

    out, how = tmp_path / "a.ome.zarr", {"where": local_client, "report": False, "progress": "none"}
    first = stitch(tiles, out, **how)
    edited = first.placement.links.copy()
    edited.loc[0, "trusted"] = False
    anchors = {3: (500.0, 700.0)}
    how |= {"links": edited, "anchors": anchors}
    with pytest.raises(StoreError, match="overwrite=True"):
        stitch(tiles, out, **how)
    again = stitch(tiles, out, overwrite=True, **how)
    attempts = len(again.project.attempts())
    same = stitch(tiles, out, **how)  # and the same again is the same
    assert len(same.project.attempts()) == attempts
    pd.testing.assert_frame_equal(same.placement.links, again.placement.links)
    assert not again.placement.links.loc[0, "trusted"]
    np.testing.assert_allclose(again.placement.lattice.position_um[3], (500, 700), atol=1e-6)
    ran = again.project.attempts().groupby("stage").size()
    assert ran["pairs"] == len(tiles)  # nothing was compared again
