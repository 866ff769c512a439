"""``dataset add``, also with ``--append``, killed: a dataset is as it was or as it will be."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.dataset.ingest import add
from dataops_parsl.dataset.leftovers import leftovers
from dataops_parsl.dataset.listing import list_datasets
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import verify
from dataops_parsl.dataset.writers import write
from tests.dataset.films import describe, frame
from tests.faults.scenario import Scenario, digests, tries, unchanged
from tests.faults.snapshots import writable, write_frames
from tests.helpers import PROJECT

TIMES = ("created", "appended", "source")
"""What the manifest says of the moment and the place, not of the data."""


def content(dataset: Dataset) -> dict[str, Any]:
    """All that a dataset holds; the pixels of each frame are read."""
    said = {key: value for key, value in dataset.record.items() if key not in TIMES}
    pixels = {
        (film.id, channel, t): None if (p := film.read(channel, t)) is None else p.tobytes()
        for film in dataset.positions.values()
        for channel in film.channels
        for t in range(film.n_frames)
    }
    return {"said": said, "files": dataset.files, "pixels": pixels}


class _Snapshot(Scenario):
    """A source, another dataset that nothing may touch, and the one that is made or grows."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.source = root.parent / f"{root.name}.source"
        self.data_root = root / "data" / "datasets"
        self.before: dict[str, str] = {}
        self.after: dict[str, Any] = {}

    @property
    def under(self) -> list[Path]:
        return [self.root / "data", self.source]

    def build(self) -> None:
        ignored = shutil.ignore_patterns("*.user.toml")
        shutil.copytree(PROJECT / "configs", self.root / "configs", ignore=ignored)
        self.acquire()
        add(self.source, "other", self.data_root)
        self.go_on()
        self.of_source = digests(self.source)
        self.before = digests(self.data_root)

    def acquire(self) -> None:
        """The source as it is at first."""
        write_frames(self.source, {"P1": range(2), "P2": range(2)})

    def go_on(self) -> None:
        """What happens before the command."""

    def killed(self) -> None:
        unchanged(self.of_source, self.source)
        assert digests(self.source).keys() == self.of_source.keys()
        unchanged({p: d for p, d in self.before.items() if p.startswith("other/")}, self.data_root)
        assert verify(Dataset.open(self.data_root / "other")) == []

    def completed(self) -> None:
        self.killed()
        made = Dataset.open(self.data_root / "made")
        self.after = self.after or content(made)
        assert content(made) == self.after
        assert verify(made) == []
        assert leftovers(made) == []
        assert writable(made.root) == {"dataset.toml"}
        assert {path.name for path in self.data_root.iterdir()} == {"other", "made"}


class Adding(_Snapshot):
    """A new dataset."""

    name = "dataset add"

    def arguments(self) -> list[str]:
        return ["dataset", "add", str(self.source), "--name", "made"]

    def killed(self) -> None:
        super().killed()
        for row in list_datasets(self.data_root):
            assert not row.problem
            if row.name == "made":
                assert verify(Dataset.open(row.root)) == []


class Appending(_Snapshot):
    """A dataset of single frames; a position grows, another comes."""

    name = "dataset add --append"

    def go_on(self) -> None:
        add(self.source, "made", self.data_root)
        self.old = content(Dataset.open(self.data_root / "made"))
        self.grow()

    def grow(self) -> None:
        """The source goes on."""
        write_frames(self.source, {"P1": range(2, 4), "P3": range(2)})

    def arguments(self) -> list[str]:
        return ["dataset", "add", str(self.source), "--name", "made", "--append"]

    def killed(self) -> None:
        super().killed()
        made = Dataset.open(self.data_root / "made")
        now = content(made)
        assert now == self.old or not self.after or now == self.after
        assert verify(made) == []
        for key, pixels in self.old["pixels"].items():
            assert now["pixels"][key] == pixels


class Replacing(Appending):
    """A dataset whose films are a file each: the one that has grown takes the place of the earlier."""

    name = "dataset add --append, grown files"

    def acquire(self) -> None:
        self._write(3)

    def grow(self) -> None:
        self._write(4)

    def _write(self, n_frames: int) -> None:
        films = self.source / "films"
        write("ome-tiff", films, {"P1": n_frames}, ["gfp", "pi"], frame, (0.65, 0.5), 60.0)
        (self.source / "dataset.toml").write_text(describe())


@pytest.mark.parametrize(("scenario", "n"), [(Adding, 2), (Appending, 4), (Replacing, 2)])
def test_some_kills(tmp_path: Path, scenario: type[_Snapshot], n: int) -> None:
    assert tries(scenario(tmp_path / "project"), many=n, seed=7) == n


@pytest.mark.faults
@pytest.mark.parametrize("scenario", [Adding, Appending, Replacing])
def test_every_kill(tmp_path: Path, scenario: type[_Snapshot]) -> None:
    assert tries(scenario(tmp_path / "project")) > 40
