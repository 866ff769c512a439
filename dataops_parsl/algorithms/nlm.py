"""Non-local means: each pixel becomes a weighted mean of pixels whose surroundings look alike.

Buades, Coll & Morel (2005, CVPR 2:60-65), with two changes:

- Weights of pairs are symmetric and stay so: they are scaled to (nearly) unit sums by both ends of a pair
  (Milanfar 2013, SIAM J. Imaging Sci. 6:263-284). What one pixel gains another loses: no count is made up.
- One weight serves both pixels of a pair, which halves the work.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]

_REACH_PX = 2  # search window 5 x 5
_HALO_PX = 3 * _REACH_PX  # sums of weights, their scaling and the mean each look one reach farther
_PATCH_PX = 9  # patches 3 x 3
_SOFTNESS = 0.5  # an excess of this fraction over the distance that noise alone makes has the weight 1/e
_BLOCK_PX = 1 << 15  # weights of all pairs of a block fit in the cache


def non_local_means(image: Float32, guide: Float32, block_rows: int | None = None) -> Float32:
    """Denoise a frame; its mean stays.

    Parameters
    ----------
    image : (Y, X) float32
        Counts, finite, at least 5 px a side.
    guide : (Y, X) float32
        What is compared to tell which pixels are alike: the frame, transformed so that its noise has a
        standard deviation of 1 everywhere.
    block_rows : int, optional
        Rows that are worked on at a time; the result is the same for any number.

    Returns
    -------
    (Y, X) float32
        In the units of `image`.
    """
    height, width = image.shape
    rows = block_rows or max(16, _BLOCK_PX // width)
    wide = np.pad(guide, 1, mode="reflect")
    out = np.empty_like(image)
    for start in range(0, height, rows):
        stop = min(height, start + rows)
        low, high = max(0, start - _HALO_PX), min(height, stop + _HALO_PX)
        out[start:stop] = _block(image[low:high], wide[low : high + 2])[start - low : stop - low]
    return out


def _block(image: Float32, wide: Float32) -> Float32:
    """Denoise some rows; the guide, `wide`, has a pixel more on each side. Rows near a cut lack pairs."""
    pairs = _pairs(wide)
    total = np.ones_like(image)
    for one, other, weight in pairs:
        total[one] += weight
        total[other] += weight
    scale = np.reciprocal(np.sqrt(total))
    total = scale.copy()
    for one, other, weight in pairs:
        total[one] += weight * scale[other]
        total[other] += weight * scale[one]
    scale /= np.sqrt(scale * total)
    out = image.copy()
    for one, other, weight in pairs:
        weight *= scale[one]
        weight *= scale[other]
        weight *= image[other] - image[one]
        out[one] += weight
        out[other] -= weight
    return out


def _pairs(wide: Float32) -> list[tuple[Any, Any, Float32]]:
    """Places of one and the other pixel, and their weights 0..1, of all pairs, one entry a shift."""
    height, width = wide.shape[0] - 2, wide.shape[1] - 2
    reach = range(-_REACH_PX, _REACH_PX + 1)
    pairs = []
    for dy, dx in ((dy, dx) for dy in range(_REACH_PX + 1) for dx in reach if (dy, dx) > (0, 0)):
        top, left, right = height - dy, max(0, -dx), max(0, dx)
        n_columns = width - abs(dx)
        difference = wide[: top + 2, left : left + n_columns + 2]
        difference = difference - wide[dy:, right : right + n_columns + 2]
        difference *= difference
        weight = _box_sum(difference)
        # Unit noise on both sides makes a mean squared distance of 2.
        weight *= np.float32(-1 / (2 * _PATCH_PX * _SOFTNESS))
        weight += np.float32(1 / _SOFTNESS)
        np.minimum(weight, 0, out=weight)
        np.exp(weight, out=weight)
        one = np.s_[:top, left : left + n_columns]
        other = np.s_[dy:height, right : right + n_columns]
        pairs.append((one, other, weight))
    return pairs


def _box_sum(values: Float32) -> Float32:
    """Sums over 3 x 3 px; one pixel less on each side."""
    along_x = values[:, :-2] + values[:, 1:-1]
    along_x += values[:, 2:]
    both = along_x[:-2] + along_x[1:-1]
    both += along_x[2:]
    return np.asarray(both, dtype=np.float32)
