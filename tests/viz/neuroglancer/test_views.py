"""Layers, states and links of views; what is served under them."""

import http.client
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import urlopen

import numpy as np
import pandas as pd
import pytest
import tensorstore
import zarr

import latticework as lw
from latticework.io.pyramid import Pyramid
from latticework.viz.neuroglancer import Overlay, ViewError, close_server
from latticework.viz.neuroglancer.server import shared_server
from tests.viz.neuroglancer.conftest import MOVED_UM, lattice_of_test, pixels_of_tile


def served(source):
    """What a layer's data are, as another Zarr library reads them through HTTP."""
    scheme, _, url = source["url"].partition("://")
    spec = {
        "driver": {"zarr3": "zarr3", "zarr2": "zarr"}[scheme],
        "kvstore": {"driver": "http", "base_url": url + "0/"},
    }
    return tensorstore.open(spec, open=True).result()


def by_name(view):
    return {layer["name"]: layer for layer in view.state["layers"]}


def test_everything_of_a_project_is_a_layer(known):
    with known.project.view() as view:
        layers = by_name(view)
        assert list(layers) == ["source", "source (solved)", "brighter", "objects", "corners"]
        kinds = {name: layer["type"] for name, layer in layers.items()}
        assert kinds["objects"] == "segmentation"
        assert kinds["corners"] == "annotation"
        assert kinds["brighter"] == "image"
        assert [name for name, layer in layers.items() if layer["visible"]] == ["brighter"]
        assert view.notes == ()
        assert repr(view).startswith("<View of source, source (solved), brighter")


def test_a_mosaic_is_one_virtual_array_of_the_right_pixels(known):
    with known.project.view("source", "brighter", positions="nominal") as view:
        layers = by_name(view)
        array = served(layers["source"]["source"])
        assert array.dtype.name == "uint8"
        np.testing.assert_array_equal(array.read().result()[0], known.mosaic)
        made = served(layers["brighter"]["source"]).read().result()[0]
        np.testing.assert_array_equal(made, known.mosaic // 2 + 100)


def test_solved_positions_are_transforms_of_the_same_tiles(known):
    with known.project.view("source", positions="solved") as view:
        sources = by_name(view)["source"]["source"]
        assert len(sources) == 6
        lattice = known.project.lattice
        for number, source in enumerate(sources):
            transform = source["transform"]
            assert transform["outputDimensions"]["y"] == [0.5e-6, "m"]
            moved = np.array(transform["matrix"])[:, 3] * [1.0, 0.5, 0.5]
            expected = lattice.position_um[number] + (np.array(MOVED_UM) if number else 0)
            np.testing.assert_allclose(moved, [0.0, *expected], atol=1e-6)
            np.testing.assert_array_equal(np.array(transform["matrix"])[:, :3], np.eye(3))
            pixels = served(source).read().result()[0]
            np.testing.assert_array_equal(pixels, pixels_of_tile(number))


def test_positions_can_be_given(known):
    lattice = known.project.lattice
    by_hand = lattice.position_um + np.array([10.0, 20.0])
    for given in (by_hand, lattice.replace(position_um=by_hand)):
        with known.project.view("source", positions=given) as view:
            matrix = np.array(by_name(view)["source"]["source"]["transform"]["matrix"])
            np.testing.assert_allclose(matrix[:, 3], [0, 20, 40])
    with pytest.raises(ViewError, match=r"\(6, 2\)"):
        known.project.view("source", positions=by_hand[:3])
    with pytest.raises(ViewError, match="has no positions"):
        known.project.view("source", positions="brighter")


def test_more_tiles_between_pixels_than_a_viewer_takes_are_one_picture_and_that_is_said():
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(8), np.arange(8), indexing="ij"), -1).reshape(-1, 2)
    lattice = lw.open_tiles([np.full((16, 16), k, "u1") for k in range(64)], grid={"y": 8, "x": 8})
    lattice = lattice.replace(position_um=grid * 16 + rng.uniform(-0.4, 0.4, (64, 2)))
    with lw.view(lattice) as view:
        assert "64 tiles lie between pixels" in view.notes[0]
        assert "nearest whole one" in repr(view)
        assert isinstance(by_name(view)["tiles"]["source"], dict)
    with lw.view(lattice, y=slice(0, 1), x=slice(0, 2)) as view:
        assert len(by_name(view)["tiles"]["source"]) == 6
        assert view.notes == ()


