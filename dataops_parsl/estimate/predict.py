"""A plan and what it needs → hours, bytes, memory and wall time, each with where it is from."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.estimate.history import History
from dataops_parsl.estimate.measured import Measured, level, peak
from dataops_parsl.estimate.receipts import on_scratch
from dataops_parsl.estimate.schedule import makespan
from dataops_parsl.estimate.table import FACTOR, StepCosts, bundle_bytes, pixel_bytes, shipped, start_s
from dataops_parsl.estimate.work import Extent
from dataops_parsl.needs import Needs
from dataops_parsl.nodes import Part, StepNode
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME, Pixels
from dataops_parsl.storage.pixels import array_path

TABLE = f"the shipped table (factor {FACTOR})"
GUESS = "a guess: no measurement of it is shipped"


@dataclass
class StepEstimate:
    """What the tasks of one step would cost.

    Parameters
    ----------
    node : StepNode
    gpu : bool
        Whether its workers have a card.
    cores : int
        Of each worker.
    tasks, frames, files : int
    seconds : float
        Workers' time, all tasks together.
    bytes : float
        Written to scratch.
    largest_bytes : float
        Of its largest part.
    memory_mb : float
        Of its hungriest task, MiB.
    source, sizes : str
        Where the time and the bytes are from.
    """

    node: StepNode
    gpu: bool
    cores: int
    source: str
    sizes: str
    tasks: int = 0
    frames: int = 0
    files: int = 0
    seconds: float = 0.0
    bytes: float = 0.0
    largest_bytes: float = 0.0
    memory_mb: float = 0.0


@dataclass
class Estimate:
    """What a run would cost.

    Parameters
    ----------
    steps : list of StepEstimate
        Those with anything to compute, in the order of the plan.
    seconds : mapping of part to s
        Of each task.
    executor : mapping of part to label
        Whose workers compute it.
    start_s : float
        Until the first task starts, as far as that is known.
    workers : mapping of executor to int
        Workers that compute at a time: on one machine no more than it has cores.
    replaced_bytes : float
        What is on scratch and would be overwritten.
    bundle_bytes : float
        Tables, figures and logs of the run, and the label images that it keeps.
    """

    steps: list[StepEstimate] = field(default_factory=list)
    seconds: dict[Part, float] = field(default_factory=dict)
    executor: dict[Part, str] = field(default_factory=dict)
    start_s: float = 0.0
    workers: dict[str, int] = field(default_factory=dict)
    replaced_bytes: float = 0.0
    bundle_bytes: float = 0.0

    @cached_property
    def wall_s(self) -> float:
        """From the command to the end; on a cluster without the time in the queue."""
        return self.start_s + makespan(self.seconds, self.executor, self.workers)

    @property
    def cpu_s(self) -> float:
        """Cores' time, those of workers with a card too."""
        return sum(s.seconds * s.cores for s in self.steps)

    @property
    def gpu_s(self) -> float:
        """Cards' time."""
        return sum(s.seconds for s in self.steps if s.gpu)

    @property
    def bytes(self) -> float:
        """Written to scratch, what it replaces included."""
        return sum(s.bytes for s in self.steps)

    @property
    def files(self) -> int:
        """Files on scratch."""
        return sum(s.files for s in self.steps)

    @property
    def largest_bytes(self) -> float:
        """Of the largest part: less room than that, and not one task can end."""
        return max((s.largest_bytes for s in self.steps), default=0.0)


def estimate(plan: Plan, needs: Needs, output_root: Path) -> Estimate:
    """Estimate what is to be computed.

    For each step its parts on scratch are asked, then past runs of `output_root`, then the shipped table.
    """
    return _Maker(plan, History(output_root)).of(needs) if needs.todo else Estimate()


