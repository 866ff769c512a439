"""Simulated spots and label images of a wanted density, for timings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.nearby import candidates

Points = NDArray[np.float64]


def spots(
    n_spots: int, n_frames: int, side_px: float, step_px: float, missed_frac: float = 0.05, seed: int = 0
) -> list[Points]:
    """Spots (N, 2) of each frame, px: a random walk within a square, some missed in each frame."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, side_px, (n_spots, 2))
    film = []
    for _ in range(n_frames):
        film.append(place[rng.random(n_spots) >= missed_frac])
        place = np.abs(place + rng.normal(0, step_px, place.shape))
        place = side_px - np.abs(side_px - place)
    return film


def per_spot(film: list[Points], reach_px: float) -> float:
    """Candidates a spot, of the first two frames."""
    return len(candidates(film[0], film[1], reach_px)[0]) / len(film[0])


def cells(n_cells: int, side_px: int, diameter_px: float, seed: int) -> NDArray[np.uint32]:
    """A label image (Y, X) of ellipses; where two overlap the first one stays."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side_px, side_px), np.uint32)
    reach = int(np.ceil(diameter_px))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    for label, (cy, cx) in enumerate(rng.integers(0, side_px, (n_cells, 2)), start=1):
        long, wide = diameter_px / 2 * rng.uniform(0.8, 1.25, 2)
        turn = rng.uniform(0, np.pi)
        u, v = y * np.cos(turn) + x * np.sin(turn), x * np.cos(turn) - y * np.sin(turn)
        rows, across = np.nonzero((u / long) ** 2 + (v / wide) ** 2 <= 1)
        _paint(image, rows + cy - reach, across + cx - reach, label)
    return image


def _paint(image: NDArray[np.uint32], y: NDArray[Any], x: NDArray[Any], label: int) -> None:
    inside = (y >= 0) & (y < image.shape[0]) & (x >= 0) & (x < image.shape[1])
    y, x = y[inside], x[inside]
    empty = image[y, x] == 0
    image[y[empty], x[empty]] = label
