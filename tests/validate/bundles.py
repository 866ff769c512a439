"""Copies of sealed bundles, and ways to meddle with them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dataops_parsl.bundle import MANIFEST, Bundle
from dataops_parsl.storage.parts import parquet_bytes


def copy_of(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle, to be meddled with."""
    made = folder / bundle.name
    shutil.copytree(bundle, made)
    return made


def rewrite(bundle: Path, table: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Write a table of a bundle anew."""
    path = bundle / "tables" / f"{table}.parquet"
    path.write_bytes(parquet_bytes(change(pq.read_table(path))))


def delete_row(bundle: Path, table: str = "cells", row: int = 0) -> None:
    """Take one row out of a table."""
    rewrite(bundle, table, lambda t: pa.concat_tables([t.slice(0, row), t.slice(row + 1)]))


def swap_columns(bundle: Path, table: str, one: str, other: str) -> None:
    """Let two columns change places."""

    def swap(t: pa.Table) -> pa.Table:
        names = list(t.column_names)
        i, j = names.index(one), names.index(other)
        names[i], names[j] = other, one
        return t.select(names)

    rewrite(bundle, table, swap)


def reseal(bundle: Path) -> None:
    """Seal a meddled bundle as whoever meddles would: all hashes fit again."""
    (bundle / MANIFEST).unlink()
    Bundle(bundle).seal()


def content(root: Path) -> dict[str, str]:
    """sha256 of each file."""
    files = (p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def report(bundle: Path) -> dict[str, object]:
    """What ``acceptance_report.json`` says."""
    found: dict[str, object] = json.loads((bundle / "acceptance_report.json").read_text())
    return found
