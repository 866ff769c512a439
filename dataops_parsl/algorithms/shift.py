"""What a drift is, how drifts chain, and how a frame is moved back.

A :class:`Shift` says where the *content* went: a point seen at ``p = (y, x)`` in the reference frame is seen
at ``T(p) = A (p - c) + c + (dy, dx)`` in the drifted one, ``c = ((Y - 1) / 2, (X - 1) / 2)`` being the
centre of the image. ``A = R(angle) S``: first the content is stretched by ``S = [[scale_y, shear],
[shear, scale_x]]``, then turned by ``R = [[cos, -sin], [sin, cos]]``, both acting on (y, x): a positive angle
turns the content counter-clockwise on a screen whose y axis points down. Every ``A`` that does not mirror has
exactly one such pair (the polar decomposition). A translation has ``A = I``, a rigid drift ``S = I``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Shift:
    """Drift of the content, see the module's docstring; px, degrees, and fractions of the length."""

    dy_px: float
    dx_px: float
    angle_deg: float = 0.0
    scale_y_frac: float = 1.0
    scale_x_frac: float = 1.0
    shear_frac: float = 0.0

    @property
    def stretches(self) -> bool:
        """Whether it is more than a translation and a rotation."""
        return (self.scale_y_frac, self.scale_x_frac, self.shear_frac) != (1.0, 1.0, 0.0)

    @property
    def translates(self) -> bool:
        """Whether it is nothing but a translation."""
        return self.angle_deg == 0 and not self.stretches

    @property
    def matrix(self) -> Matrix:
        """A, acting on (y, x) about the centre; (2, 2) float64."""
        turn = rotation(self.angle_deg)
        if not self.stretches:
            return turn
        stretch = [[self.scale_y_frac, self.shear_frac], [self.shear_frac, self.scale_x_frac]]
        return np.asarray(turn @ np.array(stretch))

    @classmethod
    def of(cls, matrix: Matrix, drift_px: Matrix) -> Shift:
        """The drift with this A (2, 2) and this (dy, dx).

        Raises
        ------
        ValueError
            `matrix` mirrors or collapses the content.
        """
        if np.linalg.det(matrix) <= 0:
            raise ValueError(f"a drift neither mirrors nor collapses the content, as {matrix.tolist()} does")
        left, size, right = np.linalg.svd(matrix)
        turn, stretch = left @ right, right.T @ np.diag(size) @ right
        angle_deg = math.degrees(math.atan2(turn[1, 0], turn[0, 0]))
        parts = (*drift_px, angle_deg, stretch[0, 0], stretch[1, 1], (stretch[0, 1] + stretch[1, 0]) / 2)
        return cls(*(float(part) for part in parts))


IDENTITY = Shift(0.0, 0.0, 0.0)
NAMES = tuple(field.name for field in fields(Shift))
"""Names of a drift's parts, in order: columns of tables too."""


def compose(first: Shift, then: Shift) -> Shift:
    """Chain two drifts: reference to middle frame (``first``), middle to last frame (``then``).

    ``T(p) = T_then(T_first(p))``, which is ``A2 A1 (p - c) + c + A2 d1 + d2``. Both act about the same
    centre, so the shape of the frames does not enter.
    """
    moved = then.matrix @ (first.dy_px, first.dx_px) + (then.dy_px, then.dx_px)
    if first.stretches or then.stretches:
        return Shift.of(then.matrix @ first.matrix, moved)
    return Shift(float(moved[0]), float(moved[1]), first.angle_deg + then.angle_deg)


def invert(shift: Shift) -> Shift:
    """The drift that undoes `shift`: ``compose(shift, invert(shift))`` is the identity, but for rounding."""
    if shift.translates:
        return Shift(-shift.dy_px, -shift.dx_px)
    back = np.asarray(np.linalg.inv(shift.matrix), dtype=np.float64)
    moved = -back @ (shift.dy_px, shift.dx_px)
    if shift.stretches:
        return Shift.of(back, moved)
    return Shift(float(moved[0]), float(moved[1]), -shift.angle_deg)


def farthest_px(shift: Shift, shape: tuple[int, ...]) -> float:
    """Largest distance that a point of the frame went, px: that of a corner, for T(p) - p is linear in p.

    Parameters
    ----------
    shift : Shift
    shape : tuple of two int
        (Y, X) of the frames.
    """
    if shift.translates:
        return math.hypot(shift.dy_px, shift.dx_px)
    y, x = (np.array(ends, dtype=np.float64) for ends in zip(*_corners(shape), strict=True))
    moved_y, moved_x = forward(y, x, shift, shape)
    return float(np.hypot(moved_y - y, moved_x - x).max())


