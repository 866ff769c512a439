"""In which order ready tasks go to an executor."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from dataops_parsl.engine.dispatch import _Queue

GPU = frozenset({"gpu"})
NONE: frozenset[str] = frozenset()


def part(name: str, depth: int, index: int = 0) -> Any:
    """A part, as far as its place in a queue goes."""
    return SimpleNamespace(id=name, index=index, node=SimpleNamespace(depth=depth))


def filled(workers: int = 2) -> _Queue:
    """Two frames to register, which feed the GPU; two masks to measure, which feed nothing."""
    queue = _Queue(workers)
    for counter, (name, depth, index, feeds) in enumerate(
        [
            ("register 0", 0, 0, GPU),
            ("register 1", 0, 1, GPU),
            ("measure 1", 4, 1, NONE),
            ("measure 0", 4, 0, NONE),
        ]
    ):
        queue.push(part(name, depth, index), counter, feeds)
    return queue


def order(queue: _Queue, hungry: set[str]) -> list[str]:
    """Names in the order in which they are taken."""
    return [queue.pop(hungry).id for _ in range(len(queue))]


def test_deepest_first_then_in_the_order_of_frames() -> None:
    assert order(filled(), set()) == ["measure 0", "measure 1", "register 0", "register 1"]


def test_what_feeds_an_executor_that_runs_dry_goes_first() -> None:
    assert order(filled(), {"gpu"}) == ["register 0", "register 1", "measure 0", "measure 1"]


def test_an_executor_is_hungry_while_it_has_less_at_hand_than_workers_and_more_to_come() -> None:
    queue = _Queue(2)
    assert not queue.hungry, "nothing will come"
    queue.remaining = 5
    assert queue.hungry
    queue.flying = 2
    assert not queue.hungry, "each worker has a task"
    queue.flying = queue.remaining = 1
    assert not queue.hungry, "the last task is under way"
