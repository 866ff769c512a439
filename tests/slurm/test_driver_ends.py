"""The driver is stopped or killed: no job is left, and the same command goes on; also as a job itself."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import same_tables, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, Strike, jobs_of, leaves_nothing, one_sealed_bundle, strike
from tests.slurm.report import record_cost
from tests.slurm.toy import Toy, toy_project

NAPS = (*FAST, "--set=stages.nap.seconds=1", "--set=site.slurm.connect_s=90")
ON_CPU = "--set=resources.glow.force_gres=false"
"""One executor instead of two: where only the driver matters."""
ALL_GPUS = ("--partition=gpu_short", "--gres=gpu:a100-pcie-40gb:8", "--time=30")
ENDS_S = 90
OVER = ("CANCELLED", "COMPLETED", "FAILED", "TIMEOUT")


@dataclass
class Outcome:
    """A run whose driver ended, and the same command after it.

    `jobs` are the run's jobs at the moment when the driver had ended, `gone` is when the last of its running
    blocks had; `done` are the tasks that had ended by then.
    """

    toy: Toy
    hit: Strike
    code: int
    output: str
    jobs: list[dict[str, str]]
    gone: float
    done: set[str]
    again: float = 0.0
    output_again: str = ""

    def computed_again(self) -> set[str]:
        """Tasks that had ended before the driver did, and ended once more."""
        ended = [e["task"] for e in self.toy.events("ended")]
        return {task for task in self.done if ended.count(task) > 1}


Cases = dict[str, Future[Any]]


@pytest.fixture(scope="module")
def cases(cluster: Cluster, small_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    """Runs in one cluster at the same time; each driver ends in a way of its own."""

    def project(name: str) -> Toy:
        return toy_project(tmp_path_factory.mktemp(name), small_films, cluster.environment)

    with ThreadPoolExecutor(8) as pool:
        signals = {n.name: n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        yield {
            **{name: pool.submit(_stopped, cluster, project(name), n) for name, n in signals.items()},
            "SIGKILL": pool.submit(_killed, cluster, project("SIGKILL")),
            "job": pool.submit(_jobs_in_a_row, cluster, project("job")),
        }
    cluster.reset()


def _ended(
    cluster: Cluster,
    toy: Toy,
    arguments: tuple[str, ...],
    stop: Callable[[int], object],
    stage_is_ready: Callable[[], object] = lambda: True,
) -> Outcome:
    """Start a run, end its driver in mid-task, and look at what is left."""
    driver = toy.start_toy(*arguments)
    wait_for(stage_is_ready, ENDS_S, "the stage is set")
    hit = strike(toy, "nap", lambda _: stop(driver.pid))
    code = driver.wait(ENDS_S)
    jobs = jobs_of(cluster, toy)
    wait_for(
        lambda: not [j for j in jobs_of(cluster, toy) if j["state"] != "PENDING"],
        ENDS_S,
        "no block runs any more",
    )
    done = {e["task"] for e in toy.events("ended")}
    return Outcome(toy, hit, code, driver.output, jobs, time.time(), done)


def _stopped(cluster: Cluster, toy: Toy, number: signal.Signals) -> Outcome:
    arguments = (*NAPS, ON_CPU)
    # To the whole group: what a terminal does on Ctrl-C.
    out = _ended(cluster, toy, arguments, lambda pid: os.killpg(pid, number))
    assert leaves_nothing(cluster, toy)
    out.again = time.time()
    out.output_again = toy.toy(*arguments)
    return out


def _killed(cluster: Cluster, toy: Toy) -> Outcome:
    """Killed with one block running and one waiting in the queue, since all GPUs are taken."""
    others = cluster.submit("sleep 600", *ALL_GPUS)
    wait_for(lambda: cluster.job(others)["state"] == "RUNNING", ENDS_S, "all GPUs are taken")

    def waiting() -> list[str]:
        return [j["id"] for j in jobs_of(cluster, toy) if j["state"] == "PENDING"]

    out = _ended(
        cluster,
        toy,
        NAPS,
        lambda pid: os.kill(pid, signal.SIGKILL),
        lambda: toy.bundles("toy") and waiting() and toy.said("end", "nap"),
    )
    (left,) = waiting()
    out.again = time.time()
    driver = toy.start_toy(*NAPS)
    wait_for(lambda: cluster.job(left)["state"] == "CANCELLED", ENDS_S, "what waited is cancelled")
    cluster.command("scancel", others)
    assert driver.wait() == 0, driver.output
    out.output_again = driver.output
    return out


def _jobs_in_a_row(cluster: Cluster, toy: Toy) -> list[tuple[Outcome, str]]:
    """The driver as a job: cancelled; told to stop as before a walltime's end; left alone. With its state."""
    line = "exec " + shlex.join(toy.command("run", "toy", *NAPS, ON_CPU))
    found = []
    for words in (["scancel"], ["scancel", "--batch", "--signal=TERM"], []):
        job = cluster.submit(line, "--job-name=driver", "--cpus-per-task=1", "--mem=1G", "--time=30")
        at = time.time()
        hit = Strike({}, at, at)
        if words:
            hit = strike(toy, "nap", lambda _, words=words, job=job: cluster.command(*words, job))
        wait_for(lambda job=job: cluster.job(job)["state"] in OVER, 200, "the driver's job is over")
        jobs = jobs_of(cluster, toy)
        assert leaves_nothing(cluster, toy)
        done = {e["task"] for e in toy.events("ended")}
        outcome = Outcome(toy, hit, 0, cluster.job_output(job), jobs, time.time(), done, again=at)
        found.append((outcome, cluster.job(job)["state"]))
    return found