def _corners(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(y, x) for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)]


def rotation(angle_deg: float) -> Matrix:
    """R(angle), acting on (y, x)."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def inside(n: int, shift_px: float) -> tuple[int, int]:
    """First and one past the last index p of an axis with 0 <= p + shift <= n - 1."""
    first = min(n, max(0, math.ceil(-shift_px)))
    return first, max(first, min(n, math.floor(n - 1 - shift_px) + 1))


def _turn(shape: tuple[int, ...], shift: Shift) -> tuple[Matrix, Matrix]:
    """Matrix and offset with T(p) = matrix @ p + offset."""
    matrix = shift.matrix
    centre = (np.array(shape) - 1) / 2
    moved = centre + np.array([shift.dy_px, shift.dx_px])
    return matrix, moved - matrix @ centre


def valid_mask(shape: tuple[int, ...], shift: Shift) -> NDArray[np.bool_]:
    """Where a frame moved back by :func:`apply` shows what was acquired.

    Parameters
    ----------
    shape : tuple of two int
        (Y, X) of the frame.
    shift : Shift
        Its drift.

    Returns
    -------
    (Y, X) bool
        False where the source position lies outside the drifted frame.
    """
    if shift.translates:
        mask = np.zeros(shape, dtype=np.bool_)
        mask[slice(*inside(shape[0], shift.dy_px)), slice(*inside(shape[1], shift.dx_px))] = True
        return mask
    matrix, offset = _turn(shape, shift)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    seen = np.ones(shape, dtype=np.bool_)
    for axis, n in enumerate(shape):
        at = matrix[axis, 0] * rows + (matrix[axis, 1] * columns + offset[axis])
        seen &= (at >= 0) & (at <= n - 1)
    return seen


def apply(image: NDArray[Any], shift: Shift, *, order: Literal[0, 1] = 1, fill: float = 0) -> NDArray[Any]:
    """Move a drifted frame back into the reference frame.

    Parameters
    ----------
    image : (Y, X) array
        Drifted frame.
    shift : Shift
        Its drift.
    order : {0, 1}
        0 takes the nearest pixel and keeps the dtype, for labels; 1 interpolates linearly to float32.
    fill : float
        Value where :func:`valid_mask` is False.

    Returns
    -------
    (Y, X) array
        float32 for ``order=1``, the dtype of `image` for ``order=0``; never `image` itself.

    Raises
    ------
    ValueError
        `image` is not two-dimensional, or `order` is neither 0 nor 1.
    """
    if image.ndim != 2:
        raise ValueError(f"expected a (Y, X) frame, got shape {image.shape}")
    if order not in (0, 1):
        raise ValueError(f"order must be 0 (nearest) or 1 (linear), got {order}")
    source = image if order == 0 else image.astype(np.float32, copy=False)
    if shift.translates:
        return _translate(source, shift, order, fill)
    matrix, offset = _turn(image.shape, shift)
    out = ndimage.affine_transform(source, matrix, offset, order=order, mode="nearest", output=source.dtype)
    out[~valid_mask(image.shape, shift)] = fill
    return np.asarray(out)


def _translate(source: NDArray[Any], shift: Shift, order: int, fill: float) -> NDArray[Any]:
    out = np.full(source.shape, fill, dtype=source.dtype)
    where = []
    for axis, shift_px in enumerate((shift.dy_px, shift.dx_px)):
        first, stop = inside(source.shape[axis], shift_px)
        if stop == first:
            return out
        where.append(slice(first, stop))
        whole = math.floor(shift_px + 0.5) if order == 0 else math.floor(shift_px)
        part = 0.0 if order == 0 else shift_px - whole
        low = _slab(source, axis, first + whole, stop + whole)
        # A neighbour with weight 0 must not be read: it may be NaN or outside the frame.
        if part:
            high = _slab(source, axis, first + whole + 1, stop + whole + 1)
            source = low * np.float32(1 - part) + high * np.float32(part)
        else:
            source = low
    out[tuple(where)] = source
    return out


def _slab(image: NDArray[Any], axis: int, first: int, stop: int) -> NDArray[Any]:
    return image[first:stop] if axis == 0 else image[:, first:stop]


def forward(
    y_px: NDArray[np.float64], x_px: NDArray[np.float64], shift: Shift, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where points of the reference frame are seen in the drifted one: T(p).

    Parameters
    ----------
    y_px, x_px : (n,) float64
    shape : tuple of two int
        (Y, X) of the frames.
    """
    matrix, offset = _turn(shape, shift)
    moved = matrix @ np.vstack([y_px, x_px]) + offset[:, None]
    return moved[0], moved[1]
