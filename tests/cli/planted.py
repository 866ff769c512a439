"""What runs with planted truth have in common: a project, the scores of a bundle, rows of a table."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tests.helpers import PROJECT, Project

Scores = dict[tuple[str, str], float | None]


def new_project(root: Path) -> Project:
    """A project with the configs and workflows as they come, and no datasets."""
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    return Project(root)


def truth_scores(bundle: Path) -> Scores:
    """Value of each score of each position over all its targets; null is None."""
    with open(bundle / "truth.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == "all targets"]
    return {(r["position_id"], r["score"]): float(r["value"]) if r["value"] else None for r in rows}


def rows_of(table: pa.Table, **equal: str) -> list[dict[str, Any]]:
    """Rows in which these columns have these values."""
    for column, value in equal.items():
        table = table.filter(pc.equal(table[column], value))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
