"""A lattice that grew is the lattice built at once, and the old one stays what it was."""

import pickle
from itertools import pairwise

import cloudpickle
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework import Lattice
from latticework.errors import LatticeError
from latticework.lattice import rows
from latticework.lattice.growth import PARTS, grown
from latticework.lattice.lines import GridLines
from latticework.lattice.merging import natural_key
from latticework.lattice.offsets import spatial_axis
from latticework.testing.strategies import tile_lattices


def alone(lattice, ids, *, nominal=False):
    """Some tiles as they are opened without the others: numbered from 0, with their labels only."""
    part, labels, index = lattice.take(ids), {}, []
    for column, dim in enumerate(lattice.dims):
        used = np.unique(part.index[:, column])
        if spatial_axis(dim):  # a row without tiles is a row of holes
            used = np.arange(used[0], used[-1] + 1)
        words = lattice.labels[dim][used].tolist()
        order = sorted(range(len(words)), key=lambda k: natural_key(str(words[k])))
        order = order if isinstance(words[0], str) else np.argsort(words)
        labels[dim] = np.array(words)[order]
        place = np.empty(len(used), dtype=int)
        place[order] = np.arange(len(used))
        index.append(place[np.searchsorted(used, part.index[:, column])])
    return part.replace(
        ids=None,
        labels=labels,
        index=np.stack(index, axis=1),
        problems={},
        position_um=None if nominal else part.position_um,
    )


def batches(draw, n):
    """Tiles in any order, in batches of any size."""
    order = draw(st.permutations(range(n)))
    cuts = sorted([*draw(st.lists(st.integers(1, n), max_size=4)), 0, n])
    return [order[a:b] for a, b in pairwise(cuts) if a < b]


def snapshot(lattice):
    facts = {part: getattr(lattice, part) for part in PARTS if part != "given_names"}
    facts |= {
        name: np.array(getattr(lattice, name)) for name in ("id_grid", "position_um", "names")
    }
    return pickle.dumps(
        {key: dict(fact) if hasattr(fact, "items") else fact for key, fact in facts.items()}
    )


def assert_sound(lattice):
    """What was carried over is what a lattice of the same parts works out."""
    again = lattice.replace()  # checks everything
    for name in ("index", "ids", "id_grid", "position_um", "names", "shapes"):
        np.testing.assert_array_equal(getattr(lattice, name), getattr(again, name), err_msg=name)
    assert lattice.shuffled == again.shuffled
    assert list(lattice) == list(again)
    assert repr(lattice) == repr(again)


def usual_labels(lattice):
    found = {}
    for column, dim in enumerate(lattice.dims):
        used = lattice.labels[dim][np.unique(lattice.index[:, column])]
        if used.dtype.kind == "U":
            found[dim] = sorted(used.tolist(), key=natural_key)
        elif spatial_axis(dim):
            found[dim] = list(range(used.min(), used.max() + 1))
        else:
            found[dim] = sorted(used.tolist())
    return found


def facts(tile):
    return tile.labels, tile.position_um, tile.shape, tile.name


@given(tile_lattices(ragged=True, max_tiles=4), st.data(), st.booleans())
def test_any_order_and_batches_give_the_same_lattice_by_labels(lattice, data, nominal):
    whole = lattice.replace(names=[f"image {k}" for k in range(len(lattice))])
    parts = batches(data.draw, len(whole))
    now = alone(whole, parts[0], nominal=nominal)
    before = []
    for ids in parts[1:]:
        before.append((now, snapshot(now)))
        now = grown(now, alone(whole, ids, nominal=nominal), placed_by="labels")
        assert_sound(now)
    assert {dim: labels.tolist() for dim, labels in now.labels.items()} == usual_labels(whole)
    assert now.names.tolist() == [f"image {k}" for ids in parts for k in ids]
    at_once = alone(whole, [k for ids in parts for k in ids])
    for mine, theirs in zip(now, at_once, strict=True):
        assert (mine.labels, mine.shape, mine.name) == (theirs.labels, theirs.shape, theirs.name)
        assert nominal or mine.position_um == theirs.position_um
    assert (now.given_position_um is None) == nominal
    for old, was in before:
        assert snapshot(old) == was


@st.composite
def scans(draw):
    """Positions of a jittered scan with holes, as whole micrometres."""
    ndim = draw(st.integers(2, 3))
    grid = [draw(st.integers(1, 4)) for _ in range(ndim)]
    places = draw(st.lists(st.sampled_from(list(np.ndindex(*grid))), min_size=1, unique=True))
    step = np.array([draw(st.integers(60, 110)) for _ in range(ndim)])
    jitter = draw(st.integers(0, 6))
    seed = np.random.default_rng(draw(st.integers(0, 99)))
    places = np.array(places) * step
    return places + seed.integers(-jitter, jitter + 1, size=places.shape)


