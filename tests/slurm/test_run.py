"""A run that nothing happens to: CPU and GPU blocks of a real SLURM at once, the tables of the laptop."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import same_tables
from tests.slurm.cluster import Cluster
from tests.slurm.faults import block_jobs, leaves_nothing, one_sealed_bundle
from tests.slurm.toy import Toy, toy_project

EIGHT = (
    "--site=slurm",
    "--workers=8",
    "--set=batch_frames=1",
    "--set=site.slurm.connect_s=120",
)
SECONDS = {1: (8, 5), 8: (2, 3)}
"""GPUs a block → sleep at each frame of nap and glow, s: long enough that all blocks come while there is
work, even on a busy host."""
CPU, GPU = "short_1c_2gb", "gpu_short_gpu_1c_2gb"

Runs = dict[int, Future[Toy]]


@pytest.fixture(scope="module")
def runs(cluster: Cluster, small_films: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """With one GPU a block, and with eight."""
    toys = {
        n: toy_project(tmp_path_factory.mktemp(f"of{n}"), small_films, cluster.environment) for n in (1, 8)
    }

    def run(gpus_a_block: int) -> Toy:
        nap_s, glow_s = SECONDS[gpus_a_block]
        toys[gpus_a_block].toy(
            *EIGHT,
            f"--set=site.slurm.gpu_workers_per_block={gpus_a_block}",
            f"--set=stages.nap.seconds={nap_s}",
            f"--set=stages.glow.seconds={glow_s}",
        )
        return toys[gpus_a_block]

    # One after the other: each starts sixteen workers.
    with ThreadPoolExecutor(1) as pool:
        yield {n: pool.submit(run, n) for n in toys}
    cluster.reset()


@pytest.fixture(params=[1, 8], ids=["one_gpu_blocks", "one_block_of_eight"])
def toy(request: pytest.FixtureRequest, runs: Runs) -> Toy:
    """One of the two runs."""
    return runs[request.param].result()


def _submitted(toy: Toy, executor: str) -> list[dict[str, Any]]:
    return [e for e in toy.events("block") if e["state"] == "submitted" and e["executor"] == executor]


def _devices(toy: Toy) -> dict[tuple[str, int], set[str]]:
    """What each GPU worker saw: (job, pid) → the values of CUDA_VISIBLE_DEVICES."""
    found: dict[tuple[str, int], set[str]] = {}
    for line in toy.said("start", "glow"):
        found.setdefault((line["job"], line["pid"]), set()).add(line["gpus"])
    return found


def test_tables_are_the_laptops(toy: Toy, undisturbed: dict[str, Any]) -> None:
    assert same_tables(toy.toy_tables(), undisturbed)
    assert one_sealed_bundle(toy)
    assert not toy.events("lost")


def test_stages_compute_where_their_resources_are(toy: Toy) -> None:
    assert {line["gpus"] for line in toy.said("start", "nap")} == {""}
    assert {line["node"] for line in toy.said("start", "glow")} == {"g1"}
    executors = {e["task"].partition(".")[0]: e["executor"] for e in toy.events("ended")}
    assert executors == {"nap": CPU, "glow": GPU, "count": CPU}


def test_workers_are_no_more_than_asked_for(toy: Toy) -> None:
    for stage in ("nap", "glow"):
        steps = [(x["time"], 1) for x in toy.said("start", stage)]
        steps += [(x["time"], -1) for x in toy.said("end", stage)]
        at_once = list(itertools.accumulate(step for _, step in sorted(steps)))
        assert max(at_once) <= 8
        assert max(at_once) > 4, "several blocks work at the same time"


def test_one_gpu_blocks_each_see_a_device_of_their_own(runs: Runs) -> None:
    toy = runs[1].result()
    seen = _devices(toy)
    assert all(len(devices) == 1 for devices in seen.values()), "a worker keeps its device"
    devices = sorted(device for (device,) in seen.values())
    assert devices == [str(i) for i in range(8)], "eight workers, one each"
    assert len({job for job, _ in seen}) == 8, "in eight jobs"


def test_workers_of_one_block_share_its_devices_out(runs: Runs) -> None:
    toy = runs[8].result()
    seen = _devices(toy)
    assert sorted(device for (device,) in seen.values()) == [str(i) for i in range(8)]
    assert len({job for job, _ in seen}) == 1, "in one job"


def test_cpu_and_gpu_blocks_work_at_the_same_time(runs: Runs) -> None:
    toy = runs[1].result()
    last_nap = max(line["time"] for line in toy.said("end", "nap"))
    overlapping = [line for line in toy.said("start", "glow") if line["time"] < last_nap]
    assert overlapping, "GPU blocks must not wait until all CPU work is done"


def test_at_most_one_sbatch_a_second(toy: Toy) -> None:
    # A job's script is written just before its sbatch.
    scripts = (toy.bundles("toy")[-1] / "log" / "blocks").glob("*/block-*.sh")
    times = sorted(p.stat().st_mtime for p in scripts if not p.name.endswith(".workers.sh"))
    assert len(times) == len(block_jobs(toy)) >= 3
    assert times[-1] - times[0] >= len(times) - 1.5
    assert all(later - earlier > 0.5 for earlier, later in itertools.pairwise(times))


def test_job_names_say_the_run_and_nothing_is_left(cluster: Cluster, toy: Toy) -> None:
    run = toy.bundles("toy")[-1].name.removeprefix("run_")
    names = {job["id"]: job["name"] for job in cluster.jobs("all")}
    for event in (*_submitted(toy, CPU), *_submitted(toy, GPU)):
        assert names[event["job_id"]] == f"dataops-{run}-{event['executor']}-{event['block']}"
    assert leaves_nothing(cluster, toy)
