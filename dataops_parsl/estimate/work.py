"""How much work a part is, in megapixel-frames: of a plan, or of a run whose record is all that is left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dataops_parsl.dataset.names import FOR_ALL
from dataops_parsl.plan import Plan
from dataops_parsl.stage import PER_FRAME


@dataclass(frozen=True)
class Extent:
    """Frames of each position and their size.

    Parameters
    ----------
    n_frames : mapping of position to int
    mpx : mapping of position to float
        Megapixels of a frame.
    batch_frames : int
    """

    n_frames: Mapping[str, int]
    mpx: Mapping[str, float]
    batch_frames: int

    @classmethod
    def of(cls, plan: Plan) -> Extent:
        """Of a plan."""
        mpx = {name: p.shape_px[0] * p.shape_px[1] / 1e6 for name, p in plan.positions.items()}
        return cls(plan.n_frames, mpx, plan.batch_frames)

    @classmethod
    def of_run(cls, facts: Mapping[str, Any]) -> Extent:
        """Of a run's ``run.json``."""
        mpx = {name: y * x / 1e6 for name, (y, x) in facts.get("frame_px", {}).items()}
        return cls(facts["n_frames"], mpx, int(facts["config"]["batch_frames"]))

    @property
    def total(self) -> float:
        """Megapixel-frames of all positions."""
        return sum(n * self.mpx.get(name, 0.0) for name, n in self.n_frames.items())

    @property
    def mean_mpx(self) -> float:
        """Megapixels of a frame, on the mean over all frames."""
        frames = sum(self.n_frames.values())
        return self.total / frames if frames else 0.0

    def work(self, scope: str, position: str, batch: int) -> float | None:
        """Megapixel-frames of a part; None where its position is not known."""
        if scope == "dataset":
            return self.total
        frames = self.n_frames.get(position, 0)
        if scope in PER_FRAME:
            frames = min(self.batch_frames, frames - batch * self.batch_frames)
        return self.size(scope, position, frames)

    def size(self, scope: str, position: str, frames: int) -> float | None:
        """Megapixel-frames of so many frames; of a sample, whose number is fixed, those of one."""
        mpx = self.mean_mpx if scope == "dataset" else self.mpx.get(position)
        if mpx is None or frames <= 0:
            return None
        return mpx if scope == "sample" else frames * mpx

    def held(self, scope: str, position: str) -> float | None:
        """What a task holds at a time: a frame where it goes frame by frame, else all its work; Mpx."""
        if scope in (*PER_FRAME, "sample"):
            return self.mpx.get(position)
        return self.work(scope, position, 0)


def place_of(part: str) -> tuple[str, int]:
    """Position and batch of a part's id, such as ``trackmate.link[target]/P1/00003``."""
    position, _, batch = part.partition("/")[2].partition("/")
    return ("" if position == FOR_ALL and not batch else position), int(batch or 0)
