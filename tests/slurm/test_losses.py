"""Blocks, workers, managers and the interchange die for real: the run goes on, or ends in words."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import Driver, same_tables
from tests.slurm.cluster import Cluster
from tests.slurm.faults import (
    FAST,
    Strike,
    block_jobs,
    jobs_of,
    leaves_nothing,
    one_sealed_bundle,
    strike,
)
from tests.slurm.report import record_cost
from tests.slurm.toy import Toy, toy_project

NAPS = (*FAST, "--set=stages.nap.seconds=1", "--set=stages.glow.seconds=1", "--set=site.slurm.connect_s=90")
ON_CPU = (*NAPS, "--set=resources.glow.force_gres=false")
"""One executor instead of two."""
INTERCHANGE_S = 60


@dataclass
class Outcome:
    """A run that was struck, once or more, and how it ended."""

    toy: Toy
    code: int
    output: str
    ended: float
    strikes: list[Strike] = field(default_factory=list)


Cases = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def cases(cluster: Cluster, small_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """Runs in one cluster at the same time, each with a fault of its own."""

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def scancel(frame: dict[str, Any]) -> None:
        cluster.command("scancel", frame["job"])

    def run(
        name: str, arguments: tuple[str, ...], *blows: tuple[str, Callable[[Driver, dict[str, Any]], object]]
    ) -> Outcome:
        toy = toy_project(tmp_path_factory.mktemp(name), small_films, cluster.environment)
        driver = toy.start_toy(*arguments)
        strikes = []
        for stage, blow in blows:
            strikes.append(strike(toy, stage, partial(blow, driver)))
        code = driver.wait(200)
        return Outcome(toy, code, driver.output, time.time(), strikes)

    with ThreadPoolExecutor(8) as pool:
        yield {
            "scancel": pool.submit(
                run, "a", NAPS, ("nap", lambda _, f: scancel(f)), ("glow", lambda _, f: scancel(f))
            ),
            "killed": pool.submit(
                run,
                "b1",
                NAPS,
                ("nap", lambda _, f: kill(f["pid"])),
                ("glow", lambda _, f: kill(_manager(f["pid"]))),
            ),
            "interchange": pool.submit(
                run, "b3", ON_CPU, ("nap", lambda driver, _: kill(_interchange(driver.pid)))
            ),
        }
    cluster.reset()


def _manager(worker: int) -> int:
    """The manager above a worker."""
    above = psutil.Process(worker).parents()
    return next(int(p.pid) for p in above if any("process_worker_pool.py" in w for w in p.cmdline()))


def _interchange(driver: int) -> int:
    """The interchange that a driver started."""
    below = psutil.Process(driver).children(recursive=True)
    return next(int(p.pid) for p in below if "interchange" in " ".join(p.cmdline()))


def _lost(toy: Toy) -> list[dict[str, Any]]:
    return toy.events("lost")


@pytest.mark.parametrize("i", [0, 1], ids=["cpu", "gpu"])
def test_a_cancelled_block_is_replaced(cluster: Cluster, cases: Cases, undisturbed, i: int) -> None:
    run = cases["scancel"].result()
    assert run.code == 0, run.output
    hit = run.strikes[i]
    assert hit.cut_short(run.toy), "the victim must have been in mid-task"
    (line,) = (x for x in run.output.splitlines() if f"(job {hit.job})" in x)
    assert "CANCELLED" in line, "the user is told why, in SLURM's words"
    assert ".err" in line, "and where the block's output lies"
    lost = [e for e in _lost(run.toy) if e.get("job_id") == hit.job]
    assert lost
    assert all("CANCELLED" in e["reason"] and hit.job in e["reason"] for e in lost)
    label = lost[0]["executor"]
    first, second, *_ = (
        e["job_id"] for e in run.toy.events("block") if e["executor"] == label and e["state"] == "connected"
    )
    assert first == hit.job
    assert second != hit.job, "another block took its place"
    assert same_tables(run.toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(run.toy)
    assert leaves_nothing(cluster, run.toy)
    record_cost("a", f"scancel of a {['CPU', 'GPU'][i]} block", run.toy, hit.at, lost[0]["reason"], hit.job)


def test_a_killed_worker_is_replaced(cases: Cases) -> None:
    run = cases["killed"].result()
    assert run.code == 0, run.output
    hit = run.strikes[0]
    assert hit.cut_short(run.toy), "the victim must have been in mid-task"
    (lost,) = (e for e in _lost(run.toy) if e.get("job_id") == hit.job)
    assert f"process {hit.victim['pid']} on" in lost["reason"]
    assert "died" in lost["reason"]
    naps = {e["job_id"] for e in run.toy.events("ended") if e["task"].startswith("nap.")}
    assert naps == {hit.job}, "its block went on"
    record_cost("b1", "SIGKILL of a worker", run.toy, hit.at, lost["reason"], hit.job)


def test_a_killed_manager_costs_its_block_only(cluster: Cluster, cases: Cases, undisturbed) -> None:
    run = cases["killed"].result()
    assert run.code == 0, run.output
    worker, hit = run.strikes
    assert hit.cut_short(run.toy), "the victim must have been in mid-task"
    lost = _lost(run.toy)
    # A task that had reached the manager, and no worker yet, says nothing of its block.
    jobs = {e["job_id"] for e in lost if "job_id" in e}
    assert jobs == {worker.job, hit.job}, "only what its block computed was lost"
    (line,) = (x for x in run.output.splitlines() if f"(job {hit.job})" in x)
    assert "FAILED" in line, "its job has ended with it, and was not given up after connect_s"
    assert same_tables(run.toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(run.toy)
    assert leaves_nothing(cluster, run.toy)
    record_cost("b2", "SIGKILL of a manager", run.toy, hit.at, lost[-1]["reason"], hit.job)


def test_without_its_interchange_a_run_ends_in_words_and_goes_on(
    cluster: Cluster, cases: Cases, undisturbed
) -> None:
    run = cases["interchange"].result()
    (hit,) = run.strikes
    toy = run.toy
    assert run.code == 3, run.output
    assert run.ended - hit.at < INTERCHANGE_S
    assert "interchange" in run.output
    assert "run the same command again" in run.output
    assert "Traceback" not in run.output
    assert hit.in_mid_task(toy), "a task must have been under way"
    assert not jobs_of(cluster, toy), "when the driver has ended, so have its jobs"
    assert leaves_nothing(cluster, toy)
    assert not one_sealed_bundle(toy)
    first = block_jobs(toy)
    again = time.time()
    output = toy.toy(*ON_CPU)
    assert "Continuing" in output
    assert len(block_jobs(toy)) > len(first)
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    seconds = f"the run ended after {run.ended - hit.at:.1f} s: exit code 3"
    cost = record_cost("b3", "SIGKILL of the interchange, then the same command", toy, again, seconds)
    assert cost.recomputed <= cost.lost, "what was done is not done again"
