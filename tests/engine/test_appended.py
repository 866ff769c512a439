"""Frames that were appended: only what they touch is computed, and a run meanwhile sees its own."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import publish
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.append import append
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME
from dataops_parsl.validate.checks import overall
from dataops_parsl.validate.inputs import check_inputs, recorded_inputs
from tests.helpers import Project, same_tables
from tests.in_process import compute, in_turn, planned

BATCH = 4
FLAGS = ("--dataset=growing",)


def _films(small_films: Path, folder: Path, frames: dict[str, int]) -> Path:
    """The first frames of some positions of the small films."""
    shutil.rmtree(folder, ignore_errors=True)
    for path in sorted(small_films.rglob("im_*.tif")):
        position = path.relative_to(small_films).parts[0]
        if int(path.stem.partition("_")[2]) < frames.get(position, 0):
            to = folder / path.relative_to(small_films)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
    shutil.copy(small_films / "dataset.toml", folder)
    rows = (small_films / "plate.csv").read_text().splitlines()
    kept = [rows[0], *(row for row in rows[1:] if row.partition(",")[0] in frames)]
    (folder / "plate.csv").write_text("\n".join(kept) + "\n")
    return folder


@pytest.fixture
def data_root(bare_project: Project) -> Path:
    (bare_project.root / "configs" / "config.user.toml").write_text(f"batch_frames = {BATCH}\n")
    return bare_project.root / "data" / "datasets"


def _take_in(small_films: Path, source: Path, data_root: Path, frames: dict[str, int]) -> None:
    made = append(_films(small_films, source, frames), "growing", data_root)
    assert made.frames


def _needed(plan: Plan) -> set[Part]:
    return set(Assessor(plan).assess().todo)


def _reads_of_all(part: Part) -> bool:
    """Whether a part is for the whole of a film, and made from what is made of all positions."""
    return part.node.step.scope == "film" and any(
        source.node.step.scope == "dataset" or _reads_of_all(source) for source in part.inputs()
    )


def _compute(plan: Plan, todo: Collection[Part] | None = None) -> None:
    for part in in_turn(plan):
        if todo is None or part in todo:
            compute(plan, part)


def _touched(todo: Collection[Part]) -> dict[str, set[Any]]:
    """Batches that are to be computed by position, and what is for whole films and all of them."""
    found: dict[str, set[Any]] = {}
    for part in todo:
        scope = part.node.step.scope
        what = part.index if scope in PER_FRAME else scope
        found.setdefault(part.position, set()).add(what)
    return found


def test_only_what_new_frames_touch_is_computed(
    bare_project: Project, data_root: Path, small_films: Path, tmp_path: Path
) -> None:
    source = _films(small_films, tmp_path / "films", {"coculture": 6})
    before = ingest.add(source, "growing", data_root)
    plan = planned(bare_project.root, *FLAGS, until="outcome")
    _compute(plan)
    assert not _needed(plan)
    tables = publish.tables(plan)
    read = recorded_inputs(before, {"coculture": range(6)})
    sample = before.position("coculture").sample_frames

    # two frames complete the last batch
    late = planned(bare_project.root, *FLAGS, "--set=paths.scratch_root=late", until="measure")
    _take_in(small_films, source, data_root, {"coculture": 8})
    plan = planned(bare_project.root, *FLAGS, until="outcome")
    todo = _needed(plan)
    assert _touched(todo) == {"coculture": {1, "film"}, "": {"dataset"}}
    _compute(plan, todo)
    assert not _needed(plan)

    # a run that was planned before reads what it planned, and nothing of what came since
    _compute(late)
    measured = publish.tables(late)
    assert same_tables(measured, {name: tables[name] for name in measured})

    # a whole batch: those before it are done
    _take_in(small_films, source, data_root, {"coculture": 12})
    plan = planned(bare_project.root, *FLAGS, until="outcome")
    todo = _needed(plan)
    assert _touched(todo) == {"coculture": {2, "film"}, "": {"dataset"}}
    _compute(plan, todo)

    # another position: nothing of the first
    _take_in(small_films, source, data_root, {"coculture": 12, "targets_alone": 4})
    plan = planned(bare_project.root, *FLAGS, until="outcome")
    todo = _needed(plan)
    judged = {part for part in todo if part.position == "coculture"}
    assert all(_reads_of_all(part) for part in judged), (
        "by what holds for all positions, and for no other reason"
    )
    assert _touched(todo - judged) == {"targets_alone": {0, "sample", "film"}, "": {"dataset"}}

    # and what the first run read is as it read it
    now = Dataset.open(before.root)
    assert now.position("coculture").sample_frames == sample
    checked = check_inputs(read, now.root)
    assert overall(checked) == "accepted", checked
    assert "6 more are there now" in checked[0].found
