"""What a run would cost: from parts on scratch, from past runs, from the table; and what it then took."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from dataops_parsl import cli
from dataops_parsl.estimate.predict import GUESS, TABLE, Estimate, estimate
from dataops_parsl.estimate.receipts import on_scratch
from dataops_parsl.estimate.room import memory
from dataops_parsl.estimate.table import shipped
from dataops_parsl.estimate.words import about, rows, size, text
from dataops_parsl.estimate.work import Extent
from dataops_parsl.needs import Assessor, downstream
from dataops_parsl.plan import Plan
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.storage.parts import read_receipt
from tests.helpers import Project
from tests.in_process import compute, in_turn, planned


def asked(plan: Plan, output_root: Path | None = None, force: str = "") -> Estimate:
    forced = downstream(plan, [force]) if force else ()
    return estimate(plan, Assessor(plan, forced).assess(), output_root or plan.config.paths.output_root)


def within(factor: float, one: float, other: float) -> bool:
    return other / factor <= one <= other * factor


@pytest.fixture
def purged(sealed_project: Project, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of the sealed run, as if its scratch were gone."""
    scratch = ("--set", f"paths.scratch_root={tmp_path}")
    return lambda *flags, **which: planned(sealed_project.root, *scratch, *flags, **which)


def facts_of(bundle: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((bundle / "run.json").read_bytes())
    return value


def test_a_first_batch_foretells_the_rest(project: Project) -> None:
    for library in (
        "ants",
        "skimage.segmentation",
        "scipy.ndimage",
    ):  # their import is no part of any task's work
        importlib.import_module(library)
    few = planned(project.root, "--frames", "4", until="measure")
    for part in in_turn(few):
        compute(few, part)
    plan = planned(project.root, "--frames", "8", until="measure")
    needs = Assessor(plan).assess()
    foretold = estimate(plan, needs, project.root / "output")
    assert {s.source for s in foretold.steps} == {"its parts on scratch"}
    report = next(n for n in plan.nodes if n.id == "register_denoise.report")
    same, _ = on_scratch(report, Extent.of(plan))
    mpx = next(iter(Extent.of(plan).mpx.values()))
    assert same is not None
    assert [frames for frames, _ in same.seconds] == pytest.approx([4 * mpx] * 2), (
        "of the film as it was then"
    )
    took_s, wrote = 0.0, 0
    for part in in_turn(plan):
        if part in needs.todo:
            compute(plan, part)
            receipt = read_receipt(part.place.receipt)
            assert receipt is not None
            took_s += min(receipt.figures["cpu_s"], receipt.figures["wall_s"])
            wrote += sum(n for out in receipt.outputs.values() for n in out["files"].values())
    assert within(2, foretold.cpu_s, took_s), (foretold.cpu_s, took_s)
    assert within(1.5, foretold.bytes, wrote), (foretold.bytes, wrote)
    assert foretold.largest_bytes <= foretold.bytes
    assert sum(s.tasks for s in foretold.steps) == len(needs.todo)


def test_a_past_run_foretells_the_same_again_and_is_named(
    sealed_project: Project, purged: Callable[..., Plan]
) -> None:
    bundle = sealed_project.bundles()[0]
    foretold = asked(purged())
    took: dict[str, float] = {}
    for row in pq.read_table(bundle / "tables" / "trace.parquet").to_pylist():
        took[row["stage"]] = took.get(row["stage"], 0.0) + min(row["cpu_s"], row["ended"] - row["started"])
    for stage, seconds in took.items():
        mine = sum(s.seconds for s in foretold.steps if s.node.stage.name == stage)
        # What took less than half a second in all is mostly what a task costs before it computes.
        assert seconds < 0.5 or within(2, mine, seconds), (stage, mine, seconds)
    assert within(2, foretold.cpu_s, sum(took.values()))
    wrote = sum(s["bytes"] for s in facts_of(bundle)["scratch_sizes"].values())
    assert within(1.5, foretold.bytes, wrote)
    files = [p for p in (sealed_project.root / "data" / "scratch" / "small").rglob("*") if p.is_file()]
    on_disk = sum(p.stat().st_size for p in files if p.suffix == ".parquet" or p.name.startswith("c."))
    assert within(1.5, foretold.bytes, on_disk)
    most_mb = max(row["max_rss_mb"] for row in facts_of(bundle)["stages"].values())
    assert within(1.5, max(s.memory_mb for s in foretold.steps), most_mb)
    assert {s.source for s in foretold.steps} == {f"run {bundle.name.removeprefix('run_')}"}


def test_forced_work_is_foretold_from_its_own_parts_and_what_it_replaces_is_known(
    sealed_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    foretold = asked(planned(sealed_project.root), force="cellpose")
    labels = next(s for s in foretold.steps if s.node.name == "cellpose.segment")
    assert labels.source == "its parts on scratch"
    assert (labels.tasks, labels.frames) == (6, 24)
    assert 0 < foretold.replaced_bytes < foretold.bytes
    bundle = sealed_project.bundles()[0]
    seconds = {k: v["cpu_s"] for k, v in facts_of(bundle)["stages"].items()}
    mine = sum(s.seconds for s in foretold.steps if s.node.stage.name == "cellpose")
    assert within(2, mine, seconds["cellpose"])
    words = ["run", "--dry-run", "--force", "cellpose", "--project", str(sealed_project.root)]
    assert cli.main(words) == 0
    printed = capsys.readouterr().out
    assert "forced" in printed
    assert "stage      tasks  frames" in printed
    (line,) = (ln for ln in printed.splitlines() if ln.startswith("  cellpose "))
    assert line.split()[1:3] == ["16", "48"]
    assert line.endswith("its parts on scratch")
    assert "replace what is there" in printed


def test_without_anything_like_it_the_table_says_and_is_said_to_be_coarse(
    sealed_project: Project, purged: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = purged()
    foretold = asked(plan, tmp_path / "no output")
    assert {s.source for s in foretold.steps} == {s.sizes for s in foretold.steps} == {TABLE}
    assert "expect a factor of 3" in text(foretold).splitlines()[-1]
    wrote = sum(s["bytes"] for s in facts_of(sealed_project.bundles()[0])["scratch_sizes"].values())
    assert within(3, foretold.bytes, wrote), (foretold.bytes, wrote)
    assert all(s.seconds > 0 and s.memory_mb > 100 and s.files > s.tasks for s in foretold.steps)


def test_every_step_that_there_is_has_its_line_in_the_table(
    purged: Callable[..., Plan], tmp_path: Path
) -> None:
    stills = asked(purged("--dataset", "torn", name="stills"), tmp_path / "none")
    assert GUESS not in {s.source for s in [*stills.steps, *asked(purged(), tmp_path / "none").steps]}


def test_trackmate_itself_is_a_guess_and_not_as_cheap_as_its_restatement(purged: Callable[..., Plan]) -> None:
    by_fiji = Trackmate(backend="fiji")
    nodes = [replace(n, stage=by_fiji) for n in purged().nodes if n.stage.name == "trackmate"]
    costs = {node.name: shipped(node) for node in nodes}
    assert not any(said.listed for said in costs.values())
    close, start_s = costs["trackmate.close"], 6
    # 50 frames of 1,000 and of 5,000 spots, at 1,000 a megapixel: what TrackMate took, less and more by two.
    assert 2.3 / 2 < close.seconds(50) - start_s < 7.1 * 2
    assert 64 / 2 < close.seconds(250) - start_s < 83 * 2


@pytest.fixture
def history(sealed_project: Project, tmp_path: Path) -> Callable[..., str]:
    """Writes a past run that differs from the sealed one; returns its id."""
    original, made = sealed_project.bundles()[0], list[str]()

    def write(change: Callable[[dict[str, Any]], None]) -> str:
        made.append(f"20260101T00000{len(made)}Z-0000")
        copy = tmp_path / "output" / "cytotoxicity" / f"run_{made[-1]}"
        shutil.copytree(original, copy)
        facts = facts_of(copy)
        change(facts)
        (copy / "run.json").write_text(json.dumps(facts))
        return made[-1]

    return write


def _frames_of(side: int) -> Callable[[dict[str, Any]], None]:
    return lambda facts: facts.update(frame_px={name: [side, side] for name in facts["frame_px"]})


def _step(name: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    def change(facts: dict[str, Any]) -> None:
        for step, said in facts["steps"].items():
            if step.startswith(name):
                said.update(changes)

    return change


def _source(plan: Plan, output: Path, step: str) -> str:
    return next(s.source for s in asked(plan, output).steps if s.node.id == step)


def test_of_several_runs_the_most_alike_is_taken_and_what_differs_is_said(
    purged: Callable[..., Plan], tmp_path: Path, history: Callable[..., str]
) -> None:
    plan, output, step = purged(), tmp_path / "output", "contact.pairs"
    larger = history(_frames_of(2048))
    assert _source(plan, output, step) == f"run {larger} (frames of 2048²)"
    parameters = history(_step(step, parameters={"store_um": 3.0}))
    assert _source(plan, output, step) == f"run {parameters} (other parameters)"
    version = history(_step(step, version=0))
    now = next(n for n in plan.nodes if n.id == step).stage.version
    assert _source(plan, output, step) == f"run {parameters} (other parameters)"
    same = history(lambda facts: None)
    assert _source(plan, output, step) == f"run {same}"
    for run in (larger, parameters, same):
        shutil.rmtree(output / "cytotoxicity" / f"run_{run}")
    assert _source(plan, output, step) == f"run {version} (version 0, now {now})"


def test_frames_of_another_size_are_scaled_by_their_pixels(
    purged: Callable[..., Plan], tmp_path: Path, history: Callable[..., str]
) -> None:
    """Had the same seconds been spent on frames four times as wide, these would take a fraction of it."""
    plan, output = purged(), tmp_path / "output"
    history(lambda facts: None)
    as_it_was = asked(plan, output).cpu_s
    shutil.rmtree(output)
    side = next(iter(plan.positions.values())).shape_px[0]
    history(_frames_of(4 * side))
    assert 1 / 16 < asked(plan, output).cpu_s / as_it_was < 1


def test_another_backend_or_a_gpu_is_no_comparison(
    purged: Callable[..., Plan], tmp_path: Path, history: Callable[..., str]
) -> None:
    plan, output = purged(), tmp_path / "output"
    history(_step("cellpose.segment", gpu=True))
    history(_step("cellpose.segment", parameters={"backend": "cpsam"}))
    assert _source(plan, output, "cellpose.segment[target]") == TABLE
    assert _source(plan, output, "contact.pairs").startswith("run ")


def test_a_past_run_that_is_damaged_or_of_an_older_version_says_nothing_and_breaks_nothing(
    purged: Callable[..., Plan], tmp_path: Path, history: Callable[..., str]
) -> None:
    plan, output = purged(), tmp_path / "output"
    torn = history(lambda facts: None)
    trace = output / "cytotoxicity" / f"run_{torn}" / "tables" / "trace.parquet"
    trace.write_bytes(trace.read_bytes()[:100])
    history(lambda facts: facts.pop("steps"))
    open_run = history(lambda facts: None)
    (output / "cytotoxicity" / f"run_{open_run}" / "provenance_manifest.json").unlink()
    assert {s.source for s in asked(plan, output).steps} == {TABLE}


def test_on_a_cluster_cores_are_counted_and_forced_cards_too(purged: Callable[..., Plan]) -> None:
    flags = ("--site", "slurm", "--workers", "8", "--set", "resources.cellpose.force_gres=true")
    foretold = asked(purged(*flags, "--set", "resources.default.cores=2"))
    cellpose = sum(s.seconds for s in foretold.steps if s.node.stage.name == "cellpose")
    assert foretold.gpu_s == pytest.approx(cellpose)
    assert foretold.cpu_s == pytest.approx(2 * sum(s.seconds for s in foretold.steps))
    assert sorted(foretold.workers.values()) == [8, 8]
    printed = text(foretold)
    assert "of GPUs" in printed
    (line,) = (row for row in rows(foretold) if row[0] == "cellpose")
    assert line[4] == about(cellpose)


def test_label_images_in_a_bundle_are_foretold_of_a_run_that_keeps_them(
    sealed_project: Project, purged: Callable[..., Plan], tmp_path: Path, history: Callable[..., str]
) -> None:
    plan, output = purged(), tmp_path / "output"
    kept = output / "cytotoxicity" / f"run_{history(lambda facts: None)}" / "labels"
    bare = asked(plan, output).bundle_bytes
    size = sum(p.stat().st_size for p in kept.parent.rglob("*") if p.is_file())
    assert bare == pytest.approx(size)
    kept.mkdir()
    (kept / "coculture.zarr").write_bytes(bytes(1_000_000))
    assert asked(plan, output).bundle_bytes == bare, "what another run keeps says nothing of this one"
    folder = sealed_project.root / "data" / "scratch" / "small" / "cellpose"
    images = sum(p.stat().st_size for p in folder.glob("segment.*/*labels.zarr/c.*"))
    there = planned(sealed_project.root)
    for keeping, forced in ((plan, ""), (there, "charts")):  # from a past run, and from its parts on scratch
        keeping.workflow = keeping.workflow.keeping_labels()
        assert within(1.5, asked(keeping, output, forced).bundle_bytes - bare, images)


@pytest.mark.parametrize("kind", ["local", "globus", "slurm"])
def test_only_in_a_job_is_a_share_of_memory_held(
    purged: Callable[..., Plan], tmp_path: Path, kind: str
) -> None:
    plan = purged("--site", {"local": "laptop"}.get(kind, kind), "--set", "resources.cellpose.mem_gb=0.1")
    assert plan.config.config.site.kind == kind
    foretold = asked(plan, tmp_path / "none")
    said = [f.found for f in memory(plan.config, foretold)]
    assert [words.split(" would ")[0] for words in said] == ["a task of cellpose"] * (kind == "slurm")
    for step in foretold.steps:
        step.memory_mb = 1e9
    said = [f.found for f in memory(plan.config, foretold)]
    assert any("this machine has" in words for words in said) == (kind == "local")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.01, "< 0.1 s"),
        (4.04, "4.0 s"),
        (99, "99 s"),
        (100, "1.7 min"),
        (7200, "2.0 h"),
        (1234567, "343 h"),
    ],
)
def test_times_have_as_many_digits_as_are_known(seconds: float, words: str) -> None:
    assert about(seconds) == words


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(0, "0 kB"), (123456, "123 kB"), (9.96e6, "10 MB"), (2.5e9, "2.5 GB"), (1.2e12, "1.2 TB")],
)
def test_sizes_have_as_many_digits_as_are_known(n_bytes: float, words: str) -> None:
    assert size(n_bytes) == words
