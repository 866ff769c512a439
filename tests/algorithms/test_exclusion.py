"""Objects of a stain that colours two populations, one of which another channel marks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dataops_parsl.algorithms.exclusion import without_bright, without_light_of

SHAPE = (160, 200)


def discs(
    centres: list[tuple[float, float]], radius_px: float, shape: tuple[int, int] = SHAPE
) -> NDArray[np.uint32]:
    """Label image of discs, 1..n."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, np.uint32)
    for i, (y, x) in enumerate(centres, 1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius_px**2] = i
    return labels


CENTRES = [(25.0 + 36 * i, 25.0 + 37 * j) for i in range(4) for j in range(5)]
LABELS = discs(CENTRES, 9)
MARKED = np.array([2, 3, 7, 11, 12, 20])


def frame(marked: NDArray[np.int64], height: float = 400, seed: int = 1) -> NDArray[np.float32]:
    """A noisy channel in which the marked objects are bright."""
    noise = np.random.default_rng(seed).normal(0, 10, SHAPE)
    return (200 + noise + height * np.isin(LABELS, marked)).astype(np.float32)


def kept(result: NDArray[np.uint32]) -> list[int]:
    """Old labels of what is left, checking that nothing else changed."""
    old = [int(LABELS[result == i][0]) for i in range(1, int(result.max()) + 1)]
    assert old == sorted(old)
    assert np.array_equal(result > 0, np.isin(LABELS, old))
    assert np.array_equal(np.unique(result), np.arange(len(old) + 1))
    return old


@pytest.mark.parametrize("height", [150, 400, 20_000])
def test_marked_objects_are_dropped_and_the_rest_renumbered(height: float) -> None:
    result = without_bright(LABELS, frame(MARKED, height))
    assert result.dtype == np.uint32
    assert kept(result) == [i for i in range(1, 21) if i not in MARKED]


def test_bright_and_dim_marks_in_one_frame() -> None:
    image = frame(MARKED[:3], 8_000) + np.where(np.isin(LABELS, MARKED[3:]), 2_000, 0)
    assert kept(without_bright(LABELS, image)) == [i for i in range(1, 21) if i not in MARKED]


@pytest.mark.parametrize("slope", [0.0, 300.0])
def test_nothing_is_dropped_where_no_cell_is_marked(slope: float) -> None:
    """Noise and an uneven background mark nothing."""
    image = frame(np.array([], np.int64)) + np.linspace(0, slope, SHAPE[1], dtype=np.float32)
    assert np.array_equal(without_bright(LABELS, image), LABELS)


def test_uneven_background_does_not_hide_marks() -> None:
    image = frame(MARKED) + np.linspace(0, 300, SHAPE[0], dtype=np.float32)[:, None]
    assert kept(without_bright(LABELS, image)) == [i for i in range(1, 21) if i not in MARKED]


@pytest.mark.parametrize(("radius_px", "stays"), [(5, True), (8, False)])
def test_a_marked_cell_that_covers_less_than_half_removes_nothing(radius_px: float, stays: bool) -> None:
    """The marked cell is no object itself: it lies on object 8, and others lie beside."""
    cover = discs([CENTRES[7], (43, 43), (80, 80), (115, 150)], radius_px)
    image = frame(np.array([], np.int64)) + np.where(cover > 0, 1_000, 0)
    assert (8 in kept(without_bright(LABELS, image))) is stays


def test_objects_in_the_glow_of_a_marked_cell_stay() -> None:
    """A glow of a tenth of the cells' brightness is above the noise by far, and Otsu parts it."""
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    image = frame(MARKED, 4_000)
    for y, x in (CENTRES[i - 1] for i in MARKED):
        image += 400 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 / 15**2)
    assert kept(without_bright(LABELS, image)) == [i for i in range(1, 21) if i not in MARKED]


def test_a_lower_sigma_drops_dimmer_objects() -> None:
    image = frame(MARKED, 35)
    assert kept(without_bright(LABELS, image)) == list(range(1, 21))
    assert kept(without_bright(LABELS, image, threshold_sigma=2)) == [
        i for i in range(1, 21) if i not in MARKED
    ]


