"""Positions from links: exact where they agree, robust where they do not, quick where there are
many."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latticework.stitch.solving import solve


def grid(rows, columns):
    index = np.arange(rows * columns).reshape(rows, columns)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    first = np.concatenate([a.ravel() for a, _ in pairs])
    second = np.concatenate([b.ravel() for _, b in pairs])
    return first, second


def aligned(found, truth):
    return found - found[0] + truth[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(2, 3), st.integers(0, 2**31))
def test_links_that_agree_are_fulfilled_exactly(rows, columns, axes, seed):
    rng = np.random.default_rng(seed)
    first, second = grid(rows, columns)
    truth = rng.uniform(0, 1e4, (rows * columns, axes))
    offsets = truth[second] - truth[first]
    weights = rng.uniform(0.1, 3, len(first))
    found = solve(len(truth), first, second, offsets, weights, (first, second, offsets))
    np.testing.assert_allclose(aligned(found.positions_px, truth), truth, atol=1e-6)
    assert (found.residuals_px < 1e-6).all()


def test_a_fifth_of_wrong_links_moves_nothing():
    rng = np.random.default_rng(7)
    first, second = grid(12, 12)
    truth = rng.uniform(0, 1e4, (144, 2))
    offsets = truth[second] - truth[first] + rng.normal(0, 0.05, (len(first), 2))
    wrong = rng.permutation(len(first))[: len(first) // 5]
    offsets[wrong] += rng.uniform(5, 60, (len(wrong), 2)) * rng.choice([-1, 1], (len(wrong), 2))
    found = solve(144, first, second, offsets, np.ones(len(first)), (first, second, offsets))
    error = found.positions_px - truth
    error = np.linalg.norm(error - np.median(error, axis=0), axis=1)
    assert np.median(error) < 0.3
    assert (found.weights[wrong] < 0.1).mean() > 0.85  # a corner has but two links


def test_what_no_link_joins_lies_as_the_stage_model_says():
    first, second = grid(1, 6)
    truth = np.arange(6)[:, None] * [0.0, 100.0]
    use = np.array([0, 1, 4])  # 0-1-2, 3 alone, 4-5
    offsets = truth[second] - truth[first]
    free = ~np.isin(np.arange(len(first)), use)
    model = first, second, offsets + free[:, None] * [1.0, 2.0]
    found = solve(6, first[use], second[use], offsets[use], np.ones(3), model)
    assert found.group.max() == 2
    np.testing.assert_allclose(
        np.diff(found.positions_px, axis=0), [[0, 100], [0, 100], [1, 102], [1, 102], [0, 100]]
    )


def test_a_group_lies_where_its_tiles_together_say():
    """One tile at the border of a group is off by itself; the others know that."""
    rng = np.random.default_rng(3)
    better = []
    for _ in range(20):
        first, second = grid(6, 6)
        ideal = np.indices((6, 6)).reshape(2, -1).T * 100.0
        truth = ideal + rng.uniform(-4, 4, ideal.shape)
        model = first, second, ideal[second] - ideal[first]
        left = ideal[:, 1] < 300
        use = left[first] == left[second]
        offsets = (truth[second] - truth[first])[use]
        found = solve(36, first[use], second[use], offsets, np.ones(use.sum()), model)
        error = found.positions_px - truth
        better.append(np.linalg.norm(error[left].mean(axis=0) - error[~left].mean(axis=0)))
    assert np.median(better) < 1.5  # 6 pairs at the border alone leave some 2


def test_a_tile_beside_a_group_that_drifted_lies_as_those_near_it():
    """A stage that loses steps: the far end of the group says nothing of this end."""
    rng = np.random.default_rng(3)
    first, second = grid(3, 30)
    ideal = np.indices((3, 30)).reshape(2, -1).T * 100.0
    truth = ideal + np.outer(np.square(ideal[:, 1] / 100), [0.0, 0.1]) + rng.normal(0, 1, (90, 2))
    use = (first != 89) & (second != 89)  # the last is alone
    offsets = (truth[second] - truth[first])[use]
    model = first, second, ideal[second] - ideal[first]
    found = solve(90, first[use], second[use], offsets, np.ones(use.sum()), model).positions_px
    error = found - truth
    assert np.abs(error[89] - error[88]).max() < 12  # 60 by the mean of the group


def test_without_any_link_all_tiles_lie_as_the_model_says():
    first, second = grid(2, 2)
    offsets = np.array([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])
    none = np.zeros(0, np.int64)
    found = solve(4, none, none, np.zeros((0, 2)), np.zeros(0), (first, second, offsets))
    np.testing.assert_allclose(
        found.positions_px - found.positions_px[0], [[0, 0], [0, 9], [9, 0], [9, 9]], atol=1e-9
    )


@pytest.mark.slow
def test_a_hundred_thousand_links_are_solved_in_seconds():
    rng = np.random.default_rng(1)
    first, second = grid(220, 230)
    truth = rng.uniform(-5, 5, (220 * 230, 2)) + np.indices((220, 230)).reshape(2, -1).T * 900.0
    offsets = truth[second] - truth[first] + rng.normal(0, 0.1, (len(first), 2))
    assert len(first) > 100_000
    began = time.monotonic()
    found = solve(len(truth), first, second, offsets, np.ones(len(first)), (first, second, offsets))
    assert time.monotonic() - began < 60
    error = aligned(found.positions_px, truth) - truth
    assert np.linalg.norm(error - np.median(error, axis=0), axis=1).mean() < 0.5
