"""register_denoise on films: strategies and transforms, jumps, focus, frames that cannot be registered."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms.align import Transform
from dataops_parsl.algorithms.anchors import FIRST_FRAMES, Strategy
from dataops_parsl.algorithms.shift import IDENTITY, NAMES, Shift, forward
from dataops_parsl.film import Film
from dataops_parsl.publish import registration_notes
from dataops_parsl.stages.measure import Measure
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.stages.register_tables import SHIFTS, TRANSFORMS, shift_at
from dataops_parsl.tables import Rows

Image = NDArray[Any]
SIDE_PX, N_FRAMES, EVERY = 144, 9, 3
FACTS: dict[str, Any] = {
    "channels": {"gfp": {"labels": "", "every": 1}},
    "segments": {"target": ["gfp"]},
    "pixel_size_um": (0.5, 0.5),
    "shape_px": (SIDE_PX, SIDE_PX),
}
FILM = Film(position_id="p", facts=FACTS)
DRIFTS: dict[Transform, list[Shift]] = {
    "translation": [Shift(1.3 * t, -0.7 * t) for t in range(N_FRAMES)],
    "rigid": [Shift(1.3 * t, -0.7 * t, 0.2 * t) for t in range(N_FRAMES)],
    "affine": [
        Shift(1.3 * t, -0.7 * t, -0.1 * t, 1 + 0.002 * t, 1 - 0.001 * t, 0.001 * t) for t in range(N_FRAMES)
    ],
}
STRATEGIES: tuple[Strategy, ...] = ("first", "previous", "keyframe")


def drawn(shift: Shift = IDENTITY, seed: int = 0, *, walk_px: float = 0.0, side_px: int = SIDE_PX) -> Image:
    """Cells of one layout after a drift, with noise of this frame; `walk_px`: each by itself too."""
    layout, rng = np.random.default_rng(7), np.random.default_rng(seed)
    places = layout.uniform(-0.2 * side_px, 1.2 * side_px, (side_px**2 // 450, 2))
    places = places + walk_px * rng.normal(size=places.shape)
    image, grid = np.full((side_px, side_px), 30.0), np.arange(side_px)
    seen = forward(*places.T, shift, (side_px, side_px))
    for y, x in zip(*seen, strict=True):
        image += 250 * np.outer(np.exp(-((grid - y) ** 2) / 30), np.exp(-((grid - x) ** 2) / 30))
    return rng.poisson(image).astype(np.uint16)


@cache
def film_of(transform: Transform) -> dict[int, Image]:
    """Frames of `DRIFTS`."""
    return {t: drawn(shift, t) for t, shift in enumerate(DRIFTS[transform])}


def estimated(stage: RegisterDenoise, frame: int, stack: Mapping[int, Image | None]) -> Rows:
    """One frame's row of `shifts`, which reads the frames of its window alone."""
    seen = {f: stack.get(f) for f in stage.reference_frames(frame)}
    return Rows(SHIFTS.table(stage.estimate(FILM, frame, {"gfp": seen}), position_id="p", frame=frame))


def registered(stage: RegisterDenoise, stack: Mapping[int, Image]) -> list[dict[str, Any]]:
    """Rows of `transforms` of the frames that are there."""
    carry, out = None, []
    for frame in sorted(stack):
        columns, carry = stage.chain(FILM, frame, carry, estimated(stage, frame, stack))
        TRANSFORMS.table(columns, position_id="p", frame=frame)
        out.append({name: values[0] for name, values in columns.items()})
    return out


def shift_of(row: Mapping[str, Any]) -> Shift:
    return Shift(*(row[name] for name in NAMES))


def errors_px(found: Shift, true: Shift) -> Image:
    """Over the field."""
    y, x = (g.ravel() for g in np.meshgrid(*2 * [np.linspace(0, SIDE_PX - 1, 5)], indexing="ij"))
    (y1, x1), (y2, x2) = (forward(y, x, shift, (SIDE_PX, SIDE_PX)) for shift in (found, true))
    return np.hypot(y1 - y2, x1 - x2)


