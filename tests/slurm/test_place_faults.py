"""Faults h and l: the scratch disk runs full in mid-run, and workers have another version of the package."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl import __version__
from tests.helpers import fill, same_tables
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, leaves_nothing, one_sealed_bundle, strike
from tests.slurm.report import record, record_cost
from tests.slurm.toy import Toy, toy_project

pytestmark = pytest.mark.faults

NAPS = (*FAST, "--set=stages.nap.seconds=1")
OTHER = "9.9.9"


@pytest.fixture
def toy(tmp_path: Path, small_films: Path, cluster: Cluster) -> Iterator[Toy]:
    """A project; the cluster is clean again after it."""
    yield toy_project(tmp_path, small_films, cluster.environment)
    cluster.reset()


def test_scratch_runs_full_in_mid_run(toy: Toy, cluster: Cluster, small_disk: Path, undisturbed) -> None:
    on_small_disk = (*NAPS, f"--set=paths.scratch_root={small_disk}")
    driver = toy.start_toy(*on_small_disk)
    hit = strike(toy, "nap", lambda _: fill(small_disk))
    assert driver.wait(120) == 3, driver.output
    took_s = time.time() - hit.at
    assert "Traceback" not in driver.output
    assert f"the disk is full while writing {small_disk}" in driver.output
    assert "nap.nap/" in driver.output, "which task met it"
    assert "set paths.scratch_root" in driver.output
    assert leaves_nothing(cluster, toy)
    assert not list(small_disk.rglob("*.tmp")), "nothing half-written is left on it either"
    (small_disk / "filler").unlink()
    again = time.time()
    assert "Continuing" in toy.toy(*on_small_disk)
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    note = f"exit 3 {took_s:.1f} s after, naming file and remedy; the same command goes on"
    record_cost("h1", "scratch full in mid-task; space freed, then the same command", toy, again, note)


def test_the_disk_of_results_runs_full_in_mid_run(
    toy: Toy, cluster: Cluster, small_disk: Path, undisturbed
) -> None:
    (toy.root / "output").symlink_to(small_disk)
    driver = toy.start_toy(*NAPS)
    hit = strike(toy, "nap", lambda _: fill(small_disk))
    assert driver.wait(120) == 3, driver.output
    took_s = time.time() - hit.at
    assert "Traceback" not in driver.output
    assert "the disk is full while writing" in driver.output
    (small_disk / "filler").unlink()
    assert leaves_nothing(cluster, toy)
    again = time.time()
    assert "Continuing" in toy.toy(*NAPS)
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    note = f"exit 3 {took_s:.1f} s after, naming file and remedy; the same command goes on"
    record_cost("h2", "output full in mid-task; space freed, then the same command", toy, again, note)


def test_workers_with_another_version_are_refused(
    toy: Toy, cluster: Cluster, tmp_path: Path, undisturbed
) -> None:
    other = tmp_path / "other"
    shutil.copytree(Path(toy.environment["PYTHONPATH"]), other)
    source = other / "dataops_parsl" / "__init__.py"
    text = source.read_text()
    assert __version__ in text
    source.write_text(text.replace(__version__, OTHER))
    started = time.time()
    output = toy.toy(*NAPS, f"--set=site.worker_init=export PYTHONPATH={other}", expect=3)
    took_s = time.time() - started
    assert f"has dataops_parsl {OTHER} instead of {__version__}" in output
    jobs = [e["job_id"] for e in toy.events("block") if e["state"] == "connected"]
    assert any(f"(job {job})" in output for job in jobs), "which worker it was"
    assert "install the driver's versions where the workers run" in output
    assert not toy.said("start"), "they computed nothing"
    assert not list((toy.root / "data" / "scratch").rglob("*.parquet")), "they wrote nothing"
    assert leaves_nothing(cluster, toy)
    toy.toy(*NAPS)
    assert same_tables(toy.toy_tables(), undisturbed)
    assert leaves_nothing(cluster, toy)
    note = f"exit 3 {took_s:.1f} s after the start, worker, job and both versions named; nothing written"
    record("l1", "workers with another version of the package", float("nan"), 0, 0, note)


def test_workers_without_the_package_are_refused(toy: Toy, cluster: Cluster, tmp_path: Path) -> None:
    empty = tmp_path / "empty" / "dataops_parsl"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    started = time.time()
    output = toy.toy(*NAPS, f"--set=site.worker_init=export PYTHONPATH={empty.parent}", expect=3)
    assert "could not start on a worker: ModuleNotFoundError: No module named 'dataops_parsl." in output
    assert "set site.worker_init" in output
    assert not toy.said("start")
    assert leaves_nothing(cluster, toy)
    note = f"exit 3 {time.time() - started:.1f} s after the start, the missing module named"
    record("l2", "workers without the package", float("nan"), 0, 0, note)
