"""Contacts against a distance transform of the frame, and against the definition over all pairs of pixels.

python -m tests.bench.stages contacts
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from dataops_parsl.algorithms.contacts import pairs
from tests.bench import films
from tests.bench.measure import Row, in_turns, row, seconds

REPEATS = 5
SIDE_PX, N_CELLS, DIAMETER_PX = 2048, 5000, 14.0
PIXEL_UM, STORE_UM = (0.65, 0.65), 10.0
DENSE_SIDE_PX, DENSE_CELLS = 300, 60
SECONDS_BAR, RATIO_BAR, DENSE_BAR = 0.2, 0.6, 20.0
Image = NDArray[np.uint32]
Found = dict[tuple[int, int], float]


def by_definition(a: Image, b: Image) -> Found:
    """Smallest distance of each pair of objects up to `STORE_UM`, from all pairs of their pixels at once."""
    sides = []
    for image in (a, b):
        y, x = np.nonzero(image)
        order = np.argsort(image[y, x], kind="stable")
        label = image[y, x][order]
        first = np.flatnonzero(np.diff(label, prepend=0))
        sides.append((np.column_stack([y, x])[order] * np.asarray(PIXEL_UM), label[first], first))
    (place_a, label_a, first_a), (place_b, label_b, first_b) = sides
    distance_um = np.minimum.reduceat(cdist(place_a, place_b), first_a, axis=0)
    distance_um = np.minimum.reduceat(distance_um, first_b, axis=1)
    return {
        (int(label_a[i]), int(label_b[j])): float(distance_um[i, j])
        for i, j in np.argwhere(distance_um <= STORE_UM)
    }


def ours(a: Image, b: Image | None) -> dict[str, Any]:
    """The pairs, as the stage finds them."""
    return pairs(a, b, store_um=STORE_UM, pixel_size_um=PIXEL_UM)


def rows() -> Iterator[Row]:
    """Both comparisons, then contacts within a population and pixels that are not square."""
    a, b = (films.cells(N_CELLS, SIDE_PX, DIAMETER_PX, seed) for seed in (1, 2))
    mine, edt = in_turns(
        REPEATS,
        lambda: seconds(lambda: ours(a, b)),
        lambda: seconds(lambda: ndimage.distance_transform_edt(a == 0, return_indices=True)),
    )
    found = ours(a, b)
    words = f"{SIDE_PX}², {N_CELLS:,} objects a channel"
    yield row(
        f"{words}; one distance transform",
        mine,
        edt,
        unit="CPU s a frame",
        ratio=edt / mine,
        bar=f"<= {SECONDS_BAR} s and {RATIO_BAR} of the transform's",
        met=mine <= min(SECONDS_BAR, RATIO_BAR * edt),
        note=f"{len(found['gap_um']):,} pairs up to {STORE_UM:.0f} µm",
    )
    (same,) = in_turns(REPEATS, lambda: seconds(lambda: ours(a, None)))
    yield row(
        f"{words}; within one population",
        same,
        unit="CPU s a frame",
        bar=f"<= {SECONDS_BAR} s",
        met=same <= SECONDS_BAR,
        note=f"{len(ours(a, None)['gap_um']):,} pairs",
    )
    a, b = (films.cells(DENSE_CELLS, DENSE_SIDE_PX, DIAMETER_PX, seed) for seed in (3, 4))
    mine, dense = in_turns(
        3, lambda: seconds(lambda: ours(a, b)), lambda: seconds(lambda: by_definition(a, b))
    )
    found, defined = ours(a, b), by_definition(a, b)
    keys = list(zip(found["label_a"].tolist(), found["label_b"].tolist(), strict=True))
    gap_um = dict(zip(keys, found["gap_um"].tolist(), strict=True))
    equal = gap_um.keys() == defined.keys()
    matrix_mb = 8e-6 * np.count_nonzero(a) * np.count_nonzero(b)
    worst = max((abs(gap_um[key] - defined[key]) for key in defined), default=0.0) if equal else np.nan
    yield row(
        f"{DENSE_SIDE_PX}², {DENSE_CELLS} objects a channel; all pairs of pixels by scipy",
        mine,
        dense,
        unit="CPU s a frame",
        ratio=dense / mine,
        bar=f">= {DENSE_BAR:.0f}x, equal pairs",
        met=bool(equal and worst < 1e-9 and dense / mine >= DENSE_BAR),
        note=f"{len(defined):,} pairs, {'equal' if equal else 'NOT equal'}; "
        f"distances differ by {worst:.1g} µm at most; its matrix has {matrix_mb:,.0f} MB",
    )
