"""Outlines of simulated cells: star-shaped bodies in polar harmonics, and their pixels.

A body of mean radius R has the outline ``r(θ) = R (1 + Re Σ_k conj(c_k) exp(ikθ))`` for k in `HARMONICS`,
θ measured from x towards y. There is no first harmonic: it would move the body, not change its shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

HARMONICS = (2, 3, 4)


def outline_frac(shape: NDArray[np.complexfloating], direction: NDArray[np.complexfloating]) -> Floats:
    """Outline in units of the mean radius, seen in a direction.

    Parameters
    ----------
    shape : (..., K) complex
        Coefficients c_k of `HARMONICS`.
    direction : (...) complex
        Unit vector x + iy; 0 gives the mean radius.
    """
    total: Floats = np.ones(np.broadcast_shapes(shape.shape[:-1], direction.shape), direction.real.dtype)
    power = direction
    for index in range(len(HARMONICS)):
        power = power * direction
        total = total + (np.conj(shape[..., index]) * power).real
    return total


@dataclass(frozen=True, eq=False)
class Patches:
    """Square windows around cells, all of one size.

    Attributes
    ----------
    top, left : (N,) int64
        Pixel of the window's first corner in the frame; may lie outside of it.
    y, x : (N, W, 1) and (N, 1, W) float32
        Place relative to the centre in units of the cell's mean radius.
    depth_px : (N, W, W) float32
        Distance inside the outline along the ray from the centre, px; negative outside.
    relative : (N, W, W) float32
        Distance from the centre in units of the outline in that direction: 1 on the outline.
    """

    top: NDArray[np.int64]
    left: NDArray[np.int64]
    y: NDArray[np.float32]
    x: NDArray[np.float32]
    depth_px: NDArray[np.float32]
    relative: NDArray[np.float32]

    @property
    def size(self) -> int:
        """Edge of a window, px."""
        return int(self.depth_px.shape[1])


def patches(y_px: Floats, x_px: Floats, radius_px: Floats, shape: Complexes, soft_px: int = 0) -> Patches:
    """Windows that hold each cell and `soft_px` pixels around it.

    Parameters
    ----------
    y_px, x_px, radius_px : (N,) float64
        Centre and mean radius, px.
    shape : (N, K) complex
        Outline, see `outline_frac`.
    soft_px : int
        Pixels kept around the outline.
    """
    widest = float((radius_px * (1 + np.abs(shape).sum(axis=1))).max()) if len(y_px) else 0.0
    half = int(np.ceil(widest)) + soft_px + 1
    top = np.rint(y_px).astype(np.int64) - half
    left = np.rint(x_px).astype(np.int64) - half
    steps = np.arange(2 * half + 1)
    dy = (top[:, None] + steps - y_px[:, None]).astype(np.float32)[:, :, None]
    dx = (left[:, None] + steps - x_px[:, None]).astype(np.float32)[:, None, :]
    distance = np.sqrt(dy * dy + dx * dx)
    direction = (dx + 1j * dy) / np.maximum(distance, np.float32(1e-6))
    radius = radius_px.astype(np.float32)[:, None, None]
    outline = radius * outline_frac(shape.astype(np.complex64)[:, None, None, :], direction)
    return Patches(
        top,
        left,
        y=dy / radius,
        x=dx / radius,
        depth_px=(outline - distance).astype(np.float32, copy=False),
        relative=(distance / outline).astype(np.float32, copy=False),
    )


_Place = tuple[slice, slice]


def windows(top: int, left: int, size: int, height: int, width: int) -> tuple[_Place, _Place] | None:
    """Where a window lies in the frame, and which part of it that is; None where they do not meet."""
    y0, y1, x0, x1 = max(top, 0), min(top + size, height), max(left, 0), min(left + size, width)
    if y0 >= y1 or x0 >= x1:
        return None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def paste_labels(where: Patches, ids: NDArray[np.uint32], height: int, width: int) -> NDArray[np.uint32]:
    """Label image of cells; a pixel in several outlines goes to the cell of least `relative`."""
    image = np.zeros((height, width), np.uint32)
    nearest = np.ones((height, width), np.float32)
    for index, cell_id in enumerate(ids):
        found = windows(int(where.top[index]), int(where.left[index]), where.size, height, width)
        if found is None:
            continue
        frame, window = found
        relative = where.relative[index][window]
        wins = relative < nearest[frame]
        image[frame][wins] = cell_id
        nearest[frame][wins] = relative[wins]
    return image


def paste_sum(where: Patches, values: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Image of the summed windows `values` (N, W, W), as light adds up in a widefield microscope."""
    image = np.zeros((height, width), np.float32)
    for index in range(len(values)):
        found = windows(int(where.top[index]), int(where.left[index]), where.size, height, width)
        if found is not None:
            frame, window = found
            image[frame] += values[index][window]
    return image
