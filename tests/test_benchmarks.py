"""The benchmarks run, at toy size, and their harness tells the truth."""

import time
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command
from benchmarks import halo, measure, table, volume
from benchmarks.cases import at_most, ratio_rows
from benchmarks.clock import Stopwatch
from benchmarks.functions import REACH, gradient
from benchmarks.measure import Contestant, MeasurementError

HERE = "tests.test_benchmarks"
MEGABYTE = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", command.BENCHMARKS)
def test_each_benchmark_runs_at_toy_size(
    benchmark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "table.md"
    code = command.main([benchmark, "--toy", "--scratch", str(tmp_path), "--markdown", str(page)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    ours = [line for line in printed.splitlines() if "| latticework " in line]
    assert ours
    assert all(line.split("|")[2].strip() != "-" for line in ours), printed
    assert "latticework" in page.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]


# Measured functions of the tests below; they run in processes of their own.


def hold_memory(_scratch: Path, watch: Stopwatch, *, megabytes: int) -> dict[str, float]:
    began = time.perf_counter()
    before = np.ones(2 * megabytes * MEGABYTE, np.uint8)
    total = float(before[::4096].sum())
    del before
    time.sleep(0.2)
    with watch:
        held = np.ones(megabytes * MEGABYTE, np.uint8)
        time.sleep(0.3)
    return {"total": total + held[0], "whole": time.perf_counter() - began}


def fail(_scratch: Path, _watch: Stopwatch) -> None:
    raise ValueError("the reason")


def linger(_scratch: Path, _watch: Stopwatch) -> None:
    time.sleep(60)


def test_only_memory_within_the_window_counts(tmp_path: Path) -> None:
    run = measure.measure(Contestant("x", f"{HERE}:hold_memory", {"megabytes": 200}), tmp_path)
    assert 0.3 <= run.seconds <= run.figures["whole"] - 0.2
    assert run.peak_bytes - run.idle_bytes == pytest.approx(200 * MEGABYTE, rel=0.2)
    assert run.largest_bytes <= run.peak_bytes
    assert run.figures["total"] > 0
    assert not list(tmp_path.iterdir())


def test_a_failing_measurement_says_why_and_takes_no_more_turns(tmp_path: Path) -> None:
    said: list[str] = []
    broken = Contestant("broken", f"{HERE}:fail")
    (standing,) = measure.contest([broken], tmp_path, repeats=3, say=said.append)
    assert standing.problem is not None
    assert "ValueError: the reason" in standing.problem
    assert len(said) == 1
    assert np.isnan(standing.median("seconds"))


def test_a_measurement_that_never_ends_is_ended(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="not finished after 3 s"):
        measure.measure(Contestant("slow", f"{HERE}:linger"), tmp_path, timeout_s=3)


def test_our_row_comes_first_and_is_repeated_for_further_aims() -> None:
    rows = ratio_rows(
        "copy",
        "s",
        [("ours", 2.0), ("theirs", 5.0), ("missing", float("nan"))],
        aims=[("< 3 s", at_most(2, 3)), ("< 1 s", at_most(2, 1))],
    )
    text = table.as_text(rows).splitlines()
    assert [line.split(" | ")[-1].strip() for line in text[2:4]] == ["yes", "NO"]
    assert "2.50" in text[4]
    assert " - |" in text[5]
    assert len({line.index("|") for line in [text[0], *text[2:]]}) == 1


def test_the_markdown_page_is_a_table_with_notes() -> None:
    page = table.as_markdown([table.Row("copy", "ours", 2.0, "s")], ["a note"], "a machine")
    lines = page.splitlines()
    assert lines[0] == "Measured on a machine."
    assert {line.count("|") for line in lines[2:5]} == {len(table.HEADINGS) + 1}
    assert set(lines[3]) == {"|", "-"}
    assert lines[-1] == "- a note"


sides = st.integers(1, 40)


@given(st.tuples(sides, sides, sides), st.integers(0, 2**32 - 1))
def test_the_gradient_is_the_sum_of_shifted_differences(
    shape: tuple[int, int, int], seed: int
) -> None:
    block = np.random.default_rng(seed).integers(0, 2**16, shape, dtype=np.uint16)
    padded = np.pad(block.astype(np.int64), REACH, mode="edge")
    expected = np.full(shape, 34816, np.int64)
    core = [slice(REACH, -REACH)] * 3
    for axis in range(3):
        ahead, behind = core.copy(), core.copy()
        ahead[axis], behind[axis] = slice(2 * REACH, None), slice(None, -2 * REACH)
        expected += padded[tuple(ahead)] - padded[tuple(behind)]
    np.testing.assert_array_equal(gradient(block), (expected % 2**16).astype(np.uint16))


def test_a_wrong_result_is_noticed(tmp_path: Path) -> None:
    inputs = halo._prepare(tmp_path / "input", halo.TOY)
    array = volume.open_volume(tmp_path / "result", create=halo.TOY)
    whole = volume.open_volume(str(inputs["source"]))[...].read().result()
    array[...].write(gradient(whole)).result()
    volume.check_result(tmp_path / "result", halo.TOY, str(inputs["truth"]))
    array[ts.d[:][0, 0, 0]].write(1).result()
    with pytest.raises(AssertionError, match="1 of 8 blocks differ"):
        volume.check_result(tmp_path / "result", halo.TOY, str(inputs["truth"]))
