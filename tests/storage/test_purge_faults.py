"""``purge`` where it is needed and hard: a full disk, many files, other disks mounted into scratch."""

from __future__ import annotations

import contextlib
import re
import resource
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.storage.folders import Root
from dataops_parsl.storage.inventory import look
from dataops_parsl.storage.purging import Purger
from dataops_parsl.storage.users import exclusive
from tests.faults.scenario import digests
from tests.helpers import Project, fill, wait_for
from tests.storage.trees import make_step, steps_of

pytestmark = pytest.mark.faults
MANY = 10_000


def _purge(project: Project, *words: str) -> int:
    return cli.main(["purge", "--older-than", "1d", *words, "--project", str(project.root)])


def test_a_full_disk_is_emptied(bare_project: Project, small_disk: Path) -> None:
    """Without a byte to write: not for a lock, not for a folder to move things to."""
    for name in ("one", "two"):
        make_step(small_disk / name, "contact.pairs", age_days=9, part_bytes=100_000)
    filler = fill(small_disk)
    full = filler.stat().st_size
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").write_bytes(b"x")
    assert _purge(bare_project, "--yes", f"--set=paths.scratch_root={small_disk}") == 0
    assert not steps_of(small_disk)
    filler.unlink()
    assert fill(small_disk).stat().st_size > full + 500_000


def test_a_disk_without_inodes_is_emptied(bare_project: Project, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=40", str(small_disk)], check=True)
    step = make_step(small_disk / "one", "contact.pairs", age_days=9)
    with contextlib.suppress(OSError):
        for n in range(100):
            (small_disk / f"{n}").touch()
    with pytest.raises(OSError, match="No space"):
        (small_disk / "more").touch()
    assert _purge(bare_project, "--yes", f"--set=paths.scratch_root={small_disk}") == 0
    assert not step.exists()


def test_ten_thousand_files_are_quick_and_take_no_memory(
    bare_project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scratch = bare_project.root / "data" / "scratch"
    for name in ("contact.pairs", "measure.objects"):
        make_step(scratch / "one", name, age_days=9, parts=MANY // 4, part_bytes=100)
    tracemalloc.start()
    began = time.monotonic()
    with Root(scratch) as root:
        found = look(root)
        looked_s = time.monotonic() - began
        assert sum(u.files for u in found.units) == MANY + 2
        purger = Purger(root)
        for unit in found.of("step"):
            purger.step(unit)
        took_s = time.monotonic() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with capsys.disabled():
        print(
            f"\n{MANY} files: looked at in {looked_s:.2f} s, deleted {took_s - looked_s:.2f} s later, "
            f"peak of Python's memory {peak / 1e6:.2f} MB, of the process "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB"
        )
    assert (purger.purged.files, purger.purged.failed) == (MANY + 2, {})
    assert took_s < 30
    assert peak < 3e6


@pytest.fixture
def mounted(bare_project: Project) -> Iterator[tuple[Project, Path]]:
    """A dataset mounted into a step folder, by the device and by a bind mount of the same device."""
    data = bare_project.root / "data"
    dataset = data / "datasets" / "one"
    dataset.mkdir(parents=True)
    (dataset / "frame.tif").write_bytes(b"acquired once")
    points = []
    for name in ("contact.pairs", "measure.objects", "killing.close"):
        step = make_step(data / "scratch" / "one", name, age_days=9)
        points.append(step / "receipts" if name == "contact.pairs" else step)
    for point in points[:2]:
        done = subprocess.run(["mount", "--bind", str(dataset), str(point)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip("nothing can be mounted here")
    try:
        yield bare_project, dataset
    finally:
        for point in points[:2]:
            subprocess.run(["umount", str(point)], check=True)


@pytest.mark.skipif(sys.platform != "linux", reason="bind mounts are Linux's")
def test_what_is_mounted_into_scratch_is_skipped(
    mounted: tuple[Project, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    project, dataset = mounted
    before = digests(dataset)
    assert _purge(project, "--yes") == 0
    said = capsys.readouterr().out
    assert digests(dataset) == before
    assert "receipts in it is a mount point" in said
    assert said.count("is a mount point: it lies on another disk") == 2
    assert not list((project.root / "data" / "scratch" / "one").glob("killing/*"))
    assert len(list((project.root / "data" / "scratch" / "one").glob("contact/*/*.parquet"))) == 3


def test_two_purges_at_once_do_it_once(bare_project: Project) -> None:
    scratch = bare_project.root / "data" / "scratch"
    for i in range(150):
        make_step(scratch / "one", "contact.pairs", str(i), age_days=9, parts=5)
    with exclusive(scratch / "one"):  # so that both have looked before one begins
        drivers = [bare_project.start("purge", "--older-than", "1d", "--yes") for _ in range(2)]
        for driver in drivers:
            wait_for(lambda d=driver: "asked for" in d.output, 60, "it has looked")
    said = [(driver.wait(), driver.output) for driver in drivers]
    assert [code for code, _ in said] == [0, 0], said
    assert [path.name for path in scratch.glob("one/*")] == [".lock"]
    words = [re.findall(r"Deleted (\S+) files?", output)[0] for _, output in said]
    deleted = [int(word.replace("\u202f", "")) for word in words]
    assert sum(deleted) == 150 * 11, deleted
    assert all(deleted), "they must have been at it together"
