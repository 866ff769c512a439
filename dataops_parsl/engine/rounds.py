"""Plan, run, plan again until nothing is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dataops_parsl import publish
from dataops_parsl.engine.dispatch import Dispatcher
from dataops_parsl.engine.lean import Lean
from dataops_parsl.errors import InputMissingError
from dataops_parsl.needs import Assessor, Needs
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.storage.atomic import write_json
from dataops_parsl.storage.pixels import array_path, ensure_array

MAX_ROUNDS = 8
"""Each round after the first mends inputs that were found damaged or gone; and one more for each step that
may find its inputs gone only when its turn comes."""


def rounds(
    plan: Plan,
    assessor: Assessor,
    needs: Needs,
    dispatcher: Dispatcher,
    expect: Callable[[Plan, Mapping[Part, str]], None],
    lean: Lean | None = None,
) -> dict[Part, dict[str, Any]]:
    """Rounds of work, each on what is missing then; returns the parts that were given up.

    Parameters
    ----------
    lean : Lean or None
        Deletes what nothing reads any more.
    """
    given_up: dict[Part, dict[str, Any]] = {}
    blocked: set[Part] = set()
    most = MAX_ROUNDS + max(node.depth for node in plan.nodes)
    for _ in range(most):
        todo = {p: r for p, r in needs.todo.items() if p not in given_up and p not in blocked}
        if not todo and publish.readable(plan):
            return given_up
        prepare(plan, todo)
        expect(plan, todo)
        if lean is not None:
            lean.begin(needs.todo)
        settled = lean.settled if lean is not None else _nothing
        result = dispatcher.run(todo, assessor.needed, assessor.mark, settled)
        given_up.update(result.failed)
        blocked.update(result.blocked)
        if result.stopped:
            return given_up
        needs = assessor.assess()
    raise InputMissingError(
        f"after {most} rounds {len(needs.todo)} parts are still missing",
        "something else changes or deletes the scratch folder while the run goes on",
    )


def _nothing(_: Part) -> None:
    return


def prepare(plan: Plan, todo: Iterable[Part]) -> None:
    """What only the driver writes: the description of each step and the heads of its arrays."""
    for node in dict.fromkeys(p.node for p in todo):
        if not (node.folder / "step.json").exists():
            write_json(node.folder / "step.json", node.described, indent=1)
        for position, output, channel, dtype in plan.arrays(node):
            film = plan.positions[position]
            ensure_array(
                array_path(node.folder, position, output, channel),
                film.n_frames,
                film.shape_px,
                dtype,
                plan.batch_frames,
                plan.dataset.pixel_size_um,
            )
