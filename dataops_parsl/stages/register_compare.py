"""Which of its references a frame is registered to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.anchors import EXACT_PX, Anchors, shortest
from dataops_parsl.algorithms.drift import NOTHING, Found
from dataops_parsl.stage import Stack, readable


@dataclass(frozen=True)
class Comparison:
    """How frames are compared, and when they are registered.

    Parameters
    ----------
    anchors : Anchors
        Which frames a frame may be compared with.
    transform : {"translation", "rigid", "affine"}
    min_confidence : float
        Below it a frame is not registered.
    """

    anchors: Anchors
    transform: drift.Transform
    min_confidence: float

    def best(self, stack: Stack, frame: int, moving: NDArray[Any]) -> tuple[int, Found] | None:
        """The reference that a frame was registered to, or came closest to being, and the drift since then.

        Returns
        -------
        tuple of int and Found, or None
            -1 where no frame that it may be compared with shows anything; None where it shows nothing itself.
        """
        tried: list[tuple[int, Found]] = []
        for reference, found in self._compared(stack, self.anchors.references(frame), moving):
            tried.append((reference, found))
            if found.error_px <= EXACT_PX:
                break
        sure = [one for one in tried if is_sure(one[1], self.min_confidence)]
        if sure:
            return sure[shortest([found.error_px for _, found in sure])]
        if not drift.is_seen(moving):
            return None
        # A reference may be a bad frame itself: then its neighbours serve.
        for reference, found in self._compared(stack, self.anchors.stand_ins(frame), moving):
            if is_sure(found, self.min_confidence):
                return reference, found
            tried.append((reference, found))
        tried = [one for one in tried if _shows(stack, one[0])]
        if tried:
            return max(tried, key=lambda one: one[1].confidence)
        for reference, found in self._compared(stack, self.anchors.last_resorts(frame), moving):
            if is_sure(found, self.min_confidence) or _shows(stack, reference):
                return reference, found
        return -1, NOTHING

    def _compared(
        self, stack: Stack, references: list[int], moving: NDArray[Any]
    ) -> Iterator[tuple[int, Found]]:
        """The drift against each reference that can be read, as it is asked for."""
        for reference in references:
            image = readable(stack, reference)
            if image is not None:
                yield reference, drift.estimate(image, moving, transform=self.transform)


def is_sure(found: Found, min_confidence: float) -> bool:
    """Whether a frame is registered by this drift."""
    return math.isfinite(found.error_px) and found.confidence >= min_confidence


def _shows(stack: Stack, frame: int) -> bool:
    image = readable(stack, frame)
    return image is not None and drift.is_seen(image)
