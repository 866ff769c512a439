"""What a drift is, how drifts chain, and how a frame is moved back.

A :class:`Shift` says where the *content* went: a point seen at ``p = (y, x)`` in the reference frame is seen
at ``T(p) = R(angle) (p - c) + c + (dy, dx)`` in the drifted one, ``c = ((Y - 1) / 2, (X - 1) / 2)`` being the
centre of the image and ``R = [[cos, -sin], [sin, cos]]`` acting on (y, x): a positive angle turns the content
counter-clockwise on a screen whose y axis points down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage


@dataclass(frozen=True)
class Shift:
    """Drift of the content, see the module's docstring; px, px and degrees."""

    dy_px: float
    dx_px: float
    angle_deg: float = 0.0


IDENTITY = Shift(0.0, 0.0, 0.0)


def compose(first: Shift, then: Shift) -> Shift:
    """Chain two drifts: reference to middle frame (``first``), middle to last frame (``then``).

    ``T(p) = T_then(T_first(p))``, which is ``R(a1 + a2) (p - c) + c + R(a2) d1 + d2``. Both turn about the
    same centre, so the shape of the frames does not enter.
    """
    turned = rotation(then.angle_deg) @ (first.dy_px, first.dx_px)
    return Shift(
        float(turned[0] + then.dy_px), float(turned[1] + then.dx_px), first.angle_deg + then.angle_deg
    )


def rotation(angle_deg: float) -> NDArray[np.float64]:
    """R(angle), acting on (y, x)."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array([[cos, -sin], [sin, cos]])


def inside(n: int, shift_px: float) -> tuple[int, int]:
    """First and one past the last index p of an axis with 0 <= p + shift <= n - 1."""
    first = min(n, max(0, math.ceil(-shift_px)))
    return first, max(first, min(n, math.floor(n - 1 - shift_px) + 1))


def _turn(shape: tuple[int, ...], shift: Shift) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrix and offset with T(p) = matrix @ p + offset."""
    matrix = rotation(shift.angle_deg)
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
    if shift.angle_deg == 0:
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
    if shift.angle_deg == 0:
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
