"""The private cluster itself: what the other tests of this room stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.helpers import PROJECT, wait_for
from tests.slurm.cluster import DAEMONS, Cluster, ClusterError
from tests.slurm.processes import lives, name
from tests.slurm.shape import EIGHT_GPU_NODES, Partition

SLEEP = "sleep 60"
SHOW = "echo $SLURM_JOB_ID node=$SLURMD_NODENAME gpus=$CUDA_VISIBLE_DEVICES"
TINY = (Partition("short", "c"),)
A_GPU = ("--partition=gpu_short", "--gres=gpu:a100-pcie-40gb:1")

pytestmark = pytest.mark.usefixtures("leaves_no_jobs")


def _ends(cluster: Cluster, job: str) -> str:
    """The state in which a job ends."""
    over = ("PENDING", "RUNNING", "COMPLETING")
    wait_for(lambda: cluster.job(job)["state"] not in over, 30, f"job {job} has ended")
    return cluster.job(job)["state"]


def _runs(cluster: Cluster, job: str) -> int:
    """The process ``sleep`` of a job, once it is there."""

    def asleep() -> list[int]:
        pids = [p for p in cluster.node_pids(job) if psutil.pid_exists(p)]
        return [p for p in pids if name(psutil.Process(p)) == "sleep"]

    return int(wait_for(asleep, 30, f"job {job} sleeps")[0])


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or not lives(psutil.Process(pid))


def test_a_job_runs_on_a_cpu_node(cluster: Cluster) -> None:
    job = cluster.submit(SHOW, "--job-name=seen")
    assert _ends(cluster, job) == "COMPLETED"
    known = cluster.job(job)
    assert known["name"] == "seen"
    assert known["partition"] == "short"
    assert cluster.job_output(job).split() == [job, f"node={known['nodes']}", "gpus="]


def test_all_its_processes_are_known(cluster: Cluster) -> None:
    job = cluster.submit(SLEEP)
    pid = _runs(cluster, job)
    assert {name(process) for process in cluster.daemons()} == set(DAEMONS)
    assert pid in cluster.leftover_pids()
    cluster.cancel_all()


def test_jobs_on_one_node_get_different_gpus(cluster: Cluster) -> None:
    show = f"{SHOW}; {SLEEP}"
    jobs = [cluster.submit(show, *A_GPU) for _ in range(2)]
    for job in jobs:
        _runs(cluster, job)
    said = [cluster.job_output(job).split()[1:] for job in jobs]
    assert [words[0] for words in said] == ["node=g1", "node=g1"]
    assert sorted(words[1] for words in said) == ["gpus=0", "gpus=1"]
    cluster.cancel_all()


def test_what_no_partition_allows_is_refused_at_once(cluster: Cluster) -> None:
    for options in (
        ("--partition=brief", "--time=6"),
        ("--partition=nowhere",),
        ("--partition=gpu_v100", "--gres=gpu:v100:3"),
        ("--gres=gpu:a100-pcie-40gb:1",),
    ):
        with pytest.raises(ClusterError, match="Batch job submission failed"):
            cluster.submit(SLEEP, *options)
    assert cluster.jobs() == []


def test_a_node_that_goes_down_takes_its_job_with_it(cluster: Cluster) -> None:
    job = cluster.submit(SLEEP, "--no-requeue")
    pid = _runs(cluster, job)
    node = cluster.job(job)["nodes"]
    cluster.set_node(node, "down")
    try:
        assert _ends(cluster, job) == "NODE_FAIL"
        wait_for(lambda: _gone(pid), 30, "the job's process is gone")
    finally:
        cluster.set_node(node, "resume")


def test_a_controller_that_crashed_and_is_back_keeps_its_jobs(cluster: Cluster) -> None:
    job = cluster.submit(SLEEP)
    pid = _runs(cluster, job)
    # A crash loses what was not written yet; it is written every few seconds.
    cluster.command("scontrol", "update", f"JobId={job}", "JobName=written")
    state = cluster.root / "state" / "job_state"
    wait_for(lambda: b"written" in state.read_bytes(), 30, "the controller has written down the job")
    cluster.stop_controller(crash=True)
    with pytest.raises(ClusterError, match="scontrol ping"):
        cluster.command("scontrol", "ping")
    cluster.start_controller()
    assert cluster.job(job)["state"] == "RUNNING"
    assert not _gone(pid)
    cluster.cancel_all()
    wait_for(lambda: _gone(pid), 30, "the job's process is gone")


def test_a_reset_cluster_is_as_new(cluster: Cluster) -> None:
    job = cluster.submit(f"setsid {SLEEP} & {SLEEP}")
    pid = _runs(cluster, job)
    cluster.set_node("c1", "drain")
    cluster.set_node("g1", "down")
    cluster.stop_controller()
    cluster.reset()
    assert _gone(pid)
    assert cluster.leftover_pids() == []
    states = cluster.command("sinfo", "--noheader", "--Node", "--format=%t").split()
    assert set(states) == {"idle"}


def test_eight_one_gpu_nodes(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> None:
    other = Cluster(tmp_path_factory.mktemp("c") / "r", EIGHT_GPU_NODES)
    other.start()
    try:
        jobs = [other.submit(SLEEP, *A_GPU) for _ in range(8)]
        pids = [_runs(other, job) for job in jobs]
        assert sorted(job["nodes"] for job in other.jobs()) == [f"g{i + 1}" for i in range(8)]
        assert cluster.jobs() == [], "two clusters on one host know nothing of each other"
        assert cluster.leftover_pids() == []
    finally:
        other.stop()
    assert all(map(_gone, pids))
    assert not other.root.exists()


def test_what_prevents_the_start_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    wrong = (Partition("short", "c", max_time_min=-7),)
    broken = Cluster(tmp_path / "r", wrong)
    with pytest.raises(ClusterError, match="MaxTime"):
        broken.start()
    assert not broken.root.exists()
    assert broken.daemons() == []


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    other = Cluster(tmp_path)
    with pytest.raises(ClusterError, match="not empty"):
        other.start()
    other.stop()
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_cluster_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    script = (
        "import pathlib, signal, sys\n"
        "from tests.slurm import shape\n"
        "from tests.slurm.cluster import Cluster\n"
        "cluster = Cluster(pathlib.Path(sys.argv[1]), [shape.Partition('short', 'c')])\n"
        "cluster.start(); cluster.submit('sleep 60'); print('started', flush=True); signal.pause()"
    )
    root = tmp_path / "r"
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(root)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        assert owner.stdout.readline() == "started\n"
        orphan = Cluster(root, TINY)
        pid = _runs(orphan, orphan.jobs()[0]["id"])
        os.kill(owner.pid, signal.SIGKILL)
    wait_for(lambda: not root.exists(), 40, "the cluster has ended")
    assert _gone(pid)
    assert orphan.daemons() == []


def test_it_can_be_had_by_hand(tmp_path: Path, cluster: Cluster) -> None:
    del cluster  # it says whether there can be one

    def by_hand(action: str, code: int = 0) -> str:
        words = [sys.executable, "-m", "tests.slurm.cluster", action, "--root", str(tmp_path / "r")]
        done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    try:
        line = by_hand("start").strip()
        assert line == f"export SLURM_CONF={tmp_path / 'r' / 'slurm.conf'}"
        assert "gpu_short" in by_hand("status")
        assert "not empty" in by_hand("start", code=3)
    finally:
        by_hand("stop")
    assert "there is no cluster" in by_hand("status", code=3)
    assert not (tmp_path / "r").exists()
