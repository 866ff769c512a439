"""The grid finds every pair within a distance, and none twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.algorithms import nearby
from dataops_parsl.algorithms.nearby import candidates


def by_definition(
    source: np.ndarray, target: np.ndarray, limit: float, groups: tuple[np.ndarray, np.ndarray] | None
) -> list[tuple[int, int]]:
    squared = ((source[:, None] - target[None]) ** 2).sum(axis=2)
    near = squared <= limit**2
    if groups is not None:
        near &= groups[0][:, None] == groups[1][None]
    return sorted(map(tuple, np.argwhere(near).tolist()))


@settings(max_examples=200, deadline=None)
@given(
    n=st.integers(0, 30),
    m=st.integers(0, 30),
    limit=st.floats(1e-3, 300.0),
    spread=st.sampled_from([(0.0, 0.0), (1.0, 100.0), (100.0, 100.0), (1e-6, 1e6)]),
    origin=st.sampled_from([0.0, -5000.0, 1e5]),
    whole=st.booleans(),
    grouped=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
    table=st.sampled_from([0, 4]),
    at_once=st.sampled_from([1, 20, 1 << 14]),
)
def test_equals_the_definition(
    n: int,
    m: int,
    limit: float,
    spread: tuple[float, float],
    origin: float,
    whole: bool,
    grouped: bool,
    seed: int,
    table: int,
    at_once: int,
) -> None:
    rng = np.random.default_rng(seed)
    source, target = (origin + rng.uniform(0, 1, (k, 2)) * spread for k in (n, m))
    if whole:
        source, target, limit = source.round(), target.round(), float(np.ceil(limit))
    groups = (rng.integers(0, 4, n), rng.integers(0, 4, m)) if grouped else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearby, "_TABLE_PER_POINT", table)
        patch.setattr(nearby, "_PAIRS_AT_ONCE", at_once)
        i, j, cost = candidates(source, target, limit, groups)
    assert np.all(np.diff(i) >= 0)
    np.testing.assert_array_equal(cost, ((source[i] - target[j]) ** 2).sum(axis=1))
    within = cost <= limit * limit
    assert sorted(zip(i[within].tolist(), j[within].tolist(), strict=True)) == by_definition(
        source, target, limit, groups
    )
    assert np.all(cost <= (limit * (1 + 1e-8)) ** 2)
    assert len(set(zip(i.tolist(), j.tolist(), strict=True))) == len(i)


@pytest.mark.parametrize("limit", [3.0, 0.1, 1e-7])
def test_a_crowd_far_from_a_lone_point(limit: float) -> None:
    """Nobody pays for the empty space between, whatever the distance."""
    rng = np.random.default_rng(0)
    crowd = np.vstack([rng.uniform(0, 1000 * limit, (3000, 2)), [[1e6, 1e6]]])
    i, j, _ = candidates(crowd, crowd + np.array([0.0, limit / 2]), limit)
    assert set(zip(range(len(crowd)), range(len(crowd)), strict=True)) <= set(zip(i, j, strict=True))
    assert len(i) < 2 * len(crowd)
