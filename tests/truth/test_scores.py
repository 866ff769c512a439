"""Scores of tables whose right score is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import shift as move

from dataops_parsl.truth import scores
from dataops_parsl.truth.render import labels
from dataops_parsl.truth.simulate import Film, Scene, simulate


@pytest.fixture(scope="module")
def film() -> Film:
    return simulate(Scene(height_px=200, width_px=200, n_frames=25, n_targets=12, n_effectors=14), 9)


def test_shift_error_removes_nothing() -> None:
    true = np.array([[0.0, 0.0], [1.0, 2.0], [3.0, 1.0]])
    assert scores.shift_error_px(true + np.array([0.3, 0.4]), true) == pytest.approx((0.5, 0.5))
    found = true.copy()
    found[2] += (3, 4)
    assert scores.shift_error_px(found, true) == (0.0, 5.0)
    found[2] = np.nan
    assert scores.shift_error_px(found, true).max_px == np.inf
    assert math.isnan(scores.shift_error_px(np.empty((0, 2)), np.empty((0, 2))).median_px)
    with pytest.raises(ValueError, match="shifts"):
        scores.shift_error_px(true, true[:2])


def test_matching_prefers_more_pairs_to_closer_ones() -> None:
    # The closest pair (found 0, true 1) would leave found 1 without any.
    matching = scores.match_objects([0, 0], [[0, 0], [0, 4]], [0, 0], [[0, -3], [0, 1]], 3.5)
    np.testing.assert_array_equal(matching, [0, 1])


def test_matching_stays_in_its_frame() -> None:
    matching = scores.match_objects([0, 2], [[5, 5], [5, 5]], [1, 2], [[5, 5], [5, 5]], 3)
    np.testing.assert_array_equal(matching, [-1, 1])


@pytest.mark.parametrize(
    ("found", "true", "expected"),
    [
        ([], [], (1, 1, 1)),
        ([[1, 1]], [], (0, 1, 0)),
        ([], [[1, 1]], (1, 0, 0)),
        ([[1, 1], [9, 9]], [[1, 2]], (0.5, 1, 2 / 3)),
        ([[1, 1]], [[1, 2], [1, 0]], (1, 0.5, 2 / 3)),
        ([[1, 1]], [[1, 5]], (0, 0, 0)),
    ],
)
def test_detection(found: list[list[float]], true: list[list[float]], expected: tuple[float, ...]) -> None:
    score = scores.detection([0] * len(found), found, [0] * len(true), true, 2.0)
    assert score == pytest.approx(expected)


def test_a_perfect_tracker_scores_one_and_swaps_cost_links(film: Film) -> None:
    objects = film.objects()
    rows = np.flatnonzero(objects["visible"] & (objects["population"] == "effector"))
    frame, cell = objects["frame"][rows], objects["cell_id"][rows].astype(int)
    place = np.column_stack([objects["y_px"][rows], objects["x_px"][rows]])
    order = np.random.default_rng(0).permutation(len(rows))
    matching = scores.match_objects(frame[order], place[order] + 0.2, frame, place, 2.0)
    np.testing.assert_array_equal(matching, order)
    true = scores.track_edges(frame, cell)
    assert scores.edge_f1(scores.track_edges(frame[order], cell[order]), true, matching) == (1, 1, 1)

    first, second = np.unique(cell[frame == 12])[:2]
    swapped = cell.copy()
    swapped[(frame >= 12) & (cell == first)], swapped[(frame >= 12) & (cell == second)] = second, first
    score = scores.edge_f1(scores.track_edges(frame, swapped), true, np.arange(len(rows)))
    assert score.precision == score.recall == 1 - 2 / len(true)
    assert scores.identities(cell[order] + 100, cell, matching) == {
        cell_id + 100: cell_id for cell_id in set(cell)
    }


def test_edges_need_both_ends_and_no_edge_is_counted_twice() -> None:
    true = [[0, 1], [1, 2]]
    assert scores.edge_f1([[0, 1], [0, 1], [1, 2]], true, [0, 1, -1]) == pytest.approx((0.5, 0.5, 0.5))
    assert scores.edge_f1([], [], []) == (1, 1, 1)
    assert scores.edge_f1([[1, 0]], [[0, 1]], [0, 1]).f1 == 0


def test_mask_average_precision_counts(film: Film) -> None:
    true = labels(film, 3)["target"]
    n_cells = len(np.unique(true)) - 1
    assert scores.mask_average_precision(true * 70_000, true) == 1
    less = np.where(true == true.max(), 0, true)
    assert scores.mask_average_precision(less, true) == pytest.approx((n_cells - 1) / n_cells)
    assert scores.mask_average_precision(true, less) == pytest.approx((n_cells - 1) / n_cells)
    moved = move(true, (30, 0), order=0)
    assert scores.mask_average_precision(moved, true) < 0.2
    film_of_two = np.stack([true, less])
    assert scores.mask_average_precision(film_of_two, np.stack([true, true])) == pytest.approx(
        (2 * n_cells - 1) / (2 * n_cells)
    )


def test_mask_average_precision_at_the_threshold_and_without_objects() -> None:
    true, half = np.zeros((4, 4), np.uint32), np.zeros((4, 4), np.uint32)
    assert scores.mask_average_precision(half, true) == 1
    true[1, :] = 5
    half[1, :2] = 9
    assert scores.mask_average_precision(half, true, iou=0.5) == 1
    assert scores.mask_average_precision(half, true, iou=0.51) == 0
    half[1, 2:] = 8
    assert scores.mask_average_precision(half, true, iou=0.5) == 0.5
    with pytest.raises(ValueError, match="one shape"):
        scores.mask_average_precision(half, true[:2])


def test_contact_runs_bridge_and_drop() -> None:
    frame = [0, 1, 3, 6, 7, 2, 5]
    effector = [1, 1, 1, 1, 1, 2, 2]
    target = [4, 4, 4, 4, 4, 4, 5]
    runs = scores.contact_runs(frame, effector, target, bridge_frames=1, min_frames=2)
    np.testing.assert_array_equal(runs, [[1, 4, 0, 4], [1, 4, 6, 8]])
    assert len(scores.contact_runs(frame, effector, target, bridge_frames=0, min_frames=1)) == 5
    assert scores.contact_runs([], [], []).shape == (0, 4)


def test_contact_events_of_the_truth_match_themselves(film: Film) -> None:
    contacts = film.contacts(2.0)
    true = scores.contact_runs(contacts["frame"], contacts["effector_id"], contacts["target_id"])
    assert len(true) > 3
    order = np.random.default_rng(0).permutation(len(true))
    np.testing.assert_array_equal(scores.match_events(true[order], true), order)
    np.testing.assert_array_equal(scores.match_events(true * [-1, 1, 1, 1], true), -1)


@pytest.mark.parametrize(("end", "right"), [(20, True), (15, True), (14.9, False), (40, True), (40.2, False)])
def test_contact_events_need_half_their_time(end: float, right: bool) -> None:
    matching = scores.match_events([[1, 2, 0, end]], [[1, 2, 0, 30 if end < 20 else 20]])
    assert matching.tolist() == [0 if right else -1]


def test_one_true_contact_answers_for_one_found() -> None:
    matching = scores.match_events([[1, 2, 0, 5], [1, 2, 5, 10]], [[1, 2, 0, 10]])
    assert sorted(matching) == [-1, 0]


def test_cells_that_are_none_touch_nobody() -> None:
    assert scores.match_events([[-1, 2, 0, 5]], [[-1, 2, 0, 5]]).tolist() == [-1]
    assert scores.match_events([], []).shape == (0,)


def test_the_nearest_of_two_deaths_is_right() -> None:
    found = ([1, 2, 2, -1, 9], [10, 20, 26, 5, 8])
    np.testing.assert_array_equal(scores.match_deaths(*found, [1, 2, 3], [11, 25, 30]), [0, -1, 1, -1, -1])
    np.testing.assert_array_equal(scores.match_deaths(*found, [2, 1], [29, 13], 3), [1, -1, 0, -1, -1])
    np.testing.assert_array_equal(scores.match_deaths(*found, [2], [30], 3), -1)
    assert scores.match_deaths([], [], [1], [2]).shape == (0,)
