"""`check` on a single machine, as a user types it: what it asks and refuses, and that it leaves nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dataops_parsl import cli
from dataops_parsl.commands import check
from dataops_parsl.engine import places
from dataops_parsl.engine.finding import Finding
from dataops_parsl.estimate import room
from dataops_parsl.stage import Requirement
from dataops_parsl.stages.cellpose import Cellpose
from dataops_parsl.storage.mounts import Mount
from tests.helpers import Project, mounted


@pytest.fixture
def small(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small disk of its own, with the options of the parameter."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", request.param, "tmpfs") as disk:
        yield disk


class Asked:
    """`check` in this process."""

    def __init__(self, project: Project, capsys: pytest.CaptureFixture[str]) -> None:
        self.project, self.capsys = project, capsys

    def __call__(self, *words: str, expect: int = 0) -> str:
        """What it prints, wrapped lines joined."""
        code = cli.main(["check", "--workers", "1", *words, "--project", str(self.project.root)])
        printed = self.capsys.readouterr()
        assert code == expect, printed
        return re.sub(r"\n {9,}(?!→)", " ", printed.out + printed.err)


@pytest.fixture
def asked(project: Project, capsys: pytest.CaptureFixture[str]) -> Asked:
    return Asked(project, capsys)


def rows(printed: str, subject: str) -> list[str]:
    """The lines of a subject, each with the remedy under it."""
    found = re.finditer(rf"^(ok|note|FAILED) +{re.escape(subject)} .*(\n +→ .*)?", printed, re.MULTILINE)
    return [m[0] for m in found]


def row(printed: str, subject: str) -> str:
    (found,) = rows(printed, subject)
    return found


def test_a_machine_that_fits_is_told_so_and_nothing_is_left_on_it(asked: Asked) -> None:
    before = sorted(asked.project.root.rglob("*"))
    printed = asked()
    assert "FAILED" not in printed
    assert printed.endswith("fit: cytotoxicity can run on laptop\n")
    assert sorted(asked.project.root.rglob("*")) == before
    for root in ("scratch", "output"):
        assert ": rename, fsync, locks, exclusive creation work" in rows(printed, f"{root} files")[0]
        assert " would be written" in row(printed, f"room in {root}_root")
    assert "parsl 20" in row(printed, "packages")
    assert row(printed, "workers' packages").startswith("ok")
    estimate = row(printed, "estimate")
    assert re.search(r"about [\d.]+ (s|min) with 1 worker, each on a core of its own", estimate)
    assert "factor of 3" in estimate


def test_without_a_dataset_the_place_is_asked_all_the_same(
    bare_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = Asked(bare_project, capsys)()
    assert "demo, which the first run simulates" in row(printed, "dataset")
    assert rows(printed, "scratch files")
    assert not rows(printed, "estimate")


def test_machines_read_the_same_as_json(asked: Asked) -> None:
    answer = json.loads(asked("--json"))
    assert (answer["fit"], answer["site"], answer["kind"], answer["workers"]) == (True, "laptop", "local", 1)
    subjects = {f["subject"] for f in answer["findings"]}
    assert {"dataset", "Python", "packages", "scratch_root", "scratch files", "estimate"} <= subjects
    assert {f["state"] for f in answer["findings"]} <= {"ok", "note"}
    answer = json.loads(asked("--json", "--dataset", "smal", expect=3))
    assert answer["fit"] is False
    (failed,) = (f for f in answer["findings"] if f["state"] == "failed")
    assert (failed["subject"], failed["ok"]) == ("dataset", False)
    assert failed["remedy"]


def test_a_stage_that_cannot_work_as_it_is_configured_is_one_finding_among_others(asked: Asked) -> None:
    printed = asked("--set", "stages.cellpose.backend=labels", expect=3)
    plan = row(printed, "plan")
    assert plan.startswith("FAILED")
    assert "no channel carries masks" in plan
    assert "→ write labels" in plan
    assert rows(printed, "scratch files")
    assert printed.endswith("cytotoxicity cannot run on laptop yet\n")


def test_a_key_that_is_not_known_leaves_nothing_to_check(asked: Asked) -> None:
    assert "did you mean" in asked("--set", "stages.cellpose.backnd=labels", expect=2)


def test_what_stages_need_stands_under_their_names(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    def requirements(stage: Cellpose) -> Sequence[Requirement]:
        if stage.trim_frac:
            raise RuntimeError("no card answers")
        return [Requirement("weights", False, "no file of that name", "download them")]

    monkeypatch.setattr(Cellpose, "requirements", requirements)
    printed = asked("--set", "stages.cellpose.target.trim_frac=0.3", expect=3)
    one, other = (part for part in printed.split("\n\n") if part.startswith("cellpose["))
    assert {one.splitlines()[0], other.splitlines()[0]} == {"cellpose[effector]", "cellpose[target]"}
    weights = row(one if "effector" in one else other, "weights")
    assert weights.startswith("FAILED")
    assert "→ download them" in weights
    assert "RuntimeError: no card answers" in row(one if "target" in one else other, "needs")


@pytest.mark.parametrize("small", ["ro"], indirect=True)
def test_a_disk_that_cannot_be_written_is_named_with_its_key(asked: Asked, small: Path) -> None:
    printed = asked("--set", f"paths.scratch_root={small}/scratch", expect=3)
    assert "cannot be written: Read-only file system" in row(printed, "scratch_root")
    assert "set paths.scratch_root" in row(printed, "scratch_root")
    assert not rows(printed, "scratch files")


@pytest.mark.parametrize("small", ["size=256k"], indirect=True)
def test_a_disk_that_takes_no_single_part_is_refused_by_check_and_by_run(asked: Asked, small: Path) -> None:
    scratch = ("--set", f"paths.scratch_root={small}")
    printed = asked(*scratch, expect=3)
    line = row(printed, "room in scratch_root")
    assert line.startswith("FAILED")
    assert "not even one part of" in line
    assert "this is memory" in rows(printed, "scratch files")[1]
    code = cli.main(["run", *scratch, "--project", str(asked.project.root)])
    captured = asked.capsys.readouterr()
    assert code == 3
    assert "not even one part of" in captured.err
    assert not asked.project.bundles()


@pytest.mark.parametrize("small", ["size=3m,nr_inodes=40"], indirect=True)
def test_a_disk_that_would_run_full_is_a_note_since_estimates_are_coarse(asked: Asked, small: Path) -> None:
    line = row(asked("--set", f"paths.scratch_root={small}"), "room in scratch_root")
    assert line.startswith("note")
    assert "it would run full" in line
    assert "--frames 20" in line


@pytest.mark.parametrize("small", ["size=200m,nr_inodes=40"], indirect=True)
def test_a_disk_without_room_for_so_many_files_is_a_note(asked: Asked, small: Path) -> None:
    line = row(asked("--set", f"paths.scratch_root={small}"), "room in scratch_root")
    assert line.startswith("note")
    assert re.search(r"about \d+ files would be written, 3\d are free", line)
    assert "batch_frames" in line


def test_more_memory_than_a_workers_share_is_a_note_with_the_key_where_shares_are_watched(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(asked.project.root))  # no SLURM, which is another matter
    printed = asked("--site", "slurm", "--set", "resources.contact.mem_gb=0.1", expect=3)
    memory = row(printed, "memory")
    assert memory.startswith("note")
    assert "a task of contact would take about" in memory
    assert "set resources.contact.mem_gb to 1" in memory


def test_more_memory_than_this_machine_has_is_a_note_with_fewer_workers(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = SimpleNamespace(total=300 * 2**20)
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: little)
    memory = row(asked("--workers", "2"), "memory")
    assert memory.startswith("note")
    assert "this machine has 315 MB" in memory
    assert "→ take fewer: --workers 1" in memory


def test_what_is_known_to_go_wrong_on_a_mount_is_noted_and_a_disk_of_this_host_too_on_a_cluster(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = Mount("nas:/x", "/x", "nfs", ("rw", "nolock", "soft"))
    monkeypatch.setattr(places, "mounted", lambda folder: mount)
    notes = rows(asked(), "output files")
    assert [n.split()[0] for n in notes] == ["ok", "note", "note"]
    assert "locks hold on one host only (nolock)" in notes[1]
    monkeypatch.setattr(places, "mounted", lambda folder: Mount("/dev/sda1", "/", "ext4", ("rw",)))
    monkeypatch.setenv("PATH", str(asked.project.root))  # no SLURM: that is told too, and no reason to stop
    printed = asked("--site", "slurm", expect=3)
    assert "see it only if they mount it" in rows(printed, "scratch files")[1]
    assert "only a node can tell" in row(printed, "workers' packages")


def test_each_finding_has_its_line_and_those_of_an_executor_their_section() -> None:
    found = [Finding("b: c", True, "well", "better"), Finding("b: d", False, "no", "yes")]
    assert check.table([*found, Finding("a", True, "fine")]).splitlines() == [
        "ok      a  fine",
        "",
        "b",
        "note    c  well",
        "           → better",
        "FAILED  d  no",
        "           → yes",
    ]
