"""What a run says and asks before anything is opened: how much there is to do, and whether it can be done."""

from __future__ import annotations

from dataops_parsl.commands.text import say
from dataops_parsl.config import Loaded
from dataops_parsl.engine.groups import groups
from dataops_parsl.engine.preflight import findings, require
from dataops_parsl.estimate.predict import estimate
from dataops_parsl.estimate.room import memory, room
from dataops_parsl.estimate.words import text as estimate_text
from dataops_parsl.needs import Needs
from dataops_parsl.plan import Plan


def check_place(config: Loaded, needs: Needs) -> None:
    """Refuse a run that the site could not work for, before anything is opened."""
    stages = list({id(p.node.stage): p.node.stage for p in needs.todo}.values())
    if config.config.site.kind == "local":
        for stage in stages:
            stage.check_device()
    elif stages:
        require(findings(config, groups(config, stages)))


def check_room(plan: Plan, needs: Needs) -> None:
    """Say when what a run would write does not fit, and refuse it when not even one part does."""
    if not needs.todo:
        return
    asked = estimate(plan, needs, plan.config.paths.output_root)
    found = [*room(plan.config, asked), *memory(plan.config, asked)]
    require(found)
    for finding in found:
        if finding.remedy:
            say(f"note: {finding.found}\n  remedy: {finding.remedy}")


def extent(plan: Plan) -> str:
    """How much a run is about, in words."""
    positions, frames = len(plan.positions), sum(plan.n_frames.values())
    many = ["s" * (n != 1) for n in (positions, frames)]
    return (
        f"{positions} position{many[0]}, {frames} frame{many[1]}, populations {', '.join(plan.populations)}"
    )


def dry_run(needs: Needs, plan: Plan) -> int:
    """Say what would be computed, why, and what it would cost."""
    if not needs.todo:
        say("Nothing would be computed; tables would be published anew.")
        return 0
    for (node, reason), n in needs.reasons().items():
        say(f"  {n:>6} × {node:<32} {reason}")
    say(f"{len(needs.todo)} tasks would be computed into {plan.scratch}")
    say(estimate_text(estimate(plan, needs, plan.config.paths.output_root)))
    return 0
