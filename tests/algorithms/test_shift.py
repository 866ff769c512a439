"""Shifts: what they mean, how they chain, and how frames are moved back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dataops_parsl.algorithms.shift import (
    IDENTITY,
    Shift,
    apply,
    compose,
    farthest_px,
    forward,
    invert,
    valid_mask,
)

Image = NDArray[Any]
STRETCHED = Shift(1.3, -2.1, 4.0, 1.03, 0.98, 0.02)
ANY = st.builds(
    Shift,
    st.floats(-50, 50),
    st.floats(-50, 50),
    st.floats(-40, 40),
    st.floats(0.8, 1.2),
    st.floats(0.8, 1.2),
    st.floats(-0.1, 0.1),
)


def mapped(shift: Shift, points: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """T(p), written out from the definition."""
    angle = np.radians(shift.angle_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.array([[shift.scale_y_frac, shift.shear_frac], [shift.shear_frac, shift.scale_x_frac]])
    centre = (np.array(shape) - 1) / 2
    return (points - centre) @ (turn @ stretch).T + centre + (shift.dy_px, shift.dx_px)


@settings(deadline=None)
@given(ANY, st.integers(1, 60), st.integers(1, 60))
def test_no_point_goes_farther_than_a_corner(shift: Shift, rows: int, columns: int) -> None:
    grid = np.stack(np.mgrid[:rows, :columns], axis=-1).reshape(-1, 2).astype(np.float64)
    went = np.hypot(*(mapped(shift, grid, (rows, columns)) - grid).T)
    assert farthest_px(shift, (rows, columns)) == pytest.approx(went.max(), abs=1e-9)


def test_a_shift_moves_all_by_as_much() -> None:
    assert farthest_px(Shift(3.0, -4.0), (9, 500)) == 5.0


def test_compose_chains_the_mappings() -> None:
    shape = (40, 61)
    first, then = Shift(3.0, -2.0, 10.0), Shift(-1.5, 7.0, -25.0)
    points = np.random.default_rng(0).uniform(0, 60, (20, 2))
    chained = mapped(then, mapped(first, points, shape), shape)
    assert np.allclose(mapped(compose(first, then), points, shape), chained)
    assert compose(IDENTITY, then) == then
    chained = mapped(then, mapped(STRETCHED, points, shape), shape)
    assert np.allclose(mapped(compose(STRETCHED, then), points, shape), chained)
    assert compose(Shift(1, 2), Shift(3, 4)) == Shift(4, 6)


@pytest.mark.parametrize(
    "shift", [IDENTITY, Shift(2.25, -3.5), Shift(-4, 7), Shift(1.3, 2.1, 12.0), STRETCHED]
)
def test_apply_undoes_the_drift(shift: Shift) -> None:
    shape = (50, 37)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    # A plane: linear interpolation is exact on it.
    moved = apply((3.0 * rows - 2.0 * columns).astype(np.float64), shift, fill=np.nan)
    at = mapped(shift, np.stack([rows.ravel(), columns.ravel()], axis=1).astype(float), shape)
    seen = ((at >= 0) & (at <= np.array(shape) - 1)).all(axis=1).reshape(shape)
    assert moved.dtype == np.float32
    assert np.array_equal(valid_mask(shape, shift), seen)
    assert np.array_equal(np.isfinite(moved), seen)
    assert np.allclose(moved[seen], (3 * at[:, 0] - 2 * at[:, 1]).reshape(shape)[seen], atol=1e-3)


@pytest.mark.parametrize("shift", [IDENTITY, Shift(2.4, -3.6), Shift(0.0, 0.0, 5.0), STRETCHED])
def test_labels_keep_dtype_and_values(shift: Shift) -> None:
    labels = np.arange(30 * 30, dtype=np.uint32).reshape(30, 30) + 4_000_000_000
    moved = apply(labels, shift, order=0)
    assert moved.dtype == np.uint32
    assert moved is not labels
    seen = valid_mask(labels.shape, shift)
    assert not moved[~seen].any()
    assert np.isin(moved[seen], labels).all()
    if shift.translates:
        assert moved[10, 10] == labels[10 + round(shift.dy_px), 10 + round(shift.dx_px)]


def test_nothing_is_left_after_a_huge_shift() -> None:
    assert not valid_mask((10, 10), Shift(50, 0)).any()
    assert np.isnan(apply(np.ones((10, 10)), Shift(0, -50), fill=np.nan)).all()
    assert apply(np.ones((1, 1)), Shift(0.5, 0), fill=3)[0, 0] == 3


def test_whole_shifts_do_not_spread_nan() -> None:
    image = np.ones((6, 6))
    image[2, 2] = np.nan
    moved = apply(image, Shift(1, 1))
    assert np.argwhere(np.isnan(moved)).tolist() == [[1, 1]]


@pytest.mark.parametrize("shift", [Shift(2.5, -3.0, 7.0), STRETCHED])
def test_forward_says_where_a_point_is_seen(shift: Shift) -> None:
    shape = (41, 61)
    y, x = forward(np.array([24.0]), np.array([20.0]), shift, shape)
    yy, xx = np.mgrid[: shape[0], : shape[1]]
    seen = np.exp(-((yy - y[0]) ** 2 + (xx - x[0]) ** 2) / 8).astype(np.float32)
    at_rest = apply(seen, shift, order=1)
    assert np.unravel_index(np.argmax(at_rest), shape) == (24, 20)


@settings(max_examples=60, deadline=None)
@given(ANY, ANY)
def test_stretches_chain_and_undo(first: Shift, then: Shift) -> None:
    shape = (64, 80)
    points = np.array([[0.0, 0.0], [63.0, 79.0], [10.0, 70.0], [40.5, 3.25]])
    there = mapped(first, points, shape)
    assert np.allclose(mapped(compose(first, then), points, shape), mapped(then, there, shape))
    assert np.allclose(mapped(invert(first), there, shape), points)
    assert np.allclose(first.matrix, Shift.of(first.matrix, np.zeros(2)).matrix)


@pytest.mark.parametrize("shift", [Shift(2.5, -4.0), Shift(0.0, 0.0)])
def test_a_translation_is_undone_to_the_last_bit(shift: Shift) -> None:
    assert compose(shift, invert(shift)) == IDENTITY
    assert invert(shift).translates


@pytest.mark.parametrize("matrix", [[[1.0, 0.0], [0.0, -1.0]], [[1.0, 1.0], [1.0, 1.0]]])
def test_content_is_neither_mirrored_nor_collapsed(matrix: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="mirrors"):
        Shift.of(np.array(matrix), np.zeros(2))


@pytest.mark.parametrize(
    ("image", "order", "words"), [(np.zeros((4, 4)), 3, "order"), (np.zeros((2, 2, 2)), 1, "frame")]
)
def test_misuse(image: Image, order: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        apply(image, IDENTITY, order=order)  # type: ignore[arg-type]