def _went_on(cluster: Cluster, run: Outcome, undisturbed: dict[str, Any]) -> bool:
    """Whether the same command finished the very run, with equal tables, and nothing is left."""
    assert run.hit.in_mid_task(run.toy), "a task must have been under way"
    assert "Continuing" in run.output_again
    assert not run.computed_again(), "what was done must not be done again"
    assert same_tables(run.toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(run.toy)
    return leaves_nothing(cluster, run.toy)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stopped_run_leaves_no_job_and_goes_on(
    cluster: Cluster, cases: Cases, undisturbed, name: str
) -> None:
    run = cases[name].result()
    assert run.code == 130, run.output
    assert f"stopped by {name}" in run.output
    assert "the same command goes on from there" in run.output
    assert "Traceback" not in run.output
    assert not run.jobs, "when the driver has ended, so have its jobs"
    assert _went_on(cluster, run, undisturbed)
    note = f"exit code 130, no job or process left after {run.gone - run.hit.at:.1f} s"
    record_cost("f", f"{name} to the driver, then the same command", run.toy, run.again, note)


def test_a_killed_run_leaves_no_running_block_and_goes_on(
    cluster: Cluster, cases: Cases, undisturbed
) -> None:
    run = cases["SIGKILL"].result()
    assert run.code == -signal.SIGKILL
    assert _went_on(cluster, run, undisturbed)
    note = (
        f"blocks ended by themselves after {run.gone - run.hit.at:.1f} s; the one that waited in the queue "
        "was cancelled by the same command"
    )
    record_cost("f", "SIGKILL of the driver, then the same command", run.toy, run.again, note)


def test_the_driver_runs_as_a_job(cluster: Cluster, cases: Cases, undisturbed) -> None:
    (cancelled, state), (stopped, stopped_state), (finished, finished_state) = cases["job"].result()
    assert state == "CANCELLED"
    assert stopped_state == "FAILED"
    assert "stopped by SIGTERM" in stopped.output
    assert "the same command goes on from there" in stopped.output
    assert finished_state == "COMPLETED", finished.output
    assert "Continuing" in finished.output
    for run in (cancelled, stopped):
        assert run.hit.in_mid_task(run.toy), "a task must have been under way"
        assert not run.jobs, "no block outlives the driver's job"
        assert not run.computed_again(), "what was done must not be done again"
    assert same_tables(finished.toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(finished.toy)
    note = f"blocks gone after {cancelled.gone - cancelled.hit.at:.1f} s"
    record_cost("f", "scancel of the driver's own job, then the same", finished.toy, stopped.again, note)
