"""Drift: planted shifts, composition, warps, and the edge cases."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from dataops_parsl.algorithms import drift
from dataops_parsl.algorithms.ants_binding import from_ants, to_ants
from dataops_parsl.algorithms.drift import IDENTITY, Shift, apply, compose, estimate, valid_mask
from dataops_parsl.algorithms.shift import forward

Image = NDArray[Any]


def scene(
    side_px: int, shift: tuple[float, float] = (0, 0), *, seed: int = 0, moving_frac: float = 0.0
) -> Image:
    """Blobs with Poisson noise; the same blobs for every seed, which only draws noise and own motion."""
    layout, rng = np.random.default_rng(5), np.random.default_rng(seed)
    n = side_px**2 // 600
    places = layout.uniform(-0.3 * side_px, 1.3 * side_px, (n, 2))
    brightness = layout.uniform(0.5, 1, n)
    own = (layout.random(n) < moving_frac)[:, None] * rng.normal(0, 15, (n, 2))
    grid = np.arange(side_px)
    image = np.full((side_px, side_px), 20.0)
    for (y, x), peak in zip(places + shift + own, 300 * brightness, strict=True):
        image += peak * np.outer(np.exp(-((grid - y) ** 2) / 32), np.exp(-((grid - x) ** 2) / 32))
    return rng.poisson(image).astype(np.uint16)


def error_px(found: Shift, true: tuple[float, float]) -> float:
    return float(np.hypot(found.dy_px - true[0], found.dx_px - true[1]))


def test_translations_are_found_within_a_tenth_of_a_pixel() -> None:
    reference = scene(256)
    true = [(3.3, -5.7), (0.4, 0.2), (-60.2, 55.5), (10.75, 30.25), (-2.5, 0.0)]
    found = [estimate(reference, scene(256, shift, seed=i + 1)) for i, shift in enumerate(true)]
    errors = [error_px(shift, planted) for (shift, _), planted in zip(found, true, strict=True)]
    assert np.median(errors) < 0.1
    assert max(errors) < 0.2
    assert all(confidence > 0.9 for _, confidence in found)


def test_moving_cells_do_not_pull() -> None:
    true = [(4.4, -7.3), (-40.6, 22.2), (1.5, 2.5)]
    errors = []
    for i, planted in enumerate(true):
        reference = scene(384, seed=2 * i + 10, moving_frac=0.7)
        shift, confidence = estimate(reference, scene(384, planted, seed=2 * i + 11, moving_frac=0.7))
        errors.append(error_px(shift, planted))
        assert 0.15 < confidence < 0.8
    assert np.median(errors) < 0.25
    assert max(errors) < 1


@pytest.mark.parametrize("angle_deg", [-2.0, 1.0, 2.5])
def test_rotation_is_found_about_the_centre(angle_deg: float) -> None:
    true = Shift(5.3, -12.2, angle_deg)
    turned = mapped(Shift(0, 0, -angle_deg), np.array([[-true.dy_px, -true.dx_px]]), (1, 1))[0]
    reference = scene(320)
    # The inverse drift, applied, makes the drifted frame.
    moving = apply(reference, Shift(float(turned[0]), float(turned[1]), -angle_deg))
    inner = slice(40, 280)
    found, confidence = estimate(reference[inner, inner], moving[inner, inner], transform="rigid")
    assert error_px(found, (true.dy_px, true.dx_px)) < 0.15
    assert found.angle_deg == pytest.approx(angle_deg, abs=0.05)
    assert confidence > 0.9


def test_repeats_bit_for_bit() -> None:
    one, other = scene(128), scene(128, (2.2, 1.1), seed=3)
    assert len({estimate(one, other) for _ in range(3)}) == 1


def test_long_sides_are_binned() -> None:
    reference = np.tile(scene(128), (1, 9))[:, :1100]
    moving = np.roll(reference, (4, 6), axis=(0, 1))
    found, _ = estimate(reference[10:-10, 20:-20], moving[10:-10, 20:-20])
    assert error_px(found, (4, 6)) < 0.3


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
    assert estimate(reference, moving) == (IDENTITY, 0.0)


def test_noise_is_no_drift() -> None:
    rng = np.random.default_rng(0)
    found, confidence = estimate(rng.poisson(50, (256, 256)), rng.poisson(50, (256, 256)))
    assert confidence < 0.1
    assert error_px(found, (0, 0)) < 5


def test_misuse() -> None:
    holed = scene(64).astype(float)
    holed[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        estimate(scene(64), holed)
    with pytest.raises(ValueError, match="one shape"):
        estimate(scene(64), scene(65))
    with pytest.raises(ValueError, match="transform"):
        estimate(scene(64), scene(64), transform="affine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="order"):
        apply(scene(64), IDENTITY, order=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="frame"):
        apply(np.zeros((2, 2, 2)), IDENTITY)


def test_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    estimate(scene(64), scene(64, (1, 1), seed=1))

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("no convergence")

    monkeypatch.setattr(drift.ants(), "registration", broken)
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
        shift, _ = estimate(before, after)
        seen = valid_mask(after.shape, shift)
        seen &= (before_them > 0) & (after_them > 0)
        ours = np.corrcoef(apply(after, shift)[seen], before[seen])[0, 1]
        assert ours > np.corrcoef(after_them[seen].astype(float), before_them[seen])[0, 1] - 0.01
