"""A run in this process: planned as the command plans it, computed by the shell that workers run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

from dataops_parsl import cli, workflow
from dataops_parsl.bundle import new_id
from dataops_parsl.commands.setting import open_dataset
from dataops_parsl.engine.dispatch import Dispatcher
from dataops_parsl.engine.lean import Lean
from dataops_parsl.engine.rounds import prepare, rounds
from dataops_parsl.engine.sharing import use_of
from dataops_parsl.events import Events
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.spec import Specs
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.task import execute


def planned(root: Path, *flags: str, until: str = "", name: str = "cytotoxicity") -> Plan:
    """The plan of ``run NAME FLAGS`` in a project."""
    args = cli.parser().parse_args(["run", name, "--project", str(root), *flags])
    flow = workflow.load(root, name)
    dataset, setting = open_dataset(args)
    return Plan(flow.until(until) if until else flow, dataset, setting.config)


def parts(plan: Plan) -> list[Part]:
    """All parts that the results are made of, each after those that it reads; batches in order of frames."""
    found: dict[Part, None] = {}

    def add(part: Part) -> None:
        if part not in found:
            for source in part.inputs():
                add(source)
            found[part] = None

    for part in plan.wanted():
        add(part)
    return sorted(found, key=lambda p: p.node.depth)


def in_turn(plan: Plan, choose: Callable[[Sequence[Part]], int] | None = None) -> Iterator[Part]:
    """The parts of a plan, each after all that it reads.

    Parameters
    ----------
    choose : callable, optional
        Which of those that could be computed now is next; without it the one that is least deep.
    """
    waiting = parts(plan)
    prepare(plan, waiting)
    if choose is None:
        yield from waiting
        return
    done: set[Part] = set()
    while waiting:
        ready = [p for p in waiting if done.issuperset(p.inputs())]
        part = ready[choose(ready)]
        yield part
        waiting.remove(part)
        done.add(part)


def compute(plan: Plan, part: Part) -> dict[str, Any]:
    """Its outcome, which must be whole."""
    outcome = execute(Specs(plan).of(part))
    assert outcome["status"] == "done", (part.id, outcome)
    return outcome


class InProcess:
    """What the dispatcher needs of a pool: its one worker is a thread of this process.

    Parameters
    ----------
    before : callable, optional
        Called with each task before it is computed.
    """

    workers: ClassVar[dict[str, int]] = {"here": 1}
    worker_logs = Path("none")
    computing = threading.Lock()
    """Of all workers of this process: libraries compute in one thread at a time."""

    def __init__(self, before: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._before = before
        self._thread = ThreadPoolExecutor(1)
        self.computed: list[str] = []

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def label(self, *_: object) -> str:
        """Of the only executor."""
        return "here"

    def terms(self, *_: object) -> dict[str, Any]:
        """No memory is watched, no device looked at."""
        return {}

    def submit(
        self, _label: str, _name: str, function: Callable[..., Any], task: dict[str, Any]
    ) -> Future[Any]:
        """Compute a task when its turn comes."""
        return self._thread.submit(self._compute, function, task)

    def _compute(self, function: Callable[..., Any], task: dict[str, Any]) -> Any:
        self._before(task)
        with self.computing:
            self.computed.append(task["id"])
            return function(task)

    def demand(self, *_: object) -> None:
        """There is one worker, whatever there is to do."""

    check = demand


def run(
    plan: Plan, log: Path, pool: InProcess, *, lean: bool = False, forced: Collection[str] = ()
) -> dict[Part, dict[str, Any]]:
    """Compute a plan as ``run`` does, beside other runs; returns what was given up."""
    with use_of(plan, new_id()) as use, PartClaims(use) as claims:
        deleting = Lean(plan, use) if lean else None
        assessor = Assessor(plan, forced)
        assessor.began_ns = use.began_ns
        events = Events(log / "events.jsonl", log / "failures")
        try:
            dispatcher = Dispatcher(pool, plan, events, 2, "finish", claims=claims)  # type: ignore[arg-type]
            given_up = rounds(plan, assessor, assessor.assess(), dispatcher, lambda *_: None, deleting)
        finally:
            events.close()
        if deleting:
            deleting.finish(Assessor(plan).assess().todo)
        return given_up
