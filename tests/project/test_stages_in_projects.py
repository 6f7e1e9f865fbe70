"""What stages may be, read and return: the real coordinator and stores, in one process."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
import skimage.filters

import latticework as lw
from latticework.errors import StageError
from latticework.lattice import Lattice
from tests.project import steps
from tests.project.running import completions, numbered, run_here

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(folder):
    lattice, array = numbered()
    project = lw.create(folder / "p.lw", lattice)
    project.array = array
    return project


def blocks(array, lattice):
    return {i: array[lattice.volume_box(i).slices] for i in lattice.ids.tolist()}


# ------------------------------------------------------------------ callables


def module_lambda():
    return lambda tile: tile * np.asarray(3, tile.dtype)


CALLABLES = {
    "scipy": (scipy.ndimage.gaussian_filter, {"sigma": 0}, lambda a: a),
    "skimage": (skimage.filters.threshold_local, {"block_size": 3, "method": "median"}, None),
    "ufunc": (np.invert, {}, np.invert),
    "partial": (functools.partial(steps.add, amount=3), {}, lambda a: a + np.uint16(3)),
    "partial of scipy": (functools.partial(scipy.ndimage.maximum_filter, size=1), {}, lambda a: a),
    "lambda": (module_lambda(), {}, lambda a: a * np.uint16(3)),
    "closure": (steps.closure(5), {}, lambda a: a + np.uint16(5)),
    "object": (steps.Scale(2), {}, lambda a: a * np.uint16(2)),
    "method": (steps.Scale(2).apply, {}, lambda a: a * np.uint16(2)),
    "labelled": (steps.add, {"amount": 7}, lambda a: a + np.uint16(7)),
    "annotated": (steps.plain_add, {"amount": 7}, lambda a: a + np.uint16(7)),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_any_callable_is_a_stage(project, kind):
    function, params, expected = CALLABLES[kind]
    stage = project.add(function, name="it", params=params)
    assert run_here(project), project.attempts("it").traceback.iloc[-1]
    if expected is None:
        lattice = project.lattice
        for i, block in blocks(project.array, lattice).items():
            np.testing.assert_array_equal(stage.tile(i).to_numpy(), function(block, **params))
        return
    np.testing.assert_array_equal(stage.data.to_numpy(), expected(project.array))


@pytest.mark.parametrize("kind", CALLABLES)
def test_any_callable_is_the_same_stage_when_added_again(project, kind):
    function, params, _ = CALLABLES[kind]
    project.add(function, name="it", params=params)
    assert run_here(project)
    done = project.attempts_made()
    project.add(function, name="it", params=params)
    assert run_here(project)
    assert project.attempts_made() == done


def test_functions_are_named_after_themselves(project):
    assert project.add(scipy.ndimage.median_filter, size=3).name == "median_filter"
    assert project.add(functools.partial(steps.add, amount=3)).name == "add"
    assert project.add(steps.Scale(3)).name == "Scale"
    assert project.add(steps.Scale(3).apply, name="scaled").name == "scaled"


FINGERPRINTS = """
import functools
from latticework.stages.stage import Stage, fingerprint
from tests.project import steps

for function in (
    steps.add, steps.closure(5), steps.Scale(2), steps.Scale(2).apply, steps.default_model,
    functools.partial(steps.default_model, model=steps.Model({"b": 1, "a": [2, {3, 4}]})),
    lambda tile: tile if tile.name in {"a", "b", "c"} else None,
    steps.closure(steps.Model("x")), steps.closure(steps.closure(2)),
):
    print(fingerprint(Stage(function, "it").definition()))
