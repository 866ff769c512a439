"""Run the test suite room by room, two rooms at a time, and say what each part took; fails when any fails."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import KEPT

ROOT = Path(__file__).parent
NO_TESTS = 5
FIRST = ("slurm", "engine", "cli")
"""The longest, so that no lane is left alone with one; those of slurm mostly wait for a cluster."""
LANES = 2 if (os.cpu_count() or 1) > 1 else 1


class Suite:
    """All rooms, and what became of those that are done."""

    def __init__(self, rooms: list[Path], kept: str) -> None:
        self._rooms: Iterator[Path] = iter(rooms)
        self._lock = threading.Lock()
        self._environment = {**os.environ, KEPT: kept}
        self.took: list[tuple[str, float]] = []
        self.worst = 0

    def work(self) -> None:
        """Take one room after the other until none is left."""
        while True:
            with self._lock:
                target = next(self._rooms, None)
            if target is None:
                return
            started = time.monotonic()
            command = [sys.executable, "-m", "pytest", "-q", str(target)]
            done = subprocess.run(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=self._environment,
                check=False,
            )
            code = 0 if done.returncode == NO_TESTS else done.returncode
            with self._lock:
                print(f"\n== {target.relative_to(ROOT.parent)}\n{done.stdout}", end="", flush=True)
                self.took.append((target.name, time.monotonic() - started))
                self.worst = self.worst or code


def main() -> int:
    """Run every folder of tests; the exit code of the first that fails."""
    started = time.monotonic()
    rooms = [p for p in ROOT.iterdir() if p.is_dir() and any(p.glob("test_*.py"))]
    rooms.sort(key=lambda p: (FIRST.index(p.name) if p.name in FIRST else len(FIRST), p.name))
    print(f"{len(rooms)} rooms, {LANES} at a time; each is shown when it is done", flush=True)
    with tempfile.TemporaryDirectory(prefix="dataops-tests-") as kept:
        suite = Suite([*rooms, *sorted(ROOT.glob("test_*.py"))], kept)
        lanes = [threading.Thread(target=suite.work) for _ in range(LANES)]
        for lane in lanes:
            lane.start()
        for lane in lanes:
            lane.join()
    print(f"\nWhat each part took, {LANES} at a time:")
    for name, seconds in suite.took:
        print(f"  {name:<24}{seconds:7.1f} s")
    print(f"  {'all':<24}{time.monotonic() - started:7.1f} s")
    return suite.worst


if __name__ == "__main__":
    sys.exit(main())
