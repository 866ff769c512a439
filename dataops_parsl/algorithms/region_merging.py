"""Merging of regions that a watershed parted too often, for :mod:`.watershed`.

Greedy, on the region adjacency graph, best pair first (as in hierarchical queues; cf. Haris et al. 1998).
Two neighbours are one cell when the neck between them is nearly as deep in the foreground as the shallower
of the two, no dark valley lies on their boundary, they are about equally bright, and the two together fit an
ellipse no worse than they do apart.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Labels = NDArray[np.int32]
Moments = tuple[float, float, float, float, float, float]

_NECK_RATIO = 0.80  # depth of the neck over that of the shallower region
_VALLEY_RATIO = 0.86  # brightness of the boundary over that of the dimmer region
_VALLEY_WEIGHT = 0.5
_ELLIPSE_WEIGHT = 2.0
_STEP_WEIGHT, _STEP_LEAST = 0.7, 0.2  # of how much dimmer one is; one nucleus is not evenly bright either
_STEP_FRAC = 0.3  # of a cell's area: smaller pieces may be rims, which are dim
# What the expected area adds to a pair's score: fragments join, more than a cell does not.
_FRAGMENT_FRAC, _FRAGMENT_BONUS = 0.08, 0.15
_SMALL_FRAC, _SMALL_BONUS = 0.8, 0.05
_LARGE_FRAC, _LARGE_MALUS = 1.3, 0.05


@dataclass
class _Border:
    """What two neighbouring regions share."""

    neck: float
    valley: float
    length: float


@dataclass
class Regions:
    """Regions of a label image, indexed by label: depth, brightness, moments, area, ellipticity, borders.

    `moments` are the sums of 1, y, x, y², x², yx over a region's pixels.
    """

    depth: list[float]
    bright: list[float]
    moments: list[Moments]
    area: list[float]
    ellipticity: list[float]
    borders: list[dict[int, _Border]]

    @classmethod
    def of(cls, labels: Labels, depth: Float32, signal: Float32) -> Regions:
        """Measure regions.

        Parameters
        ----------
        labels : (Y, X) int32
            0 = background, 1..n.
        depth : (Y, X) float32
            Distance to the background, px.
        signal : (Y, X) float32
            Intensity above background, positive.
        """
        n = int(labels.max()) + 1
        inside = np.flatnonzero(labels)
        owner = labels.ravel()[inside]
        deepest = np.zeros(n, dtype=np.float32)
        np.maximum.at(deepest, owner, depth.ravel()[inside])
        y, x = (at.astype(np.float64) for at in np.divmod(inside, labels.shape[1]))
        sums = [np.bincount(owner, weights, n) for weights in (None, y, x, y * y, x * x, y * x)]
        moments = [tuple(row) for row in np.stack(sums, axis=1).tolist()]
        total = np.bincount(owner, weights=signal.ravel()[inside], minlength=n)
        regions = cls(
            deepest.tolist(),
            (total / np.maximum(sums[0], 1)).tolist(),
            moments,
            sums[0].astype(float).tolist(),
            [_ellipticity(row) for row in moments],
            [{} for _ in range(n)],
        )
        regions._meet(labels, depth, signal)
        return regions

    def _meet(self, labels: Labels, depth: Float32, signal: Float32) -> None:
        """Collect the borders: pairs of pixels across, to the right and below."""
        n = len(self.area)
        keys, necks, valleys = [], [], []
        for here, there in (
            ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
            ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
        ):
            one, other = labels[here], labels[there]
            at = np.nonzero((one != other) & (one > 0) & (other > 0))
            a, b = one[at].astype(np.int64), other[at].astype(np.int64)
            keys.append(np.minimum(a, b) * n + np.maximum(a, b))
            necks.append(np.minimum(depth[here][at], depth[there][at]))
            valleys.append(np.minimum(signal[here][at], signal[there][at]))
        pairs, which = np.unique(np.concatenate(keys), return_inverse=True)
        neck = np.zeros(len(pairs), dtype=np.float32)
        np.maximum.at(neck, which, np.concatenate(necks))
        length = np.bincount(which, minlength=len(pairs))
        valley = np.bincount(which, weights=np.concatenate(valleys), minlength=len(pairs)) / length
        for key, *values in zip(pairs.tolist(), neck.tolist(), valley.tolist(), length.tolist(), strict=True):
            a, b = divmod(key, n)
            self.borders[a][b] = self.borders[b][a] = _Border(*values)

    def score(self, a: int, b: int, cell_area_px: float) -> float:
        """How much two neighbours are one cell; they are above 0."""
        border = self.borders[a][b]
        neck = border.neck / max(min(self.depth[a], self.depth[b]), 1e-3) - _NECK_RATIO
        valley = border.valley / min(self.bright[a], self.bright[b]) - _VALLEY_RATIO
        score = min(neck, _VALLEY_WEIGHT * valley)
        smaller = min(self.area[a], self.area[b]) / cell_area_px
        if smaller < _FRAGMENT_FRAC:
            return score + _FRAGMENT_BONUS
        both = self.area[a] + self.area[b]
        apart = (self.area[a] * self.ellipticity[a] + self.area[b] * self.ellipticity[b]) / both
        score += _ELLIPSE_WEIGHT * (_ellipticity(self._moments_of_both(a, b)) - apart)
        if smaller > _STEP_FRAC:
            dimmer, brighter = sorted((self.bright[a], self.bright[b]))
            score -= _STEP_WEIGHT * max(0.0, 1 - dimmer / brighter - _STEP_LEAST)
        together = both / cell_area_px
        if together > _LARGE_FRAC:
            return score - _LARGE_MALUS
        return score + _SMALL_BONUS if together < _SMALL_FRAC else score

    def _moments_of_both(self, a: int, b: int) -> Moments:
        n, y, x, yy, xx, yx = self.moments[a]
        m, v, u, vv, uu, vu = self.moments[b]
        return n + m, y + v, x + u, yy + vv, xx + uu, yx + vu

    def absorb(self, a: int, b: int) -> None:
        """Make `b` a part of `a`."""
        area = self.area[a] + self.area[b]
        self.bright[a] = (self.bright[a] * self.area[a] + self.bright[b] * self.area[b]) / area
        self.area[a] = area
        self.moments[a] = self._moments_of_both(a, b)
        self.ellipticity[a] = _ellipticity(self.moments[a])
        self.depth[a] = max(self.depth[a], self.depth[b])
        del self.borders[a][b]
        for c, border in self.borders[b].items():
            if c == a:
                continue
            del self.borders[c][b]
            known = self.borders[a].get(c)
            if known is not None:
                length = known.length + border.length
                valley = (known.valley * known.length + border.valley * border.length) / length
                border = _Border(max(known.neck, border.neck), valley, length)
            self.borders[a][c] = self.borders[c][a] = border
        self.borders[b] = {}


def _ellipticity(moments: Moments) -> float:
    """Area over that of the ellipse with the same second moments: 1 for an ellipse, 0.89 for two discs.

    The square root of Rosin's (2003, Mach. Vis. Appl. 14:172-184); affine maps leave it as it is.
    """
    area, y, x, yy, xx, yx = moments
    if not area:
        return 0.0
    # A pixel is a square, with a moment of 1/12 of its own.
    var_y = yy / area - (y / area) ** 2 + 1 / 12
    var_x = xx / area - (x / area) ** 2 + 1 / 12
    cov = yx / area - y * x / area**2
    return area / (4 * math.pi * math.sqrt(max(var_y * var_x - cov * cov, 1e-9)))


def merge(regions: Regions, labels: Labels, cell_area_px: float) -> Labels:
    """Merge neighbours, best pair first, until no pair scores above 0.

    Parameters
    ----------
    regions : Regions
        Of `labels`; used up.
    labels : (Y, X) int32
        Label image.
    cell_area_px : float
        Expected area of a cell.

    Returns
    -------
    (Y, X) int32
        Labels that are a subset of the given ones.
    """
    parent = np.arange(len(regions.area))
    queue: list[tuple[float, int, int]] = []

    def offer(a: int, b: int) -> None:
        score = regions.score(a, b, cell_area_px)
        if score > 0:
            heapq.heappush(queue, (-score, min(a, b), max(a, b)))

    for a, borders in enumerate(regions.borders):
        for b in borders:
            if a < b:
                offer(a, b)
    while queue:
        score, a, b = heapq.heappop(queue)
        # Entries grow stale when a region grows; its new scores were offered then.
        if b not in regions.borders[a] or -score != regions.score(a, b, cell_area_px):
            continue
        regions.absorb(a, b)
        parent[b] = a
        for c in list(regions.borders[a]):
            offer(a, c)
    # A region is only ever absorbed by one with a smaller label, so one pass upwards finds the roots.
    for label in range(len(parent)):
        parent[label] = parent[parent[label]]
    return np.asarray(parent.astype(np.int32)[labels])
