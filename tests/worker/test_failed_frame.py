"""A frame whose second output cannot be written: nothing of it is kept, and the other frames are whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from dataops_parsl.film import Film
from dataops_parsl.provenance import worker_versions
from dataops_parsl.stage import Stage, step
from dataops_parsl.storage.parts import PartPlace, read_receipt, read_tables
from dataops_parsl.tables import Column, Schema
from dataops_parsl.task import execute

KEY = Column("frame", "int64", "0-based frame", key=True, low=0)
COUNTED = Schema("counted", "a frame", (KEY, Column("n", "int64", "frames so far")))
SIZED = Schema("sized", "a frame", (KEY, Column("size_px", "float64", "a size", "px")))
BAD = 1


class Toy(Stage):
    """Counts frames; one of them has a word for a size."""

    name: ClassVar[str] = "toy"
    version: ClassVar[int] = 1

    @step(scope="prefix", gives={"counted": COUNTED, "sized": SIZED})
    def count(self, film: Film, frame: int, carry: Any) -> tuple[dict[str, Any], Any]:
        n = (carry or 0) + 1
        return {"counted": {"n": [n]}, "sized": {"size_px": ["large" if frame == BAD else 1.5]}}, n


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    return {
        "id": "toy.count/p/0",
        "stage": f"{Toy.__module__}:{Toy.__qualname__}",
        "step": "count",
        "parameters": {},
        "population": "",
        "position": "",
        "index": 0,
        "frames": [0, BAD, 2],
        "excluded": {},
        "facts": {},
        "raw": [],
        "raw_frames": [],
        "n_frames": 3,
        "reads": {},
        "by_population": {},
        "mem_gb": 4.0,
        "previous": None,
        "scratch": str(tmp_path),
        "folder": str(tmp_path / "toy"),
        "stem": "p.0",
        "recipe": "0" * 32,
        "schemas": {"counted": [], "sized": []},
        "arrays": {},
        "versions": worker_versions(),
        "attempt": 1,
        "deadly": [],
    }


def test_a_frame_that_fails_leaves_no_rows_and_no_carry(task: dict[str, Any]) -> None:
    outcome = execute(task)
    assert outcome["status"] == "partial", outcome
    assert [*outcome["failed"]] == [BAD]
    assert outcome["rows"] == {"counted": 2, "sized": 2}
    place = PartPlace(Path(task["folder"]), task["stem"], task["recipe"])
    receipt = read_receipt(place.receipt)
    assert receipt is not None
    assert read_tables([(place, receipt)], "counted").to_pydict() == {"frame": [0, 2], "n": [1, 2]}
    assert read_tables([(place, receipt)], "sized")["frame"].to_pylist() == [0, 2]
    assert receipt.carry == 2
