"""``validate``: a real run is accepted, and each way to meddle with it is named."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

from dataops_parsl.bundle import MANIFEST, Bundle, files_of, seal_files
from dataops_parsl.cli import main
from dataops_parsl.commands import validate as command
from dataops_parsl.commands.setting import open_dataset
from dataops_parsl.plan import Plan
from dataops_parsl.report.page import report as page_of
from dataops_parsl.sealing import made_by
from dataops_parsl.validate.checks import Check, check
from dataops_parsl.validate.seal import check_seal
from dataops_parsl.validate.subject import Kind, Subject
from dataops_parsl.workflow import load as load_workflow
from tests.helpers import Project
from tests.validate.bundles import content, copy_of, delete_row, report, reseal, swap_columns

Say = Callable[..., str]
Meddle = Callable[[Path], Any]


@pytest.fixture
def bundle(sealed_project: Project, tmp_path: Path) -> Path:
    """A copy of the small assay's run."""
    return copy_of(sealed_project.bundles()[0], tmp_path)


@pytest.fixture
def validate(sealed_project: Project, capsys: pytest.CaptureFixture[str]) -> Say:
    """Validate, expect an exit code, and return what was said."""

    def run(bundle: Path | str, expect: int, *more: str) -> str:
        capsys.readouterr()
        code = main(["validate", str(bundle), "--project", str(sealed_project.root), *more])
        said = capsys.readouterr()
        words = said.out + said.err
        assert code == expect, words
        return words

    return run


def _checks(bundle: Path) -> dict[str, dict[str, Any]]:
    checks: Any = report(bundle)["checks"]
    assert all(set(c) == {"what", "expected", "found", "verdict"} and all(c.values()) for c in checks)
    found = {c["what"]: c for c in checks}
    assert len(found) == len(checks)
    return found


def test_a_whole_run_is_accepted_and_only_read(bundle: Path, validate: Say) -> None:
    before = content(bundle)
    assert "accepted" in validate(bundle, 0)
    added = {"acceptance_report.json", "acceptance_report.md"}
    first = content(bundle)
    assert {k: v for k, v in first.items() if k not in added} == before
    assert set(first) - set(before) == added
    checks = _checks(bundle)
    assert {c["verdict"] for c in checks.values()} == {"ok"}
    assert {"provenance", "failures", "frames: complete", "cells: one row a label", "input: bytes"} <= set(
        checks
    )
    assert {f"{n}: columns, types and units" for n in ("cells", "tracks", "summary", "trace")} <= set(checks)
    assert "contacts: position_id, population_a, frame, label_a → cells" in checks
    assert "cells: position_id, population, track_id → tracks" in checks
    assert checks["input: frames"]["found"].startswith("24 frames")
    assert "48 frames counted again" in checks["label images: pixels"]["found"]
    said = report(bundle)
    assert (said["verdict"], said["kind"], said["run"]) == ("accepted", "workflow", Bundle(bundle).id)
    page = (bundle / "acceptance_report.md").read_text()
    assert page.startswith(f"# Run {Bundle(bundle).id}: accepted\n")
    assert page.count("\n| ") == len(checks) + 2
    assert "accepted" in validate(bundle, 0), "its own report is no extra file"
    assert report(bundle)["checks"] == said["checks"]
    assert {k: v for k, v in content(bundle).items() if k not in added} == before


def test_a_deleted_row(bundle: Path, validate: Say) -> None:
    delete_row(bundle)
    words = validate(bundle, 5)
    assert "is tampered" in words
    assert "tables/cells.parquet: was changed since it was sealed" in words
    assert "cells: one row a label" in words
    # Who also mends the hashes is still found out, by what was counted in the pixels.
    reseal(bundle)
    words = validate(bundle, 5)
    assert "is rejected" in words
    assert "tampered" not in words
    row = _checks(bundle)["cells: one row a label"]
    assert row["verdict"] == "failed"
    assert "frame 0" in row["found"]


def test_a_deleted_track_takes_its_objects_reference(bundle: Path, validate: Say) -> None:
    delete_row(bundle, "tracks")
    reseal(bundle)
    words = validate(bundle, 5)
    assert "cells: position_id, population, track_id → tracks" in words
    assert "are not there, such as position_id coculture" in words