@pytest.mark.parametrize("transform", DRIFTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_planted_drift_is_found(strategy: Strategy, transform: Transform) -> None:
    stage = RegisterDenoise(strategy=strategy, transform=transform, keyframe_every=EVERY)
    rows = registered(stage, film_of(transform))
    assert all(row["valid"] for row in rows)
    assert not any(row["jump"] or row["refocused"] for row in rows)
    errors = [errors_px(shift_of(row), true) for row, true in zip(rows, DRIFTS[transform], strict=True)]
    assert np.median(errors) < 0.1
    assert np.max(errors) < 0.5
    references = {
        "first": [{0}] * 8,
        "previous": [{f} for f in range(8)],
        # Which of its two references is the better one for keyframe 6 depends on the transform.
        "keyframe": [{0}, {0}, {0}, {3}, {3}, {0, 3}, {6}, {6}],
    }
    assert rows[0]["reference_frame"] == -1
    for row, allowed in zip(rows[1:], references[strategy], strict=True):
        assert row["reference_frame"] in allowed
    stated = [row["error_px"] for row in rows]
    assert stated[0] == 0
    assert all(0 < error < 0.3 for error in stated[1:])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_order_of_frames_changes_nothing(strategy: Strategy) -> None:
    stage = RegisterDenoise(strategy=strategy, keyframe_every=EVERY)
    order = list(range(N_FRAMES))
    random.Random(1).shuffle(order)
    stack = film_of("translation")
    one = {f: estimated(stage, f, stack)["dy_px"][0] for f in order}
    other = {f: estimated(stage, f, stack)["dy_px"][0] for f in sorted(order)}
    assert one == other


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sets(st.integers(0, 7), max_size=2), st.sampled_from(STRATEGIES), st.integers(1, 4))
def test_excluded_frames_leave_the_others_registered(out: set[int], strategy: Strategy, every: int) -> None:
    stage = RegisterDenoise(strategy=strategy, keyframe_every=every)
    stack = {f: drawn(Shift(0.9 * f, 0.4 * f), f, side_px=96) for f in range(8) if f not in out}
    rows = registered(stage, stack)
    first = min(stack, default=0)
    for row, frame in zip(rows, sorted(stack), strict=True):
        wanted = (0.9 * (frame - first), 0.4 * (frame - first))
        assert row["valid"]
        assert np.allclose((row["dy_px"], row["dx_px"]), wanted, atol=0.4)


def bad_frame(kind: str, seed: int = 3) -> Image:
    """A frame in which nothing is seen: constant, or dark with the noise of a camera."""
    if kind == "constant":
        return np.full((SIDE_PX, SIDE_PX), 30, np.uint16)
    noise = np.random.default_rng(seed).normal(100, 2, (SIDE_PX, SIDE_PX))
    return noise.round().astype(np.uint16)


def drifting(frames: Iterable[int], bad: Mapping[int, Image]) -> dict[int, Image]:
    """Cells that drift by half a pixel a frame, and what was acquired instead."""
    return {f: bad[f] if f in bad else drawn(Shift(0.5 * f, -0.3 * f), f) for f in frames}


def assert_registered(stage: RegisterDenoise, stack: Mapping[int, Image], bad: Iterable[int]) -> None:
    """All but the bad frames are, with the drift since the first of them."""
    rows, out = dict(zip(sorted(stack), registered(stage, stack), strict=True)), set(bad)
    good = [f for f in rows if f not in out]
    origin, *others = good
    assert (rows[origin]["reference_frame"], rows[origin]["confidence"]) == (-1, 1)
    assert (rows[origin]["step_px"], rows[origin]["error_px"]) == (0, 0)
    for f in others:
        assert rows[f]["valid"], (f, rows[f]["reason"])
        assert rows[f]["reference_frame"] in good
        true = Shift(0.5 * (f - origin), -0.3 * (f - origin))
        assert errors_px(shift_of(rows[f]), true).max() < 0.4
    for f in out & set(rows):
        assert rows[f]["reason"] == "nothing is seen in it"
        assert (rows[f]["valid"], rows[f]["reference_frame"], rows[f]["confidence"]) == (False, -1, 0)
        assert shift_of(rows[f]) == shift_of(rows[max((g for g in rows if g < f), default=f)])


