"""Fault e: a worker passes its share of memory on a cluster that does not enforce any."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from dataops_parsl import open_run
from tests.helpers import same_tables
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, leaves_nothing
from tests.slurm.report import record_cost
from tests.slurm.toy import Toy, toy_project
from tests.slurm.toy_stages import VICTIM

pytestmark = pytest.mark.faults

FRAME, TASK = 5, f"nap.nap/{VICTIM}/00002"
SHARE_MB, NEEDS_MB = 512, 1300
"""A worker has some 200 MB before it computes: twice the share is too little, four times enough."""
HUNGRY = (
    *FAST,
    "--set=resources.default.mem_gb=0.5",
    "--set=stages.nap.seconds=0.5",
    f"--set=stages.nap.hungry_frame={FRAME}",
    f"--set=stages.nap.hungry_mb={NEEDS_MB}",
)


@pytest.fixture(scope="module")
def hungry(
    tmp_path_factory: pytest.TempPathFactory, small_films, cluster: Cluster
) -> Iterator[tuple[Toy, str]]:
    """A run with a frame that needs more than a worker's share, and what the user saw."""
    toy = toy_project(tmp_path_factory.mktemp("hungry"), small_films, cluster.environment)
    try:
        yield toy, toy.toy(*HUNGRY)
    finally:
        cluster.reset()


def test_only_the_hungry_task_goes_to_workers_with_more(hungry, cluster: Cluster, undisturbed) -> None:
    toy, output = hungry
    said = [x for x in toy.said("start", "nap") if x["position"] == VICTIM and x["frame"] == FRAME]
    ended = [x for x in toy.said("end", "nap") if x["position"] == VICTIM and x["frame"] == FRAME]
    assert len(said) == 3, "it was tried with the share, with twice, with four times as much"
    assert [x["pid"] for x in ended] == [said[-1]["pid"]], "the others died in mid-task"
    assert not any(psutil.pid_exists(x["pid"]) for x in said)
    lost = toy.events("lost")
    assert [(e["task"], e["attempt"], e["outcome"]) for e in lost] == [(TASK, 1, "oom"), (TASK, 2, "oom")]
    for event, start, share_mb in zip(lost, said, (SHARE_MB, 2 * SHARE_MB), strict=False):
        assert (event["pid"], event["job_id"]) == (start["pid"], start["job"])
        assert f"its share is {share_mb} MB" in event["reason"]
        assert f"{TASK}: {event['reason']}" in output, "and the user is told"
    assert [e["executor"] for e in toy.events("submitted") if e["task"] == TASK] == [
        "short_1c_0.5gb",
        "short_1c_0.5gb_with_1gb",
        "short_1c_0.5gb_with_1gb_with_2gb",
    ]
    elsewhere = {e["executor"] for e in toy.events("submitted") if e["task"] != TASK}
    assert not any("with" in label for label in elsewhere), "that task alone"
    assert same_tables(toy.toy_tables(), undisturbed)
    assert leaves_nothing(cluster, toy)
    note = "; ".join(e["reason"] for e in lost)
    record_cost("e", "a frame needs more than a worker's share of memory", toy, said[0]["time"], note)


def test_the_block_of_the_hungry_worker_lives_on(hungry) -> None:
    toy, _ = hungry
    first = toy.events("lost")[0]["job_id"]
    blocks = {e["job_id"]: e for e in toy.events("block") if e["state"] == "ended"}
    assert blocks[first]["reason"] == "given back"
    assert all(e["reason"] == "given back" for e in blocks.values())
    later = [x for x in toy.said("end", "nap") if x["time"] > toy.events("lost")[0]["time"]]
    assert first in {x["job"] for x in later}, "its other worker, and a new one, went on"


def test_the_trace_says_what_each_attempt_took(hungry) -> None:
    toy, _ = hungry
    rows = [r for r in open_run(toy.bundles("toy")[-1]).arrow("trace").to_pylist() if r["task"] == TASK]
    assert [r["outcome"] for r in rows] == ["oom", "oom", "done"]
    assert rows[0]["max_rss_mb"] > SHARE_MB
    assert 2 * SHARE_MB < rows[1]["max_rss_mb"] < NEEDS_MB + 2 * SHARE_MB
    assert NEEDS_MB < rows[2]["max_rss_mb"] < 4 * SHARE_MB
