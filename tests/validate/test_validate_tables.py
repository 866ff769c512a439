"""Tables against each other and against what was counted when label images were written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from dataops_parsl.tables import Column, Reference, Schema
from dataops_parsl.validate.checks import Check, check, overall, some
from dataops_parsl.validate.tables import check_tables

FRAMES = Schema(
    "frames",
    "a frame",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("frame", "int64", "frame", key=True),
    ),
)
CELLS = Schema(
    "cells",
    "an object",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("population", "string", "population", key=True),
        Column("frame", "int64", "frame", key=True),
        Column("label", "int64", "label", key=True),
        Column("area_um2", "float64", "area", "µm²", low=0),
    ),
    (Reference("frames", (("position_id", "position_id"), ("frame", "frame"))),),
)
SCHEMAS = {"frames": FRAMES, "cells": CELLS}
LABELS = {("P1", "target"): {0: 2, 1: 1}}
FRAME_1 = {"position": "P1", "frame": 1, "stage": "measure.objects", "reason": "torn"}


def _frames(*numbers: int) -> pa.Table:
    return FRAMES.table({"frame": list(numbers)}, position_id="P1")


def _cells(*rows: tuple[int, int], area: float = 1.0) -> pa.Table:
    columns = {"frame": [f for f, _ in rows], "label": [n for _, n in rows]}
    return CELLS.table({**columns, "area_um2": [area] * len(rows)}, position_id="P1", population="target")


GOOD = {"frames": _frames(0, 1), "cells": _cells((0, 1), (0, 2), (1, 7))}


def _against(tables: dict[str, pa.Table], **more: Any) -> list[Check]:
    checks = check_tables(SCHEMAS, {**GOOD, **tables}, {"P1": 2}, labels=LABELS, **more)
    return [c for c in checks if not c.ok]


def test_tables_that_hold_together() -> None:
    checks = check_tables(SCHEMAS, GOOD, {"P1": 2}, labels=LABELS)
    assert overall(checks) == "accepted"
    whats = [c.what for c in checks]
    assert len(whats) == len(set(whats)), "each check has its own name"
    assert {"cells: keys", "cells: values in range", "frames: complete", "cells: one row a label"} <= set(
        whats
    )
    assert all(c.what and c.expected and c.found for c in checks)


def test_without_counted_labels_rows_are_not_compared() -> None:
    whats = [c.what for c in check_tables(SCHEMAS, GOOD, {"P1": 2})]
    assert "cells: one row a label" not in whats


ROWS, COLUMNS = "cells: one row a label", "cells: columns, types and units"


@pytest.mark.parametrize(
    ("tables", "what", "words"),
    [
        ({"cells": _cells((0, 1), (1, 7))}, ROWS, "P1, target, frame 0: 1 rows, 2 labels"),
        ({"cells": _cells((0, 1), (0, 2), (1, 7), (1, 8))}, ROWS, "P1, target, frame 1: 2 rows, 1 labels"),
        ({"frames": _frames(0)}, "frames: complete", "P1 has 1 of 2: frame 1 is missing"),
        ({"frames": _frames(0, 1, 5)}, "frames: complete", "P1 has frame 5, which this run does not cover"),
        (
            {"cells": _cells((0, 1), (0, 2), area=-1)},
            "cells: values in range",
            "area_um2 is below 0 in 2 rows",
        ),
        ({"cells": _cells((0, 1), (0, 1), (1, 7))}, "cells: keys", "1 rows share the key"),
        (
            {"cells": GOOD["cells"].select(["position_id", "population", "label", "frame", "area_um2"])},
            COLUMNS,
            "columns frame and label are swapped",
        ),
        (
            {"cells": GOOD["cells"].select(["population", "frame", "position_id", "label", "area_um2"])},
            COLUMNS,
            "columns are in another order: position_id, population, frame are not where they should be",
        ),
        ({"cells": GOOD["cells"].drop_columns(["area_um2"])}, COLUMNS, "columns are missing: area_um2"),
        (
            {"cells": GOOD["cells"].append_column("extra", pa.array([1, 2, 3]))},
            COLUMNS,
            "columns are there that should not be: extra",
        ),
    ],
)
def test_what_is_wrong_is_said(tables: dict[str, pa.Table], what: str, words: str) -> None:
    found = {c.what: c for c in _against(tables)}
    assert found[what].verdict == "failed"
    assert words in found[what].found


def test_unit_of_a_column_is_checked() -> None:
    field = pa.field("area_um2", pa.float64(), metadata={"unit": "px", "meaning": "area"})
    table = GOOD["cells"].set_column(4, field, GOOD["cells"]["area_um2"])
    (found,) = [c for c in _against({"cells": table}) if c.what.startswith("cells")]
    assert found.found == "area_um2 has other unit or meaning than its schema"


def test_frames_listed_as_failed_may_be_missing_and_others_may_not() -> None:
    cells, frames = _cells((0, 1), (0, 2)), _frames(0)
    assert _against({"cells": cells, "frames": frames}, failures=[FRAME_1]) == []
    other = {**FRAME_1, "frame": 0}
    assert {c.what for c in _against({"cells": cells, "frames": frames}, failures=[other])} == {
        "frames: complete",
        "cells: one row a label",
    }
    assert _against({"cells": cells, "frames": frames}, failures=[{**FRAME_1, "frame": None}]) == []
    assert _against({"cells": cells, "frames": frames}, failures=[{**FRAME_1, "position": "P2"}])


def test_what_refers_into_a_film_with_failed_frames_may_find_nothing() -> None:
    broken = {"frames": _frames(0)}
    (lost,) = [c for c in _against(broken) if "→" in c.what]
    assert "1 of 2 are not there, such as position_id P1, frame 1" in lost.found
    assert not [c for c in _against(broken, failures=[FRAME_1]) if "→" in c.what]


def test_nothing_is_looked_up_in_a_table_whose_types_are_wrong() -> None:
    frames = GOOD["frames"].set_column(1, "frame", pa.array(["0", "1"]))
    found = {c.what: c for c in check_tables(SCHEMAS, {**GOOD, "frames": frames}, {"P1": 2})}
    assert found["frames: columns, types and units"].verdict == "failed"
    assert not [what for what in found if "→" in what]


def test_every_frame_is_counted_excluded_or_failed() -> None:
    one = {("P1", "target"): {0: 2}}
    tables = {**GOOD, "cells": _cells((0, 1), (0, 2))}
    checks = check_tables(SCHEMAS, tables, {"P1": 2}, labels=one)
    (missing,) = [c for c in checks if not c.ok]
    assert missing.found == "P1, target: none counted in frame 1"
    assert overall(check_tables(SCHEMAS, tables, {"P1": 2}, labels=one, excluded={"P1": [1]})) == "accepted"


def test_the_worst_check_is_the_verdict() -> None:
    ok, partial = Check("a", "", "", "ok"), Check("b", "", "", "partial")
    failed, tampered = Check("c", "", "", "failed"), Check("d", "", "", "tampered")
    assert overall([]) == overall([ok, Check("e", "", "purged", "not checked")]) == "accepted"
    assert overall([ok, partial]) == "partial"
    assert overall([partial, failed]) == "rejected"
    assert overall([tampered, failed, ok]) == "tampered"


def test_many_problems_are_counted() -> None:
    assert some(list("abcdefg")) == "a; b; c; d; e; and 2 more"
    assert check("x", "y", [], "fine").found == "fine"


def test_schemas_come_back_from_json() -> None:
    import json

    assert Schema.from_json(json.loads(json.dumps(CELLS.to_json()))) == CELLS
    with pytest.raises(KeyError):
        Schema.from_json({"name": "x"})