def test_a_region_is_chosen_by_labels(known):
    with known.project.view("source", "corners", y=1) as view:
        pixels = served(by_name(view)["source"]["source"]).read().result()[0]
        assert pixels.shape == (64, 220)
        np.testing.assert_array_equal(pixels[:, :70], pixels_of_tile(3)[:, :70])
        matrix = np.array(by_name(view)["source"]["source"]["transform"]["matrix"])
        assert matrix[1, 3] == 56
        points = next(layer for layer in view.layers if layer.name == "corners")
        assert len(points.sources[0].resource) == 6
    with pytest.raises(ViewError, match="no axis 'z'"):
        known.project.view(z=3)


def test_points_are_annotations_at_their_places(known):
    for positions, moved in (("nominal", (0, 0)), ("solved", MOVED_UM)):
        with known.project.view("corners", positions=positions) as view:
            layer = by_name(view)["corners"]
            url = layer["source"]["url"].removeprefix("precomputed://")
            info = json.loads(urlopen(url + "info").read())
            assert info["annotation_type"] == "POINT"
            assert [each["id"] for each in info["properties"]] == ["score"]
            cell = urlopen(url + "0/0_0_0").read()
            count = int.from_bytes(cell[:8], "little")
            records = np.frombuffer(cell, "<f4", count * 4, 8).reshape(-1, 4)
            assert count == 12
            expected = lattice_of_test().position_um[:, None] + np.array([[2.5, 3.0], [20.0, 25.0]])
            expected[1:] += moved
            found = records[np.lexsort(records.T[::-1])][:, 1:3]
            wanted = expected.reshape(-1, 2)
            np.testing.assert_allclose(found, wanted[np.lexsort(wanted.T[::-1])], atol=1e-4)


def test_lines_join_what_was_matched():
    from latticework.viz.neuroglancer.tables import table_layers

    lattice = lattice_of_test()
    pairs = pd.DataFrame(
        {
            "tile": ["tile_0", "tile_2"],
            "neighbour": ["+x", "+x"],
            "y": [1.0, 1.0],
            "x": [75.0, 75.0],
            "neighbour_y": [2.0, 2.0],
            "neighbour_x": [5.0, 5.0],
        }
    )
    (layer,) = table_layers("pairs", pairs, lattice, key="pairs")
    lines = layer.sources[0].resource
    assert len(lines) == 1  # the last tile of a row has no neighbour there
    np.testing.assert_allclose(lines.first_um, [[0, 0.5, 37.5]])
    np.testing.assert_allclose(lines.second_um, [[0, 1.0, 35 + 2.5]])
    links = pd.DataFrame({"first": [0, 5], "second": [1, -1], "trusted": [False, True]})
    (layer,) = table_layers("links", links, lattice, key="links")
    lines = layer.sources[0].resource
    np.testing.assert_allclose(lines.first_um, [[0, 31.5 / 2, 79 / 4]])
    np.testing.assert_allclose(lines.second_um, [[0, 31.5 / 2, 35 + 79 / 4]])
    assert lines.properties["trusted"].tolist() == [0]
    with pytest.raises(ViewError, match="mean"):
        table_layers("means", pd.DataFrame({"tile": ["tile_0"], "mean": [1.0]}), lattice, key="m")


