"""Schemas: what they build, and what they find wrong."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from dataops_parsl.tables import Column, Reference, Rows, Schema
from dataops_parsl.validate.tables import check_tables

CELLS = Schema(
    "cells",
    "an object",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("frame", "int64", "frame", key=True, low=0),
        Column("label", "int64", "label", key=True, low=1),
        Column("mean_{channel}", "float64", "mean in {channel}", "count"),
    ),
).for_channels(["gfp", "pi"])
EDGES = Schema(
    "edges",
    "a link",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("frame", "int64", "frame", key=True),
        Column("target", "int64", "label there", key=True),
    ),
    (Reference("cells", (("position_id", "position_id"), ("frame", "frame"), ("target", "label"))),),
)


def _cells(**columns):
    given = {"frame": [0, 1], "label": [1, 1], "mean_gfp": [1.0, np.nan], "mean_pi": [2.0, 3.0], **columns}
    return CELLS.table(given, position_id="P1")


def test_nan_becomes_null_and_constants_fill() -> None:
    table = _cells()
    assert table["mean_gfp"].null_count == 1
    assert table["position_id"].to_pylist() == ["P1", "P1"]
    assert CELLS.problems(table) == []
    assert table.schema.field("mean_gfp").metadata[b"unit"] == b"count"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"frame": [0, 1, 2], "label": [1, 1], "mean_gfp": [1, 1], "mean_pi": [1, 1]}, "rows, not"),
        ({"frame": [0]}, "needs the column 'label'"),
        ({"frame": [0], "label": [None], "mean_gfp": [1], "mean_pi": [1]}, "null in key column 'label'"),
        ({"colour": [1]}, "no column 'colour'"),
    ],
)
def test_refuses(columns, words) -> None:
    with pytest.raises(ValueError, match=words):
        CELLS.table(columns, position_id="P1")


def test_problems_are_found() -> None:
    assert "share the key" in CELLS.problems(_cells(frame=[0, 0]))[0]
    assert "below 1" in CELLS.problems(_cells(label=[0, 1]))[0]
    assert "columns are" in CELLS.problems(_cells().drop_columns(["mean_pi"]))[0]
    wrong = _cells().set_column(3, "mean_gfp", pa.array(["a", "b"]))
    assert any("type string" in p for p in CELLS.problems(wrong))


def test_references_are_checked() -> None:
    good = EDGES.table({"frame": [1], "target": [1]}, position_id="P1")
    lost = EDGES.table({"frame": [1], "target": [7]}, position_id="P1")
    schemas = {"cells": CELLS, "edges": EDGES}
    assert all(c.ok for c in check_tables(schemas, {"cells": _cells(), "edges": good}, {}))
    bad = [c for c in check_tables(schemas, {"cells": _cells(), "edges": lost}, {}) if not c.ok]
    assert len(bad) == 1
    assert "1 of 1 are not there" in bad[0].found
    missing = [c for c in check_tables(schemas, {"edges": good}, {}) if not c.ok]
    assert missing[0].found == "the table is missing"


def test_rows_by_frame() -> None:
    rows = Rows(_cells(frame=[3, 1]))
    assert rows.at(1)["mean_pi"].tolist() == [3.0]
    assert len(rows.at(2)) == 0
    assert len(rows.where(rows["frame"] > 1)) == 1
