"""How long the tasks of a run take on so many workers: the queue of the engine, played through in no time."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

from dataops_parsl.nodes import Part


def makespan(
    seconds: Mapping[Part, float], executor: Mapping[Part, str], workers: Mapping[str, int]
) -> float:
    """Seconds from the first task to the end of the last, ready tasks only, the deepest first.

    Parameters
    ----------
    seconds : mapping of part to s
        All that is to be computed; what a part reads and is not in it is there.
    executor : mapping of part to label
    workers : mapping of label to int
    """
    waits = {part: [p for p in part.inputs() if p in seconds] for part in seconds}
    left = {part: len(above) for part, above in waits.items()}
    readers: dict[Part, list[Part]] = {}
    for part, above in waits.items():
        for source in above:
            readers.setdefault(source, []).append(part)
    order = {part: number for number, part in enumerate(seconds)}
    ready: dict[str, list[tuple[int, int, Part]]] = {label: [] for label in workers}
    free, running, now = dict(workers), list[tuple[float, int, Part]](), 0.0

    def put(part: Part) -> None:
        heapq.heappush(ready[executor[part]], (-part.node.depth, order[part], part))

    for part, many in left.items():
        if not many:
            put(part)
    while True:
        for label, queue in ready.items():
            while queue and free[label]:
                part = heapq.heappop(queue)[2]
                free[label] -= 1
                heapq.heappush(running, (now + seconds[part], order[part], part))
        if not running:
            return now
        now, _, ended = heapq.heappop(running)
        free[executor[ended]] += 1
        for part in readers.get(ended, ()):
            left[part] -= 1
            if not left[part]:
                put(part)
