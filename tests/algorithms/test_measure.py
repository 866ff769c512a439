"""Measuring: against scikit-image, numpy, and hand-made objects."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import measure as sk_measure
from skimage.morphology import convex_hull_image

from dataops_parsl.algorithms.measure import measure


def run(labels: NDArray[Any], counts: NDArray[Any] | None = None, **more: Any) -> dict[str, NDArray[Any]]:
    counts = np.ones(labels.shape) if counts is None else counts
    return measure(
        labels.astype(np.uint32),
        {"gfp": counts.astype(np.float32)},
        more.get("others", np.zeros(labels.shape, dtype=bool)),
        more.get("valid", np.ones(labels.shape, dtype=bool)),
        {"gfp": more.get("bg", np.zeros(labels.shape)).astype(np.float32)},
    )


@pytest.fixture(scope="module")
def blobs() -> NDArray[np.int64]:
    field = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(160, 200)), 4)
    return np.asarray(sk_measure.label(field > 0.01, connectivity=1))


def test_shapes_agree_with_scikit_image(blobs: NDArray[np.int64]) -> None:
    names = {
        "y_px": "centroid-0",
        "x_px": "centroid-1",
        "area_px": "area",
        "eccentricity_frac": "eccentricity",
        "perimeter_px": "perimeter",
        "major_axis_px": "axis_major_length",
        "minor_axis_px": "axis_minor_length",
    }
    wanted = {name.split("-")[0] for name in names.values()}
    theirs = sk_measure.regionprops_table(blobs, properties=tuple(wanted))
    ours = run(blobs)
    for name, their_name in names.items():
        assert np.allclose(ours[name], theirs[their_name], atol=1e-6), name


def test_solidity_counts_the_hulls_pixels(blobs: NDArray[np.int64]) -> None:
    ours = run(blobs)
    for region, solidity in zip(sk_measure.regionprops(blobs), ours["solidity_frac"], strict=True):
        if min(region.image.shape) < 3:
            continue
        hull = convex_hull_image(region.image, offset_coordinates=False)
        assert solidity == pytest.approx(region.area / hull.sum(), abs=1e-9)


def test_intensities(blobs: NDArray[np.int64]) -> None:
    rng = np.random.default_rng(1)
    counts, bg = rng.random(blobs.shape).astype(np.float32), rng.random(blobs.shape).astype(np.float32)
    counts[rng.random(blobs.shape) < 0.2] = np.nan
    others = rng.random(blobs.shape) < 0.3
    ours = run(blobs, counts, others=others, bg=bg)
    for row, label in enumerate(ours["label"]):
        mine = (blobs == label) & np.isfinite(counts)
        alone = (counts - bg)[mine & ~others].astype(float)
        if mine.any():
            assert ours["mean_raw_gfp"][row] == pytest.approx(counts[mine].mean(), rel=1e-5)
            assert ours["mean_bg_gfp"][row] == pytest.approx((counts - bg)[mine].mean(), abs=1e-5)
        if alone.size:
            assert ours["p95_bg_gfp"][row] == pytest.approx(np.percentile(alone, 95), abs=1e-5)
        else:
            assert np.isnan(ours["p95_bg_gfp"][row])


def test_gaps_in_the_labels_and_huge_labels() -> None:
    labels = np.zeros((5, 9), dtype=np.uint32)
    labels[1, 1:3], labels[3, 5] = 4_000_000_000, 70_000
    ours = run(labels)
    assert ours["label"].tolist() == [70_000, 4_000_000_000]
    assert ours["label"].dtype == np.uint32
    assert ours["x_px"].tolist() == [5, 1.5]
    assert ours["y_px"].tolist() == [3, 1]


def test_one_pixel() -> None:
    ours = run(np.pad([[1]], 3))
    assert (ours["area_px"][0], ours["solidity_frac"][0]) == (1, 1)
    assert (ours["eccentricity_frac"][0], ours["major_axis_px"][0], ours["perimeter_px"][0]) == (0, 0, 0)
    assert not ours["touches_edge"][0]


def test_nothing_left_is_nan() -> None:
    labels = np.pad([[1, 1]], 2)
    ours = run(labels, np.full(labels.shape, np.nan))
    assert all(np.isnan(ours[f"{name}_gfp"][0]) for name in ("mean_raw", "mean_bg", "p95_bg"))
    covered = run(labels, others=labels > 0)
    assert covered["mean_raw_gfp"][0] == 1
    assert np.isnan(covered["p95_bg_gfp"][0])


@pytest.mark.parametrize(
    ("place", "invalid", "touches"),
    [
        ((3, 3), None, False),
        ((0, 3), None, True),
        ((6, 6), None, True),
        ((3, 3), (4, 4), True),
        ((3, 3), (5, 3), False),
    ],
)
def test_edges(place: tuple[int, int], invalid: tuple[int, int] | None, touches: bool) -> None:
    labels, valid = np.zeros((7, 7)), np.ones((7, 7), dtype=bool)
    labels[place] = 1
    if invalid:
        valid[invalid] = False
    assert run(labels, valid=valid)["touches_edge"].tolist() == [touches]


@pytest.mark.parametrize("shape", [(0, 0), (6, 4)])
def test_no_object_keeps_the_dtypes(shape: tuple[int, int]) -> None:
    some, none = run(np.ones((2, 2))), run(np.zeros(shape))
    assert {name: column.dtype for name, column in none.items()} == {n: c.dtype for n, c in some.items()}
    assert all(len(column) == 0 for column in none.values())


def test_more_labels_than_uint16_holds() -> None:
    labels = np.arange(1, 70_001, dtype=np.uint32).reshape(200, 350)
    ours = run(labels, np.arange(70_000.0).reshape(200, 350))
    assert np.array_equal(ours["label"], labels.ravel())
    assert np.allclose(ours["mean_raw_gfp"], np.arange(70_000))


def test_misuse() -> None:
    blank = np.zeros((3, 3), dtype=np.uint32)
    mask, image = np.ones((3, 3), dtype=bool), np.ones((3, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="background for channel pi"):
        measure(blank, {"pi": image}, mask, mask, {})
    with pytest.raises(ValueError, match="valid has shape"):
        measure(blank, {}, mask, mask[:2], {})
