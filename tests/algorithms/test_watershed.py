"""Classical segmentation: planted discs, nothing in nothing, and real nuclei."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from skimage import measure as sk_measure

from dataops_parsl.algorithms.watershed import normalized_sum, percentile_limits, segment

Image = NDArray[Any]


def discs(shape: tuple[int, int], centres: Any, radius_px: float, counts: float = 200.0) -> Image:
    """Soft discs over a background of 50 counts, with Poisson noise."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.full(shape, 50.0)
    for y, x in centres:
        image += counts / (1 + np.exp(np.hypot(rows - y, columns - x) - radius_px))
    return np.random.default_rng(0).poisson(image).astype(np.uint16)


def precision(truth: Image, found: Image) -> float:
    """Average precision at an overlap (intersection over union) of 0.5: TP / (TP + FP + FN)."""
    pairs, shared = np.unique(np.stack([truth.ravel(), found.ravel()]), axis=1, return_counts=True)
    area_true, area_found = np.bincount(truth.ravel()), np.bincount(found.ravel())
    both = (pairs > 0).all(axis=0)
    union = area_true[pairs[0]] + area_found[pairs[1]] - shared
    hits = int(np.count_nonzero(both & (shared > 0.5 * union)))
    n_true, n_found = len(np.unique(truth[truth > 0])), len(np.unique(found[found > 0]))
    return hits / (n_true + n_found - hits)


@pytest.mark.parametrize("diameter_px", [14, 20, 28])
def test_discs_are_found_whole(diameter_px: float) -> None:
    centres = [(20, 25), (20, 45), (60, 80), (100, 40), (110, 60), (100, 110), (127, 5)]
    labels = segment(discs((128, 128), centres, 10), diameter_px)
    assert labels.dtype == np.uint32
    assert labels.max() == len(centres)
    for y, x in centres:
        assert labels[y, x] > 0
    area = np.count_nonzero(labels == labels[60, 80])
    assert area == pytest.approx(np.pi * 10**2, rel=0.25)


def test_labels_are_consecutive_connected_and_in_raster_order() -> None:
    centres = [(y, x) for y in range(15, 150, 24) for x in range(15, 150, 24)]
    labels = segment(discs((160, 160), centres, 9), 18)
    ids, first = np.unique(labels, return_index=True)
    assert ids.tolist() == list(range(len(ids)))
    assert np.all(np.diff(first[1:]) > 0)
    assert sk_measure.label(labels, connectivity=1, background=0).max() == ids[-1]


@pytest.mark.parametrize("counts", [np.uint8, np.uint16, np.float32, np.float64])
def test_scale_and_dtype_do_not_matter(counts: type) -> None:
    image = discs((96, 96), [(30, 30), (60, 70)], 10, counts=100)
    assert np.array_equal(segment(image.astype(counts), 20), segment(image, 20))


@pytest.mark.parametrize("diameter_px", [10, 25, 50])
@pytest.mark.parametrize(
    "kind",
    [
        "zero",
        "constant",
        "poisson",
        "few counts",
        "gauss",
        "ramp",
        "noisy ramp",
        "vignette",
        "hot pixels",
    ],
)
def test_nothing_is_found_in_nothing(kind: str, diameter_px: float) -> None:
    rng = np.random.default_rng(0)
    shape = (256, 256)
    ramp = np.broadcast_to(np.arange(256.0), shape)
    frames = {
        "zero": np.zeros(shape),
        "constant": np.full(shape, 900),
        "poisson": rng.poisson(100, shape),
        "few counts": rng.poisson(0.5, shape),
        "gauss": rng.normal(0, 1, shape),
        "ramp": ramp + 0 * ramp.T,
        "noisy ramp": rng.poisson(100 + 2 * ramp),
        "vignette": rng.poisson(1000 - ((ramp - 128) ** 2 + (ramp.T - 128) ** 2) / 100),
        "hot pixels": rng.poisson(100, shape) + 3000 * (rng.random(shape) < 1e-4),
    }
    assert segment(frames[kind], diameter_px).max() == 0


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 50), (3, 3)])
def test_odd_shapes(shape: tuple[int, int]) -> None:
    image = np.zeros(shape)
    if image.size:
        image.flat[0] = 100
    labels = segment(image, 10)
    assert labels.shape == shape
    assert labels.dtype == np.uint32


