"""After a purge a run gives the same result, and computes nothing that what is missing does not need."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from dataops_parsl import cli, publish
from dataops_parsl.engine.rounds import prepare
from dataops_parsl.needs import Assessor, Needs
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.storage.folders import Root
from dataops_parsl.storage.inventory import look
from dataops_parsl.storage.parts import Receipt, publish_receipt, read_receipt
from dataops_parsl.storage.purging import Purger
from tests.helpers import Project, same_tables
from tests.in_process import compute, parts, planned

PIXELS = ("register_denoise", "cellpose")
CHANGED = "stages.killing.window_min=45"


@pytest.fixture
def copied(sealed_project: Project, tmp_path: Path) -> Project:
    """A copy of the sealed project, to purge."""
    shutil.copytree(sealed_project.root, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def _purge(project: Project, *words: str) -> None:
    assert cli.main(["purge", *words, "--yes", "--project", str(project.root)]) == 0


def _stages(words: Sequence[str]) -> list[str]:
    return [word for stage in words for word in ("--stage", stage)]


def _needs(plan: Plan) -> Needs:
    return Assessor(plan).assess()


def _needed_by_something(plan: Plan, todo: dict[Part, str]) -> None:
    """Assert that each part is wanted and missing, reads what is computed anew, or is read by another."""
    read = {source for part in todo for source in part.inputs()}
    wanted = set(plan.wanted())
    for part in todo:
        assert part in read or part in wanted, part.id
        missing = read_receipt(part.place.receipt) is None
        assert missing or any(source in todo for source in part.inputs()), part.id


def test_a_sealed_result_needs_nothing_whatever_is_purged(
    copied: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (_stages(PIXELS), ["--dataset", "small"], ["--gc"]):
        _purge(copied, *words)
        assert cli.main(["run", "--project", str(copied.root)]) == 0
        assert "Nothing to do" in capsys.readouterr().out
    assert not list((copied.root / "data" / "scratch" / "small").glob("*/*/step.json"))
    assert list((copied.root / "data" / "scratch" / "torn").glob("*/*/step.json")), "of the other dataset"


def test_a_changed_parameter_after_a_purge_computes_what_it_touches_alone(copied: Project) -> None:
    changed = planned(copied.root, "--set", CHANGED)
    before = {part.id for part in _needs(changed).todo}
    assert {name.partition(".")[0] for name in before} >= {"killing", "outcome"}
    assert not {name.partition(".")[0] for name in before} & {*PIXELS, "measure", "trackmate", "contact"}
    with Root(changed.scratch.parent) as root:
        purger = Purger(root)
        gone = [u for u in look(root, dataset="small").of("step") if u.step.startswith(("link", "estimate"))]
        for unit in gone:
            purger.step(unit)
    assert len(gone) == 3
    assert purger.purged.files > 30
    assert {part.id for part in _needs(changed).todo} == before, "links are read by tracks that are there"
    _purge(copied, *_stages(["cellpose"]))
    _needed_by_something(changed, _needs(changed).todo)


@pytest.mark.parametrize(
    "stages", [("measure",), ("trackmate",), ("contact", "cellpose"), ("killing", "outcome"), PIXELS]
)
def test_only_what_is_missing_and_what_it_needs(copied: Project, stages: tuple[str, ...]) -> None:
    plan = planned(copied.root)
    assert not _needs(plan).todo
    _purge(copied, *_stages(stages))
    todo = _needs(plan).todo
    _needed_by_something(plan, todo)


def _recompute(plan: Plan) -> int:
    """Compute what is missing, and so on until nothing is; returns the number of parts."""
    n, assessor = 0, Assessor(plan)
    while todo := assessor.assess().todo:
        prepare(plan, todo)
        for part in sorted(todo, key=lambda p: (p.node.depth, p.index)):
            if assessor.needed(part):
                compute(plan, part)
                n += 1
            assessor.mark(part)
    return n


def _sealed_tables(project: Project) -> dict[str, object]:
    return project.tables(project.bundles()[0])


def test_purged_tables_come_back_the_same(copied: Project) -> None:
    plan = planned(copied.root)
    _purge(copied, *_stages(["trackmate", "contact", "killing", "outcome"]))
    n = len(_needs(plan).todo)
    assert 0 < _recompute(plan) <= n
    assert same_tables(publish.tables(plan), _sealed_tables(copied))


@pytest.mark.faults
def test_a_run_after_a_full_purge_gives_the_same_tables(copied: Project) -> None:
    _purge(copied, "--dataset", "small")
    before = _sealed_tables(copied)
    shutil.rmtree(copied.root / "output" / "cytotoxicity")
    copied.run("run", "--workers", "2")
    assert same_tables(copied.tables(), before)


def test_of_a_partial_result_only_what_its_failed_frame_needs_is_tried(copied: Project) -> None:
    plan = planned(copied.root, "--dataset", "torn", "--frames", "4", name="stills")
    before = {part.id for part in _needs(plan).todo}
    assert before, "a failed frame is tried once in each run"
    _purge(copied, "--dataset", "torn", "--stage", "cellpose")
    todo = _needs(plan).todo
    assert {part.id for part in todo} >= before
    assert {part.position for part in todo} == {"coculture"}


def _said(plan: Plan, roots: dict[tuple[str, str], int]) -> None:
    """Write the receipt of every part, as if all were computed and frames failed in some."""
    receipts: dict[Part, Receipt] = {}
    for part in parts(plan):
        receipt = Receipt(recipe=part.recipe, part=part.id)
        above = {}
        for source in part.inputs():
            path = source.place.receipt.relative_to(plan.scratch)
            receipt.inputs[str(path)] = receipts[source].digest
            own = [
                {"stage": source.node.id, "position": source.position, "frame": frame, "reason": why}
                for frame, why in receipts[source].failed.items()
            ]
            above |= {(r["stage"], r["frame"]): r for r in [*own, *receipts[source].roots]}
        receipt.roots = list(above.values())
        frame = roots.get((part.node.id, part.position))
        if frame in part.frames:
            receipt.failed = {frame: "torn"}
        receipts[part] = receipt
        publish_receipt(part.place, receipt)


def test_a_failed_frame_is_tried_without_what_others_need(project: Project) -> None:
    """One frame of one film is bad, and all that is not published is purged: the other film is left alone."""
    plan = planned(project.root)
    _said(plan, {("cellpose.segment[target]", "coculture"): 5})
    before = {part.id for part in _needs(plan).todo}
    assert "cellpose.segment[target]/coculture/00001" in before
    published = {part.node.folder for part in plan.wanted()}
    for node in plan.nodes:
        if node.folder not in published and node.folder.exists():
            shutil.rmtree(node.folder)
    todo = _needs(plan).todo
    assert {part.position for part in todo if part.node.folder not in published} == {"coculture"}
    tried = {part.id for part in todo}
    assert tried >= before
    assert "trackmate.link[target]/coculture/00001" in tried
    assert "trackmate.link[effector]/coculture/00000" not in tried, "no failure came through it"


@pytest.mark.faults
def test_a_frame_that_comes_back_after_a_purge_gives_the_whole_result(project: Project) -> None:
    """What was not asked for at first is computed in the next round, once the frame turns out to be well."""
    frame = sorted((project.root / "data" / "datasets" / "small").rglob("coculture/gfp/*.tif"))[5]
    whole = frame.read_bytes()
    frame.chmod(0o644)
    frame.write_bytes(b"no TIFF")
    project.run("run", "--workers", "2", expect=4)
    plan = planned(project.root)
    published = {part.node.folder for part in plan.wanted()}
    for node in plan.nodes:
        if node.folder not in published:
            shutil.rmtree(node.folder)
    frame.write_bytes(whole)
    project.run("run", "--workers", "2")
    tables = project.tables()
    shutil.rmtree(project.root / "output")
    _purge(project, "--dataset", "small")
    project.run("run", "--workers", "2")
    assert same_tables(project.tables(), tables)
