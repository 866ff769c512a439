"""`migrate` on disks that are full, too small, read-only or mounted twice; and with ten thousand files."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import verify
from dataops_parsl.errors import PlaceError
from tests.faults.scenario import digests
from tests.helpers import Project, fill, wait_for
from tests.migration.older import Lab, sha256s, small, state, write

pytestmark = pytest.mark.faults

N_FILES = 10_000


@pytest.fixture
def onto_small_disk(tmp_path: Path, small_disk: Path) -> Lab:
    """The project's data lie on a small disk."""
    lab = Lab(tmp_path, small(tmp_path / "old"))
    lab.project.mkdir()
    lab.data.symlink_to(small_disk)
    return lab


def test_the_disk_runs_full_in_the_middle(onto_small_disk: Lab, small_disk: Path) -> None:
    lab = onto_small_disk
    for n in range(20):
        write(lab.old / "paper" / f"{n}.png", os.urandom(100_000))
    before = state(lab.old)
    lab.look("move")
    copied = 0

    def then_full(size: int) -> None:
        nonlocal copied
        copied += size
        if size == 100_000 and copied >= 500_000 and not (small_disk / "filler").exists():
            fill(small_disk)

    with pytest.raises(PlaceError, match="the disk is full while writing"):
        lab.go(then_full)
    assert not lab.hidden(), "what was copied of it is gone again"
    assert not (lab.data / "paper_figures" / "paper").exists()
    assert state(lab.old / "paper") == {
        k.removeprefix("paper/"): v for k, v in before.items() if k.startswith("paper/")
    }
    (small_disk / "filler").unlink()
    assert lab.go().failed == [], "the same command goes on"
    assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_the_journals_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    lab = Lab(tmp_path, small(tmp_path / "old"))
    lab.project.mkdir()
    lab.file = small_disk / "plan.toml"
    before = state(lab.old)
    lab.look()
    fill(small_disk)
    with pytest.raises(PlaceError, match="disk is full"):
        lab.go()
    assert state(lab.old) == before
    (small_disk / "filler").unlink()
    assert lab.go().failed == []
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_a_disk_that_is_too_small_is_said_beforehand(onto_small_disk: Lab) -> None:
    lab = onto_small_disk
    write(lab.old / "paper" / "film.mov", bytes(9_000_000))
    before = state(lab.old)
    lab.look("move")
    with pytest.raises(PlaceError, match=r"8\.\d MB free, and 9\.0 MB are to be copied there"):
        lab.go()
    assert state(lab.old) == before
    assert list(lab.data.iterdir()) == []
    lab.change("paper", action="leave")
    assert lab.go().failed == []


def _mount(*words: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this cannot be mounted here: {done.stderr.strip()}")


def test_a_read_only_disk_keeps_its_files(tmp_path: Path, small_disk: Path) -> None:
    lab = Lab(tmp_path, small(small_disk / "old"))
    lab.project.mkdir()
    before = state(lab.old)
    _mount("-o", "remount,ro", small_disk)
    lab.look("move")
    assert lab.go().failed == []
    assert lab.said["paper"] == f"copied; the source stays: {lab.old} is read-only"
    assert state(lab.old) == before
    assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
    assert lab.go().done == 0
    outcome = lab.back()
    assert outcome.failed == []
    assert state(lab.old) == before
    assert not lab.hidden()


@pytest.fixture
def mounted_twice(tmp_path: Path) -> Iterator[Path]:
    """A folder that is another mount of the same disk: renames into it are refused."""
    place, real = tmp_path / "project" / "data", tmp_path / "real"
    place.mkdir(parents=True)
    real.mkdir()
    _mount("--bind", real, place)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_two_mounts_of_one_disk(tmp_path: Path, mounted_twice: Path) -> None:
    lab = Lab(tmp_path, small(tmp_path / "old"))
    before = state(lab.old)
    assert all(item.action == "move" for item in lab.look().item)
    assert lab.go().failed == []
    assert verify(Dataset.open(mounted_twice / "datasets" / "exp1")) == []
    assert not lab.hidden()
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_ten_thousand_files_and_a_kill(bare_project: Project, other_disk: Path, tmp_path: Path) -> None:
    old = other_disk / "old"
    for n in range(N_FILES):
        write(old / "exp1" / "trackmate" / f"{n // 500:02d}" / f"{n:05d}.csv", f"track {n}\n")
    before, held = digests(old), sha256s(old)
    plan = tmp_path / "plan.toml"
    words = ["migrate", "--plan", str(plan)]
    root = bare_project.root
    assert cli.main(["migrate", str(old), *words[1:], "--action", "move", "--project", str(root)]) == 0
    driver = bare_project.start(*words, "--yes")
    legacy = root / "data" / "scratch" / "exp1" / "legacy"
    wait_for(lambda: len(list(legacy.rglob("*.csv"))) > 2000, 120, "some are copied")
    os.kill(driver.pid, signal.SIGKILL)
    assert driver.wait() == -9
    assert not held - sha256s(old, root)
    assert not (legacy / "trackmate").exists()
    assert cli.main([*words, "--yes", "--project", str(root)]) == 0
    assert sha256s(legacy) == held
    assert not (old / "exp1" / "trackmate").exists()
    journal = str(plan.with_name("plan.journal.jsonl"))
    assert cli.main(["migrate", "--undo", journal, "--yes", "--project", str(root)]) == 0
    assert digests(old) == before
    shutil.rmtree(old)
