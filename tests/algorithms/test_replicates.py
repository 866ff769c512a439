"""Means over replicates."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.replicates import Mean, mean_of, minus_control

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], (2.5, np.sqrt(5 / 3) / 2, 4)),
        ([2.0, NAN, 4.0], (3.0, 1.0, 2)),
        ([2.0], (2.0, NAN, 1)),
        ([NAN], (NAN, NAN, 0)),
        ([], (NAN, NAN, 0)),
    ],
)
def test_mean_of(values, expected) -> None:
    found = mean_of(values)
    np.testing.assert_allclose((found.mean, found.sem, found.n), expected)


@pytest.mark.parametrize(
    ("treated", "control", "expected"),
    [
        (Mean(5.0, 3.0, 4), Mean(1.0, 4.0, 2), (4.0, 5.0, 4)),
        (Mean(5.0, 3.0, 4), Mean(1.0, NAN, 1), (4.0, NAN, 4)),
        (Mean(5.0, 3.0, 4), Mean(NAN, NAN, 0), (NAN, NAN, 4)),
    ],
)
def test_minus_control(treated, control, expected) -> None:
    found = minus_control(treated, control)
    np.testing.assert_allclose((found.mean, found.sem, found.n), expected)
