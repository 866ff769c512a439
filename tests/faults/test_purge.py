"""``purge`` killed at every point: nothing else changes, nothing half deleted is read, a rerun completes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dataops_parsl.storage.removing import TRASH
from tests.faults.scenario import Scenario, digests, tries, unchanged
from tests.helpers import PROJECT
from tests.storage.trees import make_run, make_step, run_id, steps_of

OUTSIDE = ("data/datasets", "data/paper_figures", "output")


class Purge(Scenario):
    """Scratch of two datasets with links to everything that must not be touched; the old half of it goes."""

    name = "purge"

    def build(self) -> None:
        root = self.root
        shutil.copytree(PROJECT / "configs" / "sites", root / "configs" / "sites")
        data, scratch = root / "data", root / "data" / "scratch"
        for name in ("datasets/one/P1", "datasets/two/P1", "paper_figures"):
            (data / name).mkdir(parents=True)
            (data / name / "figure.tif").write_bytes(name.encode())
        goes = [
            make_step(scratch / "one", "cellpose.segment", "old", age_days=90, parts=1, pixels=True),
            make_step(scratch / "two", "contact.pairs", "old", age_days=90, parts=1),
        ]
        stays = [make_step(scratch / "one", "contact.pairs", "new", parts=1)]
        (stays[0] / ".half.12.0a1b2c3d.tmp").write_bytes(b"half")
        os.utime(stays[0] / ".half.12.0a1b2c3d.tmp", (0, 0))
        left = scratch / "one" / "contact" / f"{TRASH}pairs-0123456789ab.00ff00ff"
        left.mkdir()
        (left / "a.parquet").write_bytes(b"left")
        for at, to in (
            (scratch / "one" / "datasets", data / "datasets"),
            (scratch / "figures", data / "paper_figures"),
            (scratch / "loop", scratch),
            (goes[0] / "dataset", data / "datasets" / "one"),
            (goes[0] / "up", Path("../../../../paper_figures")),
            (goes[1] / "receipts" / "dangling", Path("nowhere")),
            (left / "figures", data / "paper_figures"),
        ):
            at.symlink_to(to)
        make_run(root / "output", run_id(1), goes, days=80)
        make_run(root / "output", run_id(2), stays, days=0)
        dead = make_run(root / "output", run_id(3), [], dataset="two", workflow="tracks", sealed=False)
        for path in (dead.root / "log").rglob("*"):
            os.utime(path, (0, 0))
        self._outside = {
            path: digest
            for path, digest in digests(root).items()
            if path.startswith(OUTSIDE) and f"run_{run_id(3)}/log/" not in path
        }
        self._steps = {folder: digests(folder) for folder in (*goes, *stays)}
        self._goes, self._stays = goes, stays

    def arguments(self) -> list[str]:
        return ["purge", "--yes"]

    def killed(self) -> None:
        unchanged(self._outside, self.root)
        for folder, before in self._steps.items():
            if folder.exists():
                loose = {name for name in before if name.startswith(".half")}
                unchanged({name: d for name, d in before.items() if name not in loose}, folder)
        assert self._stays[0].exists()

    def completed(self) -> None:
        self.killed()
        scratch = self.root / "data" / "scratch"
        assert steps_of(scratch) == {"one/contact/pairs"}
        names = [p.name for p in scratch.rglob("*") if not p.is_symlink()]
        assert not [name for name in names if name.startswith((TRASH, ".half"))]
        assert sorted(p.name for p in scratch.iterdir()) == ["figures", "loop", "one", "two"]
        assert (scratch / "one" / "datasets").is_symlink()
        logs = self.root / "output" / "tracks" / f"run_{run_id(3)}" / "log"
        assert [p.name for p in logs.iterdir()] == ["events.jsonl"]
        assert not list((self.root / "output").glob(f"*/{TRASH}*"))


def test_purge_killed_at_some_points(tmp_path: Path) -> None:
    assert tries(Purge(tmp_path / "project"), many=4, seed=7) == 4


@pytest.mark.faults
def test_purge_killed_at_every_point(tmp_path: Path) -> None:
    assert tries(Purge(tmp_path / "project")) > 60
