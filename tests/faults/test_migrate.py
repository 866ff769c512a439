"""`migrate` and its way back, killed at every point, on one file system and across two; and full disks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import verify
from dataops_parsl.migration.copying import remove
from tests.faults.scenario import Scenario, digests, tries
from tests.helpers import PROJECT
from tests.migration.older import sha256, sha256s, small

WRITTEN = ("manifest.json", "manifest_files.json", "P1.json", "run.json")
"""Files of the program beside those that are brought."""


def migrate(*words: str | Path, root: Path) -> int:
    """The command, in this process."""
    return cli.main(["migrate", *map(str, words), "--project", str(root)])


class Migrate(Scenario):
    """An older tree that lies beside the project, or on another disk."""

    name = "migrate, one disk"

    def __init__(self, root: Path, disk: Path | None = None) -> None:
        super().__init__(root)
        self.older = (disk or root) / "older"
        if disk is not None:
            self.name = "migrate, across disks"

    def build(self) -> None:
        shutil.copytree(
            PROJECT / "configs", self.root / "configs", ignore=shutil.ignore_patterns("*.user.toml")
        )
        self.put_back()
        self._before = digests(self.older)
        self._bytes = sha256s(self.older)
        words = (self.older, "--plan", self.plan, "--action", "move")
        assert migrate(*words, root=self.root) == 0

    def put_back(self) -> None:
        if self.root in self.older.parents and self.older.exists():
            return
        if self.older.exists():
            remove(self.older)
        small(self.older)

    @property
    def plan(self) -> Path:
        return self.root / "plan.toml"

    @property
    def journal(self) -> Path:
        return self.root / "plan.journal.jsonl"

    @property
    def under(self) -> list[Path]:
        return [self.root, self.older.parent]

    def arguments(self) -> list[str]:
        return ["migrate", "--plan", str(self.plan), "--yes"]

    def killed(self) -> None:
        lost = self._bytes - sha256s(self.root, self.older)
        assert not lost, f"{sum(lost.values())} files are nowhere whole"
        for place in (self.root / "data", self.root / "output"):
            for file in place.rglob("*"):
                visible = not any(part.startswith(".") for part in file.relative_to(place).parts)
                if visible and file.is_file() and not file.is_symlink() and file.name not in WRITTEN:
                    assert sha256(file) in self._bytes, f"{file} is half written"

    def completed(self) -> None:
        self.killed()
        data = self.root / "data"
        assert verify(Dataset.open(data / "datasets" / "exp1")) == []
        for place in (
            "scratch/exp1/legacy/cellpose/masks/a.csv",
            "scratch/exp1/legacy/slurm_logs/slurm-2.out",
        ):
            assert (data / place).is_file()
        assert os.readlink(data / "paper_figures/paper/films") == str(data / "datasets/exp1")
        assert sorted(p.name for p in self.older.iterdir()) == ["exp1", "loop", "misc"]
        assert os.listdir(self.older / "exp1") == []
        assert not hidden(self.root, self.older)
        assert migrate("--undo", self.journal, "--yes", root=self.root) == 0
        assert digests(self.older) == self._before
        assert not (self.root / "data").exists()


class Undo(Migrate):
    """The way back is killed."""

    def __init__(self, root: Path, disk: Path | None = None) -> None:
        super().__init__(root, disk)
        self.name += ", the way back"

    def build(self) -> None:
        super().build()
        self._there()

    def put_back(self) -> None:
        super().put_back()
        if self.journal.exists() and self.root not in self.older.parents:
            remove(self.older)
            shutil.copytree(self._kept, self.older, symlinks=True)

    @property
    def _kept(self) -> Path:
        return self.root.with_name(self.root.name + ".older")

    def _there(self) -> None:
        assert migrate("--plan", self.plan, "--yes", root=self.root) == 0
        shutil.copytree(self.older, self._kept, symlinks=True)

    def arguments(self) -> list[str]:
        return ["migrate", "--undo", str(self.journal), "--yes"]

    def completed(self) -> None:
        assert digests(self.older) == self._before
        assert not (self.root / "data").exists()
        assert not hidden(self.root, self.older)


def hidden(*roots: Path) -> list[Path]:
    """What has a hidden name: nothing is left under one."""
    return [p for root in roots for p in root.rglob(".*")]


def test_killed_at_a_few_points(tmp_path: Path) -> None:
    assert tries(Migrate(tmp_path / "project"), many=4, seed=11) == 4


def test_killed_at_a_few_points_across_disks(tmp_path: Path, other_disk: Path) -> None:
    assert tries(Migrate(tmp_path / "project", other_disk), many=4, seed=12) == 4


@pytest.mark.faults
@pytest.mark.parametrize("scenario", [Migrate, Undo])
def test_killed_at_every_point(tmp_path: Path, scenario: type[Migrate]) -> None:
    assert tries(scenario(tmp_path / "project")) > 40


@pytest.mark.faults
@pytest.mark.parametrize("scenario", [Migrate, Undo])
def test_killed_at_every_point_across_disks(
    tmp_path: Path,
    small_disk: Path,
    scenario: type[Migrate],
) -> None:
    assert tries(scenario(tmp_path / "project", small_disk)) > 80
