"""Owns the graph: submits only ready tasks, deepest stage first, a bounded window at a time.

No future is an argument of another, and Parsl's own retries stay off: they cannot leave out a frame
that kills its worker, and one failed input would fail every join on it.
"""

from __future__ import annotations

import heapq
import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

from dataops_parsl.engine.executors import Pool
from dataops_parsl.errors import PlaceError
from dataops_parsl.events import Events
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.spec import spec
from dataops_parsl.task import execute

Outcome = dict[str, Any]


@dataclass
class Round:
    """What became of one round of tasks."""

    done: list[Part] = field(default_factory=list)
    failed: dict[Part, Outcome] = field(default_factory=dict)
    blocked: list[Part] = field(default_factory=list)
    stopped: bool = False


@dataclass
class _Attempts:
    number: int = 1
    lost: int = 0
    deadly: set[int] = field(default_factory=set)


class Dispatcher:
    """Runs rounds of tasks on a pool.

    Parameters
    ----------
    pool : Pool
    plan : Plan
    events : Events
    max_attempts : int
        A task whose worker died this often, each time without saying at which frame, is given up.
    on_failure : str
        ``finish`` completes all that does not depend on a failure; ``stop`` submits nothing more.
    """

    def __init__(self, pool: Pool, plan: Plan, events: Events, max_attempts: int, on_failure: str) -> None:
        self.pool, self.plan, self.events = pool, plan, events
        self.max_attempts, self.on_failure = max_attempts, on_failure
        self._results: queue.SimpleQueue[tuple[Part, Any]] = queue.SimpleQueue()
        self._attempts: dict[Part, _Attempts] = {}
        self._counter = 0
        self._checked = 0.0

    def run(
        self,
        todo: Mapping[Part, str],
        needed: Callable[[Part], bool],
        finished: Callable[[Part], None],
    ) -> Round:
        """Compute the parts of `todo`, inputs before what reads them.

        Parameters
        ----------
        needed : callable
            Asked of each part when its turn comes: what another run has done meanwhile is passed over.
        finished : callable
            Told of each part that was computed.

        Raises
        ------
        PlaceError
            When workers cannot work at all: wrong versions, full disk, none that connects.
        """
        result = Round()
        waiting, dependents = self._graph(todo)
        ready = [self._rank(p) for p, n in waiting.items() if not n]
        heapq.heapify(ready)
        flying: set[Part] = set()
        # Enough that no worker waits for the driver; few, so that deeper tasks overtake soon.
        window = 2 * self.pool.workers + 2
        while flying or (ready and not result.stopped):
            while ready and len(flying) < window and not result.stopped:
                part = heapq.heappop(ready)[-1]
                if needed(part):
                    self._submit(part, todo[part])
                    flying.add(part)
                else:
                    self.events.passed_over(part)
                    self._unlock(part, waiting, dependents, ready)
            item = self._next() if flying else None
            if item is None:
                continue
            part, future = item
            outcome = self._outcome(part, future)
            if outcome is None:  # lost: tried again
                continue
            flying.discard(part)
            self.events.ended(part, outcome)
            self._attempts.pop(part, None)
            if outcome["status"] in ("done", "partial"):
                finished(part)
                result.done.append(part)
                self._unlock(part, waiting, dependents, ready)
            elif outcome["status"] == "input_missing":
                pass  # its receipt was dropped: the next round computes the input anew
            elif outcome["status"] in ("refused", "unfit"):
                raise PlaceError(
                    f"{part.id}: {outcome['reason']}",
                    outcome.get("remedy") or "install the driver's versions where the workers run",
                )
            else:
                result.failed[part] = outcome
            if self.on_failure == "stop" and (outcome["failed"] or outcome["status"] == "failed"):
                result.stopped = True
        result.blocked = _blocked(result.failed, dependents)
        return result

    def _unlock(
        self,
        part: Part,
        waiting: dict[Part, int],
        dependents: Mapping[Part, list[Part]],
        ready: list[tuple[int, int, int, Part]],
    ) -> None:
        for reader in dependents.get(part, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, self._rank(reader))

    def _graph(self, todo: Mapping[Part, str]) -> tuple[dict[Part, int], dict[Part, list[Part]]]:
        waiting: dict[Part, int] = {}
        dependents: dict[Part, list[Part]] = {}
        for part in todo:
            sources = [s for s in part.inputs() if s in todo]
            waiting[part] = len(sources)
            for source in sources:
                dependents.setdefault(source, []).append(part)
        return waiting, dependents

    def _rank(self, part: Part) -> tuple[int, int, int, Part]:
        # The counter decides ties, so that parts themselves are never compared.
        self._counter += 1
        return (-part.node.depth, part.index, self._counter, part)

    def _submit(self, part: Part, reason: str) -> None:
        attempts = self._attempts.setdefault(part, _Attempts())
        task = spec(self.plan, part, attempt=attempts.number, deadly=attempts.deadly)
        part.place.notes.unlink(missing_ok=True)
        self.events.submitted(part, attempts.number, reason)
        future = self.pool.submit(part.node.name, execute, task)
        future.add_done_callback(lambda f, p=part: self._results.put((p, f)))

    def _next(self) -> tuple[Part, Any] | None:
        try:
            item = self._results.get(timeout=1.0)
        except queue.Empty:
            item = None
        now = time.monotonic()
        if now - self._checked > 1.0:
            self._checked = now
            self.pool.check()
            self.events.tick()
        return item

    def _outcome(self, part: Part, future: Any) -> Outcome | None:
        """What the task returned; None when its worker died and it was submitted again."""
        error = future.exception()
        if error is None:
            return dict(future.result())
        attempts = self._attempts[part]
        reason = f"{type(error).__name__}: {error}"
        if not isinstance(error, (WorkerLost, ManagerLost)):
            return _failure(part, reason)
        self.events.lost(part, attempts.number, reason)
        # A block that ends takes its tasks with it, whatever they were at: only a worker blames a frame.
        frame = _noted_frame(part) if isinstance(error, WorkerLost) else None
        if frame is not None and frame not in attempts.deadly and attempts.number > 1:
            attempts.deadly.add(frame)
        else:
            attempts.lost += 1
        if attempts.lost >= self.max_attempts:
            return _failure(part, f"its worker died {attempts.lost} times ({reason})")
        attempts.number += 1
        self._submit(part, f"worker lost, attempt {attempts.number}")
        return None


def _failure(part: Part, reason: str) -> Outcome:
    return {"id": part.id, "status": "failed", "reason": reason, "failed": {}}


def _noted_frame(part: Part) -> int | None:
    try:
        return int(part.place.notes.read_text())
    except (OSError, ValueError):
        return None


def _blocked(failed: Mapping[Part, Outcome], dependents: Mapping[Part, list[Part]]) -> list[Part]:
    seen: dict[Part, None] = {}
    stack = [reader for part in failed for reader in dependents.get(part, ())]
    while stack:
        part = stack.pop()
        if part not in seen:
            seen[part] = None
            stack += dependents.get(part, [])
    return list(seen)
