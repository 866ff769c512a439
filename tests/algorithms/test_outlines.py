"""Outlines of blurred discs of known size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dataops_parsl.algorithms.outlines import bright_levels, edge_levels, out_of_focus, soft
from dataops_parsl.algorithms.watershed import segment


def _disc(radius_px: float, blur_px: float, size: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    inside = np.hypot(rows - size / 2, columns - size / 2) < radius_px
    return gaussian_filter(inside.astype(np.float32) * 200, blur_px)


@pytest.mark.parametrize("radius_px", [6.0, 12.0, 20.0])
@pytest.mark.parametrize("blur_px", [0.7, 1.5])
def test_a_blurred_disc_has_its_own_size(radius_px, blur_px) -> None:
    noise = np.random.default_rng(1).normal(0, 2, (96, 96))
    labels = segment(_disc(radius_px, blur_px) + 50 + noise, 2 * radius_px, trim_frac=None)
    assert labels.max() == 1
    found = np.sqrt(np.count_nonzero(labels) / np.pi)
    assert found == pytest.approx(radius_px, abs=0.3 + 0.4 * blur_px)
    wide = segment(_disc(radius_px, blur_px) + 50 + noise, 2 * radius_px, trim_frac=0)
    assert np.count_nonzero(wide) > np.count_nonzero(labels)


def test_a_bright_nucleus_does_not_hide_the_edge_of_a_dim_cell() -> None:
    image = _disc(14, 1.0) * 0.5 + _disc(7, 1.0)
    labels = (image > 5).astype(np.int32)
    level = edge_levels(labels, image, 28.0)[1]
    assert np.sqrt(np.count_nonzero(image >= level) / np.pi) == pytest.approx(14, abs=0.8)


def test_each_object_has_a_level_of_its_own() -> None:
    image = np.concatenate([_disc(12, 1.0), 0.2 * _disc(12, 1.0)], axis=1)
    labels = np.where(image > 4, 1 + (np.arange(192) >= 96)[None, :], 0).astype(np.int32)
    levels = edge_levels(labels, image, 24.0)
    assert levels[0] == 0
    assert levels[1] == pytest.approx(5 * levels[2], rel=0.2)


def _field(haze: float) -> np.ndarray:
    """Nine cells of 6 px radius, and haze of that height."""
    rows, columns = np.mgrid[:160, :160]
    image = np.zeros((160, 160))
    for y in (30, 80, 130):
        for x in (30, 80, 130):
            image += 200.0 * (np.hypot(rows - y, columns - x) < 6)
    image = gaussian_filter(image, 1.0)
    square = (rows - 105) ** 2 + (columns - 105) ** 2
    return image + haze * np.exp(-square / (2 * 11.0**2))


def test_haze_is_no_cell_and_hides_none() -> None:
    noise = np.random.default_rng(2).normal(50, 4, (160, 160))
    clear = segment(_field(0) + noise, 12.0, trim_frac=None)
    hazy = segment(_field(90) + noise, 12.0, trim_frac=None)
    assert clear.max() == hazy.max() == 9
    both = (clear > 0) & (hazy > 0)
    assert both.sum() > 0.9 * (clear > 0).sum()


def test_few_cells_are_no_measure_of_haze() -> None:
    image = (40 * np.exp(-((np.mgrid[:96, :96] - 48) ** 2).sum(axis=0) / (2 * 14.0**2))).astype(np.float32)
    labels = (image > 15).astype(np.int32)
    assert not soft(labels, image, 12.0).any()
    assert out_of_focus(image, 12.0, 0.5).max() > 8  # the opening takes what it may all the same


@pytest.mark.parametrize("levels", [edge_levels, bright_levels])
def test_no_object_and_missing_labels(levels) -> None:
    other = 24.0 if levels is edge_levels else 0.4
    nothing = np.zeros((30, 30), np.int32)
    assert levels(nothing, np.zeros((30, 30), np.float32), other).tolist() == [0.0]
    one = nothing.copy()
    one[10, 10] = 3  # a single pixel has no edge that could be judged
    found = levels(one, np.ones((30, 30), np.float32), other)
    assert len(found) == 4
    assert found[:3].tolist() == [0, 0, 0]
    assert found[3] <= 1
