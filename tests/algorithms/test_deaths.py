"""Deaths from planted score traces."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.deaths import Fate, contact_before, control_threshold, fate

NONE = Fate(-1, -1, False)


def _fate(score, usable=None, sustain_s=300.0, every_s=120.0):
    values = np.asarray(score, float)
    seen = np.ones(len(values), bool) if usable is None else np.asarray(usable, bool)
    return fate(np.arange(len(values)) * every_s, values, seen, 10.0, sustain_s)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ([1, 1, 20, 20, 20, 20], Fate(2, 1, False)),
        ([1, 1, 1, 1, 1, 1], NONE),
        ([20, 20, 20, 20, 20], Fate(0, -1, True)),
        ([1, 20, 1, 1, 20, 20, 20, 20], Fate(4, 3, False)),  # a flash is no death
        ([1, 1, 1, 1, 20, 20], NONE),  # not seen long enough: censored
        ([1, np.nan, 20, 20, 20, 20], Fate(2, 0, False)),  # unknown is not alive
        ([20], NONE),
        ([], NONE),
        ([10, 10, 10, 10, 10], NONE),  # at the threshold is not above it
    ],
)
def test_planted_traces(score, expected) -> None:
    assert _fate(score) == expected


def test_unusable_observations_neither_kill_nor_save() -> None:
    score = [1, 1, 20, 1, 20, 20, 20, 20]
    assert _fate(score) == Fate(4, 3, False)
    assert _fate(score, usable=[1, 1, 1, 0, 1, 1, 1, 1]) == Fate(2, 1, False)
    assert _fate(score, usable=[0] * 8) == NONE


def test_one_observation_is_never_enough() -> None:
    assert _fate([1, 1, 20], sustain_s=0.0) == NONE
    assert _fate([1, 20, 1, 1], sustain_s=0.0) == NONE
    assert _fate([1, 20, 20], sustain_s=0.0).death == 1


def test_threshold_of_controls() -> None:
    rng = np.random.default_rng(0)
    scores = np.append(rng.normal(50, 4, 20_000), [np.nan, 900.0])
    assert control_threshold(scores, 6.0) == pytest.approx(50 + 6 * 4, abs=0.5)
    assert np.isnan(control_threshold(np.array([np.nan]), 6.0))


def test_contact_within_the_window() -> None:
    start, end = np.array([0.0, 500.0, 900.0, 2000.0]), np.array([100.0, 700.0, 1200.0, 2100.0])
    contact, lag = contact_before(start, end, death_time_s=1000.0, window_s=600.0)
    assert contact.tolist() == [0.0, 200.0, 100.0, 0.0]
    assert lag.tolist() == [900.0, 300.0, 0.0, 0.0]
