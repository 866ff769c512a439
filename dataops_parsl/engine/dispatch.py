"""Owns the graph: submits only ready tasks, deepest stage first, a bounded window at a time.

No future is an argument of another, and Parsl's own retries stay off: they cannot leave out a frame
that kills its worker, and one failed input would fail every join on it.
"""

from __future__ import annotations

import heapq
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.lost import explain, is_loss
from dataops_parsl.engine.parked import Parked
from dataops_parsl.errors import PlaceError
from dataops_parsl.events import Events
from dataops_parsl.nodes import Part, StepNode
from dataops_parsl.plan import Plan
from dataops_parsl.spec import Specs
from dataops_parsl.storage.part_claims import Alone, Claims
from dataops_parsl.task import execute

Outcome = dict[str, Any]
AHEAD_S, MOST_AHEAD = 0.2, 32
"""So much work a worker is sent ahead of need, and no more than so many tasks."""
MOST_BLOCKS_LOST = 10
"""So many blocks may end under a task before it is given up: it may be what ends them."""


@dataclass
class Round:
    """What became of one round of tasks."""

    done: list[Part] = field(default_factory=list)
    failed: dict[Part, Outcome] = field(default_factory=dict)
    blocked: list[Part] = field(default_factory=list)
    stopped: bool = False


@dataclass
class _Attempts:
    label: str
    number: int = 1
    lost: int = 0
    blocks_lost: int = 0
    submitted: float = 0.0
    deadly: set[int] = field(default_factory=set)


