"""How large the error of a fitted drift is: the sandwich of Huber (1967) over independent parts of the frame.

Tiles of the field each pull at the drift; where it was found the pulls add up to nothing, and how much they
differ says how well it is known (clusters as in Liang & Zeger 1986). A cell is larger than a tile, so blocks
of tiles are the parts, at every offset. The bread of the sandwich, how the pull answers to a shift, is found
from the slopes of *both* frames: they are unrelated where cells went elsewhere, so a film whose cells all
walk away shows a large error, however well they seem to overlap.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_TILES, _BLOCK = 16, 4  # tiles a side; blocks of 4 x 4


def tiles(places: Float64, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Number of the tile of each pixel.

    Parameters
    ----------
    places : (2, n) float64
        About the centre of the frame, px.
    shape : tuple of two int
        (Y, X) of the frame.
    """
    size = np.array(shape)[:, None]
    at = ((places + (size - 1) / 2) * _TILES // size).astype(np.int64)
    return np.asarray(at[0] * _TILES + at[1])


def standard_error(
    *,
    slopes: Float64,
    theirs: Float64,
    bend: Float64,
    pull: Float64,
    common: Float64,
    modes: Float64,
    tile: NDArray[np.int64],
) -> tuple[float, float]:
    """Standard error of the drift of a point, and its degrees of freedom.

    Parameters
    ----------
    slopes, theirs : (parameters, n) float64
        How much each parameter changes the reference, and the moved frame, at each pixel.
    bend : (n,) float64
        Slope of the weighted residual: how a pull answers to a change of the residual.
    pull : (n,) float64
        Weighted residual.
    common : (n,) float64
        Weighted product of both frames' slopes: what is seen in both, for slopes of noise are unrelated.
    modes : (parameters, 2, n) float64
        How each parameter moves each pixel.
    tile : (n,) int64
        See :func:`tiles`.

    Returns
    -------
    error_px, freedom : float
        Root mean square over the pixels; inf and 0.0 where so few parts were seen that nothing is left to
        judge by (each tells two numbers, y and x: no more than half as many parts as parameters), or where
        the frames have nothing in common.
    """
    bread = (slopes * bend) @ theirs.T
    bread = (bread + bread.T) / 2
    if not np.linalg.eigvalsh(bread)[0] > 0:
        return math.inf, 0.0
    turned = np.linalg.inv(bread)
    field = np.einsum("pan,qan->pq", modes, modes) / modes.shape[2]
    n = _TILES**2
    pulls = _blocks(np.array([np.bincount(tile, part, n) for part in slopes * pull]))
    share = np.bincount(tile, common, n).astype(np.float64)
    parts = float(share.sum() ** 2 / np.sum(_blocks(share[None]) ** 2)) if share.any() else 0.0
    free = parts - len(slopes) / 2
    if free <= 0:
        return math.inf, 0.0
    spread = turned @ (pulls @ pulls.T) @ turned * (parts / free)
    return math.sqrt(float(np.sum(spread * field))), free


def _blocks(maps: Float64) -> Float64:
    """Sums of maps (k, tiles) over all blocks of tiles, at every offset; (k, blocks).

    Scaled so that the sum over blocks of the square of independent tiles is that over the tiles.
    """
    grids = maps.reshape(-1, _TILES, _TILES)
    edge = _BLOCK - 1
    cumulated = np.pad(grids, ((0, 0), (edge + 1, edge), (edge + 1, edge))).cumsum(axis=1).cumsum(axis=2)
    sums = cumulated[:, _BLOCK:] - cumulated[:, :-_BLOCK]
    sums = sums[:, :, _BLOCK:] - sums[:, :, :-_BLOCK]
    return np.asarray(sums.reshape(len(maps), -1) / _BLOCK)
