"""``runs export``: what is in a run comes out as CSV, and a run is never changed."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.bundle import Bundle
from dataops_parsl.cli import main
from dataops_parsl.stages.killing_tables import POSITIONS, THRESHOLDS
from dataops_parsl.stages.outcome_tables import SURVIVAL
from dataops_parsl.storage.parts import parquet_bytes
from dataops_parsl.tables import Column, Schema
from tests.helpers import Project

CELLS = Schema(
    "shapes",
    "a cell",
    (
        Column("position_id", "string", "field of view", key=True),
        Column("label", "int64", "its number", key=True),
        Column("area_um2", "float64", "area of the mask", "µm²"),
        Column("alive", "bool", "whether it lives"),
    ),
)
ROWS: dict[str, list[Any]] = {
    "position_id": ['a,b "c"', "d\ne", "µ"],
    "label": [1, 2, 3],
    "area_um2": [0.1, None, 1e-300],
    "alive": [True, None, False],
}


def _bundle(project: Project, run: str, seal: dict[str, Any] | None, tables: bool = True) -> Bundle:
    bundle = Bundle(project.root / "output" / "cytotoxicity" / f"run_{run}")
    bundle.update(run=run, workflow="cytotoxicity", status="open", dataset={"name": "small"})
    if tables:
        bundle.write_table("shapes", parquet_bytes(CELLS.table(ROWS)))
        bundle.write_table("nothing", parquet_bytes(CELLS.empty()))
    if seal is not None:
        bundle.seal(**seal)
    return bundle


def _export(project: Project, *arguments: str) -> int:
    return main(["runs", "export", *arguments, "--csv", "--project", str(project.root)])


def _content(root: Path) -> dict[str, str]:
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in root.rglob("*") if p.is_file()}


def test_values_come_out_as_they_are(bare_project: Project) -> None:
    bundle = _bundle(bare_project, "20260101T000000Z-aaaa", {"verdict": "accepted"})
    before = _content(bundle.root)
    output = bare_project.run("runs", "export", "20260101", "--csv")
    folder = bare_project.root / "output" / "exports" / bundle.id
    assert str(folder) in output
    assert _content(bundle.root) == before
    raw = (folder / "tables" / "shapes.csv").read_bytes()
    assert raw.startswith(b"position_id,label,area_um2,alive\r\n")
    assert raw.count(b"\r\n") == 4
    with open(folder / "tables" / "shapes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [r["position_id"] for r in rows] == ROWS["position_id"]
    assert [r["area_um2"] for r in rows] == ["0.1", "", "1e-300"]
    assert [r["alive"] for r in rows] == ["true", "", "false"]
    assert (folder / "tables" / "nothing.csv").read_bytes() == b"position_id,label,area_um2,alive\r\n"
    words = (folder / "README.txt").read_text()
    assert "shapes.csv: 3 rows, each a cell" in words
    assert any(
        line.split() == ["area_um2", "µm²", "area", "of", "the", "mask"] for line in words.splitlines()
    )
    assert [p.name for p in folder.parent.iterdir()] == [bundle.id], "nothing temporary is left"


def _planted(schema: Schema, *rows: dict[str, Any]) -> bytes:
    return parquet_bytes(schema.table({c.name: [row.get(c.name) for row in rows] for c in schema.columns}))


def test_each_figure_has_a_wide_sheet(bare_project: Project) -> None:
    bundle = _bundle(bare_project, "20260101T000000Z-aaaa", None)
    bundle.write_table(
        "positions", _planted(POSITIONS, {"position_id": "P1", "condition": "E:T 3", "n_frames": 9})
    )
    bundle.write_table("thresholds", _planted(THRESHOLDS, {"population": "target"}))
    curve = {"level": "condition", "name": "E:T 3", "origin": "entry", "lost_as": "censored"}
    counts = {"n_at_risk": 4, "n_entered": 0, "n_dead": 2, "n_censored": 0, "low_frac": 0.1, "high_frac": 0.9}
    bundle.write_table(
        "survival", _planted(SURVIVAL, {**curve, **counts, "time_s": 3600.0, "alive_frac": 0.5})
    )
    bundle.seal(verdict="accepted")
    assert _export(bare_project, bundle.id) == 0
    folder = bare_project.root / "output" / "exports" / bundle.id
    with open(folder / "figures" / "survival_entry_lost_censored.csv", newline="") as file:
        assert list(csv.reader(file)) == [["time_h", "E:T 3"], ["0.0", "100.0"], ["1.0", "50.0"]]
    assert "survival_entry_lost_censored.csv: time_h, E:T 3" in (folder / "README.txt").read_text()


def test_runs_are_found_and_folders_never_overwritten(
    bare_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = _bundle(bare_project, "20260101T000000Z-aaaa", {"verdict": "accepted", "notes": ["no deaths"]})
    _bundle(bare_project, "20260101T000000Z-bbbb", {"verdict": "accepted"})
    assert _export(bare_project, "2026") == 2
    assert "2 runs begin with '2026'" in capsys.readouterr().err
    assert _export(bare_project, "nothing") == 2
    assert "there is no run 'nothing'" in capsys.readouterr().err
    assert _export(bare_project, str(one.root), "--to", str(tmp_path / "out")) == 0
    assert "note: no deaths" in capsys.readouterr().out
    assert _export(bare_project, one.id, "--to", str(tmp_path / "out")) == 2
    assert "--to" in capsys.readouterr().err
    assert _export(bare_project, one.id, "--to", str(one.root / "csv")) == 2
    assert "never changed" in capsys.readouterr().err
    assert not (one.root / "csv").exists()


@pytest.mark.parametrize(
    ("seal", "tables", "code", "words"),
    [
        (None, False, 2, "has no tables yet"),
        (None, True, 0, "never finished"),
        ({"verdict": "rejected"}, True, 0, "rejected"),
        (
            {"verdict": "partial", "failures": [{"position": "P1", "frame": 7, "reason": "torn"}]},
            True,
            0,
            "P1, frame 7: torn",
        ),
    ],
    ids=["empty", "open", "rejected", "partial"],
)
def test_what_is_wrong_with_a_run_is_said(
    bare_project: Project,
    capsys: pytest.CaptureFixture[str],
    seal: dict[str, Any] | None,
    tables: bool,
    code: int,
    words: str,
) -> None:
    bundle = _bundle(bare_project, "20260101T000000Z-aaaa", seal, tables)
    assert _export(bare_project, bundle.id) == code
    said = capsys.readouterr()
    assert words in said.out + said.err
    folder = bare_project.root / "output" / "exports" / bundle.id
    assert folder.exists() is (code == 0)
    if code == 0:
        assert words in (folder / "README.txt").read_text()


def test_runs_alone_still_lists(bare_project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = _bundle(bare_project, "20260101T000000Z-aaaa", {"verdict": "accepted"})
    for arguments in (["runs"], ["runs", "list"]):
        assert main([*arguments, "--project", str(bare_project.root)]) == 0
        assert bundle.id in capsys.readouterr().out
    assert main(["runs", "--project", str(bare_project.root), "list"]) == 0
    assert bundle.id in capsys.readouterr().out
