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
from latticework.lattice import Box
from latticework.viz.neuroglancer import Overlay, ViewError, close_server
from latticework.viz.neuroglancer.server import shared_server
from tests.viz.neuroglancer.conftest import MOVED_UM, lattice_of_test, pixels_of_tile


def served(source):
    """What a layer's data are, as another Zarr library reads them through HTTP."""
    scheme, _, url = source["url"].partition("://")
    spec = {"driver": {"zarr3": "zarr3", "zarr2": "zarr"}[scheme], "kvstore": {"driver": "http", "base_url": url + "0/"}}
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
    by_hand = lattice.position_um + [10.0, 20.0]
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
            "tile": ["y0_x0", "y0_x2"],
            "neighbour": ["+x", "+x"],
            **{"y": [1.0, 1.0], "x": [75.0, 75.0]},
            **{"neighbour_y": [2.0, 2.0], "neighbour_x": [5.0, 5.0]},
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
        table_layers("means", pd.DataFrame({"tile": ["y0_x0"], "mean": [1.0]}), lattice, key="m")


def test_channels_and_sheets_lie_side_by_side():
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 1000 * (k + 1), (2, 8, 9)).astype("u2") for k in range(4)]
    lattice = lw.Lattice(
        dims=("sheet", "tile_x"),
        labels={"sheet": ["left", "right"], "tile_x": [0, 1]},
        index=[[0, 0], [0, 1], [1, 0], [1, 1]],
        **{"tile_dims": ("c", "y", "x"), "tile_shape": (2, 8, 9), "dtype": "u2"},
        channels=["561", "647"],
        source=lw.open_tiles(arrays, grid={"x": 4}, dims=("c", "y", "x")).source,
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
        **{"tile_dims": ("y", "x"), "tile_shape": (4, 4), "dtype": "u1"},
        source=lw.open_tiles([np.zeros((4, 4), "u1")] * 40, grid={"x": 40}).source,
    )
    with pytest.raises(ViewError, match=r"40 layers, more than 16.*time"):
        lw.view(lattice)
    with lw.view(lattice, time=[3, 4]) as view:
        assert len(view.layers) == 2


def test_a_volume_on_disk_is_served_as_it_is(tmp_path):
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 4000, (2, 40, 700, 600)).astype("u2")
    for version in ("0.5", "0.4"):
        pyramid = Pyramid.create(
            tmp_path / f"brain{version}.ome.zarr",
            **{"dims": "czyx", "shape": volume.shape, "dtype": "u2", "version": version},
            **{"pixel_size_um": (2.0, 0.5, 0.5), "origin_um": (10.0, 20.0, 30.0)},
            channels=("red", "green"),
        )
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
            assert view.state["position"][0] == pytest.approx((30 / 0.5) + 299.5, abs=1)


def write(pyramid, volume):
    block = pyramid.block
    grid = [range(-(-n // b)) for n, b in zip(volume.shape, block, strict=True)]
    for place in np.ndindex(*map(len, grid)):
        start = [k * b for k, b in zip(place, block, strict=True)]
        stop = [min(a + b, n) for a, b, n in zip(start, block, volume.shape, strict=True)]
        box = Box(tuple(start), tuple(stop))
        pyramid.write(box, volume[box.slices])
    pyramid.finish()
