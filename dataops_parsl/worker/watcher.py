"""A process beside a worker that samples its memory and kills it when it passes its share.

Not a thread of the worker: ANTs holds Python's global lock for as long as a registration takes, and just
then memory grows. Run by `memory` as a script, so it imports nothing but the standard library.

It reads one JSON object a line: what to watch, ``{"limit_mb": …, "facts": {…}}``, or ``null`` for nothing. It
writes ``near`` and ``oom`` lines to its standard output, which is the worker's log.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

SAMPLE_S = 0.1
FAMILY_S = 1.0
"""Children are looked for less often: that costs a read for each thread."""
IDLE_S = 5.0
NEAR_FRAC = 0.8
"""Said beforehand, since a kernel that limits memory may be quicker than we."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MB = 2**20


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB (2**20 bytes); 0 for one that is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / _MB
    except (OSError, IndexError):
        return 0.0


def proportional_mb(pid: int) -> float:
    """The same with each page divided by the number of processes that share it; slower."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return resident_mb(pid)


def descendants(pid: int) -> list[int]:
    """Children of a process and theirs, without this process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split() if int(word) != os.getpid()]
    return found + [below for child in found for below in descendants(child)]


class _Watch:
    """Watches a worker while it computes one task."""

    def __init__(self, worker: int, limit_mb: float, facts: dict[str, Any]) -> None:
        self.worker, self.limit_mb, self.facts = worker, limit_mb, facts
        self._family: list[int] = []
        self._looked = 0.0
        self._said_near = False

    def look(self) -> None:
        """Take one sample; says what it has to say, and kills."""
        now = time.monotonic()
        if now - self._looked > FAMILY_S:
            self._looked, self._family = now, descendants(self.worker)
        pids = [self.worker, *self._family]
        used_mb = sum(map(resident_mb, pids))
        near_mb = NEAR_FRAC * self.limit_mb
        if used_mb > near_mb and self._family:
            # What a child shares with its parent was counted twice, and a child may be gone since.
            self._family = descendants(self.worker)
            used_mb = sum(map(proportional_mb, [self.worker, *self._family]))
        if used_mb > near_mb and not self._said_near:
            self._said_near = True
            self._say("near", used_mb)
        # No longer its parent, the worker is dead: the number may be another process by now.
        if used_mb > self.limit_mb and os.getppid() == self.worker:
            self._say("oom", used_mb)
            for pid in [self.worker, *descendants(self.worker)]:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)

    def _say(self, event: str, used_mb: float) -> None:
        line = {"time": round(time.time(), 3), "event": event, **self.facts}
        line |= {"rss_mb": round(used_mb, 1), "limit_mb": round(self.limit_mb, 1)}
        with contextlib.suppress(OSError):
            # It begins with a line break, since the line before may have been cut short; the reader
            # passes over empty lines.
            os.write(1, ("\n" + json.dumps(line) + "\n").encode())
            os.fsync(1)


def main() -> None:
    """Watch until the worker is gone."""
    # Ctrl-C goes to the whole group: the worker decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Told, not asked for. When a worker dies at once, the parent found here is whoever took this process up,
    # mostly the first process of all: it and all its children must not be taken for the worker.
    worker, watch, unread = int(sys.argv[1]), None, b""
    while os.getppid() == worker:
        if select.select([0], [], [], SAMPLE_S if watch else IDLE_S)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                watch = order and _Watch(worker, order["limit_mb"], order["facts"])
        if watch:
            watch.look()


if __name__ == "__main__":
    main()
    sys.exit(0)
