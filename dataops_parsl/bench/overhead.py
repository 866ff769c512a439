"""What the engine costs beside bare Parsl, and how fast a run finds out that everything is done."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataops_parsl import workflow
from dataops_parsl.bench.inputs import changed
from dataops_parsl.bench.meeting import on_every_worker
from dataops_parsl.bench.replay import Replay, dispatched
from dataops_parsl.bench.tasks import meet, nothing
from dataops_parsl.config import Loaded, load
from dataops_parsl.dataset import ingest, writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import groups
from dataops_parsl.errors import PlaceError
from dataops_parsl.events import Events
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.storage.parts import Receipt, publish_receipt
from dataops_parsl.workflow import Workflow

ROUNDS = 3
DONE_BATCHES = 10_000
_FRAME_PX = 8
_DESCRIPTION = """\
axes = "TCYX"
pixel_size_um = [1.0, 1.0]
frame_interval_s = 60
pattern = "{pattern}"
[channels]
a = {{ stain = "A" }}
b = {{ stain = "B" }}
[populations.effector]
segment = ["a"]
diameter_um = 10
[populations.target]
segment = ["b"]
diameter_um = 20
"""


@dataclass(frozen=True)
class Rates:
    """Tasks that do nothing, a second: medians of turns.

    Parameters
    ----------
    bare : float
        Parsl alone: python_apps submitted at once to the same executor.
    dispatched : float
        The engine: plan, ready queue, events.
    whole : float
        With what a computed task also does: its worker's log, its receipt, and the question before it is
        submitted whether another run has done it.
    """

    bare: float
    dispatched: float
    whole: float


def rates(
    replayed: Replay, flow: Workflow, dataset: Dataset, config: Loaded, log: Path, lease: Path
) -> Rates:
    """Measure, in turns on the same workers."""
    group = groups(config, [node.stage for node in replayed.plan.nodes])[0]
    parts = {p: "replay" for p in replayed.parts if (p.node.stage.name, p.node.stage.on_gpu) in group.serves}
    events = Events(log / "events.jsonl", log / "failures")
    found: dict[str, list[float]] = {"bare": [], "dispatched": [], "whole": []}
    try:
        with Pool(
            config, [group], f"overhead-{log.parent.name}", log, lease, events.block, fixed=True
        ) as pool:
            on_every_worker(pool, group, meet, [{}] * group.workers, log)
            for _ in range(ROUNDS):
                found["bare"].append(_bare(pool, group.label, len(parts)))
                found["dispatched"].append(
                    len(parts) / dispatched(pool, replayed.plan, parts, _no_time, events)
                )
                found["whole"].append(_whole(pool, replayed, flow, dataset, config, events, parts))
    finally:
        events.close()
    return Rates(**{name: statistics.median(values) for name, values in found.items()})


def _no_time(_: Part) -> float:
    return 0.0


def _bare(pool: Pool, label: str, n: int) -> float:
    started = time.perf_counter()
    for future in [pool.submit(label, "nothing", nothing, {}) for _ in range(n)]:
        future.result()
    return n / (time.perf_counter() - started)


def _whole(
    pool: Pool,
    replayed: Replay,
    flow: Workflow,
    dataset: Dataset,
    config: Loaded,
    events: Events,
    parts: dict[Part, str],
) -> float:
    with tempfile.TemporaryDirectory(prefix="dataops-overhead-") as folder:
        plan = Plan(flow, dataset, changed(config, scratch=Path(folder)))
        ids = {part.id for part in parts}
        mine = {p: "replay" for node in plan.nodes for p in plan.parts(node) if p.id in ids}
        for part in mine:
            part.place.receipt.parent.mkdir(parents=True, exist_ok=True)
        needed: Callable[[Part], bool] = Assessor(plan).needed
        return len(mine) / dispatched(pool, plan, mine, _no_time, events, receipts=True, needed=needed)


def resume_s(flow_name: str, project: Path, stages: Any, n_batches: int = DONE_BATCHES) -> tuple[int, float]:
    """How long ``run --dry-run`` takes, process and all, where so many batches are done.

    Parameters
    ----------
    flow_name : str
        Workflow, of `project`.
    stages : sequence of Stage classes
    n_batches : int
        At least so many, of a dataset that is made for it.

    Returns
    -------
    int, float
        How many they are, and seconds.

    Raises
    ------
    PlaceError
        Where it does not find everything done.
    """
    flow = workflow.load(project, flow_name)
    with tempfile.TemporaryDirectory(prefix="dataops-resume-") as folder:
        root = Path(folder)
        for part_of in ("configs/sites", "apps"):  # what a project has not, the package brings
            if (project / part_of).exists():
                shutil.copytree(project / part_of, root / part_of)
        (root / "configs").mkdir(exist_ok=True)
        (root / "configs" / "config.user.toml").write_text('batch_frames = 1\n[dataset]\nname = "many"\n')
        config, dataset = _many_frames(root, stages, flow, n_batches)
        plan = Plan(flow, dataset, config)
        done = [part for node in plan.nodes for part in plan.parts(node)]
        for part in done:
            _pretend(part)
        command = [sys.executable, "-m", "dataops_parsl", "run", flow_name, "--dry-run", "--project", folder]
        started = time.perf_counter()
        said = subprocess.run(command, capture_output=True, text=True, check=False)
        took = time.perf_counter() - started
    if said.returncode or "Nothing would be computed" not in said.stdout:
        raise PlaceError(f"a run did not find {len(done)} batches done: {said.stdout}{said.stderr}")
    return len(done), took


def _many_frames(root: Path, stages: Any, flow: Workflow, n_batches: int) -> tuple[Loaded, Dataset]:
    channels = ("a", "b")
    data_root = root / "data" / "datasets"
    populations = 2
    per_frame = sum(
        (populations if node.each else 1) * (step.scope in PER_FRAME)
        for node in flow.nodes.values()
        for step in node.steps.values()
    )
    n = -(-n_batches // per_frame)
    image = np.random.default_rng(0).integers(0, 99, (_FRAME_PX, _FRAME_PX)).astype(np.uint16)
    source = root / "films"
    size = (1.0, 1.0)
    writers.write("tiff-frames", source, {"film": n}, channels, lambda *_: image, size, 60.0)
    (source / "dataset.toml").write_text(_DESCRIPTION.format(pattern=writers.PATTERN))
    ingest.add(source, "many", data_root)
    dataset = Dataset.open(data_root / "many")
    layer = dataset.description.model_dump(mode="json", include={"populations"}, exclude_unset=True)
    config = load(
        root, stage_classes=stages, dataset_layer=(dataset.root / "dataset.toml", layer["populations"])
    )
    return config, dataset


def _pretend(part: Part) -> None:
    """Leave a file and a receipt, as a computed part does."""
    path = part.place.table("rows")
    write_bytes(path, b"rows")
    output = {"files": {path.name: 4}, "digest": "0", "rows": 0}
    inputs = {str(s.place.receipt.relative_to(part.node.scratch)): _digest(s) for s in part.inputs()}
    publish_receipt(
        part.place, Receipt(recipe=part.recipe, part=part.id, outputs={"rows": output}, inputs=inputs)
    )


def _digest(part: Part) -> str:
    output = {"digest": "0"}
    return Receipt(recipe=part.recipe, part=part.id, outputs={"rows": output}).digest
