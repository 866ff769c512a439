"""The benchmark on a real SLURM: fixed blocks of both partitions, and the jobs that they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq

from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Project
from tests.slurm.cluster import Cluster

ON_SLURM = ("--site", "slurm", "--set", "site.slurm.poll_s=1", "--set", "engine.heartbeat_s=2")


def test_a_stage_is_measured_on_blocks_of_its_own(
    cluster: Cluster, small_films: Path, tmp_path: Path, monkeypatch, leaves_no_jobs
) -> None:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    root = tmp_path / "a project"
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    ingest.add(small_films, "small", root / "data" / "datasets")
    project = Project(root)
    # All that is measured asks for a GPU block; what it reads is computed in CPU blocks.
    output = project.run(
        "bench", "--dataset", "small", "--workers", "2", *ON_SLURM,
        "--set", 'bench.stages=["cellpose"]', "--set", "resources.cellpose.force_gres=true",
        "--set", "batch_frames=4", "--set", "resources.default.mem_gb=2",
    )  # fmt: skip
    assert "is not used" not in output, "here the gres is"
    (folder,) = (root / "output" / "benchmark" / "cellpose").glob("run_*")
    (row,) = pq.read_table(folder / "tables" / "results.parquet").to_pylist()
    assert row["executors"] == "gpu_short_gpu_1c_2gb"
    assert len(row["jobs"].split(", ")) == 2, "two blocks of one GPU each"
    assert 0 < row["queue_s"] <= row["startup_s"]
    tasks = pq.read_table(folder / "tables" / "tasks.parquet")
    assert len(set(tasks["pid"].to_pylist())) == 2
