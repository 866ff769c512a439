"""Denoising: nearer the truth, no bias, and nothing invented."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.denoise import denoise


def test_error_falls_and_the_background_stays() -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:128, :96]
    clean = 20 + 200 * np.exp(-((rows - 60) ** 2 + (columns - 30) ** 2) / 128)
    noisy = rng.poisson(clean)
    smooth = denoise(noisy)
    assert smooth.dtype == np.float32
    assert smooth.shape == clean.shape
    assert np.std(smooth - clean) < 0.75 * np.std(noisy - clean)
    assert abs(float((smooth - clean)[clean < 20.5].mean())) < 0.3


def test_repeats_bit_for_bit() -> None:
    image = np.random.default_rng(1).poisson(30, (64, 64))
    assert np.array_equal(denoise(image), denoise(image))


@pytest.mark.parametrize("image", [np.zeros((40, 40)), np.full((30, 50), 7), np.eye(4), np.zeros((0, 5))])
def test_flat_and_tiny_frames_come_back(image: np.ndarray) -> None:
    assert np.array_equal(denoise(image), image.astype(np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_unknown_pixels_are_refused(bad: float) -> None:
    image = np.ones((20, 20))
    image[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or infinite"):
        denoise(image)
    with pytest.raises(ValueError, match="frame"):
        denoise(np.zeros((2, 3, 4)))
