"""What clusters do to jobs: walltimes end, nodes go down, the controller is restarted."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import same_tables, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, leaves_nothing, one_sealed_bundle, strike
from tests.slurm.report import cost, record, record_cost
from tests.slurm.toy import Toy, toy_project

pytestmark = pytest.mark.faults

SLOW_S = 400
CPU = "short_1c_2gb"
WALLTIME_S = 60.0
A_MINUTE = (*FAST, "--set=resources.default.walltime_min=1", "--set=resources.glow.walltime_min=30")
"""CPU blocks of a minute, the shortest walltime that SLURM knows."""
DRAINED_S = 40.0
DRAINED = (*A_MINUTE, f"--set=site.slurm.drain_min={1 - DRAINED_S / 60}", "--set=stages.nap.seconds=4")
"""Tasks of 8 s: twelve on two workers take longer than a block takes new ones, none longer than it lives."""
TOO_LONG = (
    *A_MINUTE,
    "--workers=6",
    "--set=site.slurm.workers_per_block=6",
    "--set=site.slurm.drain_min=0.05",
    "--set=stages.nap.seconds=23",
)
"""Tasks of 46 s, twelve on six workers: the second six begin just before the block is killed."""


@dataclass
class Outcome:
    """A run that came to its end."""

    toy: Toy
    code: int
    output: str


Cases = dict[str, Future[Outcome]]


@pytest.fixture(scope="module")
def walltimes(
    cluster: Cluster, small_films: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cases]:
    """Two runs at the same time: they mostly wait."""

    def run(name: str, arguments: tuple[str, ...]) -> Outcome:
        toy = toy_project(tmp_path_factory.mktemp(name), small_films, cluster.environment)
        driver = toy.start_toy(*arguments)
        return Outcome(toy, driver.wait(SLOW_S), driver.output)

    with ThreadPoolExecutor(2) as pool:
        yield {
            "drained": pool.submit(run, "drained", DRAINED),
            "too_long": pool.submit(run, "too-long", TOO_LONG),
        }
    cluster.reset()


def _blocks(toy: Toy, state: str) -> list[dict[str, Any]]:
    """Events of the blocks for CPU work."""
    return [e for e in toy.events("block") if e["state"] == state and e["executor"] == CPU]


def _naps(toy: Toy) -> list[dict[str, Any]]:
    return [e for e in toy.events("ended") if e["task"].startswith("nap.")]


def test_a_block_is_drained_before_its_walltime(cluster: Cluster, walltimes: Cases, undisturbed) -> None:
    run = walltimes["drained"].result()
    toy = run.toy
    assert run.code == 0, run.output
    assert not toy.events("lost"), "no attempt may be burned"
    first, second, *_ = _blocks(toy, "connected")
    began = next(e["time"] for e in _blocks(toy, "running") if e["job_id"] == first["job_id"])
    drained = began + DRAINED_S
    last = max(e["time"] for e in _naps(toy) if e["job_id"] == first["job_id"])
    assert last > drained, "a task must have been under way when the block was drained"
    assert last < began + WALLTIME_S
    later = [e for e in _naps(toy) if e["job_id"] != first["job_id"]]
    assert later, "work must have been queued"
    assert cluster.job(first["job_id"])["state"] == "COMPLETED", "it ended by itself"
    assert "TIMEOUT" not in run.output
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    note = f"no attempt lost; the next block worked {second['time'] - drained:.1f} s later"
    found = cost(toy, drained)
    record("c1", "a block drained before its walltime", found.resumed_s, found.lost, found.recomputed, note)


def test_tasks_that_outlive_their_block_go_again(cluster: Cluster, walltimes: Cases, undisturbed) -> None:
    run = walltimes["too_long"].result()
    toy = run.toy
    assert run.code == 0, run.output
    job = _blocks(toy, "connected")[0]["job_id"]
    assert cluster.job(job)["state"] == "TIMEOUT"
    (line,) = (x for x in run.output.splitlines() if f"(job {job})" in x)
    assert "TIMEOUT" in line, "the user is told why"
    lost = [e for e in toy.events("lost") if e.get("job_id") == job]
    assert lost, "tasks must have been under way"
    assert all("TIMEOUT" in e["reason"] for e in lost)
    killed = next(e["time"] for e in _blocks(toy, "ended") if e["job_id"] == job)
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    struck = min(killed, *(e["time"] for e in lost))
    record_cost("c2", "tasks longer than drain_min at the walltime", toy, struck, lost[0]["reason"])


def test_a_node_goes_down(
    cluster: Cluster, small_films: Path, tmp_path: Path, undisturbed, leaves_no_jobs
) -> None:
    toy = toy_project(tmp_path, small_films, cluster.environment)
    driver = toy.start_toy(*FAST, "--set=stages.nap.seconds=1")
    hit = strike(toy, "nap", lambda frame: cluster.set_node(frame["node"], "down"))
    assert driver.wait() == 0, driver.output
    assert hit.in_mid_task(toy), "the victim must have been in mid-task"
    assert cluster.job(hit.job)["state"] == "NODE_FAIL", "not requeued: the engine asks for another block"
    (line,) = (x for x in driver.output.splitlines() if f"(job {hit.job})" in x)
    assert "NODE_FAIL" in line, "the user is told why"
    lost = toy.events("lost")
    assert {e["job_id"] for e in lost} == {hit.job}
    assert all("NODE_FAIL" in e["reason"] for e in lost)
    done = {e["task"] for e in _naps(toy) if e["job_id"] != hit.job}
    assert {e["task"] for e in lost} <= done, "another block did what was lost"
    nodes = {x["node"] for x in toy.said("start", "nap") if x["job"] != hit.job}
    assert hit.victim["node"] not in nodes
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    record_cost("d", "a node set to DOWN", toy, hit.at, lost[0]["reason"])


@pytest.mark.parametrize("crash", [False, True], ids=["stopped", "crashed"])
def test_the_controller_is_away_for_a_while(
    cluster: Cluster, small_films: Path, tmp_path: Path, undisturbed, leaves_no_jobs, crash: bool
) -> None:
    toy = toy_project(tmp_path, small_films, cluster.environment)
    driver = toy.start_toy(*FAST, "--set=stages.nap.seconds=2")
    number = signal.SIGKILL if crash else signal.SIGTERM
    hit = strike(toy, "nap", lambda _: [p.send_signal(number) for p in cluster.daemons("slurmctld")])
    cluster.stop_controller(crash=crash)  # waits until it is gone as a whole
    # By then GPU blocks are wanted, and sbatch was tried and failed.
    wait_for(lambda: len(_naps(toy)) >= 6, 60, "work goes on without the controller")
    assert not toy.said("start", "glow")
    # SLURM's commands themselves wait for it for a while.
    wait_for(lambda: "SLURM's controller does not answer" in driver.output, 90, "the user is told")
    back = time.time()
    cluster.start_controller()
    assert driver.wait() == 0, driver.output
    assert hit.in_mid_task(toy), "the victim must have been in mid-task"
    assert "SLURM's controller answers again" in driver.output
    lost = toy.events("lost")
    if crash:
        # It may not have written its newest jobs down, and ends them when it is back.
        assert all("no longer known to SLURM" in e["reason"] for e in lost)
    else:
        assert not lost, "running blocks do not need the controller"
        assert {e["job_id"] for e in _naps(toy)} == {hit.job}, "the job was kept"
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert leaves_nothing(cluster, toy)
    first = min(x["time"] for x in toy.said("start", "glow"))
    what = f"slurmctld {'killed' if crash else 'stopped'}, then started again"
    note = f"away for {back - hit.at:.0f} s; a GPU block worked {first - back:.1f} s after it was back"
    if lost:
        note += "; it had forgotten its newest job, which was replaced"
    record_cost(f"g{1 + crash}", what, toy, hit.at, note)
