"""Drift between two frames: planted shifts, what it states of its error, and the edge cases."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms import ants_binding
from dataops_parsl.algorithms.align import Transform
from dataops_parsl.algorithms.ants_binding import from_ants, to_ants
from dataops_parsl.algorithms.drift import IDENTITY, Shift, apply, detail_px, estimate, is_seen, valid_mask
from dataops_parsl.algorithms.shift import forward

Image = NDArray[Any]


DRIFTS: dict[Transform, Shift] = {
    "translation": Shift(5.3, -12.2),
    "rigid": Shift(5.3, -12.2, 2.5),
    "affine": Shift(5.3, -12.2, -1.5, 1.03, 0.98, 0.015),
}


def scene(
    side_px: int,
    shift: Shift | tuple[float, float] = IDENTITY,
    *,
    seed: int = 0,
    moving_frac: float = 0.0,
    step_px: float = 15.0,
    scale: float = 1.0,
) -> Image:
    """Blobs with Poisson noise; the same blobs for every seed, which only draws noise and own motion."""
    layout, rng = np.random.default_rng(5), np.random.default_rng(seed)
    n = side_px**2 // 600
    places = layout.uniform(-0.3 * side_px, 1.3 * side_px, (n, 2))
    brightness = layout.uniform(0.5, 1, n)
    own = (layout.random(n) < moving_frac)[:, None] * rng.normal(0, step_px, (n, 2))
    grid = np.arange(side_px)
    image = np.full((side_px, side_px), 20.0)
    true = shift if isinstance(shift, Shift) else Shift(*shift)
    back = np.linalg.inv(true.matrix)
    seen = forward(*(places + own).T, true, (side_px, side_px))
    for y, x, peak in zip(*seen, 300 * brightness, strict=True):
        down, right = grid[:, None] - y, grid[None, :] - x
        near = (back[0, 0] * down + back[0, 1] * right) ** 2 + (back[1, 0] * down + back[1, 1] * right) ** 2
        image += peak * np.exp(-near / 32)
    return rng.poisson(scale * image).astype(np.uint16)


def errors_px(found: Shift, true: Shift | tuple[float, float], side_px: int = 256) -> Image:
    """Distances, over the field, between where points were seen to go and where they went."""
    y, x = (g.ravel() for g in np.meshgrid(*2 * [np.linspace(0, side_px - 1, 5)], indexing="ij"))
    planted = true if isinstance(true, Shift) else Shift(*true)
    (y1, x1), (y2, x2) = (forward(y, x, shift, (side_px, side_px)) for shift in (found, planted))
    return np.hypot(y1 - y2, x1 - x2)


def test_translations_are_found_within_a_tenth_of_a_pixel() -> None:
    reference = scene(256)
    true = [(3.3, -5.7), (0.4, 0.2), (-60.2, 55.5), (10.75, 30.25), (-2.5, 0.0)]
    found = [estimate(reference, scene(256, shift, seed=i + 1)) for i, shift in enumerate(true)]
    errors = [errors_px(one.shift, planted).max() for one, planted in zip(found, true, strict=True)]
    assert np.median(errors) < 0.05
    assert max(errors) < 0.1
    assert all(one.confidence > 0.99 for one in found)
    assert all(one.error_px < 0.1 for one in found)


@pytest.mark.parametrize("transform", DRIFTS)
def test_each_transform_is_found(transform: Transform) -> None:
    true = DRIFTS[transform]
    found = estimate(scene(256), scene(256, true, seed=1), transform=transform)
    assert np.median(errors_px(found.shift, true)) < 0.1
    assert errors_px(found.shift, true).max() < 0.5
    assert found.confidence > 0.99
    assert found.shift.translates is (transform == "translation")
    assert found.shift.stretches is (transform == "affine")


@pytest.mark.parametrize("transform", DRIFTS)
def test_moving_cells_do_not_pull(transform: Transform) -> None:
    errors, stated = [], []
    for seed in (10, 20, 30):
        one, other = (
            scene(384, s, seed=seed + i, moving_frac=0.7) for i, s in enumerate((IDENTITY, DRIFTS[transform]))
        )
        found = estimate(one, other, transform=transform)
        errors.append(np.median(errors_px(found.shift, DRIFTS[transform], 384)))
        stated.append(found.error_px)
    assert np.median(errors) < 0.5
    assert 0.3 < np.mean(errors) / np.mean(stated) < 2


@pytest.mark.parametrize(("step_px", "sure"), [(0.0, True), (0.5, True), (8.0, False), (15.0, False)])
def test_where_all_walk_nothing_is_known(step_px: float, sure: bool) -> None:
    one, other = (scene(192, seed=seed, moving_frac=1.0, step_px=step_px) for seed in (1, 2))
    found = estimate(one, other)
    assert (found.confidence > 0.95) is sure
    assert errors_px(found.shift, IDENTITY).max() < 3 * found.error_px + 0.05


def test_the_error_stated_is_the_error_made() -> None:
    errors, stated = [], []
    for seed in range(12):
        found = estimate(*(scene(160, seed=100 + 2 * seed + i, moving_frac=1.0, step_px=1.0) for i in (0, 1)))
        errors.append(errors_px(found.shift, IDENTITY)[0])
        stated.append(found.error_px)
    assert 0.5 < np.sqrt(np.mean(np.square(errors)) / np.mean(np.square(stated))) < 2


@pytest.mark.parametrize("gain", [0.3, 1.5])
def test_bleaching_is_no_drift(gain: float) -> None:
    found = estimate(scene(192), scene(192, (2.4, -1.3), seed=1, scale=gain))
    assert errors_px(found.shift, (2.4, -1.3)).max() < 0.1


def test_repeats_bit_for_bit() -> None:
    one, other = scene(128), scene(128, (2.2, 1.1), seed=3)
    assert len({estimate(one, other) for _ in range(3)}) == 1


def test_long_sides_are_binned() -> None:
    reference = np.tile(scene(128), (1, 9))[:, :1100]
    moving = np.roll(reference, (4, 6), axis=(0, 1))
    found = estimate(reference[10:-10, 20:-20], moving[10:-10, 20:-20])
    assert errors_px(found.shift, (4, 6)).max() < 0.1


@pytest.mark.parametrize(
    ("reference", "moving"),
    [
        (np.zeros((64, 64)), np.zeros((64, 64))),
        (np.full((64, 64), 7), scene(64)),
        (scene(64), np.full((64, 64), 7.5)),
        (np.ones((1, 1)), np.ones((1, 1))),
        (scene(64)[:5], scene(64)[:5]),
        (np.zeros((0, 0)), np.zeros((0, 0))),
    ],
)
def test_no_structure_has_no_confidence(reference: Image, moving: Image) -> None:
    assert estimate(reference, moving) == (IDENTITY, 0.0, np.inf)


def test_noise_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    found = estimate(rng.poisson(50, (256, 256)), rng.poisson(50, (256, 256)))
    assert found.confidence < 0.1


def test_one_cell_does_not_tell_the_stage_from_itself() -> None:
    at = np.exp(-((np.arange(96) - 48.0) ** 2) / 32)
    cell = 300 * np.outer(at, at)
    rng = np.random.default_rng(0)
    one, other = (rng.poisson(20 + np.roll(cell, step, axis=0)) for step in (0, 3))
    assert estimate(one, other).confidence < 0.95


def test_saturated_cells_are_registered_by_their_outlines() -> None:
    one, other = (np.minimum(scene(192, s, seed=i), 120) for i, s in enumerate(((0, 0), (2.4, -1.3))))
    found = estimate(one, other)
    assert errors_px(found.shift, (2.4, -1.3)).max() < 0.1
    full = np.full((64, 64), 65_535, np.uint16)
    assert estimate(full, full) == (IDENTITY, 0.0, np.inf)


def test_small_frames_are_registered_or_say_so() -> None:
    for side_px in (16, 24, 40):
        found = estimate(scene(side_px), scene(side_px, (1.0, 0.0), seed=1))
        assert found.confidence < 0.95 or errors_px(found.shift, (1.0, 0.0), side_px).max() < 0.5


def test_detail_grows_when_the_focus_is_lost() -> None:
    sharp = scene(192)
    blurred = np.random.default_rng(1).poisson(ndimage.gaussian_filter(sharp.astype(float), 3.0))
    assert detail_px(blurred) > 1.2 * detail_px(sharp)
    # Noise and brightness are no detail.
    assert detail_px(scene(192, seed=3, scale=0.2)) == pytest.approx(detail_px(sharp), rel=0.15)
    assert detail_px(np.zeros((64, 64))) == np.inf
    assert detail_px(np.zeros((0, 0))) == np.inf


def test_misuse() -> None:
    holed = scene(64).astype(float)
    holed[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        estimate(scene(64), holed)
    with pytest.raises(ValueError, match="one shape"):
        estimate(scene(64), scene(65))
    with pytest.raises(ValueError, match="transform"):
        estimate(scene(64), scene(64), transform="spline")  # type: ignore[arg-type]


def test_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    estimate(scene(64), scene(64, (1, 1), seed=1))

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no convergence")

    monkeypatch.setattr(ants_binding.ants(), "registration", broken)
    with pytest.raises(RuntimeError, match="no convergence"):
        estimate(scene(64), scene(64, (1, 1), seed=1))
    assert list(tmp_path.iterdir()) == []


def test_axes_survive_the_way_through_ants() -> None:
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert np.array_equal(from_ants(to_ants(image)), image)


def test_real_stack_agrees_with_stackreg(test_data: Path) -> None:
    folder = test_data / "pc12_register"
    raw = tifffile.imread(folder / "pc12-unreg.tif")
    theirs = tifffile.imread(folder / "pc12-reg-translation.tif")
    for before, after, before_them, after_them in zip(raw, raw[1:], theirs, theirs[1:], strict=False):
        shift = estimate(before, after).shift
        seen = valid_mask(after.shape, shift)
        seen &= (before_them > 0) & (after_them > 0)
        ours = np.corrcoef(apply(after, shift)[seen], before[seen])[0, 1]
        assert ours > np.corrcoef(after_them[seen].astype(float), before_them[seen])[0, 1] - 0.01


def empty(kind: str, side_px: int, rng: np.random.Generator) -> Image:
    """A frame without a cell in it."""
    shape = (side_px, side_px)
    read = rng.normal(100, 2, shape)
    light = 1 - 0.3 * np.sum((np.mgrid[:side_px, :side_px] / side_px - 0.5) ** 2, axis=0)
    made: dict[str, Image] = {
        "constant": np.full(shape, 7.0),
        "camera": read,
        "few photons": rng.poisson(np.full(shape, 0.02)),
        "uneven light": rng.poisson(200 * light),
        "columns": read + rng.normal(0, 1, (1, side_px)),
        "rows": read + rng.normal(0, 1, (side_px, 1)),
        "hot pixels": read + 3000 * (rng.random(shape) < 1e-3),
    }
    return made[kind].round().astype(np.uint16)


@pytest.mark.parametrize("side_px", [48, 145, 400])
@pytest.mark.parametrize(
    "kind", ["constant", "camera", "few photons", "uneven light", "columns", "rows", "hot pixels"]
)
def test_nothing_is_seen_in_noise(kind: str, side_px: int) -> None:
    rng = np.random.default_rng([side_px, len(kind)])
    assert not any(is_seen(empty(kind, side_px, rng)) for _ in range(10))


@pytest.mark.parametrize(
    ("side_px", "peak", "blurred_px"), [(48, 60, 0), (145, 18, 0), (145, 30, 4), (400, 9, 0), (400, 15, 4)]
)
def test_cells_are_seen(side_px: int, peak: float, blurred_px: float) -> None:
    """The brightest `peak` counts above a ground of 20, whose noise is 4.5; out of focus less by far."""
    rng = np.random.default_rng(side_px)
    for seed in range(5):
        cells = ndimage.gaussian_filter(scene(side_px, seed=seed) * peak / 300, blurred_px)
        assert is_seen(rng.poisson(20 + cells).astype(np.uint16))


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (5, 40), (16, 16), (30, 31)])
def test_of_tiny_frames_only_constant_ones_show_nothing(shape: tuple[int, int]) -> None:
    assert not is_seen(np.full(shape, 9, np.uint16))
    speck = np.full(shape, 9, np.uint16)
    speck[:3, :3] = 90
    assert is_seen(speck) is (min(shape) >= 16)
