"""Several runs on one dataset's scratch: what each says of itself, and whose result is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from dataops_parsl.engine.lean import Lean
from dataops_parsl.plan import Plan
from dataops_parsl.stage import Pixels
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.storage.parts import fingerprint
from dataops_parsl.storage.users import Use, User

ASK_EVERY_S = 0.5


@dataclass(frozen=True)
class Shared:
    """How a run goes about a scratch that others may use too.

    Parameters
    ----------
    use : Use
        Its lease.
    claims : PartClaims
    lean : Lean or None
        What deletes intermediates, if any is to go.
    """

    use: Use
    claims: PartClaims
    lean: Lean | None = None


def use_of(plan: Plan, run: str, *, pixels: bool = True, publishes: bool = False) -> Use:
    """The use that a run of this plan makes of its dataset's scratch.

    Parameters
    ----------
    run : str
        Its id.
    pixels : bool
        Whether it writes, so that other runs do not overwrite its pixels with others until its end.
    publishes : bool
        Whether other runs of the same result may wait for it to publish that.
    """
    folders = {node: str(node.folder.relative_to(plan.scratch)) for node in plan.nodes}
    places = {
        folder: {part.stem: part.recipe[:16] for part in plan.parts(node)}
        for node, folder in folders.items()
        if pixels and any(isinstance(given, Pixels) for given in node.step.gives.values())
    }
    return Use(plan.scratch, run, folders.values(), places, _result(plan) if publishes else "")


def _result(plan: Plan) -> str:
    return fingerprint([plan.recipe, str(plan.config.paths.output_root.resolve())])


def same_result(use: Use, plan: Plan) -> User | None:
    """A living run that began earlier and makes the same result; None when there is none."""
    living = {user.lease: user for user in use.others()}
    same = (living.get(e.lease) for e in use.elders if e.result == _result(plan))
    return next((user for user in same if user), None)


def wait_for_same_result(use: Use, plan: Plan, say: Callable[[User], None]) -> None:
    """Wait until no run that began earlier makes the same result: it has published it then, or is dead.

    Only the later one waits for the earlier, so that two never wait for each other.
    """
    told = None
    while user := same_result(use, plan):
        if user != told:
            say(user)
            told = user
        time.sleep(ASK_EVERY_S)