def test_channels_and_sheets_lie_side_by_side():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 1000 * (k + 1), (2, 8, 9)).astype("u2") for k in range(4)]
    lattice = lw.Lattice(
        dims=("sheet", "tile_x"),
        labels={"sheet": ["left", "right"], "tile_x": [0, 1]},
        index=[[0, 0], [0, 1], [1, 0], [1, 1]],
        tile_dims=("c", "y", "x"),
        tile_shape=(2, 8, 9),
        dtype="u2",
        channels=["561", "647"],
        source=lw.open_tiles(arrays, grid={"y": 1, "x": 4}, dims=("c", "y", "x")).source,
    )
    with lw.view(lattice, layout="channels") as view:
        names = ["tiles left 561", "tiles left 647", "tiles right 561", "tiles right 647"]
        assert list(by_name(view)) == names
        panels = view.state["layout"]["children"]
        assert [panel["layers"] for panel in panels] == [[names[0], names[2]], [names[1], names[3]]]
        np.testing.assert_array_equal(
            served(by_name(view)["tiles right 647"]["source"]).read().result()[0],
            np.concatenate([arrays[2][1], arrays[3][1]], axis=1),
        )
        colours = [layer["shaderControls"]["colour"] for layer in view.state["layers"]]
        assert colours == ["#00ff00", "#ff00ff", "#00ff00", "#ff00ff"]
        low, high = view.state["layers"][0]["shaderControls"]["normalized"]["range"]
        both = np.concatenate([arrays[0][0].ravel(), arrays[1][0].ravel()])
        assert (low, high) == pytest.approx(np.percentile(both, [1, 99.8]))
    with lw.view(lattice, layout="sheets", channels=["647"]) as view:
        panels = view.state["layout"]["children"]
        assert [p["layers"] for p in panels] == [["tiles left 647"], ["tiles right 647"]]
    with lw.view(lattice, sheet="right", channels=[0]) as view:
        assert list(by_name(view)) == ["tiles 561"]
    with pytest.raises(ViewError, match="no channel '999': there are 561, 647"):
        lw.view(lattice, channels=["999"])
    with pytest.raises(ViewError, match="side by side by channel, sheet, stage"):
        lw.view(lattice, layout="rows")


def test_too_many_layers_are_refused_with_what_to_choose():
    lattice = lw.Lattice(
        dims=("time", "tile_x"),
        labels={"time": list(range(40)), "tile_x": [0]},
        index=[[k, 0] for k in range(40)],
        tile_dims=("y", "x"),
        tile_shape=(4, 4),
        dtype="u1",
        source=lw.open_tiles([np.zeros((4, 4), "u1")] * 40, grid={"y": 1, "x": 40}).source,
    )
    with pytest.raises(ViewError, match=r"40 layers, more than 16.*time"):
        lw.view(lattice)
    with lw.view(lattice, time=[3, 4]) as view:
        assert len(view.layers) == 2


def test_a_volume_on_disk_is_served_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 4000, (2, 8, 560, 530)).astype("u2")
    for version in ("0.5", "0.4"):
        pyramid = Pyramid.plan(
            tmp_path / f"brain{version}.ome.zarr",
            dims="czyx",
            shape=volume.shape,
            dtype="u2",
            version=version,
            pixel_size_um=(2.0, 0.5, 0.5),
            origin_um=(10.0, 20.0, 30.0),
            channels=("red", "green"),
        ).create()
        write(pyramid, volume)
        with lw.view(pyramid.path) as view:
            layers = by_name(view)
            assert list(layers) == [f"brain{version} red", f"brain{version} green"]
            layer = layers[f"brain{version} green"]
            assert layer["localPosition"] == [1]
            assert "transform" not in layer["source"]  # the image says where it lies
            np.testing.assert_array_equal(served(layer["source"]).read().result(), volume)
            low, high = layer["shaderControls"]["normalized"]["range"]
            assert 0 <= low < high <= 4000
            assert view.state["position"][0] == pytest.approx((30 / 0.5) + 264.5, abs=1)


def write(pyramid, volume):
    for box in pyramid.blocks():
        pyramid.write_block(box, volume[box.slices])
    pyramid.finish()


