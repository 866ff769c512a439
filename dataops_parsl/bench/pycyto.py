"""pyCyto's published scaling, to set ours beside it: its sbatch scripts, measured by its authors."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dataops_parsl.bench.results import Amdahl, fit

FILE = Path(__file__).with_name("pycyto.toml")


@dataclass(frozen=True)
class Published:
    """A published table of scaling.

    Parameters
    ----------
    frames : int
        Frames of the film.
    seconds : mapping of line to {workers: s}
    lines : mapping of stage to its lines
    """

    frames: int
    seconds: dict[str, dict[int, float]]
    lines: dict[str, list[str]]

    def stage_s(self, stage: str) -> dict[int, float]:
        """Seconds of a stage by number of workers, its lines summed; empty for a stage that is not there."""
        lines = [self.seconds[line] for line in self.lines.get(stage, ())]
        return {n: sum(line[n] for line in lines) for n in lines[0]} if lines else {}

    def efficiency(self, stage: str) -> dict[int, float]:
        """T1 / (N TN)."""
        seconds = self.stage_s(stage)
        return {n: seconds[1] / (n * s) for n, s in seconds.items()}

    def law(self, line: str) -> Amdahl:
        """Fixed cost and work of a line."""
        found = fit(self.seconds[line])
        assert found is not None
        return found


@cache
def published() -> Published:
    """The table as it ships with the package."""
    table = tomllib.loads(FILE.read_text())
    seconds = {
        line: dict(zip(table["workers"], map(float, values), strict=True))
        for line, values in table["published"].items()
    }
    return Published(table["frames"], seconds, table["lines"])
