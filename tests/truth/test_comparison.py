"""Each planted fault costs the score that it should; tables without a fault score one."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from dataops_parsl.truth import comparison
from dataops_parsl.truth.comparison import ALL_POSITIONS, ALL_TARGETS, Bar
from tests.truth.planted import (
    PLACES,
    Tables,
    append_row,
    contact_at_the_border,
    cut_death,
    cut_death_unseen,
    death_of_the_living,
    division,
    division_not_linked,
    drop_where,
    event_lost,
    events_other_way_round,
    evidence_of,
    far_too_late,
    first_frames_only,
    found_tables,
    frame_not_registered,
    kill_unseen,
    late_death,
    no_effector_named,
    no_fault,
    one_death_twice,
    outside_the_canvas,
    scores_of,
    something_cut_that_is_none,
    something_that_is_none,
    too_fast,
    tracks_swapped_for_good,
    true_tables,
    wrong_killer,
)

PERFECT = {
    "shift_error_median_px": (0, 20),
    "shift_error_max_px": (0, 20),
    "detection_f1_effector": (1, 60),
    "detection_f1_target": (1, 60),
    "edge_f1_effector": (1, 57),
    "edge_f1_target": (1, 57),
    "contact_event_f1": (1, 3),
    "contact_event_f1_with_border": (1, 3),
    "death_precision": (1, 2),
    "death_recall": (1, 2),
    "death_time_error_frames": (0, 2),
    "death_within_1_frame_frac": (1, 2),
    "top1_frac": (1, 1),
    "top1_several_frac": (1, 1),
    "death_recall_with_border": (1, 2),
    "false_deaths_per_100": (0, 3),
    "speed_error_frac_effector": (0, 57),
    "speed_error_frac_target": (0, 57),
}


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (no_fault, {}),
        (
            kill_unseen,
            {
                "death_precision": (1, 1),
                "death_recall": (0.5, 2),
                "death_time_error_frames": (0, 1),
                "death_within_1_frame_frac": (1, 1),
                "top1_frac": (0, 1),
                "top1_several_frac": (0, 1),
                "death_recall_with_border": (0.5, 2),
            },
        ),
        (late_death, {"death_time_error_frames": (1, 2), "death_within_1_frame_frac": (0.5, 2)}),
        (
            far_too_late,
            {
                "death_precision": (0.5, 2),
                "death_recall": (0.5, 2),
                "death_time_error_frames": (2, 2),
                "death_within_1_frame_frac": (0.5, 2),
                "top1_frac": (0, 1),
                "top1_several_frac": (0, 1),
                "death_recall_with_border": (0.5, 2),
                "false_deaths_per_100": (100 / 3, 3),
            },
        ),
        (death_of_the_living, {"death_precision": (2 / 3, 3), "false_deaths_per_100": (100 / 3, 3)}),
        (wrong_killer, {"top1_frac": (0, 1), "top1_several_frac": (0, 1)}),
        (cut_death, {"death_recall": (1, 1), "top1_frac": (None, 0), "top1_several_frac": (None, 0)}),
        (
            cut_death_unseen,
            {
                "death_precision": (1, 1),
                "death_recall": (1, 1),
                "death_time_error_frames": (0, 1),
                "death_within_1_frame_frac": (1, 1),
                "death_recall_with_border": (0.5, 2),
                "top1_frac": (None, 0),
                "top1_several_frac": (None, 0),
            },
        ),
        (
            one_death_twice,
            {
                "death_precision": (2 / 3, 3),
                "false_deaths_per_100": (100 / 3, 3),
                "death_time_error_frames": (0, 3),
                "death_within_1_frame_frac": (1, 3),
            },
        ),
        (
            tracks_swapped_for_good,
            {"edge_f1_effector": (110 / 114, 59), "speed_error_frac_effector": (0, 55)},
        ),
        (event_lost, {"contact_event_f1": (0.8, 3), "contact_event_f1_with_border": (0.8, 3)}),
        (events_other_way_round, {}),
        (
            something_that_is_none,
            {"detection_f1_target": (120 / 121, 61)},
        ),
        (something_cut_that_is_none, {}),
        (too_fast, {"speed_error_frac_effector": (0.1, 57), "speed_error_frac_target": (0.1, 57)}),
        (frame_not_registered, {"shift_error_max_px": (math.inf, 20)}),
        (
            contact_at_the_border,
            {
                "detection_f1_effector": (1, 57),
                "edge_f1_effector": (1, 53),
                "speed_error_frac_effector": (0, 53),
                "contact_event_f1": (1, 2),
                "contact_event_f1_with_border": (0.8, 3),
            },
        ),
        (
            outside_the_canvas,
            {
                "detection_f1_effector": (1, 40),
                "edge_f1_effector": (1, 38),
                "speed_error_frac_effector": (0, 38),
                "contact_event_f1": (1, 2),
                "contact_event_f1_with_border": (0.8, 3),
            },
        ),
        (
            first_frames_only,
            {
                "shift_error_median_px": (0, 15),
                "shift_error_max_px": (0, 15),
                **{f"detection_f1_{p}": (1, 45) for p in PLACES},
                **{f"edge_f1_{p}": (1, 42) for p in PLACES},
                **{f"speed_error_frac_{p}": (0, 42) for p in PLACES},
                "death_recall": (1, 1),
                "top1_frac": (None, 0),
                "top1_several_frac": (None, 0),
            },
        ),
    ],
)
def test_each_fault_costs_what_it_should(
    fault: Callable[[Tables, Tables], None], changed: dict[str, tuple[float | None, int]]
) -> None:
    found, truth = found_tables(), true_tables()
    fault(found, truth)
    got = scores_of(found, truth)
    expected = {**PERFECT, **changed}
    assert list(got) == list(expected)
    for score, (value, n) in expected.items():
        wanted = (math.nan if value is None else value, n)
        assert got[score] == pytest.approx(wanted, nan_ok=True, abs=1e-12), score


@pytest.mark.parametrize(("fault", "recall"), [(division, 1), (division_not_linked, 0)])
def test_divisions(fault: Callable[[Tables, Tables], None], recall: float) -> None:
    found, truth = found_tables(), true_tables()
    fault(found, truth)
    assert scores_of(found, truth)["division_recall"] == (recall, 1)


def test_tables_that_are_not_there_are_not_scored() -> None:
    found, truth = found_tables(), true_tables()
    no_effector_named(found, truth)
    assert not any(score.startswith("top1") for score in scores_of(found, truth))
    del found["deaths"], found["contact_events"]
    got = scores_of(found, truth)
    assert not any(score.startswith(("death", "false", "contact")) for score in got)
    assert got["edge_f1_target"] == (1, 57)


def test_nothing_at_all() -> None:
    found, truth = (
        {name: {column: [] for column in table} for name, table in t.items()}
        for t in (found_tables(), true_tables())
    )
    got = scores_of(found, truth)
    assert {n for _, n in got.values()} == {0}
    assert all(math.isnan(value) for value, _ in got.values())


def test_targets_alone_and_no_deaths() -> None:
    found, truth = found_tables(), true_tables()
    for table in (found["cells"], found["tracks"], truth["objects"]):
        drop_where(table, population="effector")
    for table in (found["contact_events"], truth["contacts"], truth["deaths"], found["deaths"]):
        for column in table:
            table[column] = []
    assert scores_of(found, truth)["false_deaths_per_100"] == (0, 3)
    append_row(found["deaths"], "target", 13, 6, None)
    evidence = evidence_of(found, truth)
    rows = {
        r["score"]: r
        for r in comparison.table({"P": evidence}, {"P": None}).to_pylist()
        if r["case"] == ALL_TARGETS
    }
    assert (rows["false_deaths_per_100"]["bar"], rows["false_deaths_per_100"]["met"]) == ("<= 1", False)
    # Precision has nothing to say where none dies; the false death stands in its own score.
    assert rows["death_precision"]["bar"] is None
    assert rows["death_recall"]["value"] is rows["death_recall"]["met"] is None
    assert rows["contact_event_f1"]["value"] is rows["detection_f1_effector"]["value"] is None


def test_hard_cases_are_pooled_over_positions() -> None:
    faulty, truth = found_tables(), true_tables()
    kill_unseen(faulty, truth)
    death_of_the_living(faulty, truth)
    positions = {"A": evidence_of(found_tables(), true_tables()), "B": evidence_of(faulty, truth)}
    table = comparison.table(positions, dict.fromkeys(positions))
    rows = {
        (r["case"], r["score"]): (r["value"], r["n"])
        for r in table.to_pylist()
        if r["position_id"] == ALL_POSITIONS
    }
    assert rows["several_candidates", "targets"] == (2, 2)
    assert rows["several_candidates", "contact_event_f1"] == (1, 4)
    assert rows["several_candidates", "death_precision"] == (1, 1)
    assert rows["several_candidates", "death_recall"] == (0.5, 2)
    assert rows["several_candidates", "top1_frac"] == (0.5, 2)
    assert rows["near_miss", "contact_event_f1"] == (1, 2)
    assert rows["near_miss", "death_precision"] == pytest.approx((2 / 3, 3))
    assert rows["near_miss", "death_recall"] == (1, 2)
    assert rows["near_miss", "false_deaths"] == (1, 4)
    assert rows["near_miss", "top1_frac"] == (None, 0)
    assert not comparison.SCORES.problems(table)


def test_mean_and_worst_of_a_condition() -> None:
    positions = {}
    for name, fault in {"A": no_fault, "B": event_lost, "C": too_fast}.items():
        found, truth = found_tables(), true_tables()
        fault(found, truth)
        positions[name] = evidence_of(found, truth)
    table = comparison.table(positions, {"A": "one", "B": "one", "C": "other"})
    found_lines = {(s.condition, s.score): s for s in comparison.by_condition(table)}
    one = found_lines["one", "contact_event_f1"]
    assert (one.mean, one.worst) == pytest.approx((0.9, 0.8))
    assert (one.n_positions, one.n, one.bar, one.verdict) == (2, 6, ">= 0.95", "missed")
    other = found_lines["other", "speed_error_frac_effector"]
    assert (other.bar, other.verdict) == ("± 0.05", "missed")
    assert found_lines["one", "death_recall"].verdict == "met"
    assert found_lines["one", "speed_error_frac_target"].bar == ""


@pytest.mark.parametrize(
    ("bar", "values", "worst", "met"),
    [
        (Bar(">=", 0.9), [0.9, 1.0], 0.9, True),
        (Bar("<=", 1), [0.0, 2.0], 2.0, False),
        (Bar("±", 0.05), [0.04, -0.06], -0.06, False),
        (Bar(">=", 0.9), [math.nan], math.nan, None),
    ],
)
def test_bars(bar: Bar, values: list[float], worst: float, met: bool | None) -> None:
    assert bar.worst(values) == pytest.approx(worst, nan_ok=True)
    assert bar.met(bar.worst(values)) is met


def test_a_mean_can_hide_the_worst() -> None:
    rows = {c.name: [] for c in comparison.SCORES.columns}
    for position, value in (("A", 1.0), ("B", 0.94)):
        append_row(rows, position, "one", ALL_TARGETS, "death_recall", value, 10, ">= 0.95", value >= 0.95)
    (line,) = comparison.by_condition(comparison.SCORES.table(rows))
    assert (line.mean, line.worst, line.verdict) == (pytest.approx(0.97), 0.94, "mean met, worst missed")
    assert np.isfinite(line.mean)
