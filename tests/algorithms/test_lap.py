"""Linking of one pair of frames is exact; that its links are TrackMate's own is shown in test_gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dataops_parsl.algorithms.lap import alternative_cost, assign, link


def dense_gain(source: np.ndarray, target: np.ndarray, max_distance: float) -> float:
    """Largest total gain, from TrackMate's whole (n + m) x (m + n) cost matrix."""
    n, m = len(source), len(target)
    cost = ((source[:, None] - target[None]) ** 2).sum(axis=2)
    allowed = cost < max_distance**2
    if not allowed.any():
        return 0.0
    alternative = 1.05 * cost[allowed].max()
    full = np.full((n + m, n + m), 1e12)
    full[:n, :m][allowed] = cost[allowed]
    full[:n, m:][np.eye(n, dtype=bool)] = alternative
    full[n:, :m][np.eye(m, dtype=bool)] = alternative
    full[n:, m:][allowed.T] = alternative
    rows, columns = linear_sum_assignment(full)
    linked = (rows < n) & (columns < m)
    return float((alternative - full[rows[linked], columns[linked]]).sum())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.floats(0.5, 12.0), st.integers(0, 2**32 - 1), st.booleans())
def test_is_the_optimum_of_trackmates_cost_matrix(
    n: int, m: int, max_distance: float, seed: int, whole: bool
) -> None:
    rng = np.random.default_rng(seed)
    source, target = rng.uniform(0, 12, (n, 2)), rng.uniform(0, 12, (m, 2))
    if whole:
        source, target = source.round(), target.round()
    i, j, cost = link(source, target, max_distance)
    assert len(set(i)) == len(i)
    assert len(set(j)) == len(j)
    assert np.all(np.diff(i) > 0)
    np.testing.assert_allclose(cost, ((source[i] - target[j]) ** 2).sum(axis=1))
    squared = ((source[:, None] - target[None]) ** 2).sum(axis=2)
    allowed = squared[squared < max_distance**2]
    gain = (1.05 * allowed.max() - cost).sum() if allowed.size else 0.0
    assert gain == pytest.approx(dense_gain(source, target, max_distance), abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_an_empty_frame_links_nothing(n: int, m: int) -> None:
    i, j, cost = link(np.zeros((n, 2)), np.zeros((m, 2)), 5.0)
    assert (len(i), len(j), len(cost)) == (0, 0, 0)
    assert i.dtype == j.dtype == np.int64
    assert cost.dtype == np.float64


def test_an_empty_list_is_an_empty_frame() -> None:
    assert len(link([], [[1.0, 1.0]], 5.0)[0]) == 0


def test_the_limit_is_open() -> None:
    assert len(link([[0.0, 0.0]], [[3.0, 4.0]], 5.0)[0]) == 0
    assert len(link([[0.0, 0.0]], [[3.0, 4.0]], np.nextafter(5.0, 6.0))[0]) == 1


def test_two_close_links_beat_one_closest() -> None:
    i, j, _ = link([[0.0, 0.0], [0.0, 2.0]], [[0.0, 1.2], [0.0, 5.0]], 10.0)
    assert (i.tolist(), j.tolist()) == ([0, 1], [0, 1])


def test_one_close_link_beats_two_that_are_barely_allowed() -> None:
    # Alternative cost 1.05 * 9.61: the close link gains 10.08, the two far ones 2 * 0.48.
    i, j, cost = link([[0.0, 0.0], [0.0, 3.2]], [[0.0, 3.1], [0.0, 6.3]], 3.15)
    assert (i.tolist(), j.tolist()) == ([1], [0])
    assert cost[0] == pytest.approx(0.01)


def test_objects_that_do_not_move_are_linked() -> None:
    points = np.array([[1.0, 1.0], [50.0, 2.0], [7.0, 80.0]])
    i, j, cost = link(points, points[[2, 0, 1]], 10.0)
    assert (i.tolist(), j.tolist(), cost.tolist()) == ([0, 1, 2], [1, 2, 0], [0.0, 0.0, 0.0])


@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
def test_the_order_of_rows_does_not_matter(whole: bool) -> None:
    rng = np.random.default_rng(3)
    source = np.unique(rng.uniform(0, 80, (300, 2)).round(0 if whole else 12), axis=0)
    target = np.unique((source + rng.normal(0, 3, source.shape)).round(0 if whole else 12), axis=0)
    i, j, cost = link(source, target, 15.0)
    p, q = rng.permutation(len(source)), rng.permutation(len(target))
    i2, j2, cost2 = link(source[p], target[q], 15.0)
    back = np.argsort(p[i2])
    np.testing.assert_array_equal(p[i2][back], i)
    np.testing.assert_array_equal(q[j2][back], j)
    np.testing.assert_array_equal(cost2[back], cost)


@pytest.mark.parametrize(
    ("source", "target", "max_distance", "complaint"),
    [
        ([[0.0, np.nan]], [[0.0, 0.0]], 5.0, "source_yx holds NaN"),
        ([[0.0, 0.0]], [[np.inf, 0.0]], 5.0, "target_yx holds NaN"),
        ([[0.0, 0.0, 0.0]], [[0.0, 0.0]], 5.0, "shape"),
        ([[0.0, 0.0]], [[0.0, 0.0]], 0.0, "max_distance"),
        ([[0.0, 0.0]], [[0.0, 0.0]], np.nan, "max_distance"),
    ],
)
def test_misuse(source: list, target: list, max_distance: float, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        link(source, target, max_distance)


def test_alternative_cost_takes_the_rank_rounded_half_up() -> None:
    assert alternative_cost(np.arange(6.0), 0.9) == pytest.approx(1.05 * 5)  # rank 4.5 goes up
    assert alternative_cost(np.arange(5.0), 0.9) == pytest.approx(1.05 * 4)
    assert alternative_cost(np.arange(4.0), 0.9) == pytest.approx(1.05 * 3)
    assert alternative_cost(np.zeros(3), 0.9) > 0


def test_a_candidate_dearer_than_the_alternative_is_never_chosen() -> None:
    none = assign(np.array([0, 1]), np.array([0, 1]), np.array([2.0, 1.0]), 1.0)
    assert none.tolist() == []


def test_many_objects_at_once() -> None:
    rng = np.random.default_rng(0)
    source = rng.uniform(0, 2000, (5000, 2))
    order = rng.permutation(5000)
    i, j, _ = link(source, (source + rng.normal(0, 0.2, source.shape))[order], 5.0)
    assert np.mean(order[j] == i) > 0.999
    assert len(i) > 4990
