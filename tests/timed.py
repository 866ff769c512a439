"""Run the test suite room by room and say what each part took; fails when any fails."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent
NO_TESTS = 5


def main() -> int:
    """Run every folder of tests; the exit code of the first that fails."""
    took: list[tuple[str, float]] = []
    worst = 0
    rooms = sorted(p for p in ROOT.iterdir() if p.is_dir() and any(p.glob("test_*.py")))
    for target in [*sorted(ROOT.glob("test_*.py")), *rooms]:
        started = time.monotonic()
        print(f"\n== {target.relative_to(ROOT.parent)}", flush=True)
        code = subprocess.run([sys.executable, "-m", "pytest", "-q", str(target)], check=False).returncode
        took.append((target.name, time.monotonic() - started))
        worst = worst or (0 if code == NO_TESTS else code)
    print("\nWhat each part took:")
    for name, seconds in took:
        print(f"  {name:<24}{seconds:7.1f} s")
    print(f"  {'all':<24}{sum(s for _, s in took):7.1f} s")
    return worst


if __name__ == "__main__":
    sys.exit(main())
