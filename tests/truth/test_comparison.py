"""Tables whose faults are planted, against a truth planted beside them: each score says what was done.

Twenty frames a minute apart, pixels of 2 µm. Target 1 is killed in frame 10 by effector 1, which held it from
frame 4 on, while effector 2 touched it too. Target 2 dies by itself in frame 8. Target 3 lives; effector 3
touches it in frames 3 to 6. Tracks are cells + 10, and right unless a test makes them wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from dataops_parsl.tables import Rows
from dataops_parsl.truth import comparison
from dataops_parsl.truth.comparison import ALL_POSITIONS, ALL_TARGETS, Bar, Value
from dataops_parsl.truth.evidence import gather

Table = dict[str, Any]
Tables = dict[str, Table]
N_FRAMES, SIZE_UM, SHAPE_PX = 20, 2.0, (100, 100)
PLACES = {
    "target": {1: (30, 30), 2: (30, 70), 3: (70, 50)},
    "effector": {1: (30, 40), 2: (42, 30), 3: (70, 60)},
}
RADIUS_PX = {"target": 8, "effector": 4}
TOUCHES = {(1, 1): (4, 10), (2, 1): (6, 9), (3, 3): (3, 7)}
"""(effector, target) to first frame and frame after the last."""


def _truth() -> Tables:
    objects = [
        (
            frame,
            population,
            cell,
            y,
            x + 0.5 * (frame % 2),
            int(math.pi * RADIUS_PX[population] ** 2),
            True,
            False,
        )
        for population, cells in PLACES.items()
        for cell, (y, x) in cells.items()
        for frame in range(N_FRAMES)
    ]
    names = ("frame", "population", "cell_id", "y_px", "x_px", "area_px", "visible", "touches_edge")
    pairs = [(f, e, t, 1.5) for (e, t), (start, end) in TOUCHES.items() for f in range(start, end)]
    pairs.append((12, 3, 3, 2.5))  # outside the radius
    return {
        "objects": _columns(names, objects),
        "contacts": _columns(("frame", "effector_id", "target_id", "gap_um"), pairs),
        "deaths": _columns(
            ("target_id", "death_frame", "killer_id", "visible", "whole", "n_candidates"),
            [(2, 8, -1, True, True, 0), (1, 10, 1, True, True, 2)],
        ),
        "drift": _columns(("frame", "dy_px", "dx_px"), [(f, 0.1 * f, 0.0) for f in range(N_FRAMES)]),
        "cases": _columns(
            ("target_id", "near_miss", "several_candidates"),
            [(1, False, True), (2, True, False), (3, True, False)],
        ),
        "lineage": _columns(("child_id", "parent_id", "frame"), []),
    }


def _found() -> Tables:
    cells = []
    for population, places in PLACES.items():
        for cell, (y, x) in places.items():
            for f in range(N_FRAMES):
                at = (SIZE_UM * y, SIZE_UM * (x + 0.5 * (f % 2)))
                cells.append((f, population, cell + 10, *at, False, SIZE_UM * 0.5 if f else None))
    names = ("frame", "population", "track_id", "y_um", "x_um", "touches_edge", "step_speed_um_min")
    events = [("effector", e + 10, "target", t + 10, a, b - 1) for (e, t), (a, b) in TOUCHES.items()]
    sides = ("population_a", "track_id_a", "population_b", "track_id_b", "start_frame", "end_frame")
    return {
        "frames": _columns(
            ("frame", "time_s", "dy_px", "dx_px"), [(f, 60.0 * f, 0.1 * f, 0.0) for f in range(N_FRAMES)]
        ),
        "cells": _columns(names, cells),
        "tracks": _columns(
            ("population", "track_id", "parent_track_id"),
            [(p, cell + 10, None) for p, places in PLACES.items() for cell in places],
        ),
        "contact_events": _columns(sides, events),
        "deaths": _columns(
            ("population", "track_id", "death_frame", "top_effector_track_id"),
            [("target", 12, 8, None), ("target", 11, 10, 11)],
        ),
    }


def _columns(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


TYPES = {"population": pa.string(), "population_a": pa.string(), "population_b": pa.string()}
FLAGS = ("visible", "whole", "touches_edge", "near_miss", "several_candidates")
REAL = ("y_um", "x_um", "y_px", "x_px", "gap_um", "time_s", "dy_px", "dx_px", "step_speed_um_min")


def _rows(table: Table) -> Rows:
    types = {n: pa.bool_() for n in FLAGS} | {n: pa.float64() for n in REAL} | TYPES
    return Rows(pa.table({n: pa.array(v, types.get(n, pa.int64())) for n, v in table.items()}))


def _evidence(found: Tables, truth: Tables) -> Any:
    tables = ({name: _rows(table) for name, table in tables.items()} for tables in (found, truth))
    return gather(*tables, (SIZE_UM, SIZE_UM), SHAPE_PX)


def _scores(found: Tables, truth: Tables) -> dict[str, Value]:
    return comparison.of_position(_evidence(found, truth))


def _set(table: Table, column: str, value: Any, **where: Any) -> None:
    """Write a value into the rows where all other columns are so."""
    for row in range(len(table[column])):
        if all(table[name][row] == wanted for name, wanted in where.items()):
            table[column][row] = value


def _drop(table: Table, **where: Any) -> None:
    n = len(next(iter(table.values())))
    kept = [row for row in range(n) if not all(table[name][row] == v for name, v in where.items())]
    for name, values in table.items():
        table[name] = [values[row] for row in kept]


def _append(table: Table, *row: Any) -> None:
    for values, value in zip(table.values(), row, strict=True):
        values.append(value)


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


def _kill_unseen(found: Tables, truth: Tables) -> None:
    _drop(found["deaths"], track_id=11)


def _late_death(found: Tables, truth: Tables) -> None:
    _set(found["deaths"], "death_frame", 12, track_id=11)


def _far_too_late(found: Tables, truth: Tables) -> None:
    _set(found["deaths"], "death_frame", 14, track_id=11)


def _death_of_the_living(found: Tables, truth: Tables) -> None:
    _append(found["deaths"], "target", 13, 6, 13)


def _wrong_killer(found: Tables, truth: Tables) -> None:
    _set(found["deaths"], "top_effector_track_id", 12, track_id=11)


def _cut_death(found: Tables, truth: Tables) -> None:
    _set(truth["deaths"], "whole", False, target_id=1)


def _cut_death_unseen(found: Tables, truth: Tables) -> None:
    _cut_death(found, truth)
    _kill_unseen(found, truth)


def _one_death_twice(found: Tables, truth: Tables) -> None:
    _append(found["deaths"], "target", 11, 9, 11)


def _no_effector_named(found: Tables, truth: Tables) -> None:
    del found["deaths"]["top_effector_track_id"]


def _tracks_swapped_for_good(found: Tables, truth: Tables) -> None:
    # Effectors 1 and 3 change tracks in frame 12: all that happened before is still theirs.
    ids = found["cells"]
    for row, (population, frame, track) in enumerate(
        zip(ids["population"], ids["frame"], ids["track_id"], strict=True)
    ):
        if population == "effector" and frame >= 12 and track in (11, 13):
            ids["track_id"][row] = 24 - track


def _event_lost(found: Tables, truth: Tables) -> None:
    _drop(found["contact_events"], track_id_a=12)


def _events_other_way_round(found: Tables, truth: Tables) -> None:
    events = found["contact_events"]
    for name in ("population", "track_id"):
        events[f"{name}_a"], events[f"{name}_b"] = events[f"{name}_b"], events[f"{name}_a"]


def _contact_at_the_border(found: Tables, truth: Tables) -> None:
    # Half of effector 3 lies outside the canvas in most of its contact, which is not found.
    for frame in (4, 5, 6):
        _set(truth["objects"], "touches_edge", True, population="effector", cell_id=3, frame=frame)
    _drop(found["contact_events"], track_id_a=13)


def _outside_the_canvas(found: Tables, truth: Tables) -> None:
    # In the raw frame effector 3 is whole, but the stage moved: the registered frame shows half of it.
    _set(truth["objects"], "y_px", 98, population="effector", cell_id=3)
    _drop(found["cells"], population="effector", track_id=13)
    _drop(found["contact_events"], track_id_a=13)


def _something_that_is_none(found: Tables, truth: Tables) -> None:
    _append(found["cells"], 0, "target", 99, 180.0, 180.0, False, None)


def _something_cut_that_is_none(found: Tables, truth: Tables) -> None:
    _append(found["cells"], 0, "target", 99, 180.0, 199.0, True, None)


def _too_fast(found: Tables, truth: Tables) -> None:
    speed = found["cells"]["step_speed_um_min"]
    found["cells"]["step_speed_um_min"] = [None if s is None else 1.1 * s for s in speed]


def _frame_not_registered(found: Tables, truth: Tables) -> None:
    _set(found["frames"], "dy_px", None, frame=7)


def _division(found: Tables, truth: Tables) -> None:
    # Target 3 divides in frame 10; its daughter 4 goes on in its place, as the track 14.
    for table, name, old, new in (
        (truth["objects"], "cell_id", 3, 4),
        (found["cells"], "track_id", 13, 14),
    ):
        for frame in range(10, N_FRAMES):
            _set(table, name, new, population="target", frame=frame, **{name: old})
    _append(truth["lineage"], 4, 3, 10)
    _append(found["tracks"], "target", 14, 13)


def _division_not_linked(found: Tables, truth: Tables) -> None:
    _division(found, truth)
    _set(found["tracks"], "parent_track_id", None, track_id=14)


def _no_fault(found: Tables, truth: Tables) -> None:
    return


def _first_frames_only(found: Tables, truth: Tables) -> None:
    # Death in frame 10 is too close to the end to be seen to last; that in frame 8 is not.
    for name in ("frames", "cells"):
        for frame in range(15, N_FRAMES):
            _drop(found[name], frame=frame)


@pytest.mark.parametrize(
    ("fault", "changed"),
    [
        (_no_fault, {}),
        (
            _kill_unseen,
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
        (_late_death, {"death_time_error_frames": (1, 2), "death_within_1_frame_frac": (0.5, 2)}),
        (
            _far_too_late,
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
        (_death_of_the_living, {"death_precision": (2 / 3, 3), "false_deaths_per_100": (100 / 3, 3)}),
        (_wrong_killer, {"top1_frac": (0, 1), "top1_several_frac": (0, 1)}),
        (_cut_death, {"death_recall": (1, 1), "top1_frac": (None, 0), "top1_several_frac": (None, 0)}),
        (
            _cut_death_unseen,
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
            _one_death_twice,
            {
                "death_precision": (2 / 3, 3),
                "false_deaths_per_100": (100 / 3, 3),
                "death_time_error_frames": (0, 3),
                "death_within_1_frame_frac": (1, 3),
            },
        ),
        (
            _tracks_swapped_for_good,
            {"edge_f1_effector": (110 / 114, 59), "speed_error_frac_effector": (0, 55)},
        ),
        (_event_lost, {"contact_event_f1": (0.8, 3), "contact_event_f1_with_border": (0.8, 3)}),
        (_events_other_way_round, {}),
        (
            _something_that_is_none,
            {"detection_f1_target": (120 / 121, 61)},
        ),
        (_something_cut_that_is_none, {}),
        (_too_fast, {"speed_error_frac_effector": (0.1, 57), "speed_error_frac_target": (0.1, 57)}),
        (_frame_not_registered, {"shift_error_max_px": (math.inf, 20)}),
        (
            _contact_at_the_border,
            {
                "detection_f1_effector": (1, 57),
                "edge_f1_effector": (1, 53),
                "speed_error_frac_effector": (0, 53),
                "contact_event_f1": (1, 2),
                "contact_event_f1_with_border": (0.8, 3),
            },
        ),
        (
            _outside_the_canvas,
            {
                "detection_f1_effector": (1, 40),
                "edge_f1_effector": (1, 38),
                "speed_error_frac_effector": (0, 38),
                "contact_event_f1": (1, 2),
                "contact_event_f1_with_border": (0.8, 3),
            },
        ),
        (
            _first_frames_only,
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
    found, truth = _found(), _truth()
    fault(found, truth)
    got = _scores(found, truth)
    expected = {**PERFECT, **changed}
    assert list(got) == list(expected)
    for score, (value, n) in expected.items():
        wanted = (math.nan if value is None else value, n)
        assert got[score] == pytest.approx(wanted, nan_ok=True, abs=1e-12), score


@pytest.mark.parametrize(("fault", "recall"), [(_division, 1), (_division_not_linked, 0)])
def test_divisions(fault: Callable[[Tables, Tables], None], recall: float) -> None:
    found, truth = _found(), _truth()
    fault(found, truth)
    assert _scores(found, truth)["division_recall"] == (recall, 1)


def test_tables_that_are_not_there_are_not_scored() -> None:
    found, truth = _found(), _truth()
    _no_effector_named(found, truth)
    assert not any(score.startswith("top1") for score in _scores(found, truth))
    del found["deaths"], found["contact_events"]
    got = _scores(found, truth)
    assert not any(score.startswith(("death", "false", "contact")) for score in got)
    assert got["edge_f1_target"] == (1, 57)


def test_nothing_at_all() -> None:
    found, truth = (
        {name: {column: [] for column in table} for name, table in t.items()} for t in (_found(), _truth())
    )
    got = _scores(found, truth)
    assert {n for _, n in got.values()} == {0}
    assert all(math.isnan(value) for value, _ in got.values())


def test_targets_alone_and_no_deaths() -> None:
    found, truth = _found(), _truth()
    for table in (found["cells"], found["tracks"], truth["objects"]):
        _drop(table, population="effector")
    for table in (found["contact_events"], truth["contacts"], truth["deaths"], found["deaths"]):
        for column in table:
            table[column] = []
    assert _scores(found, truth)["false_deaths_per_100"] == (0, 3)
    _append(found["deaths"], "target", 13, 6, None)
    evidence = _evidence(found, truth)
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
    faulty, truth = _found(), _truth()
    _kill_unseen(faulty, truth)
    _death_of_the_living(faulty, truth)
    positions = {"A": _evidence(_found(), _truth()), "B": _evidence(faulty, truth)}
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
    for name, fault in {"A": _no_fault, "B": _event_lost, "C": _too_fast}.items():
        found, truth = _found(), _truth()
        fault(found, truth)
        positions[name] = _evidence(found, truth)
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
        _append(rows, position, "one", ALL_TARGETS, "death_recall", value, 10, ">= 0.95", value >= 0.95)
    (line,) = comparison.by_condition(comparison.SCORES.table(rows))
    assert (line.mean, line.worst, line.verdict) == (pytest.approx(0.97), 0.94, "mean met, worst missed")
    assert np.isfinite(line.mean)