"""


def test_a_callable_has_one_fingerprint_in_every_process():
    seen = [
        subprocess.run(
            [sys.executable, "-c", FINGERPRINTS], capture_output=True, text=True, check=True,
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]  # fmt: skip
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 9


def test_two_amounts_in_a_partial_or_closure_are_two_definitions(project):
    for first, second in [
        (functools.partial(steps.add, amount=1), functools.partial(steps.add, amount=2)),
        (steps.closure(1), steps.closure(2)),
        (steps.Scale(1), steps.Scale(2)),
        (steps.Scale(1).apply, steps.Scale(2).apply),
    ]:
        stage = project.add(first, name="it")
        run_here(project)
        before = stage.data.to_numpy()
        stage = project.add(second, name="it")
        assert project.counts["it"] == {"stale": 20}
        run_here(project)
        assert (stage.data.to_numpy() != before).any()


# ------------------------------------------------------------------ parents, reductions, children


def test_several_parents_come_in_the_order_of_after(project):
    more = project.add(steps.add, amount=9, name="more")
    stage = project.add(steps.difference, after=[more, project.source])
    other = project.add(np.subtract, after=[more, "source"], name="ufunc")
    assert run_here(project)
    np.testing.assert_array_equal(stage.data.to_numpy(), np.full_like(project.array, 9))
    np.testing.assert_array_equal(other.data.to_numpy(), np.full_like(project.array, 9))


def test_a_diamond_runs_every_unit_once(project):
    left = project.add(steps.add, amount=1, name="left")
    right = project.add(steps.add, amount=3, name="right", after="source")
    low = project.add(steps.difference, after=[right, left], name="low")
    project.add(steps.largest, after=low, reads=lw.all_tiles())
    assert run_here(project)
    assert set(completions(project).values()) == {1}
    np.testing.assert_array_equal(project["largest"].tile().to_numpy(), np.full((6, 8), 2))


def test_reductions_over_arrays_tables_and_records(project):
    project.add(steps.largest, reads=lw.all_tiles(), name="over_source")
    project.add(steps.add, amount=1)
    project.add(steps.grand_total, after="add", reads=lw.all_tiles())
    project.add(steps.table)
    project.add(
        steps.sum_of_column, after="table", reads=lw.all_tiles(), column="value", name="of_tables"
    )
    project.add(steps.statistics)
    project.add(
        steps.sum_of_column, after="statistics", reads=lw.all_tiles(), column="n", name="of_records"
    )
    project.add(steps.total)
    project.add(
        steps.sum_of_column, after="total", reads=lw.all_tiles(), column="value", name="of_numbers"
    )
    assert run_here(project), project.attempts().message.tolist()
    array = project.array
    stack = np.stack(list(blocks(array, project.lattice).values()))
    np.testing.assert_array_equal(project["over_source"].tile().to_numpy(), stack.max(0))
    np.testing.assert_array_equal(project["over_source"].data.to_numpy(), stack.max(0))
    assert project["grand_total"].tile() == int((array + 1).sum(dtype="i8"))
    tables = project["of_tables"].tile()
    assert tables["sum"] == array.sum()
    assert tables["rows"] == array.size
    assert tables["columns"] == ["tile", "tile_y", "tile_x", "place", "value"]
    assert project["of_records"].tile()["sum"] == array.size
    assert project["of_records"].tile()["columns"] == ["tile", "tile_y", "tile_x", "mean", "n"]
    assert project["of_numbers"].tile()["sum"] == array.sum()


def test_children_of_reductions_get_what_was_made_once(project):
    image = project.add(steps.largest, reads=lw.all_tiles())
    number = project.add(steps.grand_total, reads=lw.all_tiles())
    minus = project.add(steps.minus_number, after=["source", number], name="minus_number")
    flat = project.add(steps.minus_image, after=[project.source, image], name="minus_image")
    assert run_here(project)
    total = np.uint16(project.array.sum(dtype="i8") % 2**16)
    np.testing.assert_array_equal(minus.data.to_numpy(), project.array - total)
    expected = project["largest"].tile().to_numpy()
    for i, block in blocks(project.array, project.lattice).items():
        np.testing.assert_array_equal(flat.tile(i).to_numpy(), block - expected)
    with pytest.raises(StageError, match="read tiles too"):
        project.add(steps.add, after=image, name="lonely")


def test_a_child_of_a_reduction_may_have_a_halo_around_its_tiles(project):
    image = project.add(steps.grand_total, reads=lw.all_tiles())
    stage = project.add(
        steps.minus_number, after=["source", image], overlap=2, boundary="reflect", name="haloed"
    )
    assert run_here(project), project.attempts("haloed").message.tolist()
    total = np.uint16(project.array.sum(dtype="i8") % 2**16)
    np.testing.assert_array_equal(stage.data.to_numpy(), project.array - total)


def test_tables_and_records_of_the_same_tile_are_read_by_children(project):
    project.add(steps.table)
    project.add(steps.sum_of_column, after="table", column="value", name="sums")
    project.add(steps.statistics)
    plus = project.add(steps.add_record, after=["source", "statistics"])
    assert run_here(project)
    for i, block in blocks(project.array, project.lattice).items():
        assert project["sums"].tile(i)["sum"] == block.sum()
        np.testing.assert_array_equal(plus.tile(i).to_numpy(), block + np.uint16(48))
    assert project["table"].data.shape == (project.array.size, 5)
    assert len(project["statistics"].data) == 20


def test_tables_without_rows_keep_their_columns(project):
    limit = int(project.array.max()) - 2
    found = project.add(steps.rows_above, threshold=limit)
    none = project.add(steps.rows_above, threshold=1e9, name="none")
    total = project.add(steps.sum_of_column, after=none, reads=lw.all_tiles(), column="value")
    assert run_here(project)
    assert len(found.data) == 2
    assert list(none.data.columns) == ["tile", "tile_y", "tile_x", "place", "value"]
    assert total.tile()["rows"] == 0


def test_stages_may_return_nothing_and_still_order_others(project):
    looked = project.add(steps.nothing)
    facts = project.add(steps.address, after=looked, reads=lw.nothing())
    assert run_here(project)
    assert looked.kind == "nothing"
    assert looked.tile(3) is None
    assert facts.tile(y=1, x=2) == {"id": 7, "tile_y": 1, "tile_x": 2}


def test_outputs_of_other_dims_shapes_and_types(folder):
    lattice, array = numbered((2, 2, 3), (3, 4, 6))
    project = lw.create(folder / "p.lw", lattice)
    flat = project.add(steps.projection)
    small = project.add(steps.half)
    real = project.add(steps.thirds, after=small)
    filtered = project.add(
        scipy.ndimage.maximum_filter, after=flat, overlap={"y": 1, "x": 1}, size=3
    )
    assert run_here(project), project.attempts().message.tolist()
    for i in lattice.ids.tolist():
        block = array[lattice.volume_box(i).slices]
        np.testing.assert_array_equal(flat.tile(i).to_numpy(), block.max(0))
        np.testing.assert_array_equal(small.tile(i).to_numpy(), block[..., ::2, ::2])
        np.testing.assert_array_equal(real.tile(i).to_numpy(), block[..., ::2, ::2] / 3)
    assert flat.tile(0).dims == ("y", "x")
    planes = array.reshape(2, 3, 8, 18).max(1)
    whole = [scipy.ndimage.maximum_filter(plane, 3, mode="nearest") for plane in planes]
    for i in lattice.ids.tolist():
        z, *_ = lattice.index[i]
        box = lattice.volume_box(i).slices[1:]
        np.testing.assert_array_equal(filtered.tile(i).to_numpy(), whole[z][box])


# ------------------------------------------------------------------ declared and found outputs


def test_a_declared_dtype_is_kept_rounded_and_clipped(project):
    stage = project.add(steps.thirds, output=lw.array_output("uint8"))
    assert run_here(project)
    expected = np.clip(np.rint(project.array / 3), 0, 255).astype("u1")
    np.testing.assert_array_equal(stage.data.to_numpy(), expected)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (steps.wandering_dtype, ["dtype"]),
        (steps.wandering_shape, ["shape", "(5, 8)", "(6, 8)"]),
        (steps.sometimes_none, ["nothing", "array"]),
    ],
)
def test_a_tile_that_differs_from_the_others_fails_and_says_how(project, function, words):
    stage = project.add(function, odd=[4, 11], retries=0)
    summary = run_here(project)
    assert not summary
    assert stage.counts == {"complete": 18, "failed": 2}
    why = project.why(function.__name__, 11)
    assert all(word in why for word in [*words, "as for the other tiles", "y2_x1"]), why


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (lw.table_output(), "kind array instead of table"),
        (lw.record_output(), "kind array instead of record"),
        (lw.array_output(shape={"y": 5, "x": 8}), "shape (6, 8) instead of (5, 8)"),
        (lw.array_output(dims=("z", "y", "x")), "dims ('y', 'x') instead of ('z', 'y', 'x')"),
    ],
)
def test_a_result_that_was_declared_otherwise_fails_and_says_how(project, declared, words):
    project.add(steps.same, output=declared, retries=0)
    assert not run_here(project)
    why = project.why("same", 0)
    assert words in why
    assert "as was declared" in why, why


@pytest.mark.parametrize("function", [steps.unstorable, steps.texts])
def test_results_that_cannot_be_kept_say_so(project, function):
    project.set_patience(after=None)
    stage = project.add(function, retries=0)
    run_here(project)
    assert stage.counts == {"failed": 20}
    why = project.why(stage.name, 0)
    assert "a stage returns an array" in why or "cannot be stored" in why


def test_arrow_tables_are_tables(project):
    import pyarrow as pa

    stage = project.add(lambda tile: pa.table({"n": [tile.size]}), name="arrow")
    assert run_here(project)
    pd.testing.assert_frame_equal(stage.tile(0), pd.DataFrame({"n": [48]}))


# ------------------------------------------------------------------ refused when added


def test_stages_that_cannot_work_are_refused_before_anything_runs(project):
    project.add(steps.add)
    refused = [
        ({"function": steps.add, "wrong": 3}, "amount"),
        ({"function": steps.difference}, "other"),
        ({"function": 3}, "callable"),
        ({"function": steps.add, "after": "nobody"}, "no such stage"),
        ({"function": steps.add, "after": ["add", "add"], "name": "b"}, "twice"),
        ({"function": steps.add, "after": []}, "no parent"),
        ({"function": steps.add, "name": "a/b"}, "no name"),
        ({"function": steps.add, "name": "source"}, "taken"),
        ({"function": steps.add, "name": "tile_y"}, "axis"),
        ({"function": steps.add, "overlap": {"q": 1}}, "axes"),
        ({"function": steps.add, "overlap": -1}, "overlap"),
        ({"function": steps.add, "overlap": 1, "boundary": "mirror"}, "boundary"),
        ({"function": steps.add, "overlap": 1, "reads": lw.all_tiles()}, "no halo"),
        ({"function": steps.add, "retries": -1}, "retries"),
        ({"function": steps.add, "after": "add"}, "made from itself"),
    ]
    for options, words in refused:
        given = dict(options)
        with pytest.raises((lw.errors.StageError, lw.errors.LatticeError), match=words):
            project.add(given.pop("function"), **given)
    assert project.stages == ("add",)


def test_a_halo_that_a_parents_tiles_cannot_have_is_an_error_of_the_stage(folder):
    lattice = Lattice.from_grid(
        {"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1", overlap=2
    )
    from latticework.io.memory import MemorySource

    lattice = lattice.replace(source=MemorySource([np.zeros((8, 8), "u1")] * 4))
    project = lw.create(folder / "p.lw", lattice)
    with pytest.raises((lw.errors.StageError, lw.errors.LatticeError), match="abutting"):
        project.add(steps.add, overlap=1, boundary="periodic")


def test_a_halo_of_a_reductions_or_tables_child_is_refused_or_ignored_clearly(project):
    project.add(steps.table)
    stage = project.add(steps.sum_of_column, after="table", overlap=1, column="value")
    assert run_here(project)
    assert stage.tile(0)["rows"] == 48
