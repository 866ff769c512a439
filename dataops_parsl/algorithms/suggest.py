"""What the cells themselves say about `diameter_um` and `linking_max_distance_um`.

The typical diameter is read at the mode of the equivalent diameters, found by halving (the half-sample mode,
Bickel & Fruehwirth 2006, Comput. Stat. Data Anal. 50:3500-3530), so that neither fragments nor clumps of two
and more cells shift it. Steps are taken between objects that are each other's nearest neighbours in two
consecutive frames, which needs no linking distance and is right as long as most cells move less than half the
way to their neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Floats = NDArray[np.float64]

MIN_OBJECTS = 10
"""With fewer objects or steps nothing is suggested."""
SAME_FRAC = 0.2
"""A diameter this near to the one that is set is fine."""
MARGIN = 1.5
"""The suggested linking distance is the 99th percentile of the steps, times this."""
_FRAGMENT_FRAC, _CLUMP_FRAC = 0.6, 1.35  # of the mode; two cells in one outline have 1.41 times the diameter
_WIDE = 2.0  # a linking distance up to this many times the suggested one does no harm
_LEAST_DIAMETERS = 0.5  # outlines that change move a centroid by a good part of a cell


@dataclass(frozen=True)
class Suggestion:
    """A value for one key, and why.

    Attributes
    ----------
    value_um : float
        What the cells say; NaN where they are too few.
    current_um : float
        What is set.
    fine : bool
        Whether what is set may stay, which is also so where nothing is known.
    evidence : str
        What was seen, in words.
    """

    value_um: float
    current_um: float
    fine: bool
    evidence: str


def diameters_um(area_um2: Floats) -> Floats:
    """Diameters of discs of these areas, µm."""
    return np.asarray(2.0 * np.sqrt(np.asarray(area_um2, np.float64) / np.pi))


def diameter(area_um2: Floats, current_um: float) -> Suggestion:
    """Typical diameter of whole single cells.

    Parameters
    ----------
    area_um2 : (n,) float64
        Areas of objects that lie wholly in the image; NaN ignored.
    current_um : float
        The diameter that is set.
    """
    area = np.asarray(area_um2, np.float64)
    seen = diameters_um(area[np.isfinite(area) & (area > 0)])
    if len(seen) < MIN_OBJECTS:
        return Suggestion(
            float("nan"),
            current_um,
            True,
            f"{len(seen)} whole {_plural('object', len(seen))} seen, too few to judge a diameter",
        )
    mode = float(np.exp(_half_sample_mode(np.log(seen))))
    single = seen[(seen >= _FRAGMENT_FRAC * mode) & (seen <= _CLUMP_FRAC * mode)]
    small, large = int((seen < _FRAGMENT_FRAC * mode).sum()), int((seen > _CLUMP_FRAC * mode).sum())
    value = float(np.median(single))
    words = f"median diameter {value:.1f} µm of {len(single)} {_plural('object', len(single))}"
    left_out = [f"{n} {word}" for n, word in ((small, "fragments"), (large, "clumps")) if n]
    if left_out:
        words += f" ({' and '.join(left_out)} left out)"
    return Suggestion(value, current_um, abs(value - current_um) <= SAME_FRAC * current_um, words)


def mutual_steps_um(before_um: Floats, after_um: Floats) -> Floats:
    """Distances between objects that are each other's nearest in two frames.

    Parameters
    ----------
    before_um, after_um : (n, 2), (m, 2) float64
        Centroids (y, x) with the drift undone.

    Returns
    -------
    (k,) float64
        At most min(n, m).
    """
    if not len(before_um) or not len(after_um):
        return np.empty(0, np.float64)
    distance, there = KDTree(after_um).query(before_um)
    _, back = KDTree(before_um).query(after_um)
    mutual = back[there] == np.arange(len(before_um))
    return np.asarray(distance[mutual], np.float64)


def neighbour_distances_um(places_um: Floats) -> Floats:
    """Distance of each object to its nearest neighbour in the same frame: (n,), or none for a lone one."""
    if len(places_um) < 2:
        return np.empty(0, np.float64)
    distance, _ = KDTree(places_um).query(places_um, k=2)
    return np.asarray(distance[:, 1], np.float64)


def linking_distance(
    pairs: Iterable[tuple[Floats, Floats]], current_um: float, diameter_um: float
) -> Suggestion:
    """Farthest step that linking should allow.

    1.5 times the 99th percentile of the steps between mutual nearest neighbours; at most half the median
    distance between neighbours, beyond which a step to the wrong cell is as near as one to the right cell; at
    least half a diameter, by which centroids may move when outlines change.

    Parameters
    ----------
    pairs : iterable of ((n, 2), (m, 2)) float64
        Centroids (y, x), µm, drift undone, of consecutive frames.
    current_um : float
        The distance that is set.
    diameter_um : float
        The population's diameter.
    """
    pairs = list(pairs)
    steps = np.concatenate([mutual_steps_um(a, b) for a, b in pairs] or [np.empty(0)])
    apart = np.concatenate([neighbour_distances_um(a) for a, _ in pairs] or [np.empty(0)])
    if len(steps) < MIN_OBJECTS:
        return Suggestion(
            float("nan"),
            current_um,
            True,
            f"{len(steps)} {_plural('step', len(steps))} seen, too few to judge a linking distance",
        )
    median, farthest = (float(v) for v in np.percentile(steps, (50, 99)))
    half = float(np.median(apart)) / 2 if len(apart) else float("inf")
    least = _LEAST_DIAMETERS * diameter_um
    value = max(least, min(MARGIN * farthest, half))
    words = f"median step {median:.1f} µm, 99th percentile {farthest:.1f} µm of {len(steps)} between frames; "
    words += f"half the way to the next cell is {half:.1f} µm" if np.isfinite(half) else "cells lie alone"
    if farthest >= max(half, least):
        words += "; some steps are as long, so linking may swap cells"
        # Farther than the next cell the steps that are seen are not trusted to ask for a change.
        return Suggestion(value, current_um, least <= current_um <= _WIDE * max(value, farthest), words)
    return Suggestion(value, current_um, farthest <= current_um <= _WIDE * value, words)


def _half_sample_mode(values: Floats) -> float:
    """Mode of a sample: the densest half, of that the densest half, and so on."""
    rest = np.sort(values)
    while len(rest) > 3:
        half = (len(rest) + 1) // 2
        width = rest[half - 1 :] - rest[: len(rest) - half + 1]
        start = int(np.argmin(width))
        rest = rest[start : start + half]
    return float(np.mean(rest))


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