@given(scans(), st.data())
def test_any_order_and_batches_give_the_same_lattice_by_positions(positions, data):
    axes = ("z", "y", "x")[-positions.shape[1] :]
    options = {"axes": axes, "tile_shape": dict.fromkeys(axes, 100), "dtype": "u1"}

    def opened(ids):
        return Lattice.from_positions(positions[ids], **options, names=[f"{k}" for k in ids])

    parts = batches(data.draw, len(positions))
    order = [k for ids in parts for k in ids]
    at_once, now = opened(order), opened(parts[0])
    for ids in parts[1:]:
        now = grown(now, opened(ids), placed_by="positions")
        assert_sound(now)
    assert (now.dims, now.sizes, dict(now.step_px)) == (
        at_once.dims,
        at_once.sizes,
        dict(at_once.step_px),
    )
    assert list(now) == list(at_once)


@given(st.lists(st.integers(-400, 400), min_size=1), st.data())
def test_lines_that_grow_are_the_lines_of_all(values, data):
    parts = [np.array(values, float)[ids] for ids in batches(data.draw, len(values))]
    lines, number = GridLines.of(parts[0], 100.0), []
    for part in parts[1:]:
        more, moved = lines.with_values(part)
        assert (np.diff(moved) >= 0).all()
        lines = more
    every = np.concatenate(parts)
    whole = GridLines.of(every, 100.0)
    for name in ("low", "high", "count", "number"):
        np.testing.assert_array_equal(getattr(lines, name), getattr(whole, name))
    assert lines.step == pytest.approx(whole.step)
    number = whole.positions_of(every)
    assert ((every[:, None] < every[None, :]) <= (number[:, None] <= number[None, :])).all()


# -------------------------------------------------------------------- values

KIND = {"tile_shape": {"y": 10, "x": 10}, "dtype": "u2"}


def strip(labels, **changes):
    """Tiles in a row along x."""
    parts = {
        "dims": ("tile_y", "tile_x"),
        "labels": {"tile_y": [0], "tile_x": labels},
        "index": [[0, k] for k in range(len(labels))],
        "tile_dims": ("y", "x"),
        "tile_shape": (10, 10),
        "dtype": "u2",
        "names": [f"image {label}" for label in labels],
    }
    return Lattice(**{**parts, **changes})


def test_two_growths_of_one_lattice_do_not_see_each_other():
    old = grown(strip([0, 1]), strip([2]), placed_by="labels")
    one = grown(old, strip([3]), placed_by="labels")
    other = grown(old, strip([9]), placed_by="labels")
    further = grown(one, strip([4]), placed_by="labels")
    assert old.names.tolist() == ["image 0", "image 1", "image 2"]
    assert one.names.tolist()[3:] == ["image 3"]
    assert other.names.tolist()[3:] == ["image 9"]
    assert further.tile(3).labels["tile_x"] == 3
    assert other.tile(3).labels["tile_x"] == 9
    for lattice in (old, one, other, further):
        assert_sound(lattice)
        assert not lattice.index.flags.writeable
        assert not lattice.id_grid.flags.writeable


def test_rows_are_copied_about_once(monkeypatch):
    moves = []
    moved = rows.GrowingRows._moved
    monkeypatch.setattr(
        rows.GrowingRows, "_moved", lambda self, n: (moves.append(len(self)), moved(self, n))[1]
    )
    now = rows.GrowingRows(np.arange(1000))
    for k in range(5000):
        now = now.with_rows([k])
    assert sum(moves) < 2 * 6000
    assert len(moves) < 5


def test_a_grown_lattice_travels():
    lattice = grown(strip([0, 1]), strip([2]), placed_by="labels")
    again = cloudpickle.loads(cloudpickle.dumps(lattice))
    assert list(again) == list(lattice)
    assert_sound(grown(again, strip([3]), placed_by="labels"))


@pytest.mark.parametrize(
    ("old", "new", "labels"),
    [
        ([3, 2, 1], [5, 0], [5, 4, 3, 2, 1, 0]),
        (["A1", "A9"], ["A10", "B1"], ["A1", "A9", "A10", "B1"]),
        (["left", "back"], ["front"], ["left", "back", "front"]),
        ([3, 9, 5], [7], [3, 9, 5, 7]),
        ([0, 1], [1000], [0, 1, 1000]),
        ([0.5, 1.5], [1.0], [0.5, 1.0, 1.5]),
        ([4, 5], [-1], [-1, 0, 1, 2, 3, 4, 5]),
    ],
)
def test_labels_stay_in_their_order(old, new, labels):
    lattice = grown(strip(old), strip(new), placed_by="labels")
    assert lattice.labels["tile_x"].tolist() == labels
    for k, label in enumerate([*old, *new]):
        assert lattice.tile(tile_x=label).id == k
    assert_sound(lattice)


def test_the_step_is_that_of_the_lattice_that_knows_it():
    at = [[0.0, 0.0], [0.0, 8.0]]
    one, two = strip([0]), strip([1, 2], step_px={"x": 8})
    assert grown(one, two, placed_by="labels").step_px["x"] == 8
    assert grown(two, strip([3]), placed_by="labels").step_px["x"] == 8
    placed = grown(
        strip([0], position_um=at[:1]), strip([1], position_um=at[1:]), placed_by="labels"
    )
    assert placed.step_px["x"] == 8
    later = grown(placed, strip([2], position_um=[[0, 15.0]]), placed_by="labels")
    assert later.step_px["x"] == 8
    with pytest.raises(LatticeError, match=r"image 3.*step_px.*7.*8"):
        grown(two, strip([3], step_px={"x": 7}), placed_by="labels")


