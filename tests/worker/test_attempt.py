"""A real task of the workflow, computed in this process: what its outcome and the worker's log say of it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import cli, workflow
from dataops_parsl.commands.setting import open_dataset
from dataops_parsl.plan import Plan
from dataops_parsl.spec import Specs
from dataops_parsl.stage import Pixels
from dataops_parsl.task import execute
from dataops_parsl.worker.device import check_device
from dataops_parsl.worker.log import attempt_lines
from tests.helpers import Project

Task = dict[str, Any]


@pytest.fixture
def task(project: Project) -> Task:
    """A task that reads acquired frames and gives tables."""
    dataset, setting = open_dataset(cli.parser().parse_args(["run", "--project", str(project.root)]))
    plan = Plan(workflow.load(project.root, "cytotoxicity"), dataset, setting.config)
    parts = [p for node in plan.nodes for p in plan.parts(node)]
    first = next(p for p in parts if p.raw_frames and not _pixels(p) and not [*p.inputs()])
    return Specs(plan).of(first)


def _pixels(part: Any) -> bool:
    return any(isinstance(given, Pixels) for given in part.node.step.gives.values())


@pytest.fixture
def terms(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Task:
    """The same task's terms, on a GPU worker of a SLURM job that has a card, by a stand-in for nvidia-smi."""
    monkeypatch.setenv("PARSL_WORKER_BLOCK_ID", "7")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    _card(tmp_path, "NVIDIA A100-PCIE-40GB, 40536, 8.0")
    task["terms"] = {
        "log_dir": str(tmp_path / "workers"),
        "executor": "gpu_short_gpu_1c_8gb",
        "mem_gb": 8.0,
        "check_gpu": True,
        "min_gpu_mem_gb": 24.0,
        "allow_small_gpu": False,
        "needs_bf16": True,
    }
    terms: Task = task["terms"]
    return terms


def _card(folder: Path, line: str) -> None:
    check_device.cache_clear()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho '{line}'\n")
    (folder / "nvidia-smi").chmod(0o755)


def _lines(task: Task) -> list[Task]:
    return attempt_lines(Path(task["terms"]["log_dir"]), task["id"], task["attempt"])


def test_a_task_without_terms_works(task: Task) -> None:
    before = time.time()
    outcome = execute(task)
    assert (outcome["status"], outcome["reason"], outcome["failed"]) == ("done", "", {})
    assert before <= outcome["started"] <= outcome["ended"] <= time.time()
    assert outcome["cpu_s"] > 0
    assert outcome["max_rss_mb"] > 10
    assert (outcome["host"], outcome["pid"]) == (platform.node(), os.getpid())


def test_start_and_end_stand_in_the_log(task: Task, terms: Task) -> None:
    task["attempt"] = 2
    outcome = execute(task)
    assert outcome["status"] == "done"
    start, end = _lines(task)
    assert (start["event"], end["event"]) == ("start", "end")
    who = {"executor": terms["executor"], "block": "7", "job_id": "4711", "gpus": "2", "pid": os.getpid()}
    assert {k: start[k] for k in who} == {k: end[k] for k in who} == who
    assert (start["gpu"], start["gpu_mem_mib"]) == ("NVIDIA A100-PCIE-40GB", 40536)
    assert {k: end[k] for k in ("status", "cpu_s", "max_rss_mb")} == {
        k: outcome[k] for k in ("status", "cpu_s", "max_rss_mb")
    }
    assert {k: outcome[k] for k in ("block", "job_id")} == {"block": "7", "job_id": "4711"}


def test_a_small_card_is_refused_before_the_first_frame(task: Task, terms: Task, tmp_path: Path) -> None:
    _card(tmp_path, "Tesla V100-SXM2-16GB, 16160, 7.0")
    outcome = execute(task)
    assert outcome["status"] == "unfit"
    assert "Tesla V100" in outcome["reason"]
    assert "job 4711" in outcome["reason"]
    assert "site.allow_small_gpu" in outcome["remedy"]
    assert [(x["event"], x.get("status")) for x in _lines(task)] == [("start", None), ("end", "unfit")]
    assert not [*Path(task["folder"]).rglob("*.parquet")], "nothing was computed"
    terms["allow_small_gpu"] = True
    assert execute(task)["status"] == "done"


def test_a_worker_with_other_versions_names_itself(task: Task, terms: Task) -> None:
    terms["check_gpu"] = False
    task["versions"] = {**task["versions"], "numpy": "0.1"}
    outcome = execute(task)
    assert outcome["status"] == "refused"
    assert outcome["reason"].startswith(f"the worker on {platform.node()} (job 4711) has numpy")
    assert outcome["reason"].endswith("instead of 0.1")
    assert _lines(task)[-1]["status"] == "refused"


def test_a_full_or_unwritable_log_fails_no_task(task: Task, terms: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    terms["log_dir"] = str(tmp_path / "file")
    assert execute(task)["status"] == "done"
