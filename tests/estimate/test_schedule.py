"""The queue played through: no faster than the work and the longest chain allow, exact where it is plain."""

from __future__ import annotations

import pytest

from dataops_parsl.estimate.schedule import makespan
from dataops_parsl.nodes import Part
from tests.helpers import Project
from tests.in_process import parts, planned


def _chain_s(seconds: dict[Part, float]) -> float:
    """Length of the longest chain of parts that read each other."""
    ends: dict[Part, float] = {}
    for part in seconds:  # each after those that it reads
        ends[part] = seconds[part] + max((ends[p] for p in part.inputs() if p in ends), default=0.0)
    return max(ends.values())


def test_it_lies_between_what_must_be_and_one_worker(project: Project) -> None:
    plan = planned(project.root)
    seconds = {part: 1.0 + part.node.depth % 3 for part in parts(plan)}
    where, work = dict.fromkeys(seconds, "all"), sum(seconds.values())
    assert makespan(seconds, where, {"all": 1}) == pytest.approx(work)
    assert makespan(seconds, where, {"all": 10_000}) == pytest.approx(_chain_s(seconds))
    before = work
    for workers in (2, 4, 8):
        took = makespan(seconds, where, {"all": workers})
        assert max(work / workers, _chain_s(seconds)) - 1e-9 <= took <= work / workers + _chain_s(seconds)
        assert took < before
        before = took


def test_executors_of_their_own_work_at_the_same_time_and_what_is_there_is_not_waited_for(
    project: Project,
) -> None:
    plan = planned(project.root)
    batches = [
        p for p in parts(plan) if p.node.id in ("register_denoise.estimate", "cellpose.limits[target]")
    ]
    seconds = dict.fromkeys(batches, 2.0)
    where = {part: part.node.stage.name for part in batches}
    counts = {name: sum(w == name for w in where.values()) for name in set(where.values())}
    assert makespan(seconds, where, dict.fromkeys(counts, 1)) == 2.0 * max(counts.values())
    assert makespan(seconds, dict.fromkeys(batches, "one"), {"one": 1}) == 2.0 * len(batches)
    last = [p for p in parts(plan) if p.node.id == "charts.curves"]
    assert makespan(dict.fromkeys(last, 3.0), dict.fromkeys(last, "one"), {"one": 2}) == 3.0
    assert makespan({}, {}, {"one": 2}) == 0.0