def test_more_labels_than_uint16_holds() -> None:
    image = np.zeros((1100, 1100), dtype=np.uint8)
    for dy in range(2):
        for dx in range(2):
            image[1 + dy :: 4, 1 + dx :: 4] = 200
    labels = segment(image, 2, threshold_sigma=1, min_area_frac=0.3)
    assert labels.max() == 275 * 275 > 65_535
    assert len(np.unique(labels)) == labels.max() + 1


def test_trim_cuts_the_halo() -> None:
    rows, columns = np.mgrid[:96, :96]
    distance = np.hypot(rows - 48, columns - 48)
    image = np.random.default_rng(0).poisson(20 + 300 * (distance < 10) + 60 * (distance < 20))
    assert np.count_nonzero(segment(image, 30)) == pytest.approx(np.pi * 10**2, rel=0.2)
    assert np.count_nonzero(segment(image, 30, trim_frac=0)) == pytest.approx(np.pi * 20**2, rel=0.2)


def test_a_bright_cell_does_not_swallow_a_dim_one() -> None:
    """They touch without a neck or a dark line between them; only a step in brightness parts them."""
    rows, columns = np.mgrid[:96, :96]
    image = np.full((96, 96), 50.0)
    for x, counts in ((35, 400.0), (54, 160.0)):
        inside = np.hypot(rows - 48, columns - x) < 11
        image[inside] = np.maximum(image[inside], 50 + counts)
    labels = segment(np.random.default_rng(0).poisson(image), 22)
    assert labels.max() == 2
    assert labels[48, 30] != labels[48, 60]


def test_an_elongated_nucleus_stays_whole() -> None:
    rows, columns = np.mgrid[:96, :96]
    inside = ((rows - 48) / 9) ** 2 + ((columns - 48) / 24) ** 2 < 1
    image = np.random.default_rng(0).poisson(50 + 200 * inside)
    labels = segment(image, 2 * np.sqrt(9 * 24))
    assert labels.max() == 1
    assert np.count_nonzero(labels) == pytest.approx(np.count_nonzero(inside), rel=0.1)


def test_misuse() -> None:
    image = np.ones((20, 20))
    image[0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        segment(image, 10)
    with pytest.raises(ValueError, match="diameter_px"):
        segment(np.ones((20, 20)), 1)
    with pytest.raises(ValueError, match="trim_frac"):
        segment(np.ones((20, 20)), 10, trim_frac=1.5)
    with pytest.raises(ValueError, match="frame"):
        segment(np.ones((2, 20, 20)), 10)


def test_limits_are_pooled_and_the_sum_is_clipped_below_only() -> None:
    frames = [np.arange(0, 50.0).reshape(5, 10), np.arange(50, 101.0)[None]]
    assert percentile_limits(frames, 10, 90) == pytest.approx((10, 90))
    assert percentile_limits([np.full((2, 2), np.nan)]) == (0, 0)
    assert percentile_limits([]) == (0, 0)
    total = normalized_sum([np.array([[0, 10, 30]]), np.array([[5, 5, 6]])], [(10, 20), (5, 7)])
    assert total.dtype == np.float32
    assert total.tolist() == [[0, 0, 2.5]]
    assert normalized_sum([np.ones((1, 1))], [(3, 3)]).tolist() == [[0]]
    with pytest.raises(ValueError, match="limits"):
        normalized_sum([np.ones((1, 1))], [])
    with pytest.raises(ValueError, match="low"):
        percentile_limits(frames, 60, 40)


def test_real_nuclei(test_data: Path) -> None:
    """One diameter for nuclei of 10 to 50 px; a handful of images of the set, whose mean is 0.80."""
    folder = test_data / "dsb2018_nuclei_dev"
    images = sorted(path for path in folder.glob("*.tif") if "_mask" not in path.name)[::3]
    scores = []
    for path in images:
        truth = tifffile.imread(path.with_name(f"{path.stem}_mask.tif"))
        scores.append(precision(truth, segment(tifffile.imread(path), 24)))
    assert np.mean(scores) > 0.7
