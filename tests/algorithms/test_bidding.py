"""Bids and shortest ways together find the optimum, whatever the bids leave and however many are tied."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from dataops_parsl.algorithms import augmenting
from dataops_parsl.algorithms.augmenting import serve
from dataops_parsl.algorithms.bidding import Market
from dataops_parsl.algorithms.lap import assign

ALTERNATIVE = 10.0


def largest_gain(source: np.ndarray, target: np.ndarray, gain: np.ndarray) -> float:
    """By the dense solver; to stay alone gains nothing."""
    if source.size == 0:
        return 0.0
    matrix = np.zeros((int(source.max()) + 1, int(target.max()) + 1))
    matrix[source, target] = gain
    return float(matrix[linear_sum_assignment(matrix, maximize=True)].sum())


def problem(seed: int, n: int, m: int, fill: float, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    source, target = np.nonzero(rng.random((n, m)) < fill)
    cost = rng.uniform(0, ALTERNATIVE, len(source))
    return source, target, np.floor(cost) if whole else cost


def utility(market: Market) -> np.ndarray:
    best = np.zeros(len(market.held))
    np.maximum.at(best, market.source, market.gain - market.price[market.target])
    return best


def assert_prices_prove_it(market: Market, free: np.ndarray) -> None:
    """What the duals of an optimum must be, but for the sources that are free."""
    value = market.gain - market.price[market.target]
    best = utility(market)
    held = market.held[market.held >= 0]
    np.testing.assert_allclose(value[held], best[market.source[held]], atol=1e-8)
    alone = np.flatnonzero((market.held < 0) & ~np.isin(np.arange(len(best)), free))
    np.testing.assert_allclose(best[alone], 0, atol=1e-8)
    unheld = ~np.isin(np.arange(len(market.price)), market.target[held])
    assert np.all(market.price[unheld] == 0)
    assert np.all(market.price >= 0)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 14),
    m=st.integers(1, 14),
    fill=st.floats(0.05, 1.0),
    whole=st.booleans(),
    rounds=st.sampled_from([0, 1, 2, 40]),
    many=st.sampled_from([0, 3, 40]),
)
def test_is_the_optimum_and_prices_prove_it(
    seed: int, n: int, m: int, fill: float, whole: bool, rounds: int, many: int
) -> None:
    source, target, cost = problem(seed, n, m, fill, whole)
    market = Market.opened(source, target, ALTERNATIVE - cost)
    free = market.bids(rounds)
    assert_prices_prove_it(market, free)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(augmenting, "_MANY", many)
        serve(market, free)
    assert_prices_prove_it(market, np.empty(0, np.int64))
    links = market.held[market.held >= 0]
    assert np.array_equal(market.source[links], np.flatnonzero(market.held >= 0))
    assert len(set(target[links])) == len(links)
    gain = market.gain[links].sum()
    assert gain == pytest.approx(largest_gain(source, target, market.gain), abs=1e-9)


@pytest.mark.parametrize("rounds", [0, 1, 12])
@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
def test_a_large_problem_is_solved_exactly(whole: bool, rounds: int) -> None:
    source, target, cost = problem(5, 600, 580, 0.02, whole)
    market = Market.opened(source, target, ALTERNATIVE - cost)
    free = market.bids(rounds)
    assert free.size > 20
    serve(market, free)
    assert_prices_prove_it(market, np.empty(0, np.int64))
    links = market.held[market.held >= 0]
    assert market.gain[links].sum() == pytest.approx(largest_gain(source, target, market.gain), abs=1e-8)


@pytest.mark.parametrize("whole", [False, True], ids=["distinct", "ties"])
def test_the_order_of_candidates_does_not_matter(whole: bool) -> None:
    source, target, cost = problem(5, 250, 240, 0.05, whole)
    order = np.random.default_rng(6).permutation(len(source))
    links = order[assign(source[order], target[order], cost[order], ALTERNATIVE)]
    assert len(set(source[links])) == len(set(target[links])) == len(links)
    gain = (ALTERNATIVE - cost[links]).sum()
    assert gain == pytest.approx(largest_gain(source, target, ALTERNATIVE - cost), abs=1e-9)


def test_equal_gains_everywhere_come_to_an_end() -> None:
    # Every radius is the same: none may hinder all the others, whatever rounding does.
    side = 40
    n = side * side
    source = np.repeat(np.arange(n), 4)
    target = (source + np.tile([0, 1, side, side + 1], n)) % (n - 7)
    market = Market.opened(source, target, np.full(len(source), 1.05 * 0.3))
    serve(market, market.bids(1))
    assert np.count_nonzero(market.held >= 0) == n - 7