def test_tiles_without_positions_go_by_the_first_that_has_one():
    nominal, given_ = strip([0, 1]), strip([2], position_um=[[100.0, 220.0]])
    lattice = grown(nominal, given_, placed_by="labels")
    assert lattice.position_um.tolist() == [[100, 200], [100, 210], [100, 220]]
    lattice = grown(given_, strip([1]), placed_by="labels")
    assert lattice.position_um.tolist() == [[100, 220], [100, 210]]
    nominal = grown(strip([1]), strip([0]), placed_by="labels")
    assert nominal.given_position_um is None
    assert nominal.position_um.tolist() == [[0, 10], [0, 0]]
    with pytest.raises(LatticeError, match=r"'image 5' has no position.*placed_by"):
        grown(given_, strip([5]), placed_by="positions")


def test_wells_that_lie_apart_share_a_grid():
    def well(name, first):
        return Lattice.from_positions(
            [[first, 0], [first, 10], [first + 10, 0]], other={"well": [name] * 3}, **KIND
        )

    lattice = grown(well("A1", 0), well("A2", 1004), placed_by="positions")
    assert lattice.sizes == {"well": 2, "tile_y": 2, "tile_x": 2}
    lattice = grown(lattice, well("A10", 1), placed_by="positions")
    assert lattice.labels["well"].tolist() == ["A1", "A2", "A10"]
    assert lattice.sizes == {"well": 3, "tile_y": 2, "tile_x": 2}
    assert_sound(lattice)


def test_positions_that_fill_a_gap_move_the_others():
    def at(*x):
        return Lattice.from_positions([[0.0, v] for v in x], **KIND, names=[f"{v}" for v in x])

    first = grown(at(0, 20), at(40), placed_by="positions")
    assert first.id_grid.tolist() == [[0, 1, 2]]
    then = grown(first, at(10), placed_by="positions")
    assert then.id_grid.tolist() == [[0, 3, 1, -1, 2]]
    assert then.step_px["x"] == 10
    assert first.id_grid.tolist() == [[0, 1, 2]]
    with pytest.raises(LatticeError, match=r"two tiles are at.*'10'.*'11'"):
        grown(then, at(11), placed_by="positions")


@pytest.mark.parametrize("placed_by", ["labels", "positions"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dtype": "u1"}, "'image 5' has dtype uint8, but .* have uint16"),
        ({"tile_shape": (10, 9)}, "'image 5' has tile_shape .*9.* have .*10"),
        ({"pixel_size_um": {"x": 2}}, "'image 5' has pixel_size_um"),
        ({"tile_dims": ("c", "x")}, "has (dims|spatial dims|tile_dims)"),
    ],
)
def test_tiles_of_another_kind_are_refused_by_name(placed_by, changes, words):
    old = strip([0, 1], position_um=[[0, 0], [0, 10]])
    with pytest.raises(LatticeError, match=words):
        grown(old, strip([5], position_um=None, **changes), placed_by=placed_by)


def test_places_that_are_taken_are_refused_by_name():
    old = strip([0, 1])
    with pytest.raises(LatticeError, match=r"'tile_x': 1.*'image 1' and 'again'"):
        grown(old, strip([1], names=["again"]), placed_by="labels")
    twice = Lattice.__new__(Lattice)
    twice.__dict__.update(strip([4, 5]).__dict__ | {"index": np.array([[0, 1], [0, 1]])})
    with pytest.raises(LatticeError, match=r"'tile_x': 5.*'image 4' and 'image 5'"):
        grown(old, twice, placed_by="labels")
    tall = strip([0, 1]).replace(labels={"tile_y": np.arange(60_000), "tile_x": [0, 1]})
    with pytest.raises(LatticeError, match="too large"):
        grown(tall, strip(range(2, 40_000)), placed_by="labels")
    with pytest.raises(LatticeError, match="placed_by='hand'"):
        grown(old, strip([5]), placed_by="hand")


def test_nothing_and_nothing_yet():
    old = strip([0, 1])
    none = old.take([])
    assert grown(old, none, placed_by="labels") is old
    first = grown(none, strip([3, 4], problems={1: "lost"}), placed_by="labels")
    assert first.labels["tile_x"].tolist() == [3, 4]
    assert first.problems == {1: "lost"}
    later = grown(first, strip([5], problems={0: "gone"}), placed_by="labels")
    assert later.problems == {1: "lost", 2: "gone"}


def test_another_source_leaves_all_else():
    lattice = grown(strip([0, 1]), strip([2]), placed_by="labels")
    other = lattice.with_source("elsewhere")
    assert other.source == "elsewhere"
    assert lattice.source is None
    assert other.id_grid is lattice.id_grid
    assert list(other) == list(lattice)
    assert_sound(grown(other, strip([3]), placed_by="labels"))
