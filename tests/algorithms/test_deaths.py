"""Deaths from planted score traces."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.deaths import Fate, control_threshold, death_index, dye_loss, fate

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


def test_death_index_of_planted_stains() -> None:
    live, death = np.array([100.0, 50.0, 0.0, 0.0, np.nan]), np.array([0.0, 25.0, 50.0, 0.0, 10.0])
    index = death_index(live, death, (0.0, 100.0), (0.0, 50.0))
    assert index[:3].tolist() == [0.0, 0.5, 1.0]
    assert np.isnan(index[3:]).all()  # neither stain shows, or one is unknown


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ([100, 100, 100, 40, 20], [0, 0, 0, 0.6, 0.8]),
        ([100, 90, 80, 70, 60], [0, 0.1, 0.2, 0.3, 0.4]),  # bleaching alone stays below one half
        ([10, 10, 900, 10, 10], [0, 0, 0, 0, 0]),  # a flash is no reference
        ([0, 0, 0], [np.nan] * 3),
        ([np.nan, 100, np.nan, 50], [np.nan, 0, np.nan, 0.5]),
        ([], []),
    ],
)
def test_dye_loss(live, expected) -> None:
    found = dye_loss(np.array(live, float))
    if live and live[0] == 10:
        assert (found <= 0.99).all()
        assert found[2] == 0
    else:
        np.testing.assert_allclose(found, np.array(expected, float), atol=1e-9)
