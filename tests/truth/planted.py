"""Tables whose faults are planted, against a truth planted beside them: each score says what was done.

Twenty frames a minute apart, pixels of 2 µm. Target 1 is killed in frame 10 by effector 1, which held it from
frame 4 on, while effector 2 touched it too. Target 2 dies by itself in frame 8. Target 3 lives; effector 3
touches it in frames 3 to 6. Tracks are cells + 10, and right unless a test makes them wrong.
"""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from dataops_parsl.tables import Rows
from dataops_parsl.truth import comparison
from dataops_parsl.truth.comparison import Value
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


def true_tables() -> Tables:
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
        "objects": columns_of(names, objects),
        "contacts": columns_of(("frame", "effector_id", "target_id", "gap_um"), pairs),
        "deaths": columns_of(
            ("target_id", "death_frame", "killer_id", "visible", "whole", "n_candidates"),
            [(2, 8, -1, True, True, 0), (1, 10, 1, True, True, 2)],
        ),
        "drift": columns_of(("frame", "dy_px", "dx_px"), [(f, 0.1 * f, 0.0) for f in range(N_FRAMES)]),
        "cases": columns_of(
            ("target_id", "near_miss", "several_candidates"),
            [(1, False, True), (2, True, False), (3, True, False)],
        ),
        "lineage": columns_of(("child_id", "parent_id", "frame"), []),
    }


def found_tables() -> Tables:
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
        "frames": columns_of(
            ("frame", "time_s", "dy_px", "dx_px"), [(f, 60.0 * f, 0.1 * f, 0.0) for f in range(N_FRAMES)]
        ),
        "cells": columns_of(names, cells),
        "tracks": columns_of(
            ("population", "track_id", "parent_track_id"),
            [(p, cell + 10, None) for p, places in PLACES.items() for cell in places],
        ),
        "contact_events": columns_of(sides, events),
        "deaths": columns_of(
            ("population", "track_id", "death_frame", "top_effector_track_id"),
            [("target", 12, 8, None), ("target", 11, 10, 11)],
        ),
    }


