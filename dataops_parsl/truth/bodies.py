"""Bodies that must not pass through each other: neighbours, gaps between outlines, pushing apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from dataops_parsl.truth.shapes import Complexes, Floats, outline_frac


@dataclass(eq=False)
class Bodies:
    """One population at one moment: place z = x + iy (µm), mean radius (µm), outline."""

    z: Complexes
    radius_um: Floats
    shape: Complexes

    def reach_um(self) -> float:
        """Farthest that any outline lies from its centre."""
        return float((self.radius_um * (1 + np.abs(self.shape).sum(axis=1))).max(initial=0.0))

    def outline_um(self, index: NDArray[np.int64], direction: Complexes) -> Floats:
        """Outline of the chosen cells in a direction each."""
        return self.radius_um[index] * outline_frac(self.shape[index], direction)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Neighbours: indices, unit vector from first to second, and gap between the outlines along it (µm)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    direction: Complexes
    gap_um: Floats

    def where(self, keep: NDArray[np.bool_]) -> Pairs:
        """The pairs to keep."""
        return Pairs(self.first[keep], self.second[keep], self.direction[keep], self.gap_um[keep])


def reflect(value: Floats, low: float, high: float) -> Floats:
    """Fold values back into [low, high] as a mirror does."""
    folded = np.mod(value - low, 2 * (high - low))
    mirrored: Floats = low + np.minimum(folded, 2 * (high - low) - folded)
    return mirrored


def unit(z: Complexes) -> Complexes:
    """Unit vectors; x where the length is 0."""
    length = np.abs(z)
    return np.where(length > 0, z / np.where(length > 0, length, 1), 1)


def own_pairs(bodies: Bodies, max_gap_um: float) -> Pairs:
    """Neighbours inside one population, each pair once."""
    reach = 2 * bodies.reach_um() + max_gap_um
    tree = cKDTree(np.column_stack([bodies.z.real, bodies.z.imag]))
    pairs = tree.query_pairs(reach, output_type="ndarray").astype(np.int64)
    return measure(bodies, bodies, pairs[:, 0], pairs[:, 1])


def cross_pairs(first: Bodies, second: Bodies, max_gap_um: float) -> Pairs:
    """Neighbours of two populations."""
    reach = first.reach_um() + second.reach_um() + max_gap_um
    trees = [cKDTree(np.column_stack([bodies.z.real, bodies.z.imag])) for bodies in (first, second)]
    found = trees[0].sparse_distance_matrix(trees[1], reach, output_type="ndarray")
    order = np.lexsort((found["j"], found["i"]))
    return measure(first, second, found["i"][order].astype(np.int64), found["j"][order].astype(np.int64))


def measure(first: Bodies, second: Bodies, i: NDArray[np.int64], j: NDArray[np.int64]) -> Pairs:
    """Direction and gap of the chosen pairs, cell i of the first with cell j of the second."""
    step = second.z[j] - first.z[i]
    direction = unit(step)
    gap = np.abs(step) - first.outline_um(i, direction) - second.outline_um(j, -direction)
    return Pairs(i, j, direction, gap)


def push_apart(bodies: Bodies, min_gap_um: float) -> None:
    """Move each pair that is too close half its way apart."""
    pairs = own_pairs(bodies, min_gap_um)
    missing = np.maximum(min_gap_um - pairs.gap_um, 0.0)
    np.add.at(bodies.z, pairs.first, -0.5 * missing * pairs.direction)
    np.add.at(bodies.z, pairs.second, 0.5 * missing * pairs.direction)
