"""Which frames are compared, and how their drifts are chained."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.algorithms.anchors import FIRST, FIRST_FRAMES, STAND_INS, Anchors, Placed, shortest
from dataops_parsl.algorithms.shift import IDENTITY, Shift

ALL = [
    Anchors("first"),
    Anchors("previous"),
    Anchors("keyframe", 1),
    Anchors("keyframe", 3),
    Anchors("keyframe", 10),
]
LOST = Placed(IDENTITY, math.inf)


@pytest.mark.parametrize(
    ("anchors", "frame", "references", "stand_ins"),
    [
        (Anchors("first"), 57, [0], []),
        (Anchors("first"), 1, [0], []),
        (Anchors("previous"), 57, [56], [55, 54]),
        (Anchors("keyframe", 10), 0, [], []),
        (Anchors("keyframe", 10), 1, [0], []),
        (Anchors("keyframe", 10), 5, [0], [4]),
        (Anchors("keyframe", 10), 57, [50], [49, 48, 56]),
        (Anchors("keyframe", 10), 60, [40, 50], [49, 48, 59]),
        (Anchors("keyframe", 10), 80, [0, 40, 60, 70], [69, 68, 79]),
    ],
)
def test_references(anchors: Anchors, frame: int, references: list[int], stand_ins: list[int]) -> None:
    assert anchors.references(frame) == references
    assert anchors.stand_ins(frame) == stand_ins


@pytest.mark.parametrize(
    ("anchors", "frame", "last_resorts"),
    [
        (Anchors("first"), 3, [1, 2]),
        (Anchors("first"), 57, [*range(1, FIRST_FRAMES), 56, 55, 54]),
        (Anchors("previous"), 57, []),
        (Anchors("keyframe", 10), 0, []),
        (Anchors("keyframe", 10), 4, [1, 2]),
        (Anchors("keyframe", 10), 11, [0]),
        (Anchors("keyframe", 10), 14, [11, 12, 0]),
        (Anchors("keyframe", 10), 81, [70, 60, 40, 0]),
        (Anchors("keyframe", 10), 90, [*range(81, 89), 70, 60, 40, 0]),
    ],
)
def test_what_is_left_when_all_else_shows_nothing(
    anchors: Anchors, frame: int, last_resorts: list[int]
) -> None:
    assert anchors.last_resorts(frame) == last_resorts


@pytest.mark.parametrize("anchors", ALL)
def test_what_is_needed_is_kept_and_nothing_waits(anchors: Anchors) -> None:
    kept: set[int] = set()
    for frame in range(2_000):
        wanted = [*anchors.references(frame), *anchors.stand_ins(frame), *anchors.last_resorts(frame)]
        assert set(wanted) <= kept
        assert len(wanted) == len(set(wanted))
        kept = {f for f in {*kept, frame} if anchors.is_needed(f, frame)}
        assert len(kept) <= anchors.keyframe_every + 14


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8_640), st.integers(1, 40))
def test_the_shortest_chain_grows_with_the_logarithm(frame: int, every: int) -> None:
    anchors, links = Anchors("keyframe", every), 0
    while frame:
        frame = anchors.references(frame)[0]
        links += 1
    assert links <= 2 + math.log2(8_640 / every + 1)


def test_errors_add_up_as_independent_ones_do() -> None:
    anchors = Anchors("previous")
    known = {0: FIRST}
    for before, after in pairwise(range(10)):
        known[after] = anchors.chain(before, Shift(1.0, -0.5), 0.1, known)
    assert known[9].shift == Shift(9.0, -4.5)
    assert known[9].error_px == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("errors_px", "index"),
    [([0.2], 0), ([0.1, 0.1, 0.1], 0), ([0.3, 0.1, 0.1], 1), ([0.4, 0.3, 0.05], 2), ([0.14, 0.1], 0)],
)
def test_a_far_reference_must_be_worth_it(errors_px: list[float], index: int) -> None:
    assert shortest(errors_px) == index


@pytest.mark.parametrize(
    ("anchors", "frame", "reference", "allowed"),
    [
        (Anchors("keyframe", 10), 11, 10, False),
        (Anchors("keyframe", 10), 10 + 10 - STAND_INS, 10, True),
        (Anchors("keyframe", 10), 20, 10, True),
        (Anchors("keyframe", 1), 11, 10, True),
        (Anchors("previous"), 11, 10, True),
        (Anchors("first"), 11, 0, False),
        (Anchors("first"), 13, 12, True),
    ],
)
def test_a_lost_reference_serves_only_after_a_while(
    anchors: Anchors, frame: int, reference: int, allowed: bool
) -> None:
    assert anchors.may_build_on(frame, reference, LOST) is allowed
    assert anchors.may_build_on(frame, reference, FIRST)


def test_anew_after_a_loss_counts_from_there() -> None:
    found = Anchors("keyframe", 10).chain(10, Shift(1.0, 2.0), 0.2, {10: Placed(Shift(3.0, 3.0), math.inf)})
    assert found == Placed(Shift(4.0, 5.0), 0.2)
    assert found.registered
    assert not np.isfinite(LOST.error_px)
