"""The real engine, executors and scheduling on tasks that only sleep: what orchestration adds to them.

The graph is that of a workflow on a film; each task sleeps what its part costs. Nothing is computed, so that
the number of workers is not bounded by the host's cores.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.bench.costs import Costs
from dataops_parsl.bench.meeting import on_every_worker
from dataops_parsl.bench.tasks import meet, replay
from dataops_parsl.config import Loaded
from dataops_parsl.engine.dispatch import Dispatcher, StandIn
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.errors import PlaceError
from dataops_parsl.events import Events, Listener
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.storage.part_claims import Claims

Row = dict[str, Any]


@dataclass(frozen=True)
class Bound:
    """What no scheduling can beat, s."""

    critical_path_s: float
    work_s: float
    """Largest over the executors of its work over its workers."""

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.critical_path_s, self.work_s)


class Replay:
    """A plan whose tasks sleep.

    Parameters
    ----------
    plan : Plan
    costs : Costs
    mean_task_s : float
        The mean of the tasks that cost anything is brought to this.
    """

    def __init__(self, plan: Plan, costs: Costs, mean_task_s: float) -> None:
        self.plan, self.costs = plan, costs
        self.parts = [part for node in plan.nodes for part in plan.parts(node)]
        paid = [s for part in self.parts if (s := costs.seconds(part)) > 0]
        self.time_scale = mean_task_s * len(paid) / sum(paid) if paid else 1.0

    def seconds(self, part: Part) -> float:
        """What the task of a part sleeps, s."""
        return self.costs.seconds(part) * self.time_scale

    def of(self, stages: Collection[str]) -> dict[Part, str]:
        """The parts of these stages, with the reason that they are run."""
        return {part: "replay" for part in self.parts if part.node.stage.name in stages}

    def work_s(self, parts: Collection[Part]) -> float:
        """Sum of what they sleep, s."""
        return sum(map(self.seconds, parts))

    def bound(self, used: Sequence[Group]) -> Bound:
        """For all parts, on these executors."""
        ends: dict[Part, float] = {}
        for part in sorted(self.parts, key=lambda p: (p.node.depth, p.index)):
            before = max((ends[source] for source in part.inputs() if source in ends), default=0.0)
            ends[part] = before + self.seconds(part)
        shares = []
        for group in used:
            mine = [p for p in self.parts if (p.node.stage.name, p.node.stage.on_gpu) in group.serves]
            shares.append(self.work_s(mine) / group.workers)
        return Bound(max(ends.values(), default=0.0), max(shares, default=0.0))


@dataclass(frozen=True)
class Timed:
    """A replay on one number of workers.

    Parameters
    ----------
    startup_s : float
    stages : mapping of stage to s
        Each alone, its inputs given.
    streamed_s : float or None
        All of them at once, as a run does it.
    bound : Bound
    """

    startup_s: float
    stages: dict[str, float]
    streamed_s: float | None
    bound: Bound

    @property
    def staged_s(self) -> float:
        """One stage after the other, s."""
        return sum(self.stages.values())


def run(
    replayed: Replay,
    config: Loaded,
    run_id: str,
    log: Path,
    lease: Path,
    listeners: tuple[Listener, ...],
    *,
    streamed: bool,
) -> Timed:
    """Replay each stage of the plan alone, and all of them streamed.

    Parameters
    ----------
    config : Loaded
        Its number of workers.
    run_id : str
        Names jobs.
    log : Path
    """
    used = groups(config, [node.stage for node in replayed.plan.nodes])
    events = Events(log / "events.jsonl", log / "failures", listeners)
    asked = time.monotonic()
    name = f"{run_id}-replay{config.config.workers}"
    stages = dict.fromkeys(node.stage.name for node in replayed.plan.nodes)
    try:
        with Pool(config, used, name, log, lease, events.block, fixed=True) as pool:
            for group in used:
                on_every_worker(pool, group, meet, [{}] * group.workers, log)
            startup_s = time.monotonic() - asked
            took = {
                stage: dispatched(pool, replayed.plan, replayed.of([stage]), replayed.seconds, events)
                for stage in stages
            }
            whole = None
            if streamed:
                todo = dict.fromkeys(replayed.parts, "replay")
                whole = dispatched(pool, replayed.plan, todo, replayed.seconds, events)
    finally:
        events.close()
    return Timed(startup_s, took, whole, replayed.bound(used))


def dispatched(
    pool: Pool,
    plan: Plan,
    todo: Mapping[Part, str],
    seconds: Any,
    events: Events,
    *,
    receipts: bool = False,
    needed: Any = None,
    claims: Claims | None = None,
) -> float:
    """Seconds that the engine takes for these parts.

    Parameters
    ----------
    seconds : callable
        What the task of a part sleeps, s.
    receipts : bool
        Let workers leave a receipt and write their log.
    needed : callable or None
        Asked of each part when its turn comes; None asks nobody.
    claims : Claims or None
        Of a run that may share its scratch.
    """
    stand_in = StandIn(replay, lambda part: {"replay_s": seconds(part), "receipt": receipts})
    dispatcher = Dispatcher(pool, plan, events, 3, "stop", stand_in, claims)
    started = time.perf_counter()
    result = dispatcher.run(todo, needed or (lambda _: True), lambda _: None)
    took = time.perf_counter() - started
    if len(result.done) < len(todo):
        raise PlaceError(
            f"{len(todo) - len(result.done)} of {len(todo)} tasks of the replay were lost",
            "something ends workers meanwhile; run it again",
        )
    return took
