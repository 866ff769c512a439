"""One stage at one number of workers, measured on fixed blocks.

The clock starts once every worker has met the others and has computed one batch, so that neither queues nor
start-up nor the loading of libraries and models is in it: these are given apart.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.bench.inputs import changed, link_inputs, remove
from dataops_parsl.bench.meeting import on_every_worker
from dataops_parsl.bench.tasks import meet, rehearse
from dataops_parsl.bundle import new_id
from dataops_parsl.config import Loaded
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.engine.dispatch import Dispatcher
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import Group, groups
from dataops_parsl.engine.rounds import prepare, rounds
from dataops_parsl.engine.sharing import use_of
from dataops_parsl.errors import PartialError, PlaceError
from dataops_parsl.events import Events, Listener
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.publish import roots
from dataops_parsl.spec import Specs
from dataops_parsl.stage import PER_FRAME
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.storage.parts import fingerprint, read_receipt
from dataops_parsl.workflow import Workflow

Row = dict[str, Any]
PASSES = ("cold", "warm")


@dataclass(frozen=True)
class Setup:
    """What is measured, for all cases the same.

    Parameters
    ----------
    flow : Workflow
    dataset : Dataset
    config : Loaded
        Its scratch holds the inputs, see `prepare_inputs`.
    run_id : str
        Names jobs.
    lease : Path
        The benchmark's sign of life.
    listeners : tuple of Listener
        Are told events of tasks and blocks.
    """

    flow: Workflow
    dataset: Dataset
    config: Loaded
    run_id: str
    lease: Path
    listeners: tuple[Listener, ...] = ()

    def plan(self, stage: str, *, frames: int | None = None, scratch: Path | None = None) -> Plan:
        """The plan up to a stage, all that it gives and nothing else wanted."""
        config = changed(self.config, frames=frames, scratch=scratch)
        flow = dataclasses.replace(self.flow.until(stage), tables={}, pictures=[])
        return Plan(flow, self.dataset, config)

    @property
    def prepared(self) -> Path:
        """Where the inputs lie."""
        return self.config.paths.scratch_root / self.dataset.name

    @property
    def scratch(self) -> Path:
        """Where measured stages write; removed after each case."""
        return self.config.paths.scratch_root / ".bench" / self.run_id


def prepare_inputs(setup: Setup, stages: Sequence[str], workers: int, log: Path) -> int:
    """Make what the stages read, in the scratch that runs use too; returns the number of tasks.

    Raises
    ------
    PartialError
        Where inputs cannot be made.
    """
    n = 0
    for frames in (None, setup.config.config.batch_frames):
        config = changed(setup.config, workers=workers, frames=frames)
        plan = Plan(setup.flow.feeding(stages), setup.dataset, config)
        made, failed = _make(setup, plan, log)
        n += made
        bad = {part.id: outcome["reason"] for part, outcome in failed.items()}
        bad |= {f"{r['stage']} of {r['position']}, frame {r['frame']}": r["reason"] for r in roots(plan)}
        if bad:
            _refuse(bad, log)
    return n


def _make(setup: Setup, plan: Plan, log: Path) -> tuple[int, dict[Part, dict[str, Any]]]:
    """Compute what is missing of a plan, beside runs that may go on; number of tasks, and what failed."""
    with use_of(plan, new_id()) as use, PartClaims(use) as claims:
        use.called(setup.run_id)
        assessor = Assessor(plan)
        needs = assessor.assess()
        if not needs.todo:
            return 0, {}
        events = Events(log / "events.jsonl", log / "failures", setup.listeners)
        needed = groups(plan.config, [node.stage for node in plan.nodes])
        attempts = plan.config.config.engine.max_attempts
        try:
            with Pool(plan.config, needed, setup.run_id, log, setup.lease, events.block) as pool:
                dispatcher = Dispatcher(pool, plan, events, attempts, "finish", claims=claims)
                failed = rounds(plan, assessor, needs, dispatcher, lambda *_: None)
        finally:
            events.close()
        return len(needs.todo), failed


def measure(
    setup: Setup, stage: str, workers: int, repeats: Sequence[int], log: Path
) -> Iterator[tuple[Row, list[Row]]]:
    """Measure a stage at a number of workers; yields each repeat's row and its tasks as it is done.

    Parameters
    ----------
    repeats : sequence of int
        Those still to be measured.
    log : Path
        Folder for what workers and blocks write.

    Raises
    ------
    PartialError
        Where a task fails: the benchmark measures whole stages only.
    """
    config = changed(setup.config, workers=workers)
    stages = [n.stage for n in setup.plan(stage).nodes if n.stage.name == stage]
    used = groups(config, stages)
    events = Events(log / "events.jsonl", log / "failures", setup.listeners)
    blocks = _Blocks(events.block)
    remove(setup.scratch)
    try:
        with Pool(
            config, used, f"{setup.run_id}-{stage}-{workers}", log, setup.lease, blocks.report, fixed=True
        ) as pool:
            for group in used:
                on_every_worker(pool, group, meet, [{}] * group.workers, log)
            startup_s = blocks.since_asked_s()
            first = [row for group in used for row in _first_batch(setup, pool, group, stage, log)]
            common = {
                "stage": stage,
                "workers": workers,
                "site": config.config.site.name,
                "executors": ", ".join(g.label for g in used),
                "startup_s": round(startup_s, 3),
                "queue_s": blocks.queue_s,
                "jobs": "" if pool.is_local else ", ".join(blocks.jobs),
                **{
                    f"first_batch_{name}_s": round(statistics.median(row["seconds"][i] for row in first), 4)
                    for i, name in enumerate(PASSES)
                },
            }
            lost = events.n_lost
            for repeat in repeats:
                root = link_inputs(setup.scratch / f"repeat-{repeat}", setup.prepared, stage)
                row, tasks = _timed(setup, pool, events, stage, root)
                row["lost"] = events.n_lost - lost
                lost = events.n_lost
                remove(root)
                yield {**common, "repeat": repeat, **row}, tasks
    finally:
        events.close()
        remove(setup.scratch)


class _Blocks:
    """Passes reports of blocks on, and notes when they were asked for and how long they waited."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report
        self._waited: dict[tuple[str, str], float] = {}
        self._first = time.monotonic()
        self.jobs: list[str] = []

    def report(self, executor: str, block: str, job_id: str, state: str, **facts: Any) -> None:
        """As `Events.block`."""
        if state == "submitted":
            if not self.jobs:
                self._first = time.monotonic()
            self.jobs.append(job_id)
        if state in ("running", "connected"):
            self._waited.setdefault((executor, block), float(facts["waited_s"]))
        self._report(executor, block, job_id, state, **facts)

    def since_asked_s(self) -> float:
        """Time since the first block was asked for."""
        return time.monotonic() - self._first

    @property
    def queue_s(self) -> float:
        """The longest wait of a block from its submission until its job was seen to run."""
        return max(self._waited.values(), default=0.0)