@pytest.mark.parametrize("kind", ["constant", "noise"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_frame_that_shows_nothing_is_no_origin(strategy: Strategy, kind: str) -> None:
    bad = {f: bad_frame(kind, f) for f in (0, 1)}
    assert_registered(RegisterDenoise(strategy=strategy, keyframe_every=5), drifting(range(14), bad), bad)


@pytest.mark.parametrize("kind", ["constant", "noise", "excluded"])
def test_a_keyframe_and_all_beside_it_may_be_bad(kind: str) -> None:
    out = (3, 4, 5)
    frames = [f for f in range(12) if kind != "excluded" or f not in out]
    bad = {} if kind == "excluded" else {f: bad_frame(kind, f) for f in out}
    assert_registered(RegisterDenoise(keyframe_every=5), drifting(frames, bad), bad)


@pytest.mark.parametrize("n_out", [3, 8, FIRST_FRAMES + 1])
def test_the_first_frame_may_come_late(n_out: int) -> None:
    """While the focus settles frames are excluded; the first that is not is what others are compared with."""
    stack = drifting(range(n_out, n_out + 5), {})
    assert_registered(RegisterDenoise(strategy="first"), stack, ())
    references = [row["reference_frame"] for row in registered(RegisterDenoise(strategy="first"), stack)]
    if n_out < FIRST_FRAMES:
        assert references == [-1, *4 * [n_out]]
    else:
        assert references == [-1, *range(n_out, n_out + 4)]


def test_what_registers_is_the_origin_though_it_failed() -> None:
    """Frame 0 is there to compare with, but its own task failed: all drift is since it."""
    stack, stage = film_of("translation"), RegisterDenoise(strategy="first")
    carry, rows = None, []
    for frame in range(1, 4):
        columns, carry = stage.chain(FILM, frame, carry, estimated(stage, frame, stack))
        rows.append({name: values[0] for name, values in columns.items()})
    assert all(row["valid"] and row["reference_frame"] == 0 for row in rows)
    for row, true in zip(rows, DRIFTS["translation"][1:], strict=False):
        assert errors_px(shift_of(row), true).max() < 0.3
    assert rows[0]["step_px"] == pytest.approx(np.hypot(1.3, 0.7), abs=0.1)


def test_too_little_in_common_says_so() -> None:
    one = np.full((SIDE_PX, SIDE_PX), 30, np.uint16)
    other = one.copy()
    one[8:24, 8:24], other[-24:-8, -24:-8] = 300, 300
    row = registered(RegisterDenoise(), {0: one, 1: other})[1]
    assert not row["valid"]
    assert "nan" not in row["reason"]


def test_a_frame_beyond_all_references_says_so() -> None:
    rows = registered(RegisterDenoise(strategy="previous"), {f: drawn(side_px=96, seed=f) for f in (0, 4, 5)})
    assert [row["valid"] for row in rows] == [True, False, True]
    assert "no frame before it" in rows[1]["reason"]
    assert rows[1]["confidence"] == 0


def test_cells_that_all_walk_are_no_drift() -> None:
    stack = {f: drawn(seed=f, walk_px=4.0 * f**0.5) for f in range(8)}
    rows = registered(RegisterDenoise(keyframe_every=4), stack)
    assert [row["valid"] for row in rows] == [True] + 7 * [False]
    assert all(shift_of(row) == IDENTITY and row["reason"] for row in rows[1:] if not row["valid"])
    assert all(row["error_px"] is None and row["step_px"] is None for row in rows[1:])


def test_a_jump_is_found_and_reported() -> None:
    true = [Shift(0.5 * t + 17.0 * (t >= 4), -12.0 * (t >= 4)) for t in range(8)]
    stack = {t: drawn(shift, t) for t, shift in enumerate(true)}
    rows = registered(RegisterDenoise(keyframe_every=3), stack)
    assert [row["jump"] for row in rows] == [t == 4 for t in range(8)]
    assert rows[4]["step_px"] == pytest.approx(np.hypot(17.5, 12.0), abs=0.2)
    assert max(errors_px(shift_of(row), t).max() for row, t in zip(rows, true, strict=True)) < 0.2
    lax = registered(RegisterDenoise(keyframe_every=3, jump_px=25), stack)
    assert not any(row["jump"] for row in lax)


def test_a_jump_at_the_border_is_one() -> None:
    """The stage turned about the middle of the field: nothing there, and pixels at the corners."""
    stack = {t: drawn(Shift(0.0, 0.0, 2.5 * (t >= 2)), t) for t in range(4)}
    rows = registered(RegisterDenoise(transform="rigid", jump_px=3), stack)
    assert [row["jump"] for row in rows] == [False, False, True, False]
    turned_px = np.radians(2.5) * np.hypot(SIDE_PX - 1, SIDE_PX - 1) / 2
    assert rows[2]["step_px"] == pytest.approx(turned_px, abs=0.3)
    assert abs(rows[2]["dy_px"]) < 0.3


def test_a_change_of_focus_is_reported() -> None:
    rng = np.random.default_rng(0)
    stack = {t: drawn(seed=t) for t in range(6)}
    for t in (3, 4, 5):
        stack[t] = rng.poisson(ndimage.gaussian_filter(stack[t].astype(float), 5.0)).astype(np.uint16)
    rows = registered(RegisterDenoise(strategy="previous", refocus_frac=0.15), stack)
    assert [row["refocused"] for row in rows] == [False, False, False, True, False, False]
    assert all(row["valid"] for row in rows)


@pytest.mark.parametrize("bad", ["blank", "noise", "saturated"])
def test_a_bad_frame_says_so_and_the_rest_is_registered(bad: str) -> None:
    stack = dict(film_of("translation"))
    blank = np.full((SIDE_PX, SIDE_PX), 30, np.uint16)
    noise = np.random.default_rng(3).poisson(blank).astype(np.uint16)
    at = EVERY  # a keyframe, which the next frames would be compared with
    stack[at] = {"blank": blank, "noise": noise, "saturated": np.full_like(blank, 65_535)}[bad]
    rows = registered(RegisterDenoise(keyframe_every=EVERY), stack)
    assert [row["valid"] for row in rows] == [f != at for f in range(N_FRAMES)]
    assert shift_of(rows[at]) == shift_of(rows[at - 1])
    wrong = [errors_px(shift_of(r), t).max() for r, t in zip(rows, DRIFTS["translation"], strict=True)]
    assert max(e for f, e in enumerate(wrong) if f != at) < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (0, 0), (5, 40), (64, 64)])
