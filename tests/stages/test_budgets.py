"""How often a unit is tried again, and how long that waits: budgets as values."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import latticework as lw
from latticework.errors import StageError
from latticework.stages.budgets import KINDS, OUTCOME_OF, Again, Retries, add_failures
from latticework.stages.failures import NO_CODE
from tests.project import steps

again = st.builds(
    Again,
    times=st.integers(0, 100),
    wait_s=st.floats(0, 1000),
    factor=st.floats(1, 10),
    most_wait_s=st.floats(0, 1000),
)
with_codes = st.builds(
    Again,
    times=st.integers(0, 5),
    codes=st.none() | st.lists(st.integers(1, 255), min_size=1).map(tuple),
)
retries = st.builds(
    Retries,
    **{kind: with_codes if kind == "exit_code" else again for kind in KINDS},
    in_all=st.none() | st.integers(0, 254),
)
failures = st.lists(
    st.tuples(st.sampled_from(sorted(OUTCOME_OF.values())), st.integers(0, 255)), max_size=30
)


def spent_by(failed):
    """What is kept of one unit that failed in these ways, one after the other."""
    spent = np.zeros(1, "<u8")
    for outcome, code in failed:
        spent = add_failures(spent, np.array([outcome]), np.array([code]))
    return spent


@given(retries)
def test_budgets_are_kept_as_plain_values(some):
    assert Retries.of(json.loads(json.dumps(some.to_json()))) == some


@given(st.integers(0, 100), failures)
def test_one_number_counts_failures_of_every_kind_together(number, failed):
    used_up = Retries.of(number).used_up(spent_by(failed)).tolist()
    assert used_up == [len(failed) > number]


@given(retries, failures)
def test_each_kind_has_a_budget_of_its_own(some, failed):
    counts = {kind: sum(o == OUTCOME_OF[kind] for o, _ in failed) for kind in KINDS}
    expected = any(n > some.kind(kind).times for kind, n in counts.items())
    expected |= some.in_all is not None and len(failed) > some.in_all
    codes = [code for outcome, code in failed if outcome == OUTCOME_OF["exit_code"]]
    if codes and some.exit_code.codes is not None:
        expected |= codes[-1] not in some.exit_code.codes
    assert some.used_up(spent_by(failed)).tolist() == [expected]


@given(retries, failures)
def test_the_wait_is_that_of_the_last_failure_and_has_an_end(some, failed):
    (wait,) = some.waits_s(spent_by(failed)).tolist()
    if not failed:
        assert wait == 0
        return
    last = failed[-1][0]
    kind = some.kind(next(name for name in KINDS if OUTCOME_OF[name] == last))
    assert wait == kind.wait_before(sum(outcome == last for outcome, _ in failed))
    assert wait <= max(kind.wait_s, kind.most_wait_s)


@given(again, st.integers(1, 300))
def test_waits_never_get_shorter(some, n):
    most = max(some.wait_s, some.most_wait_s)
    assert some.wait_s == some.wait_before(1)
    assert some.wait_before(n) <= some.wait_before(n + 1) <= most


def test_units_are_told_apart():
    """Each of several units at once is judged as by itself."""
    ways = [[(2, NO_CODE)], [], [(6, NO_CODE)] * 2, [(7, 137)], [(7, -9)], [(7, 1)]]
    some = Retries.of({"exception": 0, "timeout": 2, "exit_code": Again(1, codes=(137,))})
    together = np.concatenate([spent_by(way) for way in ways])
    alone = [some.used_up(spent_by(way)).item() for way in ways]
    assert some.used_up(together).tolist() == alone == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("given_retries", "message"),
    [
        (-1, "times=-1 is no number of retries"),
        (101, "times=101 is no number"),
        (True, "retries=True is no number of retries"),
        (1.5, "retries=1.5 is no number"),
        ("often", "retries='often' is no number"),
        ({"timout": 1}, "'timout' is no kind of failure; there are exception, memory"),
        ({"timeout": Again(1, codes=(3,))}, "only exit_code has codes"),
        ({"exit_code": {"times": 1, "codes": [0]}}, "exit codes from 1 to 255"),
        ({"exit_code": {"times": 1, "waits": 3}}, "waits"),
        ({"exception": {"wait_s": -1}}, "wait_s=-1: give seconds"),
        ({"exception": {"wait_s": float("nan")}}, "wait_s=nan: give seconds"),
        ({"exception": {"factor": 0.5}}, "factor=0.5"),
        ({"exception": "5"}, "times='5' is no number of retries"),
        ({"in_all": -1}, "in_all=-1"),
    ],
)
def test_budgets_that_make_no_sense_are_refused_by_name(given_retries, message):
    with pytest.raises(StageError, match="stage 'add'") as refused:
        lw.stages.Stage(steps.add, "add", retries=given_retries)
    assert message in str(refused.value)


def test_kinds_may_be_written_as_the_history_writes_them():
    assert Retries.of({"unreadable input": 3}) == Retries.of({"unreadable_input": 3})