def test_a_swapped_column(bundle: Path, validate: Say) -> None:
    swap_columns(bundle, "cells", "x_um", "y_um")
    words = validate(bundle, 5)
    assert "is tampered" in words
    assert "cells: columns, types and units: columns x_um and y_um are swapped" in words
    reseal(bundle)
    assert "is rejected" in validate(bundle, 5)


def test_a_truncated_parquet(bundle: Path, validate: Say) -> None:
    path = bundle / "tables" / "tracks.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    words = validate(bundle, 5)
    assert "tables/tracks.parquet: was cut" in words
    assert "tracks: readable: cannot be read" in words
    assert "is tampered" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: _other_pixels(path), "was changed since it was taken in"),
        (lambda path: path.write_bytes(path.read_bytes()[:-2] + b"!!"), "though it shows the same"),
        (lambda path: path.unlink(), "cannot be read"),
    ],
    ids=["pixels", "bytes", "gone"],
)
def test_a_changed_input(
    bundle: Path, validate: Say, sealed_project: Project, change: Callable[[Path], Any], words: str
) -> None:
    folder = sealed_project.root / "data" / "datasets" / "small"
    path = sorted(folder.rglob("coculture/gfp/*.tif"))[3]
    before = path.read_bytes()
    try:
        path.chmod(0o644)
        change(path)
        said = validate(bundle, 5)
    finally:
        path.write_bytes(before)
        path.chmod(0o444)
    assert "is rejected" in said
    (line,) = [line for line in said.splitlines() if "input: bytes" in line]
    assert path.name in line
    assert words in line
    assert not [c for c in _checks(bundle).values() if c["verdict"] == "tampered"]


def _other_pixels(path: Path) -> None:
    image = tifffile.imread(path)
    image[5, 5] += 1
    tifffile.imwrite(path, image)


def _delete(path: str) -> Meddle:
    return lambda bundle: (bundle / path).unlink()


def _write(path: str, text: str) -> Meddle:
    return lambda bundle: (bundle / path).write_text(text)


@pytest.mark.parametrize(
    ("meddle", "words"),
    [
        (_delete("tables/edges.parquet"), ["tables/edges.parquet: is missing", "edges: there"]),
        (_write("tables/more.parquet", "x"), ["tables/more.parquet: was added after"]),
        (_write("run.json", "{}"), ["run.json: was changed since", "does not say"]),
        (_write("run.json", '{"workflow": "x", "starts": 3, "n_frames": []}'), ["tampered bundle"]),
        (_write("record/labels.json", '{"format": 1}'), ["record/labels.json: was changed"]),
        (_write("record/schemas.json", "{"), ["record/schemas.json: was changed"]),
        (_write(MANIFEST, "{"), [f"{MANIFEST}: it cannot be read"]),
        (_write(MANIFEST, '{"format": 2, "files": {}}'), ["of format 2, this version reads 1"]),
    ],
    ids=["missing", "extra", "facts", "nonsense", "labels", "record", "manifest", "newer"],
)
def test_files_that_are_not_as_sealed(bundle: Path, validate: Say, meddle: Meddle, words: list[str]) -> None:
    meddle(bundle)
    said = validate(bundle, 5)
    assert "is tampered" in said
    for word in words:
        assert word in said


def test_logs_of_blocks_that_end_late_may_grow_and_nothing_else(bundle: Path, validate: Say) -> None:
    (log, *_) = sorted((bundle / "log" / "parsl").rglob("manager.log"))
    before = log.read_bytes()
    log.write_bytes(before + b"the interchange is gone, exiting\n")
    (log.parent / "worker_9.log").write_text("late\n")
    (code, *_) = sorted((bundle / "log" / "parsl").rglob("*.sh.ec"))
    code.write_text("143\n")
    assert "accepted" in validate(bundle, 0)
    assert "of 2 logs the sealed part: it grew" in _checks(bundle)["seal: files"]["found"]
    log.write_bytes(b"X" + before[1:] + b"more")
    assert "manager.log: was changed since it was sealed" in validate(bundle, 5)
    log.write_bytes(before)
    with open(bundle / "log" / "events.jsonl", "a") as events:
        events.write("{}\n")
    assert "log/events.jsonl: was changed since it was sealed" in validate(bundle, 5)


