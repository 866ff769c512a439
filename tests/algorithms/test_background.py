"""Background: planted levels under planted cells."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.background import background


def test_a_ramp_is_found_under_cells() -> None:
    rng = np.random.default_rng(0)
    ramp = 100 + np.linspace(0, 80, 300)[None, :] + np.linspace(0, 30, 260)[:, None]
    rows, columns = np.mgrid[:260, :300]
    cells = (rows % 50 - 25) ** 2 + (columns % 50 - 25) ** 2 < 100
    found = background(rng.poisson(ramp + 500 * cells), cells)
    assert found.dtype == np.float32
    assert np.abs(found - ramp).max() < 5


def test_covered_tiles_take_their_neighbours() -> None:
    cells = np.zeros((320, 320), dtype=bool)
    cells[60:260, 60:260] = True
    found = background(np.where(cells, 900.0, 50.0), cells)
    assert np.allclose(found, 50)


def test_spilled_light_is_left_out() -> None:
    image, cells = np.full((64, 64), 10.0), np.zeros((64, 64), dtype=bool)
    cells[10:30, 10:60] = cells[34:54, 10:60] = True
    image[cells] = 500
    image[7:33, 7:63] = np.maximum(image[7:33, 7:63], 200)
    assert np.median(background(image, cells)) == 10


def test_full_frames_fall_back_to_a_low_percentile() -> None:
    image = np.arange(10_000.0).reshape(100, 100)
    found = background(image, np.ones(image.shape, dtype=bool))
    assert np.unique(found) == pytest.approx([np.percentile(image, 5)], rel=1e-6)


def test_unknown_pixels_do_not_spread() -> None:
    image = np.full((130, 130), 3.0)
    image[:70, :70] = np.nan
    assert np.allclose(background(image, np.zeros(image.shape, dtype=bool)), 3)
    assert np.isnan(background(np.full((5, 5), np.nan), np.zeros((5, 5), dtype=bool))).all()


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 200), (200, 1), (2048, 3)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    found = background(np.full(shape, 4), np.zeros(shape, dtype=bool))
    assert found.shape == shape
    assert np.allclose(found, 4)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="mask"):
        background(np.zeros((3, 3)), np.zeros((3, 4), dtype=bool))
    with pytest.raises(ValueError, match="tile_px"):
        background(np.zeros((3, 3)), np.zeros((3, 3), dtype=bool), tile_px=0)
