"""Columns that steps read of a film's tables: what is not declared is not there."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pytest

from dataops_parsl import workflow
from dataops_parsl.stage import Pixels, step
from dataops_parsl.storage.parts import PartPlace, Receipt, publish_table, read_tables
from dataops_parsl.tables import Rows
from tests.helpers import PROJECT


@pytest.fixture
def parts(tmp_path: Path) -> list[tuple[PartPlace, Receipt]]:
    """Three parts of a table of two populations, one part without rows."""
    made = []
    for index, n in enumerate((2, 0, 3)):
        place = PartPlace(tmp_path, f"P1.{index:05d}", "0123456789abcdef")
        table = pa.table(
            {
                "population": pa.array(["effector", None, "target"][:n], pa.string()),
                "frame": pa.array([index] * n, pa.int64()),
                "mean_bg_pi": pa.array([0.5 * index] * n, pa.float64()),
                "p95_bg_pi": pa.array([1.0] * n, pa.float64()),
            }
        )
        made.append((place, Receipt("r", "p", outputs={"objects": publish_table(place, "objects", table)})))
    return made


def test_only_the_declared_columns_are_read(parts: list[tuple[PartPlace, Receipt]]) -> None:
    table = read_tables(parts, "objects", columns=("frame", "mean_*"))
    assert table.column_names == ["frame", "mean_bg_pi"]
    assert table["frame"].to_pylist() == [0, 0, 2, 2, 2]
    assert {c.num_chunks for c in table.columns} == {1}
    with pytest.raises(KeyError, match="p95_bg_pi"):
        Rows(table)["p95_bg_pi"]


def test_rows_of_one_population_whether_its_column_is_read_or_not(
    parts: list[tuple[PartPlace, Receipt]],
) -> None:
    whole = read_tables(parts, "objects", population="effector")
    assert whole["frame"].to_pylist() == [0, 2]
    assert whole.column_names == ["population", "frame", "mean_bg_pi", "p95_bg_pi"]
    part = read_tables(parts, "objects", columns=("frame",), population="effector")
    assert part.to_pydict() == {"frame": [0, 2]}


def test_words_are_shared_and_unknown_ones_are_none(parts: list[tuple[PartPlace, Receipt]]) -> None:
    words = Rows(read_tables(parts, "objects"))["population"]
    assert words.tolist() == ["effector", None, "effector", None, "target"]
    assert words[0] is words[2]


@pytest.mark.parametrize("name", ["cytotoxicity", "tracks", "stills"])
def test_every_declared_column_is_one_of_a_table_that_is_read(name: str) -> None:
    flow = workflow.load(PROJECT, name)
    declared = 0
    for node in flow.nodes.values():
        for declaration in node.steps.values():
            for port, patterns in declaration.columns.items():
                own = node.outputs.get(port)
                given = own or flow.nodes[node.wiring[port].node].outputs[port]
                assert not isinstance(given, Pixels)
                names = given.for_channels(["pi"]).names
                for pattern in patterns:
                    assert any(fnmatchcase(n, pattern) for n in names), (node, port, pattern)
                    declared += 1
    assert declared or name == "stills"


def test_columns_of_what_is_not_read_are_refused() -> None:
    with pytest.raises(ValueError, match=r"has columns for \['cells'\]"):

        @step(scope="film", gives={}, columns={"cells": ("frame",)})
        def count(self, film, objects):
            return {}