def test_arrays_and_odd_images_are_read_through_the_library(tmp_path):
    rng = np.random.default_rng(0)
    volume = rng.normal(100, 20, (4, 90, 110))
    plain = zarr.create_array(tmp_path / "plain.zarr", shape=volume.shape, dtype="f8")
    plain[...] = volume
    for what in (volume, tmp_path / "plain.zarr", plain):
        with lw.view(what) as view:
            (layer,) = view.state["layers"]
            array = served(layer["source"])
            assert array.dtype.name == "float32"  # the viewer has no float64
            np.testing.assert_allclose(array.read().result(), volume, rtol=1e-6)
            low, high = layer["shaderControls"]["normalized"]["range"]
            assert (low, high) == pytest.approx(np.percentile(volume[2], [1, 99.8]), rel=1e-3)
    for bad in (np.zeros(4), np.zeros((2, 2), "U3"), {"a": 5}):
        with pytest.raises(ViewError, match="array"):
            lw.view(bad)


def test_an_atlas_is_laid_over_with_its_transform():
    atlas = np.zeros((4, 10, 20), "u4")
    atlas[:, :5] = 70_000
    turn = np.array([[1, 0, 0, 5.0], [0, 0, 2.0, 6.0], [0, -1.0, 0, 7.0]])
    overlay = Overlay(
        atlas,
        pixel_size_um={"z": 25, "y": 10, "x": 10},
        position_um={"z": 100, "y": 0, "x": 0},
        matrix=turn,
    )
    with lw.view({"brain": np.ones((4, 8, 8), "u1")}, overlays={"atlas": overlay}) as view:
        layer = by_name(view)["atlas"]
        assert layer["type"] == "segmentation"
        transform = layer["source"]["transform"]
        matrix = np.array(transform["matrix"])
        scale = np.array([transform["outputDimensions"][axis][0] for axis in "zyx"]) * 1e6
        voxel = np.array([2.0, 3.0, 4.0])
        found = (matrix[:, :3] @ voxel + matrix[:, 3]) * scale
        own = voxel * [25, 10, 10] + [100, 0, 0]
        np.testing.assert_allclose(found, turn[:, :3] @ own + turn[:, 3])
        assert served(layer["source"])[0, 2, 3].read().result() == 70_000
    with pytest.raises(ViewError, match=r"\(3, 4\)"):
        Overlay(atlas, matrix=np.eye(3))


def test_label_images_of_an_image_come_with_it(tmp_path):
    pyramid = Pyramid.plan(
        tmp_path / "b.ome.zarr", dims="yx", shape=(40, 50), dtype="u2", pixel_size_um=(1, 1)
    ).create()
    write(pyramid, np.ones((40, 50), "u2"))
    labels = Pyramid.plan(
        tmp_path / "b.ome.zarr" / "labels" / "cells",
        dims="yx",
        shape=(40, 50),
        dtype="u2",
        pixel_size_um=(1, 1),
    ).create()
    write(labels, np.full((40, 50), 3, "u2"))
    with lw.view(tmp_path / "b.ome.zarr") as view:
        layers = by_name(view)
        assert {name: layer["type"] for name, layer in layers.items()} == {
            "b": "image",
            "b cells": "segmentation",
        }


def test_names_of_the_same_plain_letters_keep_their_own_data(tmp_path):
    arrays = {"é": 1, "ü": 2, "a b": 3, "a_b": 4}
    path = tmp_path / "brain.ome.zarr"
    for folder, value in {path: 0, **{path / "labels" / k: v for k, v in arrays.items()}}.items():
        made = Pyramid.plan(folder, dims="yx", shape=(8, 8), dtype="u4", pixel_size_um=(1, 1))
        write(made.create(), np.full((8, 8), value, "u4"))
    with lw.view(path) as view:
        for layer in view.layers[1:]:
            url = layer.sources[0].json(shared_server().base, view._name)["url"]
            spec = {"driver": "zarr3", "kvstore": url.removeprefix("zarr3://") + "0/"}
            found = tensorstore.open(spec, open=True).result().read().result()
            assert set(found.ravel().tolist()) == {arrays[layer.name.removeprefix("brain ")]}


