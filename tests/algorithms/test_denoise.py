"""Denoising: nearer the truth, no bias, and nothing invented."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from dataops_parsl.algorithms.denoise import denoise, estimate_noise, stabilize

Method = Literal["nlm", "ants"]
METHODS = pytest.mark.parametrize("method", ["nlm", "ants"])


def _cells(shape: tuple[int, int] = (256, 192), height: float = 200, ground: float = 20) -> np.ndarray:
    """Counts without noise: a lattice of soft-edged discs 28 px wide."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    radius = np.hypot(rows % 48 - 24, columns % 48 - 24)
    return np.asarray(ground + height / (1 + np.exp((radius - 14) / 0.8)))


def _camera(clean: np.ndarray, gain: float = 1.25, offset: float = 100, read: float = 2.5) -> np.ndarray:
    rng = np.random.default_rng(7)
    counts = gain * rng.poisson(clean / gain) + offset + read * rng.standard_normal(clean.shape)
    return np.asarray(np.clip(np.rint(counts), 0, 65535).astype(np.uint16))


@METHODS
def test_error_falls_and_the_background_stays(method: Method) -> None:
    clean = _cells()
    noisy = np.random.default_rng(0).poisson(clean)
    smooth = denoise(noisy, method)
    assert smooth.dtype == np.float32
    assert smooth.shape == clean.shape
    assert np.std(smooth - clean) < 0.8 * np.std(noisy - clean)
    assert abs(float((smooth - clean)[clean < 20.5].mean())) < 0.3


@pytest.mark.parametrize(("height", "ground", "offset"), [(64, 70, 100), (400, 70, 100), (64, 2, 2)])
def test_nlm_is_nearer_the_truth_than_ants(height: float, ground: float, offset: float) -> None:
    clean = _cells(height=height, ground=ground)
    noisy = _camera(clean, offset=offset)
    errors = [denoise(noisy, method) - offset - clean for method in ("nlm", "ants")]
    inside, outside = clean > ground + 0.95 * height, clean < ground + 0.01 * height
    edge = ~inside & ~outside
    for where in (inside, outside, edge):
        ours, theirs = (float(np.sqrt(np.mean(e[where] ** 2))) for e in errors)
        assert ours < theirs


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("ground", [2, 20, 300])
def test_the_mean_stays(ground: float, offset: float) -> None:
    noisy = _camera(_cells(ground=ground), offset=offset, read=1)
    assert denoise(noisy).mean(dtype=np.float64) == pytest.approx(noisy.mean(), rel=1e-4)


def test_noise_falls_alike_in_the_dark_and_in_the_bright() -> None:
    clean = np.where(np.arange(200) < 100, 20.0, 2000.0) + np.zeros((150, 1))
    noisy = np.random.default_rng(1).poisson(clean)
    smooth = denoise(noisy)
    for columns, counts in ((slice(5, 95), 20), (slice(105, 195), 2000)):
        assert np.std(smooth[:, columns]) < 0.4 * counts**0.5


@pytest.mark.parametrize(("gain", "offset", "read"), [(1.25, 100, 2.5), (0.3, 500, 4), (5, 0, 0)])
def test_planted_noise_is_found(gain: float, offset: float, read: float) -> None:
    clean = _cells(ground=60)
    noise = estimate_noise(_camera(clean, gain, offset, read).astype(np.float32))
    assert noise is not None
    assert noise.gain == pytest.approx(gain, rel=0.25)
    for counts in (60, 260):
        found = noise.variance + noise.gain * (counts + offset - noise.counts_at)
        assert found == pytest.approx(gain * counts + read**2, rel=0.25)


def test_noise_that_does_not_grow_has_no_gain_and_becomes_one() -> None:
    image = (40 + 3 * np.random.default_rng(2).standard_normal((240, 240))).astype(np.float32)
    noise = estimate_noise(image)
    assert noise is not None
    assert noise.gain == 0
    assert noise.variance == pytest.approx(9, rel=0.1)
    assert np.std(stabilize(image, noise)) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("clip", [(130, 65535), (0, 300)])
def test_clipped_frames_are_denoised_where_they_are_not_clipped(clip: tuple[int, int]) -> None:
    clean = _cells(ground=70)
    noisy = np.clip(_camera(clean, offset=50), *clip)
    shown = np.clip(clean + 50, *clip)
    error = denoise(noisy) - shown
    assert np.std(error) < 0.8 * np.std(noisy - shown)


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_units_do_not_matter(scale: float) -> None:
    noisy = _camera(_cells((96, 96))).astype(np.float64)
    assert np.allclose(denoise(noisy * scale) / scale, denoise(noisy), rtol=1e-5)


def test_a_frame_without_noise_stays() -> None:
    steps = np.kron(np.arange(16).reshape(4, 4), np.ones((20, 20)))
    assert np.array_equal(denoise(steps), steps)
    smooth = _cells()
    assert np.allclose(denoise(smooth), smooth, rtol=0.01)


@METHODS
def test_repeats_bit_for_bit_and_leaves_the_input(method: Method) -> None:
    image = np.random.default_rng(1).poisson(30, (64, 64)).astype(np.float32)
    before = image.copy()
    first = denoise(image, method)
    denoise(image[::-1], method)
    assert np.array_equal(denoise(image, method), first)
    assert np.array_equal(image, before)


@METHODS
@pytest.mark.parametrize("image", [np.zeros((40, 40)), np.full((30, 50), 7), np.eye(4), np.zeros((0, 5))])
def test_flat_and_tiny_frames_come_back(image: np.ndarray, method: Method) -> None:
    assert np.array_equal(denoise(image, method), image.astype(np.float32))


@METHODS
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_unknown_pixels_are_refused(bad: float, method: Method) -> None:
    image = np.ones((20, 20))
    image[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        denoise(image, method)
    with pytest.raises(ValueError, match="frame"):
        denoise(np.zeros((2, 3, 4)), method)


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="choose 'nlm' or 'ants'"):
        denoise(np.eye(9), "median")  # type: ignore[arg-type]
