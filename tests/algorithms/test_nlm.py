"""Non-local means: less noise, no blur, no count made up, whatever the block."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.nlm import non_local_means


def _noise(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@pytest.mark.parametrize("shape", [(90, 70), (5, 5), (5, 200), (200, 6)])
def test_flat_noise_falls_and_the_mean_stays(shape: tuple[int, int]) -> None:
    image = 50 + _noise(shape)
    smooth = non_local_means(image, image)
    assert smooth.dtype == np.float32
    assert smooth.shape == shape
    assert np.std(smooth) < 0.5 * np.std(image)
    assert abs(float(smooth.mean(dtype=np.float64) - image.mean(dtype=np.float64))) < 1e-4


def test_any_block_gives_the_same_bits() -> None:
    image = 10 * _noise((83, 61)) ** 2
    whole = non_local_means(image, image, block_rows=83)
    for rows in (1, 7, 16, 82, 1000):
        assert np.array_equal(non_local_means(image, image, block_rows=rows), whole)
    assert np.array_equal(non_local_means(image, image), whole)


def test_a_step_is_not_blurred() -> None:
    clean = np.where(np.arange(80) < 40, 0, 30).astype(np.float32) + np.zeros((60, 1), np.float32)
    smooth = non_local_means(clean + _noise((60, 80)), clean + _noise((60, 80)))
    error = np.abs(smooth - clean).mean(axis=0)
    assert error[39:41].max() < 0.7
    assert error[:36].mean() < 0.35


def test_no_value_beyond_those_of_the_neighbourhood() -> None:
    # Scaling the weights by both ends could push a pixel past its neighbours if it went wrong.
    image = np.exp(2 * _noise((120, 100), 3))
    smooth = non_local_means(image, 1.5 * np.log(image))
    assert smooth.min() >= image.min()
    assert smooth.max() <= image.max()


def test_a_lone_bright_pixel_is_kept_and_does_not_spread() -> None:
    image = _noise((40, 40))
    with_spot = image.copy()
    with_spot[20, 20] = 1000
    smooth = non_local_means(with_spot, with_spot)
    assert smooth[20, 20] == pytest.approx(1000, abs=1)
    smooth[20, 20] = 0
    assert smooth.max() < image.max() + 0.1


def test_transposed_frames_give_transposed_results() -> None:
    image = 5 * _noise((50, 64), 4)
    turned = non_local_means(np.ascontiguousarray(image.T), np.ascontiguousarray(image.T))
    assert np.allclose(turned.T, non_local_means(image, image), atol=1e-4)
