"""Distances between objects: equal, to the last bit, to the definition over all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.algorithms.contacts import pairs

SQUARE = (1.0, 1.0)


def by_definition(
    a: np.ndarray, b: np.ndarray | None, store_um: float, pixel_size_um: tuple[float, float]
) -> list[tuple[int, int, float, int]]:
    """Smallest distance over all pairs of pixels of all pairs of objects."""
    other = a if b is None else b
    found = []
    for i in np.unique(a[a > 0]):
        for j in np.unique(other[other > 0]):
            if b is None and i >= j:
                continue
            step = np.argwhere(a == i)[:, None] - np.argwhere(other == j)[None]
            gap_um = np.sqrt(((step * np.asarray(pixel_size_um)) ** 2).sum(axis=2)).min()
            if gap_um <= store_um:
                found.append((int(i), int(j), float(gap_um), int(np.sum((a == i) & (other == j)))))
    return found


def rows(found: dict[str, np.ndarray]) -> list[tuple[int, int, float, int]]:
    return list(
        zip(*(found[name].tolist() for name in ("label_a", "label_b", "gap_um", "overlap_px")), strict=True)
    )


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    n=st.integers(1, 6),
    cover=st.floats(0.02, 1.0),
    pixel_size_um=st.tuples(st.floats(0.2, 2.0), st.floats(0.2, 2.0)),
    store_um=st.floats(0.0, 10.0),
    seed=st.integers(0, 2**32 - 1),
    same=st.booleans(),
)
def test_equals_the_definition_on_any_pixels(
    shape: tuple[int, int],
    n: int,
    cover: float,
    pixel_size_um: tuple[float, float],
    store_um: float,
    seed: int,
    same: bool,
) -> None:
    """Objects of random pixels: in pieces, with holes, interleaved and nested."""
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, n + 1, shape) * (rng.random(shape) < cover) for _ in range(2))
    other = None if same else b
    found = pairs(a, other, store_um=store_um, pixel_size_um=pixel_size_um)
    assert rows(found) == by_definition(a, other, store_um, pixel_size_um)


def discs(seed: int, n: int, side: int, radius: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side), np.uint32)
    y, x = np.mgrid[:side, :side]
    for label, (cy, cx) in enumerate(rng.uniform(0, side, (n, 2)), start=1):
        image[((y - cy) ** 2 + (x - cx) ** 2 <= radius**2) & (image == 0)] = label
    return image


@pytest.mark.parametrize("pixel_size_um", [(0.65, 0.65), (0.5, 1.3)])
@pytest.mark.parametrize("same", [False, True])
def test_equals_the_definition_on_discs_over_many_tiles(
    pixel_size_um: tuple[float, float], same: bool
) -> None:
    a, b = discs(0, 40, 150, 8.0), discs(1, 30, 150, 10.0)
    other = None if same else b
    found = rows(pairs(a, other, store_um=10.0, pixel_size_um=pixel_size_um))
    assert found == by_definition(a, other, 10.0, pixel_size_um)
    assert len(found) > 50


@pytest.mark.parametrize(
    ("columns", "gap_um"), [((3, 4), 0.5), ((3, 5), 1.0), ((3, 3), 0.0)], ids=["touch", "apart", "share"]
)
def test_the_gap_of_two_pixels_in_a_row(columns: tuple[int, int], gap_um: float) -> None:
    a, b = np.zeros((2, 9), int), np.zeros((2, 9), int)
    a[0, columns[0]], b[0, columns[1]] = 7, 3
    found = pairs(a, b, store_um=2.0, pixel_size_um=(0.25, 0.5))
    assert rows(found) == [(7, 3, gap_um, int(gap_um == 0))]


def test_corners_touch_at_the_diagonal_of_a_pixel() -> None:
    image = np.array([[1, 0], [0, 2]])
    assert rows(pairs(image, None, store_um=5.0, pixel_size_um=(3.0, 4.0))) == [(1, 2, 5.0, 0)]
    assert rows(pairs(image, None, store_um=4.999, pixel_size_um=(3.0, 4.0))) == []


def test_an_object_inside_another_is_shared_whole() -> None:
    a, b = np.zeros((20, 20), int), np.zeros((20, 20), int)
    a[2:18, 2:18], b[8:11, 8:12] = 1, 1
    assert rows(pairs(a, b, store_um=3.0, pixel_size_um=SQUARE)) == [(1, 1, 0.0, 12)]


def test_an_object_in_the_hole_of_another_is_not_shared() -> None:
    a = np.zeros((21, 21), int)
    a[2:19, 2:19], a[6:15, 6:15], a[10, 10] = 1, 0, 2
    assert rows(pairs(a, None, store_um=9.0, pixel_size_um=SQUARE)) == [(1, 2, 5.0, 0)]


def test_an_object_in_pieces_is_as_near_as_its_nearest_piece() -> None:
    a = np.zeros((30, 60), int)
    a[2, 2], a[25, 50], a[25, 53] = 1, 1, 2
    assert rows(pairs(a, None, store_um=5.0, pixel_size_um=SQUARE)) == [(1, 2, 3.0, 0)]


def test_labels_beyond_16_bits_and_at_the_border() -> None:
    a = np.zeros((5, 40), np.uint32)
    a[0, 0], a[0, 39], a[4, 0] = 70_000, 70_001, 4_000_000_000
    found = rows(pairs(a, None, store_um=4.0, pixel_size_um=SQUARE))
    assert found == [(70_000, 4_000_000_000, 4.0, 0)]


def test_pairs_do_not_reach_around_the_border() -> None:
    a = np.zeros((3, 10), int)
    a[0, 9], a[1, 0] = 1, 2
    assert rows(pairs(a, None, store_um=3.0, pixel_size_um=SQUARE)) == []


def test_a_distance_wider_than_the_image_gives_all_pairs() -> None:
    found = pairs(
        np.array([[1, 0, 2, 0, 3]]), np.array([[4, 5, 0, 0, 0]]), store_um=1e300, pixel_size_um=SQUARE
    )
    assert rows(found) == by_definition(
        np.array([[1, 0, 2, 0, 3]]), np.array([[4, 5, 0, 0, 0]]), np.inf, SQUARE
    )
    assert len(found["gap_um"]) == 6


@pytest.mark.parametrize("same", [False, True])
def test_no_object(same: bool) -> None:
    empty = np.zeros((8, 8), np.uint16)
    found = pairs(empty, None if same else np.ones((8, 8), np.uint16), store_um=5.0, pixel_size_um=SQUARE)
    assert rows(found) == []
    assert [found[name].dtype for name in found] == [np.int64, np.int64, np.float64, np.int64]


def test_one_pixel() -> None:
    one = np.ones((1, 1), np.uint8)
    assert rows(pairs(one, one, store_um=0.0, pixel_size_um=SQUARE)) == [(1, 1, 0.0, 1)]
    assert rows(pairs(one, None, store_um=0.0, pixel_size_um=SQUARE)) == []


def test_many_small_objects_within_a_large_one() -> None:
    """A colony and 4,000 cells on it: every cell is shared, and no pair is looked for elsewhere."""
    a, b = np.ones((512, 512), np.uint32), np.zeros((512, 512), np.uint32)
    b[::8, ::8] = np.arange(1, 64 * 64 + 1).reshape(64, 64)
    found = pairs(a, b, store_um=10.0, pixel_size_um=(0.65, 0.65))
    assert found["label_b"].tolist() == list(range(1, 64 * 64 + 1))
    assert set(found["gap_um"].tolist()) == {0.0}
    assert set(found["overlap_px"].tolist()) == {1}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels_a": np.zeros((2, 2, 2), int)}, "labels_a must have shape"),
        ({"labels_a": np.zeros((0, 2), int)}, "a pixel at least"),
        ({"labels_b": np.zeros((3, 2), int)}, r"shape \(2, 2\) and labels_b \(3, 2\)"),
        ({"labels_b": np.zeros((2, 2))}, "labels_b must hold integers"),
        ({"labels_a": np.full((2, 2), -1)}, "negative labels"),
        ({"store_um": -1.0}, "store_um"),
        ({"store_um": np.nan}, "store_um"),
        ({"pixel_size_um": (0.0, 1.0)}, "pixel_size_um"),
        ({"pixel_size_um": (1.0, np.inf)}, "pixel_size_um"),
    ],
)
def test_misuse(change: dict, complaint: str) -> None:
    arguments = {
        "labels_a": np.zeros((2, 2), int),
        "labels_b": np.zeros((2, 2), int),
        "store_um": 1.0,
        "pixel_size_um": SQUARE,
    } | change
    with pytest.raises(ValueError, match=complaint):
        pairs(**arguments)
