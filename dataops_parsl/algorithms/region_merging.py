"""Merging of regions that a watershed parted too often, for :mod:`.watershed`.

Greedy, on the region adjacency graph, best pair first (as in hierarchical queues; cf. Haris et al. 1998).
Two neighbours are one cell when the neck between them is nearly as deep in the foreground as the shallower
of the two, and no dark valley lies on their boundary.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Float32 = NDArray[np.float32]
Labels = NDArray[np.int32]

_NECK_RATIO = 0.80  # depth of the neck over that of the shallower region
_VALLEY_RATIO = 0.82  # brightness of the boundary over that of the dimmer region
_VALLEY_WEIGHT = 0.5
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
    """Regions of a label image, indexed by label: depth, brightness, area, and borders."""

    depth: list[float]
    bright: list[float]
    area: list[float]
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
        area = np.bincount(labels.ravel(), minlength=n).astype(float)
        total = np.bincount(labels.ravel(), weights=signal.ravel(), minlength=n)
        deepest = ndimage.maximum(depth, labels, np.arange(n))
        regions = cls(
            [float(value) for value in deepest],
            (total / np.maximum(area, 1)).tolist(),
            area.tolist(),
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
        if min(self.area[a], self.area[b]) < _FRAGMENT_FRAC * cell_area_px:
            return score + _FRAGMENT_BONUS
        together = (self.area[a] + self.area[b]) / cell_area_px
        if together > _LARGE_FRAC:
            return score - _LARGE_MALUS
        return score + _SMALL_BONUS if together < _SMALL_FRAC else score

    def absorb(self, a: int, b: int) -> None:
        """Make `b` a part of `a`."""
        area = self.area[a] + self.area[b]
        self.bright[a] = (self.bright[a] * self.area[a] + self.bright[b] * self.area[b]) / area
        self.area[a] = area
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