def test_what_has_no_pixels_or_no_place_is_refused():
    for shape in ((0, 5, 5), (5, 0), (0, 2, 5, 5)):
        with pytest.raises(ViewError, match="has no pixels"):
            lw.view({"a": np.zeros(shape, "u1")})
    one = np.ones((2, 4, 4), "u1")
    for options in (
        {"pixel_size_um": {"x": 0}},
        {"pixel_size_um": {"x": float("nan")}},
        {"position_um": {"x": float("inf")}},
        {"matrix": np.full((3, 4), np.nan)},
    ):
        with pytest.raises(ViewError, match="finite"):
            Overlay(one, **options)
    with pytest.raises(ViewError, match="1 channels, but 2 names"):
        lw.view({"a": Overlay(one, channels=["x", "y"])})
    with lw.view(np.full((4, 4), 1e300)) as view:  # no float32 has it
        assert view.layers[0].contrast is not None


def test_units_are_metres_and_sizes_the_smallest():
    with lw.view({"a": Overlay(np.ones((4, 8, 8), "u1"), {"z": 2, "y": 0.5, "x": 0.25})}) as view:
        assert view.state["dimensions"] == {
            "x": [pytest.approx(0.25e-6), "m"],
            "y": [pytest.approx(0.5e-6), "m"],
            "z": [pytest.approx(2e-6), "m"],
        }


# -------------------------------------------------------------------- the view itself


def test_a_link_opens_the_state(known):
    with known.project.view("brighter") as view:
        page, _, state = view.url.partition("#!")
        assert urlsplit(page).hostname == "127.0.0.1"
        assert json.loads(urlopen(state).read()) == view.state
        assert b"<script" in urlopen(page).read()
        html = view._repr_html_()
        assert f'<iframe src="{view.url}"' in html
        assert "<a href=" in html


def test_a_state_can_be_shared_and_shown_again(known, tmp_path):
    with known.project.view("brighter") as view:
        address = view.share(tmp_path / "state.json")
        assert json.loads(unquote(address.partition("#!")[2])) == view.state
        assert view.share(client="https://viewer.example/").startswith("https://viewer.example/#!")
        state = json.loads((tmp_path / "state.json").read_text())
    state["position"] = [1.0, 2.0, 0.0]
    close_server()
    for given in (state, json.dumps(state)):
        with known.project.view("brighter", state=given) as again:
            assert again.state["position"] == [1.0, 2.0, 0.0]
            pixels = served(again.state["layers"][0]["source"]).read().result()
            np.testing.assert_array_equal(pixels[0], known.mosaic // 2 + 100)
    for bad in ("none.json", "{}", "{broken"):
        with pytest.raises(ViewError, match="not the state of a view"):
            known.project.view("brighter", state=bad)


def test_a_closed_view_serves_nothing_and_others_go_on(known):
    first, second = known.project.view("brighter"), known.project.view("source")
    assert urlsplit(first.url).port == urlsplit(second.url).port
    url = first.state["layers"][0]["source"]["url"].removeprefix("zarr3://")
    with first:
        assert urlopen(url + "zarr.json").status == 200
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname, at.port)
    connection.request("GET", at.path + "zarr.json")
    assert connection.getresponse().status == 404
    connection.close()
    with pytest.raises(ViewError, match="closed"):
        _ = first.url
    assert "closed" in first._repr_html_()
    first.close()
    assert urlopen(second.url.partition("#!")[2]).status == 200