def test_frames_without_structure(shape: tuple[int, int]) -> None:
    rows = registered(RegisterDenoise(), {f: np.full(shape, 9, np.uint16) for f in range(3)})
    assert all(not row["valid"] and row["reason"] == "nothing is seen in it" for row in rows)
    assert all(shift_of(row) == IDENTITY and row["detail_px"] is None for row in rows)


def test_the_run_tells_of_what_happened() -> None:
    rows = {
        "position_id": ["a"] * 8 + ["b"] * 2,
        "frame": [*range(8), 0, 1],
        "valid": [True, *[False] * 7, True, False],
        "reason": [None] * 9 + ["excluded: out of focus"],
        "confidence": [1.0, *[0.1] * 7, 1.0, None],
        "jump": [False, True, *[False] * 8],
        "refocused": [*[False] * 8, False, None],
    }
    assert registration_notes(pa.table(rows)) == [
        "a: 7 of 8 frames could not be registered and keep the drift of the frame before "
        "(frame 1, 2, 3, 4, 5 and 2 more; the table frames says why)",
        "a: the stage jumped at frame 1",
    ]


def test_one_frame_and_none() -> None:
    assert [row["valid"] for row in registered(RegisterDenoise(), {0: drawn()})] == [True]
    assert registered(RegisterDenoise(), {}) == []


def test_nan_is_named() -> None:
    image = drawn().astype(float)
    image[3, 4] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        registered(RegisterDenoise(), {0: drawn(), 1: image})


def test_off_is_no_drift_at_all() -> None:
    rows = registered(RegisterDenoise(register_frames=False), film_of("rigid"))
    assert all(row["valid"] and shift_of(row) == IDENTITY for row in rows)


def test_labels_and_raw_places_follow_an_affine_drift() -> None:
    """A cell measured in the registered frame is at the acquired place where it was drawn."""
    true = Shift(4.0, -6.0, 3.0, 1.04, 0.97, 0.02)
    labels = np.zeros((SIDE_PX, SIDE_PX), np.uint32)
    places = {1: (40.0, 50.0), 2: (120.0, 30.0), 3: (100.0, 130.0)}
    grid = np.mgrid[:SIDE_PX, :SIDE_PX]
    for label, (y, x) in places.items():
        labels[np.hypot(grid[0] - y, grid[1] - x) < 8] = label
    row = dict.fromkeys(NAMES, 0.0) | vars(true)
    columns = {name: [value] for name, value in row.items()} | {
        "reference_frame": [0],
        "confidence": [1.0],
        "detail_px": [None],
        "error_px": [0.1],
        "step_px": [0.0],
        "jump": [False],
        "refocused": [False],
        "valid": [True],
        "reason": [None],
    }
    transforms = Rows(TRANSFORMS.table(columns, position_id="p", frame=0))
    assert shift_at(transforms, 0) == true
    found = Measure().objects(FILM, 0, {"gfp": {0: drawn(true)}}, transforms, {"target": {0: labels}})
    for label, (y, x) in places.items():
        at = list(found["label"]).index(label)
        seen = forward(np.array([y]), np.array([x]), true, (SIDE_PX, SIDE_PX))
        assert found["y_um"][at] == pytest.approx(0.5 * y, abs=0.05)
        assert (found["y_px_raw"][at], found["x_px_raw"][at]) == pytest.approx(
            (seen[0][0], seen[1][0]), abs=0.1
        )
