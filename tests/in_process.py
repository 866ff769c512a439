"""A run in this process: planned as the command plans it, computed by the shell that workers run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from dataops_parsl import cli, workflow
from dataops_parsl.commands.setting import open_dataset
from dataops_parsl.engine.rounds import prepare
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.spec import Specs
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