def test_a_record_that_was_taken_away_is_missed(bundle: Path, validate: Say) -> None:
    shutil.rmtree(bundle / "record")
    reseal(bundle)
    words = validate(bundle, 5)
    assert "is rejected" in words
    for what in ("tables", "input: frames", "input: bytes"):
        assert f"{what}: what the run recorded of it in record/ is not there" in words


def test_a_run_of_an_older_version_recorded_less(bundle: Path, validate: Say) -> None:
    shutil.rmtree(bundle / "record")
    facts = json.loads((bundle / "run.json").read_text())
    del facts["identities"]
    (bundle / "run.json").write_text(json.dumps(facts | {"format": 1}))
    reseal(bundle)
    words = validate(bundle, 0)
    assert "tables: not checked: sealed by a version that recorded none" in words
    assert "provenance: not checked: sealed by an older version" in words


def test_parts_that_other_versions_made_are_told_and_no_fault(bundle: Path, validate: Say) -> None:
    facts = json.loads((bundle / "run.json").read_text())
    (made,) = facts["made_by"]
    assert made["versions"].items() <= facts["starts"][-1]["versions"].items()
    assert set(made["steps"]) == {step["id"] for step in facts["graph"]}
    assert made["parts"] == sum(step["parts"] for step in facts["graph"])
    assert set(facts["identities"]) == set(made["steps"]), "each population has its own"
    older = {"versions": made["versions"] | {"scipy": "0.9"}, "parts": 6, "steps": ["contact.pairs"]}
    unsaid = {"versions": {}, "parts": 1, "steps": ["measure.objects[target]"]}
    (bundle / "run.json").write_text(json.dumps(facts | {"made_by": [made, older, unsaid]}))
    reseal(bundle)
    words = validate(bundle, 0)
    scipy = made["versions"]["scipy"]
    assert f"6 parts made earlier, by scipy 0.9 instead of {scipy} (contact.pairs)" in words
    assert "1 part made earlier, by a version that did not record which" in words
    assert _checks(bundle)["versions of the parts"]["verdict"] == "noted"
    assert "Not all was made by these versions: 6 parts" in page_of(Bundle(bundle))


def test_who_made_a_part_is_read_from_its_receipt(sealed_project: Project) -> None:
    said = argparse.Namespace(project=sealed_project.root, dataset=None)
    dataset, setting = open_dataset(said)
    plan = Plan(load_workflow(sealed_project.root, "cytotoxicity"), dataset, setting.config)
    (whole,) = made_by(plan)
    part = next(iter(plan.parts(plan.nodes[0])))
    before = part.place.receipt.read_bytes()
    receipt = json.loads(before)
    receipt["figures"]["versions"]["numpy"] = "1.0"
    try:
        part.place.receipt.write_text(json.dumps(receipt))
        most, one = made_by(plan)
    finally:
        part.place.receipt.write_bytes(before)
    assert most["parts"] == whole["parts"] - 1
    assert (one["parts"], one["steps"], one["versions"]["numpy"]) == (1, [plan.nodes[0].id], "1.0")


def test_what_file_browsers_leave_behind_is_no_fault(bundle: Path, validate: Say) -> None:
    noise = (".DS_Store", "tables/Thumbs.db", "log/.nfs0001", "tables/.cells.parquet.1.ab.tmp")
    for name in noise:
        (bundle / name).write_bytes(b"x")
    assert "accepted" in validate(bundle, 0)
    # Nor where it was there when the run was sealed, and went or changed since.
    reseal(bundle)
    assert not set(noise) & set(json.loads((bundle / MANIFEST).read_text())["files"])
    (bundle / noise[0]).write_bytes(b"other")
    (bundle / noise[2]).unlink()
    assert "accepted" in validate(bundle, 0)


def test_noise_that_an_earlier_version_sealed_is_no_fault(bundle: Path, validate: Say) -> None:
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"]["tables/.DS_Store"] = {"sha256": "0" * 64, "bytes": 1}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    assert "accepted" in validate(bundle, 0)


