"""The law of halo maps: mapping tile by tile equals the function on the whole, padded array."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from latticework.lattice import Lattice
from latticework.testing.strategies import dtypes, random_array
from tests.project import steps
from tests.project.running import run_here, temporary_project

PAD = {"reflect": "symmetric", "nearest": "edge", "periodic": "wrap"}
MODES = st.sampled_from(["none", "reflect", "nearest", "periodic", 0, 7])


def on_whole(function, array, before, after, modes):
    """The function on the whole array, padded by the boundary modes, and trimmed again."""
    keep = []
    for axis, (b, a, mode) in enumerate(zip(before, after, modes, strict=True)):
        n = array.shape[axis]
        keep.append(slice(None) if mode == "none" else slice(b, b + n))
        if mode != "none":
            widths = [(0, 0)] * array.ndim
            widths[axis] = (b, a)
            how = {"mode": PAD[mode]} if isinstance(mode, str) else {"constant_values": mode}
            array = np.pad(array, widths, **how)
    return function(array)[tuple(keep)]


@st.composite
def margins(draw, axes, most=7):
    margin = st.integers(0, most)
    return {axis: (draw(margin), draw(margin)) for axis in axes}


@st.composite
def cases(draw):
    axes = draw(st.sampled_from(["yx", "zyx"]))
    most = 13 if axes == "yx" else 7
    shape = tuple(draw(st.integers(1, most)) for _ in axes)
    block = {
        axis: draw(st.integers(max(1, n // 4), n)) for axis, n in zip(axes, shape, strict=True)
    }
    array = random_array(shape, draw(dtypes), seed=draw(st.integers(0, 99)))
    boundary = {axis: draw(MODES) for axis in axes}
    return array, block, draw(margins(axes, most=7 if axes == "yx" else 4)), boundary


def filters(before, after):
    """Functions whose reach is exactly the halo, with their parameters."""
    size = tuple(b + a + 1 for b, a in zip(before, after, strict=True))
    # scipy's origin: the window reaches size // 2 + origin pixels back. At an edge without padding
    # the function itself repeats the last pixel: a mirror would see more of the whole than a halo.
    origin = tuple(b - n // 2 for b, n in zip(before, size, strict=True))
    window = {"size": size, "origin": origin, "mode": "nearest"}
    return [
        (ndimage.maximum_filter, window),
        (ndimage.minimum_filter, window),
        (ndimage.median_filter, window),
        (ndimage.rank_filter, {**window, "rank": 0}),
        (steps.window_sum, {"before": before, "after": after}),
    ]


def sides(overlap):
    return tuple(b for b, _ in overlap.values()), tuple(a for _, a in overlap.values())


@given(cases(), st.integers(0, 4))
def test_a_halo_map_equals_the_function_on_the_whole_array(case, which):
    array, block, overlap, boundary = case
    before, after = sides(overlap)
    function, params = filters(before, after)[which]
    with temporary_project(Lattice.from_array(array, block=block)) as project:
        stage = project.add(
            function, overlap=overlap, boundary=boundary, name="filtered", params=params
        )
        assert run_here(project), project.attempts("filtered").message.tolist()
        expected = on_whole(
            lambda a: function(a, **params), array, before, after, boundary.values()
        )
        result = stage.data.to_numpy()
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(result, expected)


@given(cases(), st.data())
def test_a_halo_around_a_stages_output_equals_the_function_of_the_function(case, data):
    array, block, overlap, boundary = case
    axes = list(overlap)
    first_overlap = data.draw(margins(axes, most=3))
    first_boundary = {axis: data.draw(MODES) for axis in axes}
    first, first_params = filters(*sides(first_overlap))[data.draw(st.integers(0, 4))]
    second, second_params = filters(*sides(overlap))[data.draw(st.sampled_from([0, 1, 2]))]
    with temporary_project(Lattice.from_array(array, block=block)) as project:
        one = project.add(
            first, overlap=first_overlap, boundary=first_boundary, name="one", params=first_params
        )
        two = project.add(
            second, after=one, overlap=overlap, boundary=boundary, name="two", params=second_params
        )
        assert run_here(project), project.attempts().message.tolist()
        between = on_whole(
            lambda a: first(a, **first_params),
            array,
            *sides(first_overlap),
            first_boundary.values(),
        )
        np.testing.assert_array_equal(one.data.to_numpy(), between)
        expected = on_whole(
            lambda a: second(a, **second_params), between, *sides(overlap), boundary.values()
        )
        np.testing.assert_array_equal(two.data.to_numpy(), expected)


@st.composite
def scenes(draw):
    """Overlapping tiles cut from one scene: what a stage without noise would acquire."""
    axes = draw(st.sampled_from(["yx", "zyx"]))
    n = len(axes)
    grid = [draw(st.integers(1, 3)) for _ in range(n)]
    step = [draw(st.integers(2, 5)) for _ in range(n)]
    size = [s + draw(st.integers(0, s)) for s in step]
    whole = [(g - 1) * s + t for g, s, t in zip(grid, step, size, strict=True)]
    scene = random_array(whole, draw(dtypes), seed=draw(st.integers(0, 99)))
    lattice = Lattice.from_grid(
        dict(zip(axes, grid, strict=True)),
        tile_shape=dict(zip(axes, size, strict=True)),
        dtype=scene.dtype,
        overlap={a: t - s for a, t, s in zip(axes, size, step, strict=True)},
        snake=draw(st.booleans()),
    )
    tiles = [scene[lattice.volume_box(i).slices] for i in lattice.ids.tolist()]
    from latticework.io.memory import MemorySource

    modes = st.sampled_from(["none", "reflect", "nearest", 7])
    boundary = {axis: draw(modes) for axis in axes}
    return lattice.replace(source=MemorySource(tiles)), scene, draw(margins(axes, most=6)), boundary


@given(scenes(), st.integers(0, 4), st.integers(0, 1))
def test_halos_of_overlapping_acquisitions_see_the_scene(case, first, second):
    lattice, scene, overlap, boundary = case
    before, after = sides(overlap)
    function, params = filters(before, after)[first]
    again, more = filters(before, after)[second]
    with temporary_project(lattice) as project:
        options = {"overlap": overlap, "boundary": boundary}
        one = project.add(function, name="one", params=params, **options)
        two = project.add(again, name="two", after=one, params=more, **options)
        assert run_here(project), project.attempts().message.tolist()
        between = on_whole(lambda a: function(a, **params), scene, before, after, boundary.values())
        after_all = on_whole(lambda a: again(a, **more), between, before, after, boundary.values())
        for tile in lattice.ids.tolist():
            box = lattice.volume_box(tile).slices
            np.testing.assert_array_equal(one.tile(tile).to_numpy(), between[box])
            np.testing.assert_array_equal(two.tile(tile).to_numpy(), after_all[box])


@settings(max_examples=6)
@given(cases(), st.integers(0, 3))
def test_a_cluster_gives_what_one_process_gives(local_client, case, which):
    array, block, overlap, boundary = case
    before, after = sides(overlap)
    function, params = filters(before, after)[which]
    with temporary_project(Lattice.from_array(array, block=block)) as project:
        one = project.add(function, overlap=overlap, boundary=boundary, name="one", params=params)
        two = project.add(
            ndimage.maximum_filter, after=one, overlap=1, boundary="reflect", name="two", size=3
        )
        assert project.run(local_client, progress="none")
        between = on_whole(lambda a: function(a, **params), array, before, after, boundary.values())
        np.testing.assert_array_equal(one.data.to_numpy(), between)
        np.testing.assert_array_equal(two.data.to_numpy(), ndimage.maximum_filter(between, 3))
