"""Speeds and paths of tracks whose motion is known."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.motion import mean_squared_displacement, measure, speed_in


def test_a_straight_track_with_a_gap_and_uneven_time() -> None:
    found = measure([5, 5, 5], [0, 1, 3], [0.0, 60.0, 240.0], [[0.0, 0.0], [3.0, 4.0], [9.0, 12.0]])
    np.testing.assert_allclose(found.step_speed_um_min, [np.nan, 5.0, 10.0 / 3.0])
    assert found.track_id.tolist() == [5]
    assert found.path_um.tolist() == [15.0]
    assert found.net_um.tolist() == [15.0]
    assert found.straightness_frac.tolist() == [1.0]
    assert found.speed_um_min.tolist() == [3.75]


def test_speed_is_path_over_elapsed_time_not_over_the_number_of_objects() -> None:
    found = measure([1] * 4, [0, 1, 2, 3], [0.0, 30.0, 60.0, 90.0], [[0, 0], [0, 1], [0, 2], [0, 3]])
    assert found.speed_um_min.tolist() == [2.0]


def test_there_and_back() -> None:
    found = measure([1, 1, 1], [0, 1, 2], [0.0, 60.0, 120.0], [[0.0, 0.0], [0.0, 6.0], [0.0, 0.0]])
    assert (found.path_um[0], found.net_um[0], found.straightness_frac[0]) == (12.0, 0.0, 0.0)


def test_what_does_not_move_has_a_speed_but_no_straightness() -> None:
    found = measure([1, 1], [0, 1], [0.0, 60.0], [[2.0, 2.0], [2.0, 2.0]])
    assert (found.path_um[0], found.speed_um_min[0]) == (0.0, 0.0)
    assert np.isnan(found.straightness_frac[0])


def test_a_lone_object() -> None:
    found = measure([9], [4], [100.0], [[1.0, 1.0]])
    assert np.isnan(found.step_speed_um_min).tolist() == [True]
    assert (found.path_um[0], found.net_um[0]) == (0.0, 0.0)
    assert np.isnan([found.straightness_frac[0], found.speed_um_min[0]]).all()


def test_no_object() -> None:
    found = measure([], [], [], [])
    assert found.step_speed_um_min.shape == found.track_id.shape == found.speed_um_min.shape == (0,)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    track, frame = np.repeat([3, 7, 8], 20), np.tile(np.arange(20), 3)
    time, yx = frame * 60.0 + rng.uniform(0, 9, 20)[frame], rng.normal(0, 5, (60, 2))
    expected = measure(track, frame, time, yx)
    p = rng.permutation(60)
    found = measure(track[p], frame[p], time[p], yx[p])
    np.testing.assert_array_equal(found.step_speed_um_min, expected.step_speed_um_min[p])
    for name in ("track_id", "path_um", "net_um", "straightness_frac", "speed_um_min"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    by_hand = np.linalg.norm(np.diff(yx[:20], axis=0), axis=1).sum()
    assert found.path_um[0] == pytest.approx(by_hand)


def test_straightness_never_exceeds_one() -> None:
    yx = np.outer(np.arange(50), [0.1, 0.3])
    found = measure([1] * 50, range(50), np.arange(50.0), yx)
    assert found.straightness_frac[0] <= 1.0
    assert found.straightness_frac[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([2, 2], [0, 1], [60.0, 60.0], np.zeros((2, 2))), "towards frame 1 of track 2"),
        (([2, 2], [1, 1], [0.0, 0.0], np.zeros((2, 2))), "does not rise"),
        (([1], [0], [np.nan], [[0.0, 0.0]]), "finite"),
        (([1], [0], [0.0], [[0.0, np.nan]]), "finite"),
        (([1], [0], [0.0], [[0.0, 0.0, 0.0]]), "shape"),
        (([1, 1], [0], [0.0], [[0.0, 0.0]]), "2, 1, 1 and 1 rows"),
    ],
)
def test_misuse(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        measure(*arguments)


def test_steps_over_gaps_are_flagged() -> None:
    found = measure([5, 5, 5, 6], [3, 0, 1, 9], [240.0, 0.0, 60.0, 9.0], np.zeros((4, 2)))
    np.testing.assert_array_equal(found.step_frames, [2, np.nan, 1, np.nan])


def test_speed_in_a_state() -> None:
    # Track 1: two steps of 3 µm in contact, one of 9 µm across the change, a gap, one of 1 µm free.
    track, frame = [1, 1, 1, 1, 1, 1, 2], [0, 1, 2, 3, 5, 6, 0]
    x = [0, 3, 6, 15, 50, 51, 0]
    yx, time = np.column_stack([np.zeros(7), x]), np.array(frame) * 30.0
    touching = np.array([1, 1, 1, 0, 0, 0, 1], bool)
    np.testing.assert_array_equal(speed_in(touching, track, frame, time, yx), [6.0, np.nan])
    np.testing.assert_array_equal(speed_in(~touching, track, frame, time, yx), [2.0, np.nan])
    p = np.array([6, 2, 4, 0, 1, 5, 3])
    shuffled = speed_in(touching[p], np.array(track)[p], np.array(frame)[p], time[p], yx[p])
    np.testing.assert_array_equal(shuffled, [6.0, np.nan])


def test_speed_in_a_state_of_nothing() -> None:
    assert speed_in([], [], [], [], []).shape == (0,)
    with pytest.raises(ValueError, match="state has 1 rows"):
        speed_in([True], [], [], [], [])


def test_spread_of_straight_and_of_random_walks() -> None:
    frame = np.tile(np.arange(6), 2)
    straight = np.column_stack([np.zeros(12), 2.0 * frame])
    found = mean_squared_displacement(np.repeat([4, 9], 6), frame, frame * 60.0, straight, 3)
    assert found.lag_frames.tolist() == [1, 2, 3]
    assert found.lag_s.tolist() == [60, 120, 180]
    assert found.msd_um2.tolist() == [4, 16, 36]
    assert found.n_steps.tolist() == [10, 8, 6]

    rng = np.random.default_rng(0)
    walk = np.cumsum(rng.normal(0, 1, (200, 50, 2)), axis=1).reshape(-1, 2)
    frame = np.tile(np.arange(50), 200)
    found = mean_squared_displacement(np.repeat(np.arange(200), 50), frame, frame * 1.0, walk, 5)
    np.testing.assert_allclose(found.msd_um2, 2 * found.lag_frames, rtol=0.08)


@pytest.mark.parametrize(
    ("track", "frame", "lags", "n"),
    [
        ([], [], [], []),
        ([1], [0], [], []),
        ([1, 2], [0, 1], [], []),  # no pair across tracks
        ([1, 1, 1], [0, 2, 3], [1, 2, 3], [1, 1, 1]),
        ([1, 1, 2, 2], [7, 9, 0, 9], [2], [1]),  # 9 frames are more than the largest lag
    ],
)
def test_spread_with_gaps(track, frame, lags, n) -> None:
    yx = np.zeros((len(track), 2))
    found = mean_squared_displacement(track, frame, 10.0 * np.array(frame, float), yx, 3)
    assert (found.lag_frames.tolist(), found.n_steps.tolist()) == (lags, n)
    assert found.lag_s.tolist() == [10.0 * lag for lag in lags]
