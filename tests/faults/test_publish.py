"""``run`` killed while it publishes: the intermediates are there, and it only writes and seals a bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataops_parsl import publish
from dataops_parsl.bundle import MANIFEST, Bundle
from dataops_parsl.storage.users import live_users
from tests.engine.one_film import one_film
from tests.faults.scenario import Scenario, digests, tries, unchanged
from tests.helpers import Project, same_tables
from tests.in_process import InProcess, parts, planned, run

UNTIL = "measure"


class Publishing(Scenario):
    """A run that has nothing to compute.

    Parameters
    ----------
    small_films : Path
        Where its film comes from.
    lean : bool
        Whether it deletes its intermediates.
    """

    def __init__(self, root: Path, small_films: Path, *, lean: bool = False) -> None:
        super().__init__(root)
        self._films, self._lean = small_films, lean
        self.name = "publish, lean" if lean else "publish"
        self._project = Project(root)
        self._expected: dict[str, Any] = {}
        self._dataset: dict[str, str] = {}
        self._scratch: dict[str, str] = {}

    def build(self) -> None:
        one_film(self.root, self._films)
        plan = planned(self.root, until=UNTIL)
        with InProcess() as pool:
            assert run(plan, self.root.parent / "log", pool) == {}
        self._expected = publish.tables(plan)
        self._dataset = digests(self.root / "data" / "datasets")
        kept = "receipts/*.json" if self._lean else "*"
        self._scratch = {
            path: digest
            for path, digest in digests(plan.scratch).items()
            if not path.startswith(".") and (kept == "*" or Path(path).match(kept))
        }

    def arguments(self) -> list[str]:
        return ["run", "--until", UNTIL, "--workers", "1", *(["--lean"] if self._lean else [])]

    @property
    def under(self) -> list[Path]:
        return [self.root / "output", self.root / "data"]

    def killed(self) -> None:
        unchanged(self._dataset, self.root / "data" / "datasets")
        unchanged(self._scratch, planned(self.root, until=UNTIL).scratch)
        for path in (self.root / "output").rglob("[!.]*"):
            _is_whole(path)
        for bundle in self._project.bundles():
            assert (bundle / "run.json").exists(), "what has a run's name can be gone on with"

    def completed(self) -> None:
        self.killed()
        (bundle,) = self._project.bundles()
        assert (bundle / MANIFEST).exists()
        # Killed once it was sealed, its leases stay until the next run has something to do.
        assert not Bundle(bundle).live
        assert json.loads((bundle / "run.json").read_text())["verdict"] == "accepted"
        assert same_tables(self._project.tables(bundle), self._expected)
        plan = planned(self.root, until=UNTIL)
        assert live_users(plan.scratch) == []
        shards = list(plan.scratch.rglob("c.*"))
        assert bool(shards) != self._lean
        hidden = [p.name for p in (self.root / "output").rglob(".*") if p.name != ".lock"]
        assert not [name for name in hidden if not name.endswith(".tmp")]
        assert self._lean or len(parts(plan)) == len(list(plan.scratch.rglob("receipts/*.json")))


def _is_whole(path: Path) -> None:
    """Assert that a file is not cut short."""
    if path.suffix == ".json":
        json.loads(path.read_text())
    elif path.suffix == ".parquet":
        pq.read_table(path)
    elif path.suffix == ".png":
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
    elif path.suffix == ".svg":
        assert path.read_text().rstrip().endswith("</svg>")


def test_killed_while_it_publishes(tmp_path: Path, small_films: Path) -> None:
    assert tries(Publishing(tmp_path / "project", small_films, lean=True), many=4, seed=7) == 4


@pytest.mark.faults
@pytest.mark.parametrize("lean", [False, True], ids=["", "lean"])
def test_killed_at_every_point_of_publishing(tmp_path: Path, small_films: Path, lean: bool) -> None:
    assert tries(Publishing(tmp_path / "project", small_films, lean=lean)) > 100