def test_a_file_that_goes_while_it_is_sealed_ends_nothing(
    bundle: Path, validate: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = bundle / "log" / "parsl" / "late.log"
    late.write_text("x")
    listed = files_of(bundle)
    late.unlink()
    monkeypatch.setattr("dataops_parsl.bundle.files_of", lambda root: listed)
    reseal(bundle)
    monkeypatch.undo()
    assert "accepted" in validate(bundle, 0)


def test_purged_pixels_are_not_checked_and_no_fault(
    bundle: Path, validate: Say, sealed_project: Project, tmp_path: Path
) -> None:
    scratch = sealed_project.root / "data" / "scratch"
    scratch.rename(tmp_path / "scratch")
    try:
        words = validate(bundle, 0)
    finally:
        (tmp_path / "scratch").rename(scratch)
    assert "label images: pixels: not checked: purged" in words
    assert _checks(bundle)["label images: pixels"]["verdict"] == "not checked"
    assert "not checked: purged" in (bundle / "acceptance_report.md").read_text()
    assert _checks(bundle)["cells: one row a label"]["verdict"] == "ok", "it was recorded in the bundle"


def test_a_dataset_that_is_elsewhere_is_not_checked(bundle: Path, validate: Say) -> None:
    facts = json.loads((bundle / "run.json").read_text())
    facts["dataset"] |= {"root": "/nowhere/small", "name": "elsewhere"}
    (bundle / "run.json").write_text(json.dumps(facts))
    reseal(bundle)
    assert "input: bytes: not checked: there is no dataset 'elsewhere'" in validate(bundle, 0)


def test_a_partial_run_is_partial(sealed_project: Project, tmp_path: Path, validate: Say) -> None:
    (partial,) = sealed_project.bundles("stills")
    bundle = copy_of(partial, tmp_path)
    words = validate(bundle, 4)
    assert "is partial" in words
    assert "coculture frame 2, register_denoise" in words
    assert report(bundle)["verdict"] == "partial"
    assert {c["verdict"] for c in _checks(bundle).values()} == {"ok", "partial"}
    delete_row(bundle, row=3)
    assert "is tampered" in validate(bundle, 5)


def test_latest_and_ids_and_open_runs(sealed_project: Project, tmp_path: Path, validate: Say) -> None:
    newest = sealed_project.bundles("stills")[0]
    out = tmp_path / "out"
    assert Bundle(newest).id in validate("latest", 4, "-o", str(out))
    assert (out / "acceptance_report.md").exists()
    assert not (newest / "acceptance_report.md").exists()
    assert "no run '2001" in validate("20010101", 2)
    open_one = Bundle(sealed_project.root / "output" / "tracks" / "run_29990101T000000Z-aaaa")
    open_one.update(run=open_one.id, status="open")
    try:
        assert "was never finished" in validate("latest", 2)
        open_one.update(status="abandoned")
        assert "was given up" in validate(open_one.root, 2)
    finally:
        shutil.rmtree(open_one.root.parent)


def test_a_run_that_cannot_be_written_to_still_gets_its_verdict(
    bundle: Path, validate: Say, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    words = validate(bundle, 3, "-o", str(tmp_path / "file" / "below"))
    assert "accepted" in words
    assert "remedy: give a folder that can be written to" in words


def test_bundles_of_other_kinds_are_found_and_have_checks_of_their_own(
    sealed_project: Project, validate: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = sealed_project.root / "output" / "benchmark" / "master" / "run_20990101T000000Z-bbbb"
    try:
        (root / "tables").mkdir(parents=True)
        (root / "run_metadata.json").write_text('{"workers": [1, 2], "kind": "another"}')
        seal_files(root, "20990101T000000Z-bbbb")
        assert "is no run that this version knows" in validate("20990101", 2)

        def checks(subject: Subject) -> list[Check]:
            said = json.loads((subject.root / "run_metadata.json").read_text())
            return [*check_seal(subject.root), check("workers", "1 and more", [], str(said["workers"]))]

        benchmark = Kind("benchmark", lambda folder: (folder / "run_metadata.json").is_file(), checks)
        monkeypatch.setattr(command, "KINDS", (*command.KINDS, benchmark))
        assert "accepted" in validate("latest", 0)
        assert report(root)["kind"] == "benchmark"
        assert "workers" in _checks(root)
        (root / "run_metadata.json").write_text('{"workers": [1]}')
        assert "run_metadata.json: was changed" in validate("latest", 5)
    finally:
        shutil.rmtree(root.parents[1])
