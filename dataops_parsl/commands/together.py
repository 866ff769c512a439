"""What a run says to other runs' being there, and what it leaves to them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dataops_parsl import publish
from dataops_parsl.bundle import Bundle, find_sealed, new_id
from dataops_parsl.engine.lean import Lean
from dataops_parsl.engine.sharing import same_result, use_of, wait_for_same_result
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.report.words import size
from dataops_parsl.storage.users import Use


def say_who(use: Use, plan: Plan) -> None:
    """Name the other runs on the same scratch that began earlier."""
    same, elders = same_result(use, plan), {user.lease for user in use.elders}
    for user in (user for user in use.others() if user.lease in elders):
        does = "makes the same result" if same and user.lease == same.lease else "works on this dataset too"
        print(f"Run {user.run} on {user.host} {does}: what both need is computed once", flush=True)


def made_already(plan: Plan, output_root: Path, use: Use) -> Bundle | None:
    """A sealed bundle that holds what this run would publish, after waiting for who is about to make one."""
    wait_for_same_result(
        use, plan, lambda user: print(f"Waiting for run {user.run}, which publishes the result", flush=True)
    )
    labels = bool(plan.workflow.kept)
    sealed = find_sealed(output_root, plan.workflow.name, plan.recipe, labels=labels)
    if sealed is None or sealed.facts.get("parts") != publish.digests(plan):
        return None
    return sealed


def lean_at_last(plan: Plan) -> None:
    """Delete the intermediates of a complete result: a lean run may have been stopped before it did."""
    if plan.scratch.exists():
        with use_of(plan, new_id()) as use:
            _finish(Lean(plan, use), ())


def finish_lean(lean: Lean, plan: Plan) -> None:
    """Delete the intermediates that are left, and say what became of them."""
    _finish(lean, Assessor(plan).assess().todo)


def _finish(lean: Lean, todo: Collection[Part]) -> None:
    lean.finish(todo)
    if lean.freed:
        print(f"--lean: {size(lean.freed)} of intermediates deleted", flush=True)
    for folder, reason in sorted(lean.left.items()):
        print(f"--lean: {folder} stays: {reason}", flush=True)
