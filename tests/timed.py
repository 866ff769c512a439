"""Run the test suite room by room and say what each part took; fails when any fails."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent
NO_TESTS = 5
BESIDE = ("slurm",)
"""Rooms whose tests mostly wait for a cluster: they run beside the others."""


class Room:
    """The tests of one folder, under way."""

    def __init__(self, target: Path, output: IO[str] | None = None) -> None:
        self.name, self._output = target.name, output
        self._started = time.monotonic()
        command = [sys.executable, "-m", "pytest", "-q", str(target)]
        self._process = subprocess.Popen(command, stdout=output, stderr=output and subprocess.STDOUT)

    def wait(self) -> tuple[int, float]:
        """Exit code and seconds, once it has ended; what was kept back is printed."""
        code = self._process.wait()
        took = time.monotonic() - self._started
        if self._output is not None:
            self._output.seek(0)
            print(f"\n== tests/{self.name}, beside the others\n{self._output.read()}", flush=True)
        return (0 if code == NO_TESTS else code), took


def main() -> int:
    """Run every folder of tests; the exit code of the first that fails."""
    started = time.monotonic()
    took: list[tuple[str, float]] = []
    worst = 0
    rooms = sorted(p for p in ROOT.iterdir() if p.is_dir() and any(p.glob("test_*.py")))
    with tempfile.TemporaryFile("w+") as kept:
        beside = [Room(room, kept) for room in rooms if room.name in BESIDE]
        for target in [*sorted(ROOT.glob("test_*.py")), *(r for r in rooms if r.name not in BESIDE)]:
            print(f"\n== {target.relative_to(ROOT.parent)}", flush=True)
            code, seconds = Room(target).wait()
            took.append((target.name, seconds))
            worst = worst or code
        for room in beside:
            code, seconds = room.wait()
            took.append((f"{room.name} (beside)", seconds))
            worst = worst or code
    print("\nWhat each part took:")
    for name, seconds in took:
        print(f"  {name:<24}{seconds:7.1f} s")
    print(f"  {'all':<24}{time.monotonic() - started:7.1f} s")
    return worst


if __name__ == "__main__":
    sys.exit(main())