class _Queue:
    """The tasks of one executor: those that are ready, deepest stage first, and how many are under way."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._task_s = AHEAD_S
        self.flying = 0
        self.remaining = 0
        self._ready: dict[frozenset[str], list[tuple[int, int, int, Part]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._ready.values()))

    @property
    def window(self) -> int:
        """Tasks that may be under way: enough that no worker waits for the driver, so few that deeper tasks
        overtake soon."""
        ahead = min(MOST_AHEAD, AHEAD_S / max(self._task_s, 1e-3))
        return 2 + self.workers * (1 + max(1, round(ahead)))

    def took(self, outcome: Outcome) -> None:
        """Note how long a task took."""
        if "started" in outcome and "ended" in outcome:
            self._task_s += 0.1 * (outcome["ended"] - outcome["started"] - self._task_s)

    @property
    def hungry(self) -> bool:
        """Whether its workers will soon have nothing to do, while there is work for them to come."""
        at_hand = self.flying + len(self)
        return at_hand < self.workers and self.remaining > at_hand

    def push(self, part: Part, counter: int, feeds: frozenset[str]) -> None:
        """Add a ready task, whose descendants run on the executors `feeds`."""
        # The counter decides ties, so that parts themselves are never compared.
        item = (-part.node.depth, part.index, counter, part)
        heapq.heappush(self._ready.setdefault(feeds, []), item)

    def pop(self, hungry: set[str]) -> Part:
        """Take the next task: one that feeds a hungry executor, else the deepest."""
        heaps = [(feeds, heap) for feeds, heap in self._ready.items() if heap]
        feeding = [item for item in heaps if item[0] & hungry]
        _, heap = min(feeding or heaps, key=lambda item: item[1][0][:3])
        return heapq.heappop(heap)[-1]


@dataclass(frozen=True)
class StandIn:
    """What workers do instead of computing a part: a benchmark of the engine.

    Parameters
    ----------
    function : callable
        As `task.execute`, importable on the workers.
    facts : callable
        Of a part: what the function finds in its task, beside all that a task holds.
    """

    function: Callable[[dict[str, Any]], Outcome]
    facts: Callable[[Part], dict[str, Any]]


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
    stand_in : StandIn or None
        What to do instead of the tasks.
    claims : Claims or None
        Asked before a part is computed; None where no other run can be on the same scratch.
    """

    def __init__(
        self,
        pool: Pool,
        plan: Plan,
        events: Events,
        max_attempts: int,
        on_failure: str,
        stand_in: StandIn | None = None,
        claims: Claims | None = None,
    ) -> None:
        self._claims = claims or Alone()
        self._parked = Parked(self._claims)
        self._does = stand_in or StandIn(execute, lambda _: {})
        self.pool, self.plan, self.events = pool, plan, events
        self.max_attempts, self.on_failure = max_attempts, on_failure
        self._specs = Specs(plan)
        self._results: queue.SimpleQueue[tuple[Part, Any]] = queue.SimpleQueue()
        self._attempts: dict[Part, _Attempts] = {}
        self._queues: dict[str, _Queue] = {}
        self._counter = 0
        self._checked = 0.0
        self._labels = {n: pool.label(n.stage.name, n.stage.on_gpu) for n in plan.nodes}
        self._feeds = _feeds(plan, self._labels)

    def run(
        self,
        todo: Mapping[Part, str],
        needed: Callable[[Part], bool],
        finished: Callable[[Part], None],
        settled: Callable[[Part], None] = lambda _: None,
    ) -> Round:
        """Compute the parts of `todo`, inputs before what reads them.

        A part that another run computes just now is put aside and asked about again a little later; other
        parts go on meanwhile.

        Parameters
        ----------
        needed : callable
            Asked of each part when its turn comes: what another run has done meanwhile is passed over.
        finished : callable
            Told of each part that was computed.
        settled : callable
            Told of each part that was computed or passed over: it can be read.

        Raises
        ------
        PlaceError
            When workers cannot work at all: wrong versions, full disk, none that connects.
        """
        result = Round()
        waiting, dependents = self._graph(todo)
        self._queues = {label: _Queue(workers) for label, workers in self.pool.workers.items()}
        for part, n_sources in waiting.items():
            self._queues[self._labels[part.node]].remaining += 1
            if not n_sources:
                self._make_ready(part)
        self._parked.clear()
        flying: set[Part] = set()

        def can_be_read(part: Part) -> None:
            settled(part)
            self._unlock(part, waiting, dependents)

        while flying or ((any(self._queues.values()) or self._parked) and not result.stopped):
            if not result.stopped:
                self._submit_ready(todo, needed, flying, can_be_read)
            self._say_demand(result.stopped)
            for part, future in self._next() if flying or self._parked else ():
                outcome = self._outcome(part, future)
                if outcome is None:  # lost: tried again
                    continue
                flying.discard(part)
                if self._take(part, outcome, result):
                    finished(part)
                    can_be_read(part)
        result.blocked = _blocked(result.failed, dependents)
        self._say_demand(stopped=True)
        return result

    def _take(self, part: Part, outcome: Outcome, result: Round) -> bool:
        """Note what became of a part; whether there is something that its readers can read.

        Raises
        ------
        PlaceError
            When its worker cannot work at all.
        """
        attempts = self._attempts.pop(part)
        self._queues[attempts.label].flying -= 1
        self._queues[attempts.label].took(outcome)
        self._queues[self._labels[part.node]].remaining -= 1
        self._claims.drop(part.place)
        self.events.ended(part, {"attempt": attempts.number, "executor": attempts.label, **outcome})
        status = outcome["status"]
        if status in ("refused", "unfit"):
            raise PlaceError(
                f"{part.id}: {outcome['reason']}",
                outcome.get("remedy") or "install the driver's versions where the workers run",
            )
        if self.on_failure == "stop" and (outcome["failed"] or status == "failed"):
            result.stopped = True
        if status in ("done", "partial"):
            result.done.append(part)
            return True
        if status != "input_missing":  # else its receipt was dropped: the next round computes the input anew
            result.failed[part] = outcome
        return False

    def _submit_ready(
        self,
        todo: Mapping[Part, str],
        needed: Callable[[Part], bool],
        flying: set[Part],
        can_be_read: Callable[[Part], None],
    ) -> None:
        for part in self._parked.due():
            self._make_ready(part)
        for line in list(self._queues.values()):
            while line and line.flying < line.window:
                part = line.pop({name for name, other in self._queues.items() if other.hungry})
                # Claimed first: asked first, it could be computed by another run in between, and then again.
                if holder := self._claims.take(part.place):
                    if self._parked.add(part, holder):
                        self.events.waits(part, holder.run, holder.what)
                elif needed(part):
                    self._submit(part, todo[part])
                    flying.add(part)
                else:
                    self._claims.drop(part.place)
                    line.remaining -= 1
                    self.events.passed_over(part)
                    can_be_read(part)

    def _say_demand(self, stopped: bool) -> None:
        for label, line in self._queues.items():
            now = line.flying + (0 if stopped else len(line))
            self.pool.demand(label, now, not stopped and line.remaining > now)

    def _make_ready(self, part: Part) -> None:
        self._counter += 1
        self._queues[self._labels[part.node]].push(part, self._counter, self._feeds[part.node])

    def _unlock(self, part: Part, waiting: dict[Part, int], dependents: Mapping[Part, list[Part]]) -> None:
        for reader in dependents.get(part, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                self._make_ready(reader)

    def _graph(self, todo: Mapping[Part, str]) -> tuple[dict[Part, int], dict[Part, list[Part]]]:
        waiting: dict[Part, int] = {}
        dependents: dict[Part, list[Part]] = {}
        for part in todo:
            sources = [s for s in part.inputs() if s in todo]
            waiting[part] = len(sources)
            for source in sources:
                dependents.setdefault(source, []).append(part)
        return waiting, dependents

    def _submit(self, part: Part, reason: str) -> None:
        attempts = self._attempts.get(part)
        if attempts is None:
            attempts = self._attempts[part] = _Attempts(self._labels[part.node])
        self._queues[attempts.label].flying += 1
        task = self._specs.of(part, attempt=attempts.number, deadly=attempts.deadly)
        task["terms"] = self.pool.terms(attempts.label, part.node.stage)
        task |= self._does.facts(part)
        if attempts.number > 1:  # a first attempt notes no frames
            part.place.notes.unlink(missing_ok=True)
        attempts.submitted = time.time()
        self.events.submitted(part, attempts.number, reason, attempts.label)
        future = self.pool.submit(attempts.label, part.node.name, self._does.function, task)
        future.add_done_callback(lambda f, p=part: self._results.put((p, f)))

    def _next(self) -> Iterator[tuple[Part, Any]]:
        """The results that are there, after waiting for the first, or for a part that was put aside."""
        wait_s = min(1.0, self._parked.wait_s())
        try:
            while True:
                yield self._results.get(timeout=wait_s)
                wait_s = 0.0
        except queue.Empty:
            pass
        now = time.monotonic()
        if now - self._checked > 1.0:
            self._checked = now
            self.pool.check()
            self.events.tick()

    def _outcome(self, part: Part, future: Any) -> Outcome | None:
        """What the task returned; None when its worker died and it was submitted again."""
        error = future.exception()
        if error is None:
            return dict(future.result())
        if isinstance(error, PlaceError):  # it never left this process
            raise error
        if not is_loss(error):
            # A task never raises: it did not even start.
            raise PlaceError(
                f"{part.id} could not start on a worker: {type(error).__name__}: {error}",
                self.pool.start_remedy,
            )
        attempts = self._attempts[part]
        lost = explain(
            error, self.pool.worker_logs, part.id, attempts.number, attempts.submitted, self.pool.cause
        )
        outcome = "oom" if lost.out_of_memory else "lost"
        self.events.lost(
            part, attempts.number, lost.reason, executor=attempts.label, outcome=outcome, **lost.facts
        )
        self._queues[attempts.label].flying -= 1
        frame = _noted_frame(part) if lost.blames_frame else None
        if lost.out_of_memory:
            return self._with_more_memory(part, attempts, lost.reason)
        if frame is not None and frame not in attempts.deadly and attempts.number > 1:
            attempts.deadly.add(frame)
        elif lost.blames_frame:
            attempts.lost += 1
        else:
            attempts.blocks_lost += 1
        if attempts.lost >= self.max_attempts:
            return self._given_up(part, f"its worker died {attempts.lost} times ({lost.reason})")
        if attempts.blocks_lost >= MOST_BLOCKS_LOST:
            return self._given_up(part, f"its block was lost {attempts.blocks_lost} times ({lost.reason})")
        attempts.number += 1
        self._submit(part, f"{outcome}: {lost.reason}")
        return None

    def _with_more_memory(self, part: Part, attempts: _Attempts, reason: str) -> Outcome | None:
        """Submit that task alone to workers with twice the memory; its failure when there are none."""
        try:
            label = self.pool.with_more_memory(attempts.label)
        except PlaceError as error:
            return self._given_up(part, f"{reason}; {error.message}")
        if label not in self._queues:
            self._queues[label] = _Queue(self.pool.workers[label])
        attempts.label = label
        attempts.number += 1
        self._submit(part, f"oom: {reason}")
        return None

    def _given_up(self, part: Part, reason: str) -> Outcome:
        # Counted as under way until it has ended.
        self._queues[self._attempts[part].label].flying += 1
        return {"id": part.id, "status": "failed", "reason": reason, "failed": {}}


def _feeds(plan: Plan, labels: Mapping[StepNode, str]) -> dict[StepNode, frozenset[str]]:
    """The other executors on which descendants of a node run."""
    below: dict[StepNode, set[str]] = {node: set() for node in plan.nodes}
    for node in sorted(plan.nodes, key=lambda n: n.depth, reverse=True):
        for source in (s.node for sources in node.sources.values() for s in sources if s.node):
            below[source] |= below[node] | {labels[node]}
    return {node: frozenset(found - {labels[node]}) for node, found in below.items()}


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