@pytest.mark.parametrize(
    ("labels", "image"),
    [
        (np.zeros((0, 5), np.uint32), np.zeros((0, 5))),
        (np.zeros((5, 7), np.uint32), np.ones((5, 7))),
        (np.zeros((64, 64), np.uint32), np.random.default_rng(0).normal(size=(64, 64))),
    ],
    ids=["no pixel", "no object", "noise"],
)
def test_no_object(labels: NDArray[np.uint32], image: NDArray[np.float64]) -> None:
    result = without_bright(labels, image)
    assert result.shape == labels.shape
    assert not result.any()


@pytest.mark.parametrize("labels", [np.full((1, 1), 5, np.uint32), np.full((40, 40), 3, np.uint32)])
def test_an_object_that_fills_the_frame_stays(labels: NDArray[np.uint32]) -> None:
    """There is nothing that it could be brighter than."""
    assert np.array_equal(without_bright(labels, np.full(labels.shape, 900.0)), np.ones(labels.shape))


def test_more_than_65535_labels() -> None:
    labels = np.arange(1, 300 * 300 + 1, dtype=np.uint32).reshape(300, 300)
    image = np.full(labels.shape, 100, np.uint16)
    image[10:200, 20] = 60_000
    result = without_bright(labels, image)
    assert result.max() == labels.size - 190
    assert not result[10:200, 20].any()


@pytest.mark.parametrize(
    ("labels", "image", "sigma"),
    [
        (np.zeros((4, 5), np.uint32), np.zeros((5, 4)), 6),
        (np.zeros((2, 4, 5), np.uint32), np.zeros((2, 4, 5)), 6),
        (np.zeros((4, 5), np.uint32), np.full((4, 5), np.nan), 6),
        (np.zeros((4, 5), np.uint32), np.zeros((4, 5)), -1),
    ],
)
def test_misuse_is_refused(labels: NDArray[np.uint32], image: NDArray[np.float64], sigma: float) -> None:
    with pytest.raises(ValueError, match=r"expected|NaN|threshold_sigma"):
        without_bright(labels, image, threshold_sigma=sigma)


def _blob(y: float, x: float, sigma_px: float, height: float) -> NDArray[np.float32]:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    square = (rows - y) ** 2 + (columns - x) ** 2
    return (height * np.exp(-square / (2 * sigma_px**2))).astype(np.float32)


def test_light_out_of_focus_marks_nothing() -> None:
    hazy = frame(MARKED) + _blob(*CENTRES[7], sigma_px=18, height=350)
    unmarked = [i for i in range(1, 21) if i not in MARKED]
    assert 8 not in kept(without_bright(LABELS, hazy)), "without a size, haze is taken for a mark"
    assert kept(without_bright(LABELS, hazy, diameter_px=18)) == unmarked


def test_the_light_of_shining_cells_is_taken_out_and_that_of_their_neighbours_stays() -> None:
    """Of four effectors one is dead; a second, alive, overlaps a dead target by a third."""
    effectors = discs([(40, 40), (40, 120), (110, 40), (110, 150)], 6)
    target = discs([(40, 134)], 12) > 0
    noise = np.random.default_rng(3).normal(0, 5, SHAPE)
    stain = (100 + noise + 200 * (effectors == 1) + 300 * target).astype(np.float32)
    found = without_light_of(stain, effectors)
    dead = effectors == 1
    assert abs(float(np.median(found[dead])) - 100) < 10
    assert np.array_equal(found[target], stain[target])
    assert np.array_equal(found[effectors > 2], stain[effectors > 2])


def test_without_a_shining_cell_nothing_changes() -> None:
    calm = frame(np.array([], np.int64))
    assert np.array_equal(without_light_of(calm, LABELS), calm)
    nobody = np.zeros(SHAPE, np.uint32)
    assert np.array_equal(without_light_of(calm, nobody), calm)