def columns_of(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Table:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


TYPES = {"population": pa.string(), "population_a": pa.string(), "population_b": pa.string()}
FLAGS = ("visible", "whole", "touches_edge", "near_miss", "several_candidates")
REAL = ("y_um", "x_um", "y_px", "x_px", "gap_um", "time_s", "dy_px", "dx_px", "step_speed_um_min")


def rows_of(table: Table) -> Rows:
    types = {n: pa.bool_() for n in FLAGS} | {n: pa.float64() for n in REAL} | TYPES
    return Rows(pa.table({n: pa.array(v, types.get(n, pa.int64())) for n, v in table.items()}))


def evidence_of(found: Tables, truth: Tables) -> Any:
    tables = ({name: rows_of(table) for name, table in tables.items()} for tables in (found, truth))
    return gather(*tables, (SIZE_UM, SIZE_UM), SHAPE_PX)


def scores_of(found: Tables, truth: Tables) -> dict[str, Value]:
    return comparison.of_position(evidence_of(found, truth))


def set_where(table: Table, column: str, value: Any, **where: Any) -> None:
    """Write a value into the rows where all other columns are so."""
    for row in range(len(table[column])):
        if all(table[name][row] == wanted for name, wanted in where.items()):
            table[column][row] = value


def drop_where(table: Table, **where: Any) -> None:
    n = len(next(iter(table.values())))
    kept = [row for row in range(n) if not all(table[name][row] == v for name, v in where.items())]
    for name, values in table.items():
        table[name] = [values[row] for row in kept]


def append_row(table: Table, *row: Any) -> None:
    for values, value in zip(table.values(), row, strict=True):
        values.append(value)


def kill_unseen(found: Tables, truth: Tables) -> None:
    drop_where(found["deaths"], track_id=11)


def late_death(found: Tables, truth: Tables) -> None:
    set_where(found["deaths"], "death_frame", 12, track_id=11)


def far_too_late(found: Tables, truth: Tables) -> None:
    set_where(found["deaths"], "death_frame", 14, track_id=11)


def death_of_the_living(found: Tables, truth: Tables) -> None:
    append_row(found["deaths"], "target", 13, 6, 13)


def wrong_killer(found: Tables, truth: Tables) -> None:
    set_where(found["deaths"], "top_effector_track_id", 12, track_id=11)


def cut_death(found: Tables, truth: Tables) -> None:
    set_where(truth["deaths"], "whole", False, target_id=1)


def cut_death_unseen(found: Tables, truth: Tables) -> None:
    cut_death(found, truth)
    kill_unseen(found, truth)


def one_death_twice(found: Tables, truth: Tables) -> None:
    append_row(found["deaths"], "target", 11, 9, 11)


def no_effector_named(found: Tables, truth: Tables) -> None:
    del found["deaths"]["top_effector_track_id"]


def tracks_swapped_for_good(found: Tables, truth: Tables) -> None:
    # Effectors 1 and 3 change tracks in frame 12: all that happened before is still theirs.
    ids = found["cells"]
    for row, (population, frame, track) in enumerate(
        zip(ids["population"], ids["frame"], ids["track_id"], strict=True)
    ):
        if population == "effector" and frame >= 12 and track in (11, 13):
            ids["track_id"][row] = 24 - track


def event_lost(found: Tables, truth: Tables) -> None:
    drop_where(found["contact_events"], track_id_a=12)


def events_other_way_round(found: Tables, truth: Tables) -> None:
    events = found["contact_events"]
    for name in ("population", "track_id"):
        events[f"{name}_a"], events[f"{name}_b"] = events[f"{name}_b"], events[f"{name}_a"]


def contact_at_the_border(found: Tables, truth: Tables) -> None:
    # Half of effector 3 lies outside the canvas in most of its contact, which is not found.
    for frame in (4, 5, 6):
        set_where(truth["objects"], "touches_edge", True, population="effector", cell_id=3, frame=frame)
    drop_where(found["contact_events"], track_id_a=13)


def outside_the_canvas(found: Tables, truth: Tables) -> None:
    # In the raw frame effector 3 is whole, but the stage moved: the registered frame shows half of it.
    set_where(truth["objects"], "y_px", 98, population="effector", cell_id=3)
    drop_where(found["cells"], population="effector", track_id=13)
    drop_where(found["contact_events"], track_id_a=13)


def something_that_is_none(found: Tables, truth: Tables) -> None:
    append_row(found["cells"], 0, "target", 99, 180.0, 180.0, False, None)


def something_cut_that_is_none(found: Tables, truth: Tables) -> None:
    append_row(found["cells"], 0, "target", 99, 180.0, 199.0, True, None)


def too_fast(found: Tables, truth: Tables) -> None:
    speed = found["cells"]["step_speed_um_min"]
    found["cells"]["step_speed_um_min"] = [None if s is None else 1.1 * s for s in speed]


def frame_not_registered(found: Tables, truth: Tables) -> None:
    set_where(found["frames"], "dy_px", None, frame=7)


def division(found: Tables, truth: Tables) -> None:
    # Target 3 divides in frame 10; its daughter 4 goes on in its place, as the track 14.
    for table, name, old, new in (
        (truth["objects"], "cell_id", 3, 4),
        (found["cells"], "track_id", 13, 14),
    ):
        for frame in range(10, N_FRAMES):
            set_where(table, name, new, population="target", frame=frame, **{name: old})
    append_row(truth["lineage"], 4, 3, 10)
    append_row(found["tracks"], "target", 14, 13)


def division_not_linked(found: Tables, truth: Tables) -> None:
    division(found, truth)
    set_where(found["tracks"], "parent_track_id", None, track_id=14)


def no_fault(found: Tables, truth: Tables) -> None:
    return


def first_frames_only(found: Tables, truth: Tables) -> None:
    # Death in frame 10 is too close to the end to be seen to last; that in frame 8 is not.
    for name in ("frames", "cells"):
        for frame in range(15, N_FRAMES):
            drop_where(found[name], frame=frame)