class _Maker:
    """Estimates for one plan."""

    def __init__(self, plan: Plan, history: History) -> None:
        self.plan, self.history, self.extent = plan, history, Extent.of(plan)
        self.config = plan.config
        self.site = self.config.config.site
        found = groups(self.config, (node.stage for node in plan.nodes))
        self.groups = {kind: group for group in found for kind in group.serves}

    def of(self, needs: Needs) -> Estimate:
        by_node = _by_node(needs.todo)
        found = Estimate(start_s=start_s() if self.site.kind == "local" else 0.0)
        for node in self.plan.nodes:
            if node in by_node:
                step, seconds = self._step(node, by_node[node])
                group = self._group(node)
                found.steps.append(step)
                found.seconds.update(seconds)
                found.executor.update(dict.fromkeys(seconds, group.label))
                found.workers[group.label] = self._at_once(group)
        found.replaced_bytes = sum(self._there(node, parts) for node, parts in by_node.items())
        shape = bundle_bytes()
        past = self.history.bundle_bytes(self.plan.workflow.name)
        found.bundle_bytes = shape(self.extent.total) * (level(past, shape) or 1.0) + self._kept_bytes()
        return found

    def _kept_bytes(self) -> float:
        """Of the label images that the run keeps beside its tables: what they take on scratch."""
        kept = (part for o in self.plan.workflow.kept for part in self.plan.published(o.node, o.name))
        return sum(self._step(node, parts)[0].bytes for node, parts in _by_node(kept).items())

    def _group(self, node: StepNode) -> Group:
        return self.groups[node.stage.name, node.stage.on_gpu]

    def _at_once(self, group: Group) -> int:
        if self.site.kind != "local":
            return group.workers
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(group.workers, cores)

    # --- one step

    def _step(self, node: StepNode, parts: list[Part]) -> tuple[StepEstimate, dict[Part, float]]:
        costs = shipped(node)
        same, earlier = on_scratch(node, self.extent)
        past = self.history.of(node, self.extent, self.site.name)
        time = same or past or earlier
        sizes = next((m for m in (same, past, earlier) if m and m.byte_sizes), None)
        written = self._bytes(node, costs)
        each_s = _scaled(costs.seconds, time.seconds if time else [])
        each_b = _scaled(written, sizes.byte_sizes if sizes else [])
        highest = peak(past.memory_mb, costs.memory_mb) if past else None
        coarse = TABLE if costs.listed else GUESS
        resources = self.config.resources(node.stage.name)
        step = StepEstimate(
            node,
            gpu=node.stage.on_gpu or self._group(node).gres.startswith("gpu"),
            cores=resources.cores if self.site.kind != "local" else 1,
            source=_said(time, coarse),
            sizes=_said(sizes, coarse),
            tasks=len(parts),
        )
        seconds: dict[Part, float] = {}
        scope = node.step.scope
        for part in parts:
            size = self.extent.work(scope, part.position, part.index) or 0.0
            held = self.extent.held(scope, part.position) or 0.0
            seconds[part] = each_s(size)
            step.largest_bytes = max(step.largest_bytes, each_b(size))
            step.bytes += each_b(size)
            step.memory_mb = max(step.memory_mb, costs.memory_mb(held) * (highest or 1.0))
            step.frames += len(part.frames) if scope in PER_FRAME else 0
        step.seconds = sum(seconds.values())
        step.files = len(parts) * (1 + self._files(node))
        return step, seconds

    def _bytes(self, node: StepNode, costs: StepCosts) -> Callable[[float], float]:
        """Bytes of a part by its size, from shapes and dtypes, and the table for tables."""
        curves = []
        for given in node.step.gives.values():
            if not isinstance(given, Pixels):
                continue
            channels = self.plan.segment_channels if given.per_channel else [""]
            position = next(iter(self.plan.positions))
            for channel in channels:
                curves.append(pixel_bytes(given, self.plan.dtype(position, channel, given.dtype), 1))
        tables = any(not isinstance(g, Pixels) for g in node.step.gives.values())
        return lambda size: sum(c(size) for c in curves) + (costs.table_bytes(size) if tables else 0.0)

    def _files(self, node: StepNode) -> int:
        """Files of a part, without its receipt."""
        return sum(
            len(self.plan.segment_channels) if isinstance(given, Pixels) and given.per_channel else 1
            for given in node.step.gives.values()
        )

    def _there(self, node: StepNode, parts: Iterable[Part]) -> float:
        """Bytes of the shards that lie where these parts would be written."""
        batches: dict[str, set[str]] = {}
        for part in parts:
            batches.setdefault(part.position, set()).add(f"c.{part.index}.0.0")
        total = 0
        for position, output, channel, _ in self.plan.arrays(node):
            names = batches.get(position, set())
            with (
                contextlib.suppress(OSError),
                os.scandir(array_path(node.folder, position, output, channel)) as entries,
            ):
                total += sum(entry.stat().st_size for entry in entries if entry.name in names)
        return float(total)


def _by_node(parts: Iterable[Part]) -> dict[StepNode, list[Part]]:
    found: dict[StepNode, list[Part]] = {}
    for part in parts:
        found.setdefault(part.node, []).append(part)
    return found


def _scaled(shape: Callable[[float], float], measured: list[tuple[float, float]]) -> Callable[[float], float]:
    """The shape at the level of what was measured, or as it is."""
    factor = level(measured, shape)
    return (lambda size: shape(size) * factor) if factor is not None else shape


def _said(measured: Measured | None, coarse: str) -> str:
    return measured.source if measured else coarse
