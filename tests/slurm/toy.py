"""A toy workflow to provoke faults with: 24 frames that sleep, on CPU blocks and then on GPU blocks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Driver, Project, package_with_stage, wait_for
from tests.slurm import toy_stages
from tests.slurm.processes import lives

APP = """\
from dataops_parsl.stages.toy import Count, Glow, Nap
from dataops_parsl.workflow import Workflow

workflow = Workflow("toy")
nap = workflow.add(Nap, raw=workflow.raw)
glow = workflow.add(Glow, naps=nap.naps)
count = workflow.add(Count, naps=nap.naps, glows=glow.glows)
workflow.publish(naps=nap.naps, glows=glow.glows, counts=count.counts)
"""
# Shorter intervals than a real cluster's, long enough for a busy host.
CONFIG = """\
batch_frames = 2
[dataset]
name = "small"
[site.slurm]
poll_s = 1
connect_s = 90
idle_s = 10
[engine]
heartbeat_s = 2
lost_after_s = 8
[resources.default]
mem_gb = 2
walltime_min = 30
[resources.glow]
gres = "gpu:a100-pcie-40gb:1"
force_gres = true
"""


class Toy(Project):
    """A project with the workflow ``toy`` and the dataset ``small`` of two films of twelve frames.

    Parameters
    ----------
    root : Path
    environment : mapping
        Set for its commands, and so for their jobs.
    """

    def __init__(self, root: Path, environment: Mapping[str, str]) -> None:
        super().__init__(root)
        self.environment = dict(environment)
        self.toy_log = Path(environment["TOY_LOG"])

    def command(self, *arguments: str) -> list[str]:
        """The command line with its environment: also fit for a job's script."""
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        return ["env", *settings, *super().command(*arguments)]

    def toy(self, *arguments: str, expect: int = 0) -> str:
        """Run the workflow to its end; returns what was printed."""
        return self.run("run", "toy", *arguments, expect=expect)

    def start_toy(self, *arguments: str) -> Driver:
        """Run the workflow in the background."""
        return self.start("run", "toy", *arguments)

    def toy_tables(self) -> dict[str, Any]:
        """Tables of the newest run."""
        return self.tables(workflow="toy")

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of the newest run, of one kind."""
        lines = (self.bundles("toy")[-1] / "log" / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def said(self, event: str, stage: str = "") -> list[dict[str, Any]]:
        """Lines that workers wrote: ``start`` or ``end``, of one stage or of all.

        Each has ``stage, position, frame, pid, job, node, gpus, time``.
        """
        text = self.toy_log.read_text() if self.toy_log.exists() else ""
        lines = [json.loads(line) for line in text.splitlines()]
        return [x for x in lines if x["event"] == event and stage in ("", x["stage"])]

    def under_way(self, stage: str = "") -> list[dict[str, Any]]:
        """Frames that were started, have not ended, and whose worker lives; the newest last."""
        ended = [_attempt(x) for x in self.said("end", stage)]
        open_frames = [x for x in self.said("start", stage) if _attempt(x) not in ended]
        return [x for x in open_frames if psutil.pid_exists(x["pid"]) and lives(psutil.Process(x["pid"]))]

    def wait_until_under_way(self, stage: str = "", seconds: float = 60) -> dict[str, Any]:
        """The newest frame under way, once there is one: a victim in mid-task."""
        frames = wait_for(lambda: self.under_way(stage), seconds, f"a frame of {stage or 'any stage'} runs")
        return dict(frames[-1])


def _attempt(line: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(line[key] for key in ("stage", "position", "frame", "pid", "job"))


def toy_project(folder: Path, small_films: Path, environment: Mapping[str, str] | None = None) -> Toy:
    """Make the project, and beside it a package with the toy's stages, which its commands use.

    Parameters
    ----------
    folder : Path
        Gets ``project``, ``library``, ``toy.jsonl``.
    small_films : Path
        The fixture of that name.
    environment : mapping
        More of it, such as `Cluster.environment`.
    """
    root = folder / "a project"
    (root / "configs").mkdir(parents=True)
    shutil.copytree(PROJECT / "configs" / "sites", root / "configs" / "sites")
    (root / "configs" / "config.user.toml").write_text(CONFIG)
    (root / "apps").mkdir()
    (root / "apps" / "toy.py").write_text(APP)
    ingest.add(small_films, "small", root / "data" / "datasets")
    stages = Path(toy_stages.__file__).read_text()
    library = package_with_stage(folder / "library", "toy", stages)
    return Toy(root, {**library, "TOY_LOG": str(folder / "toy.jsonl"), **(environment or {})})
