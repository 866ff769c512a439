"""What the engine costs beside bare Parsl, and how fast a run finds out that everything is done."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataops_parsl import workflow
from dataops_parsl.bench.inputs import changed
from dataops_parsl.bench.meeting import on_every_worker
from dataops_parsl.bench.replay import dispatched
from dataops_parsl.bench.tasks import meet, nothing
from dataops_parsl.config import Loaded, load
from dataops_parsl.dataset import ingest, writers
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.engine.sharing import use_of
from dataops_parsl.errors import PlaceError
from dataops_parsl.events import Events
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME, Stage
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.storage.parts import Receipt, publish_receipt
from dataops_parsl.workflow import Workflow

ROUNDS = 3
DONE_BATCHES = 10_000
_FRAME_PX = 8
_CHANNELS = ("a", "b")
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
    tasks : int
        In each turn.
    bare : float
        Parsl alone: python_apps submitted at once to the same executor.
    dispatched : float
        The engine: plan, ready queue, events.
    whole : float
        With what a computed task also does: its worker's log, its receipt, its claim, and the question before
        it is submitted whether another run has done it.
    """

    tasks: int
    bare: float
    dispatched: float
    whole: float


def rates(many: Many, workers: int, run_id: str, log: Path, lease: Path) -> Rates:
    """Measure, in turns on the same workers, on tasks that do not wait for each other."""
    config = changed(many.config, workers=workers)
    plan = Plan(many.flow, many.dataset, config)
    group = groups(config, [node.stage for node in plan.nodes])[0]
    parts = _independent(plan, group)
    events = Events(log / "events.jsonl", log / "failures")
    found: dict[str, list[float]] = {"bare": [], "dispatched": [], "whole": []}
    try:
        with Pool(config, [group], f"{run_id}-overhead", log, lease, events.block, fixed=True) as pool:
            on_every_worker(pool, group, meet, [{}] * group.workers, log)
            for _ in range(ROUNDS):
                found["bare"].append(_bare(pool, group.label, len(parts)))
                took = dispatched(pool, plan, parts, _no_time, events)
                found["dispatched"].append(len(parts) / took)
                found["whole"].append(_whole(pool, many, config, group, events))
    finally:
        events.close()
    return Rates(len(parts), **{name: statistics.median(values) for name, values in found.items()})


def _independent(plan: Plan, group: Group) -> dict[Part, str]:
    """Parts of an executor that read none of each other: every other layer of per-frame steps."""
    layers = sorted({n.depth for n in plan.nodes if n.step.scope == "batch"})
    nodes = [n for n in plan.nodes if n.step.scope == "batch" and n.depth in layers[::2]]
    mine = [p for n in nodes if (n.stage.name, n.stage.on_gpu) in group.serves for p in plan.parts(n)]
    chosen = set(mine)
    return {p: "replay" for p in mine if not any(source in chosen for source in p.inputs())}


def _no_time(_: Part) -> float:
    return 0.0


def _bare(pool: Pool, label: str, n: int) -> float:
    started = time.perf_counter()
    for future in [pool.submit(label, "nothing", nothing, {}) for _ in range(n)]:
        future.result()
    return n / (time.perf_counter() - started)


def _whole(pool: Pool, many: Many, config: Loaded, group: Group, events: Events) -> float:
    with tempfile.TemporaryDirectory(prefix="dataops-overhead-") as folder:
        plan = Plan(many.flow, many.dataset, changed(config, scratch=Path(folder)))
        mine = _independent(plan, group)
        for node in dict.fromkeys(part.node for part in mine):
            (node.folder / "receipts").mkdir(parents=True)
        needed: Callable[[Part], bool] = Assessor(plan).needed
        with use_of(plan, "overhead") as use, PartClaims(use) as claims:
            took = dispatched(pool, plan, mine, _no_time, events, receipts=True, needed=needed, claims=claims)
        return len(mine) / took


@dataclass(frozen=True)
class Many:
    """A project with a film of so many small frames that a workflow has many batches on it."""

    root: Path
    flow: Workflow
    dataset: Dataset
    config: Loaded


@contextmanager
def many_batches(
    flow_name: str, project: Path, stages: Sequence[type[Stage]], n_batches: int = DONE_BATCHES
) -> Iterator[Many]:
    """Make such a project, and remove it in the end.

    Parameters
    ----------
    flow_name : str
        Workflow, of `project`.
    stages : sequence of Stage classes
    n_batches : int
        About so many.
    """
    flow = workflow.load(project, flow_name)
    with tempfile.TemporaryDirectory(prefix="dataops-many-") as folder:
        root = Path(folder)
        for part_of in ("configs/sites", "apps"):  # what a project has not, the package brings
            if (project / part_of).exists():
                shutil.copytree(project / part_of, root / part_of)
        (root / "configs").mkdir(exist_ok=True)
        (root / "configs" / "config.user.toml").write_text('batch_frames = 1\n[dataset]\nname = "many"\n')
        per_frame = sum(
            (len(_CHANNELS) if node.each else 1) * (step.scope in PER_FRAME)
            for node in flow.nodes.values()
            for step in node.steps.values()
        )
        _write_film(root, -(-n_batches // per_frame))
        dataset = Dataset.open(root / "data" / "datasets" / "many")
        layer = dataset.description.model_dump(mode="json", include={"populations"}, exclude_unset=True)
        described = (dataset.root / "dataset.toml", layer["populations"])
        yield Many(root, flow, dataset, load(root, stage_classes=stages, dataset_layer=described))


def _write_film(root: Path, n_frames: int) -> None:
    image = np.random.default_rng(0).integers(0, 99, (_FRAME_PX, _FRAME_PX)).astype(np.uint16)
    source = root / "films"
    writers.write("tiff-frames", source, {"film": n_frames}, _CHANNELS, lambda *_: image, (1.0, 1.0), 60.0)
    (source / "dataset.toml").write_text(_DESCRIPTION.format(pattern=writers.PATTERN))
    ingest.add(source, "many", root / "data" / "datasets")


def resume_s(many: Many) -> tuple[int, float]:
    """How long ``run --dry-run`` takes, process and all, where every batch is done.

    Returns
    -------
    int, float
        How many they are, and seconds.

    Raises
    ------
    PlaceError
        Where it does not find everything done.
    """
    plan = Plan(many.flow, many.dataset, many.config)
    done = [part for node in plan.nodes for part in plan.parts(node)]
    for part in done:
        _pretend(part)
    arguments = ("run", many.flow.name, "--dry-run", "--project", str(many.root))
    started = time.perf_counter()
    said = subprocess.run(
        [sys.executable, "-m", "dataops_parsl", *arguments], capture_output=True, text=True, check=False
    )
    took = time.perf_counter() - started
    if said.returncode or "Nothing would be computed" not in said.stdout:
        raise PlaceError(f"a run did not find {len(done)} batches done: {said.stdout}{said.stderr}")
    return len(done), took


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
    return Receipt(recipe=part.recipe, part=part.id, outputs={"rows": {"digest": "0"}}).digest