def _first_batch(setup: Setup, pool: Pool, group: Group, stage: str, log: Path) -> list[Row]:
    """Let every worker of a group compute one batch twice; what `rehearse` returns of each."""
    facts = []
    for worker in range(group.workers):
        roots_of = [setup.scratch / "first" / f"{group.label}-{worker}-{name}" for name in PASSES]
        passes = [
            _one_batch(setup, pool, group, stage, link_inputs(root, setup.prepared, stage))
            for root in roots_of
        ]
        facts.append({"passes": passes})
    rows = on_every_worker(pool, group, rehearse, facts, log)
    for problem in (row["problem"] for row in rows if row["problem"]):
        if problem["status"] in ("unfit", "refused"):
            raise PlaceError(
                f"{problem['task']}: {problem['reason']}",
                problem["remedy"] or "install the driver's versions where the workers run",
            )
        words = problem["reason"] or "; ".join(map(str, problem["failed"].values()))
        _refuse({problem["task"]: words}, log)
    return rows


def _one_batch(setup: Setup, pool: Pool, group: Group, stage: str, root: Path) -> list[Row]:
    """The first batch of the first position, all steps, as tasks that write to a scratch of their own."""
    plan = setup.plan(stage, frames=setup.config.config.batch_frames, scratch=root)
    position = next(iter(plan.positions))
    nodes = [n for n in plan.nodes if n.stage.name == stage]
    parts = [
        part
        for node in nodes
        if pool.label(stage, node.stage.on_gpu) == group.label
        for part in plan.parts(node)
        if part.position == position
    ]
    parts.sort(key=lambda p: (p.node.depth, p.index))
    prepare(plan, parts)
    tasks, specs = [], Specs(plan)
    for part in parts:
        tasks.append({**specs.of(part), "terms": pool.terms(group.label, part.node.stage)})
    return tasks


