"""Which frame a frame is compared with, and how the drifts found are chained over a film.

Comparing each frame with the first is exact, until the cells have changed too much; comparing it with the one
before always works, and its errors add up: after n frames the drift is wrong by the square root of n times
one comparison. Keyframes lie between: every frame is compared with the last keyframe, and keyframe k with
keyframe k - 2^j, 2^j being the largest power of two in k, or, where that is less exact than a chain of
nearer ones, 2^(j-1) before, and so on. So drifts chain over the logarithm of the number of keyframes where
the film allows it (864 keyframes: at most 9 links), and over all keyframes where it does not; and no frame
waits for a later one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dataops_parsl.algorithms.shift import IDENTITY, Shift, compose

Strategy = Literal["keyframe", "previous", "first"]

EXACT_PX = 0.05
"""A comparison with no larger error is taken without a look at nearer references."""

STAND_INS = 2
"""Frames beside a reference frame that stand in for it when it cannot be used."""

FIRST_FRAMES = 10
"""Strategy first: frames at the film's start of which the first that can be used is the reference."""


class Placed(NamedTuple):
    """Where a frame lies.

    Attributes
    ----------
    shift : Shift
        Drift since the first frame.
    error_px : float
        Its standard error: of the comparisons that it is chained of; inf where it was not registered.
    """

    shift: Shift
    error_px: float

    @property
    def registered(self) -> bool:
        """Whether the drift was found, and not merely kept."""
        return math.isfinite(self.error_px)


@dataclass(frozen=True)
class Anchors:
    """A strategy, and the distance of its keyframes."""

    strategy: Strategy
    keyframe_every: int = 1

    def references(self, frame: int) -> list[int]:
        """Frames to compare `frame` with, far ones first; see :func:`shortest`."""
        if frame <= 0:
            return []
        if self.strategy == "first":
            return [0]
        if self.strategy == "previous":
            return [frame - 1]
        every = self.keyframe_every
        if frame % every:
            return [frame - frame % every]
        number = frame // every
        reach = number & -number
        return [(number - (reach >> j)) * every for j in range(reach.bit_length())]

    def stand_ins(self, frame: int) -> list[int]:
        """Frames that stand in for the nearest reference: those beside it, then the frame before `frame`."""
        if frame <= 0 or self.strategy == "first":
            return []
        *farther, nearest = self.references(frame)
        beside = [*range(nearest - 1, nearest - STAND_INS - 1, -1), frame - 1]
        return [f for f in dict.fromkeys(beside) if f >= 0 and f not in (*farther, nearest)]

    def last_resorts(self, frame: int) -> list[int]:
        """What is left to compare with when none of the others can be read or shows anything.

        Strategy first: the frames at the film's start, then those before. Keyframes: those since the last
        keyframe, then what that one is compared with itself, near ones first.
        """
        if frame <= 0:
            return []
        nearest = self.references(frame)[-1]
        if self.strategy == "first":
            left = [*range(1, FIRST_FRAMES), *range(frame - 1, frame - STAND_INS - 2, -1)]
        else:
            left = [*range(nearest + 1, frame), *reversed(self.references(nearest))]
        known = {*self.references(frame), *self.stand_ins(frame)}
        return [f for f in dict.fromkeys(left) if 0 <= f < frame and f not in known]

    def may_build_on(self, frame: int, reference: int, placed: Placed) -> bool:
        """Whether a reference's own drift is known, or was lost long enough ago to begin anew from it.

        Cells that walk do not go far in one frame: beginning anew after each step would chain their walks.
        """
        if placed.registered or self.strategy == "previous":
            return True
        if self.strategy == "first":
            return reference >= FIRST_FRAMES
        return frame - reference >= max(1, self.keyframe_every - STAND_INS)

    def is_needed(self, frame: int, now: int) -> bool:
        """Whether a frame after `now` may be compared with `frame`."""
        if self.strategy == "first":
            return frame < FIRST_FRAMES or frame >= now - STAND_INS
        if self.strategy == "previous":
            return frame >= now - STAND_INS
        every = self.keyframe_every
        if frame >= now - every - STAND_INS or frame == 0:
            return True
        number = frame // every
        # Its last user is that keyframe; or, should that one show nothing, those who miss it, up to the next.
        last = number + (number & -number)
        return frame % every == 0 and now < (last + 1) * every

    def chain(self, reference: int, found: Shift, error_px: float, known: Known) -> Placed:
        """Drift since the first frame, of the drift `found` since the reference."""
        placed = known[reference]
        before_px = placed.error_px if placed.registered else 0.0
        return Placed(compose(placed.shift, found), math.hypot(before_px, error_px))


def shortest(errors_px: Sequence[float]) -> int:
    """Which of several references gives the most exact drift, chained.

    Parameters
    ----------
    errors_px : sequence of float
        Of one frame against references that lie 2^j, 2^(j-1), ..., 1 keyframes before. A reference nearer
        than the first is chained to it by comparisons over the distances between, which err about as much
        as this frame's over the same distances.

    Returns
    -------
    int
        Index; the farthest of equals.
    """
    squares = [error**2 for error in errors_px]
    chained = [square + sum(squares[1 : i + 1]) for i, square in enumerate(squares)]
    return chained.index(min(chained))


Known = Mapping[int, Placed]
FIRST = Placed(IDENTITY, 0.0)
