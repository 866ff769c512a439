"""What the blocks of a cluster are at, in a line for each executor."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXPECTED = ("given back", "COMPLETED")
"""How blocks end when nothing went wrong."""

_CONTROLLER = {
    "unreachable": "SLURM's controller does not answer; on with the blocks that work",
    "answering": "SLURM's controller answers again",
}


@dataclass
class _Executor:
    workers_per_block: dict[str, int] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    reason: str = ""


class BlockStates:
    """Follows the events of blocks."""

    def __init__(self) -> None:
        self._executors: dict[str, _Executor] = {}

    def on_event(self, event: dict[str, Any]) -> str:
        """Take one event; returns what a user should be told at once, or an empty text."""
        if event["state"] in _CONTROLLER:
            return _CONTROLLER[event["state"]]
        if event["state"] == "refused":
            return f"sbatch refuses more blocks of {event['executor']}: {event['reason']}; on with fewer"
        one = self._executors.setdefault(event["executor"], _Executor())
        block, state = event["block"], event["state"]
        one.state[block] = state
        if state == "submitted":
            one.workers_per_block[block] = event["workers"]
        elif state == "waiting":
            one.reason = event["reason"]
        where = f"block {block} of {event['executor']} (job {event['job_id']})"
        if state == "left":
            return f"{where}: {event['reason']}; end it with: scancel {event['job_id']}"
        if state == "ended" and not event["reason"].startswith(EXPECTED):
            return f"{where} ended: {event['reason']}; its output: {event['log']}"
        return ""

    def lines(self) -> list[str]:
        """One line an executor that has blocks now."""
        out = []
        for label, one in self._executors.items():
            count = {
                words: [b for b, s in one.state.items() if s in states]
                for words, states in (
                    ("working", ("connected",)),
                    ("starting", ("running",)),
                    ("waiting", ("submitted", "waiting")),
                )
            }
            parts = []
            if working := count["working"]:
                workers = sum(one.workers_per_block[b] for b in working)
                parts.append(f"{_many(workers, 'worker')} in {_many(len(working), 'block')}")
            if starting := count["starting"]:
                parts.append(f"{_many(len(starting), 'block')} starting")
            if waiting := count["waiting"]:
                why = f" ({one.reason})" if one.reason else ""
                parts.append(f"{_many(len(waiting), 'block')} waiting in the queue{why}")
            if parts:
                out.append(f"{label}: {', '.join(parts)}")
        return out


def _many(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"
