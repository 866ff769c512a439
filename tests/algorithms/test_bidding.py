"""Narrowing never loses an optimum, whatever the bids were and however many ties there are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dataops_parsl.algorithms import bidding
from dataops_parsl.algorithms.bidding import narrow
from dataops_parsl.algorithms.lap import assign

ALTERNATIVE = 10.0


def largest_gain(source: np.ndarray, target: np.ndarray, cost: np.ndarray) -> float:
    """By the dense solver; to stay alone gains nothing."""
    if source.size == 0:
        return 0.0
    gain = np.zeros((int(source.max()) + 1, int(target.max()) + 1))
    gain[source, target] = ALTERNATIVE - cost
    return float(gain[linear_sum_assignment(gain, maximize=True)].sum())


def problem(seed: int, n: int, m: int, fill: float, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    source, target = np.nonzero(rng.random((n, m)) < fill)
    cost = rng.uniform(0, ALTERNATIVE, len(source))
    return source, target, np.floor(cost) if whole else cost


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 14),
    m=st.integers(1, 14),
    fill=st.floats(0.05, 1.0),
    whole=st.booleans(),
    rounds=st.sampled_from([0, 1, 2, 40]),
)
def test_what_is_settled_belongs_to_an_optimum(
    seed: int, n: int, m: int, fill: float, whole: bool, rounds: int
) -> None:
    source, target, cost = problem(seed, n, m, fill, whole)
    if source.size == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bidding, "_ROUNDS", rounds)
        settled, left, _ = narrow(source, target, cost, ALTERNATIVE)
    for end in (source, target):
        assert len(set(end[settled])) == len(settled)
        assert not set(end[settled]) & set(end[left])
    gain = (ALTERNATIVE - cost[settled]).sum() + largest_gain(source[left], target[left], cost[left])
    assert gain == pytest.approx(largest_gain(source, target, cost), abs=1e-9)


def test_most_of_a_large_sparse_problem_is_settled() -> None:
    rng = np.random.default_rng(4)
    n = 3000
    source = np.repeat(np.arange(n), 3)
    target = (source + np.tile([0, 1, 7], n)) % n
    cost = np.where(source == target, rng.uniform(0, 2, 3 * n), rng.uniform(1, ALTERNATIVE, 3 * n))
    settled, left, _ = narrow(source, target, cost, ALTERNATIVE)
    assert len(settled) > 0.9 * n
    assert len(left) < 0.1 * len(source)


@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
def test_a_dense_problem_is_assigned_exactly(whole: bool) -> None:
    source, target, cost = problem(5, 250, 240, 0.05, whole)
    order = np.random.default_rng(6).permutation(len(source))
    chosen = assign(source[order], target[order], cost[order], ALTERNATIVE)
    links = order[chosen]
    assert len(set(source[links])) == len(set(target[links])) == len(links)
    gain = (ALTERNATIVE - cost[links]).sum()
    assert gain == pytest.approx(largest_gain(source, target, cost), abs=1e-9)
