"""Faults i and k: sbatch refuses, and workers never connect. A run ends in words, never in a hang; waiting in
the queue is no error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import Driver, processes_of, same_tables, wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, leaves_nothing
from tests.slurm.report import record, record_cost
from tests.slurm.toy import Toy, toy_project

AT_ONCE_S = 120
"""Seconds on an idle host; a busy one takes long to start Python."""
SILENT_S, QUEUE_S = 8, 45
"""``site.slurm.connect_s`` of the runs whose workers hang, and of the one that waits."""
ON_CPU = "--set=resources.glow.force_gres=false"
NAPS = (*FAST, "--set=stages.nap.seconds=1")
BRIEF = ("--set=site.slurm.partition=brief", "--set=resources.default.walltime_min=5")
QUEUE, ITS_NODE = "gpu_v100", "v1"
# Whose workers never connect: lines of site.worker_init, and what the end of the block's output must say.
NEVER = {
    "worker_init fails": ("echo module: no such module >&2; exit 1", "module: no such module"),
    "no parsl": ("export PYTHONPATH='{root}/hidden'", "/hidden/parsl/__init__.py"),
    "no environment": ("export PATH=/usr/bin:/bin", "process_worker_pool.py: command not found"),
    "silent": ("echo mounting the image >&2; sleep 1000", "mounting the image"),
}


@dataclass
class Ended:
    """A run that is over.

    Parameters
    ----------
    struck : float
        When it met its fault, s since 1970.
    took_s : float
        From then to its end.
    """

    toy: Toy
    output: str
    code: int
    struck: float
    took_s: float

    def blocks(self, state: str) -> list[dict[str, Any]]:
        """Events of blocks that came to a state."""
        return [e for e in self.toy.events("block") if e["state"] == state]


Runs = dict[str, Future[Ended]]


def _end(toy: Toy, driver: Driver, struck: float) -> Ended:
    code = driver.wait(200)
    # The end of a block's output may hold one, indented.
    assert not any(x.startswith("Traceback") for x in driver.output.splitlines()), driver.output
    return Ended(toy, driver.output, code, struck, time.time() - struck)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_films: Path, cluster: Cluster) -> Iterator[Runs]:
    """Runs side by side, each in trouble of its own."""
    folder = tmp_path_factory.mktemp("refusals")

    def set_partition(name: str, state: str) -> None:
        cluster.command("scontrol", "update", f"PartitionName={name}", f"State={state}")

    def closed_before_its_first_block(toy: Toy) -> Ended:
        driver = toy.start_toy(*NAPS)
        toy.wait_until_under_way("nap", 120)
        set_partition("gpu_short", "INACTIVE")
        ended = _end(toy, driver, time.time())
        set_partition("gpu_short", "UP")
        return ended

    def closed_after_its_first_block(toy: Toy) -> Ended:
        one_each = ("--workers=6", "--set=site.slurm.workers_per_block=1", "--set=stages.nap.seconds=0.5")
        driver = toy.start_toy(*FAST, *BRIEF, ON_CPU, *one_each)
        running = {"partition": "brief", "state": "RUNNING"}
        wait_for(lambda: any(running.items() <= j.items() for j in cluster.jobs()), 120, "a block runs")
        set_partition("brief", "INACTIVE")
        ended = _end(toy, driver, time.time())
        set_partition("brief", "UP")
        return ended

    def never_connects(toy: Toy, worker_init: str) -> Ended:
        hidden = toy.root / "hidden" / "parsl"
        hidden.mkdir(parents=True)
        (hidden / "__init__.py").touch()
        lines = worker_init.format(root=toy.root)
        driver = toy.start_toy(
            *FAST, ON_CPU, f"--set=site.worker_init={lines}", f"--set=site.slurm.connect_s={SILENT_S}"
        )
        wait_for(lambda: toy.bundles("toy") and _runs(toy), 120, "the first block runs or did")
        return _end(toy, driver, time.time())

    def waits(toy: Toy) -> Ended:
        cluster.set_node(ITS_NODE, "drain")
        driver = toy.start_toy(
            *FAST, ON_CPU, f"--set=site.slurm.partition={QUEUE}", f"--set=site.slurm.connect_s={QUEUE_S}"
        )
        wait_for(lambda: "waiting in the queue" in driver.output, 120, "it is said that the block waits")
        time.sleep(QUEUE_S + 2)
        cluster.set_node(ITS_NODE, "resume")
        return _end(toy, driver, time.time())

    cases: dict[str, Callable[[Toy], Ended]] = {
        "before": closed_before_its_first_block,
        "after": closed_after_its_first_block,
        "a queue": waits,  # a blank in the project's path is no error either
        **{name: lambda toy, x=line: never_connects(toy, x) for name, (line, _) in NEVER.items()},
    }
    with ThreadPoolExecutor(4) as pool:  # more would keep each other from starting
        yield {
            name: pool.submit(case, toy_project(folder / name, small_films, cluster.environment))
            for name, case in cases.items()
        }
    for name in ("gpu_short", "brief"):
        set_partition(name, "UP")
    cluster.reset()


def _runs(toy: Toy) -> bool:
    log = toy.bundles("toy")[-1] / "log" / "events.jsonl"
    # One that fails at once is over before squeue is asked.
    return log.exists() and any(e["state"] in ("running", "ended") for e in toy.events("block"))


def test_a_refusal_in_mid_run_ends_it_in_words_of_sbatch(cluster: Cluster, runs: Runs, undisturbed) -> None:
    run = runs["before"].result()
    assert run.code == 3, run.output
    assert run.took_s < AT_ONCE_S
    assert "sbatch refuses a block of gpu_short_gpu_1c_2gb" in run.output
    assert "Required partition not available" in run.output
    assert "python -m dataops_parsl check --site" in run.output
    assert run.toy.said("end", "nap"), "CPU blocks were at work meanwhile"
    assert not run.toy.said("start", "glow")
    assert leaves_nothing(cluster, run.toy)
    before = {e["task"] for e in run.toy.events("ended")}
    again = time.time()
    assert "Continuing" in run.toy.toy(*NAPS)
    assert same_tables(run.toy.toy_tables(), undisturbed)
    done = [e["task"] for e in run.toy.events("ended") if e["time"] > again]
    assert before.isdisjoint(done), "what was done is not done again"
    assert leaves_nothing(cluster, run.toy)
    note = f"exit 3 after {run.took_s:.1f} s, in sbatch's words; the same command goes on"
    record_cost(
        "i1", "partition closed before the first GPU block, then the same command", run.toy, again, note
    )


def test_with_blocks_at_work_a_refusal_of_more_is_no_error(cluster: Cluster, runs: Runs, undisturbed) -> None:
    run = runs["after"].result()
    assert run.code == 0, run.output
    n_blocks = len(run.blocks("submitted"))
    assert 1 <= n_blocks < 6, "some were refused"
    assert {x["job"] for x in run.toy.said("start")} <= {e["job_id"] for e in run.blocks("submitted")}
    assert same_tables(run.toy.toy_tables(), undisturbed)
    assert leaves_nothing(cluster, run.toy)
    note = f"the run goes on with the {n_blocks} blocks that it has"
    record_cost("i2", "partition closed to more blocks", run.toy, run.struck, note)


@pytest.mark.parametrize(
    ("words", "found", "remedy"),
    [
        (
            ("--set=site.slurm.partition=shrt",),
            "there is no partition shrt",
            "set site.slurm.partition to one of",
        ),
        (
            ("--set=resources.default.walltime_min=600",),
            "10:00 h is more than the partition's limit of 4:00 h",
            "set resources.default.walltime_min to 240 or less",
        ),
        (
            (*BRIEF, "--set=site.slurm.account=strangers"),
            "Invalid account or account/partition combination specified",
            "set site.slurm.account",
        ),
    ],
    ids=["partition", "limit", "account"],
)
def test_what_sbatch_would_refuse_is_refused_before_anything_starts(
    cluster: Cluster,
    runs: Runs,
    tmp_path: Path,
    small_films: Path,
    words: tuple[str, ...],
    found: str,
    remedy: str,
) -> None:
    for run in runs.values():
        run.result()  # jobs from now on are this test's
    toy = toy_project(tmp_path, small_films, cluster.environment)
    jobs = {job["id"] for job in cluster.jobs("all")}
    cluster.command("scontrol", "update", "PartitionName=brief", "AllowAccounts=lab")
    try:
        asked = time.time()
        output = toy.toy(*FAST, *words, expect=3)
        took_s = time.time() - asked
    finally:
        cluster.command("scontrol", "update", "PartitionName=brief", "AllowAccounts=ALL")
    assert took_s < AT_ONCE_S
    assert found in output
    assert remedy in output
    assert not toy.bundles("toy"), "nothing was opened"
    assert {job["id"] for job in cluster.jobs("all")} <= jobs, "no job was submitted"
    assert not processes_of(toy.root)
    record(
        "i3",
        f"sbatch would refuse: {found}",
        float("nan"),
        0,
        0,
        f"exit 3 after {took_s:.1f} s, nothing started",
    )


@pytest.mark.parametrize("name", NEVER)
def test_workers_that_never_connect_are_found_out(cluster: Cluster, runs: Runs, name: str) -> None:
    run = runs[name].result()
    assert run.code == 3, run.output
    assert run.took_s < AT_ONCE_S
    assert not run.blocks("connected")
    assert len(run.blocks("submitted")) == (1 if name == "silent" else 3), "silence costs long to find out"
    assert "no worker of short_1c_2gb connected" in run.output
    tail = run.output[run.output.index("the end of /") :]
    assert NEVER[name][1] in tail, "the end of the block's own output"
    assert "correct site.worker_init" in tail
    asked = run.blocks("submitted")
    assert f"job {asked[-1]['job_id']}" in run.output
    assert not run.toy.said("start"), "no task can have been lost to them"
    assert not run.toy.events("ended")
    assert leaves_nothing(cluster, run.toy)
    note = f"exit 3 {run.took_s:.1f} s after the first of {len(asked)} jobs ran, with the end of its output"
    record("k1", f"workers never connect: {name}", float("nan"), 0, 0, note)


def test_a_long_queue_is_shown_and_is_no_error(cluster: Cluster, runs: Runs, undisturbed) -> None:
    run = runs["a queue"].result()
    assert run.code == 0, run.output
    assert "1 block waiting in the queue (Nodes required for job are DOWN, DRAINED" in run.output
    (connected,) = run.blocks("connected")
    assert connected["waited_s"] > QUEUE_S, "longer than a running job may be silent"
    assert len(run.blocks("submitted")) == 1, "it kept its place in the queue"
    assert not run.toy.events("lost")
    assert same_tables(run.toy.toy_tables(), undisturbed)
    assert leaves_nothing(cluster, run.toy)
    note = f"shown as waiting, with SLURM's reason, for {connected['waited_s']:.0f} s"
    record_cost("k2", "all nodes drained, then resumed", run.toy, run.struck, note)