def _timed(setup: Setup, pool: Pool, events: Events, stage: str, root: Path) -> tuple[Row, list[Row]]:
    plan = setup.plan(stage, scratch=root)
    assessor = Assessor(plan)
    todo = assessor.assess().todo
    strange = [part.id for part in todo if part.node.stage.name != stage]
    if strange:
        raise PlaceError(f"inputs of {stage} are gone: {strange[0]}", "run the same command again")
    prepare(plan, todo)
    dispatcher = Dispatcher(pool, plan, events, setup.config.config.engine.max_attempts, "stop")
    before = len(events.ended_tasks)
    started = time.perf_counter()
    result = dispatcher.run(todo, assessor.needed, assessor.mark)
    wall_s = time.perf_counter() - started
    failed = {part.id: outcome["reason"] for part, outcome in result.failed.items()}
    receipts = {part: read_receipt(part.place.receipt) for part in todo}
    for part, receipt in receipts.items():
        if receipt is None or receipt.failed:
            failed.setdefault(
                part.id, "; ".join(receipt.failed.values()) if receipt else "it was not computed"
            )
    if failed:
        _refuse(failed, events.failure_log("x").parent)
    tasks = [_task(event) for event in events.ended_tasks[before:]]
    busy = sum(t["ended"] - t["started"] for t in tasks)
    row = {
        "wall_s": round(wall_s, 4),
        "busy_s": round(busy, 4),
        "cpu_s": round(sum(t["cpu_s"] or 0.0 for t in tasks), 3),
        "max_rss_mb": max(t["max_rss_mb"] or 0.0 for t in tasks),
        "tasks": len(tasks),
        "frames": sum(plan.n_frames.values()),
        "film_tasks": sum(part.node.step.scope not in PER_FRAME for part in todo),
        "film_frac": round(_film_busy(todo, tasks) / busy, 4) if busy else 0.0,
        "digest": fingerprint({part.id: r.digest for part, r in receipts.items() if r is not None}),
    }
    return row, tasks


def _film_busy(todo: Sequence[Part] | dict[Part, str], tasks: Sequence[Row]) -> float:
    """Busy time of the tasks that take a film as a whole, which no number of workers can share."""
    films = {part.id for part in todo if part.node.step.scope not in PER_FRAME}
    return float(sum(t["ended"] - t["started"] for t in tasks if t["task"] in films))


def _task(event: Row) -> Row:
    keys = ("task", "attempt", "executor", "host", "pid", "started", "ended", "cpu_s", "max_rss_mb")
    return {key: event.get(key) for key in keys}


def _refuse(failed: dict[str, str], log: Path) -> None:
    (task, reason), *others = failed.items()
    raise PartialError(
        f"{task} failed: {reason}" + (f"; and {len(others)} more" if others else ""),
        f"a benchmark needs a dataset without bad frames; see {log}",
    )