def test_a_view_outlives_its_server(known):
    view = known.project.view("brighter", idle_s=500)
    assert shared_server().idle_s == 500
    before = view.url
    shared_server().close()
    assert view.url == before  # opened again, at the same place
    pixels = served(view.state["layers"][0]["source"]).read().result()
    np.testing.assert_array_equal(pixels[0], known.mosaic // 2 + 100)


def test_what_is_not_there_is_black_until_it_is():
    """Tiles that are made while one looks appear when asked for again."""
    lattice = lattice_of_test()
    with lw.view(lattice) as view:
        image = view.layers[0].sources[0].resource
        calls = []
        read = image.pixels.read_tile
        missing = {"yes": True}

        def some(row, start, stop):
            calls.append(row)
            return None if missing["yes"] and row == 0 else read(row, start, stop)

        object.__setattr__(image.pixels, "read_tile", some)
        first = image.find(("0", "c", "0", "0", "0"))
        missing["yes"] = False
        second = image.find(("0", "c", "0", "0", "0"))
        count = len(calls)
        assert first.body != second.body
        assert image.find(("0", "c", "0", "0", "0")).body == second.body
        assert len(calls) == count  # kept, as nothing is missing


def test_a_tile_that_cannot_be_read_is_black_and_reported():
    lattice = lw.open_tiles([np.ones((8, 8), "u1")] * 2, grid={"y": 1, "x": 2})

    class Broken:
        def read(self, tile, box):
            if tile == 1:
                raise lw.errors.SourceError("the file is damaged")
            return lattice.source.read(tile, box)

        def fingerprints(self):
            return lattice.source.fingerprints()

    with lw.view(lattice.with_source(Broken())) as view:
        pixels = served(view.state["layers"][0]["source"]).read().result()[0]
        assert pixels[:, :8].all()
        assert not pixels[:, 8:].any()
        assert view.problems == {"tiles": {1: "the file is damaged"}}


def test_names_are_text_and_no_addresses():
    evil = '<script>alert(1)</script>"../../x'
    with lw.view({evil: np.ones((4, 4), "u1")}) as view:
        assert view.state["layers"][0]["name"] == evil
        assert "<script>" not in view._repr_html_()
        assert re.fullmatch(r"[\w:/.\-]+", view.state["layers"][0]["source"]["url"])
        served(view.state["layers"][0]["source"])


def test_what_cannot_be_viewed_is_said(known, tmp_path):
    with pytest.raises(ViewError, match=r"no stage 'cleaned'.*source, brighter"):
        known.project.view("cleaned")
    with pytest.raises(ViewError, match="no columns of places"):
        known.project.view("places")
    empty = lw.create(tmp_path / "empty.lw", lattice_of_test())
    empty.add(np.negative)
    with pytest.raises(ViewError, match=r"nothing yet.*nothing runs this project"):
        empty.view("negative")
    with pytest.raises(lw.errors.SourceError):
        lw.view(tmp_path)


def test_napari_gets_the_same_pixels_and_places(known):
    found = lw.napari_layers(known.project, positions="nominal")
    by_name = {options["name"]: (data, options, kind) for data, options, kind in found}
    data, options, kind = by_name["brighter"]
    assert kind == "image"
    np.testing.assert_array_equal(data[0].compute()[0], known.mosaic // 2 + 100)
    assert options["affine"][:3, 3].tolist() == [0, 0, 0]
    assert np.diag(options["affine"]).tolist() == [1, 0.5, 0.5, 1]
    assert by_name["objects"][2] == "labels"
    points, options, kind = by_name["corners"]
    assert (kind, points.shape, list(options["features"])) == ("points", (12, 3), ["score"])


def test_a_view_is_exported_as_a_precomputed_volume(known, tmp_path):
    with known.project.view("brighter", "objects", layout="xy") as view:
        done = view.export(tmp_path / "out")
        assert [each.path.name for each in done] == ["brighter", "objects"]
        np.testing.assert_array_equal(done[0].read()[0], known.mosaic // 2 + 100)
        info = json.loads((tmp_path / "out" / "objects" / "info").read_text())
        assert (info["type"], info["scales"][0]["resolution"]) == ("segmentation", [500, 500, 1000])
        with pytest.raises(lw.errors.StoreError, match="overwrite=True"):
            view.export(tmp_path / "out")
        view.export(tmp_path / "out", overwrite=True)
    assert Path(done[0].path / "info").is_file()
