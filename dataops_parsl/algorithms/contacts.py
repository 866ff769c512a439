"""Exact pixel distances between neighbouring objects of label images.

Objects are taken apart into runs: stretches of pixels of one label in one row. The distance of two runs is
known from their ends alone, so the smallest distance of two objects is the smallest over their pairs of
runs. This is exact for any shape, nested, in pieces or with holes, and for pixels that are not square;
shared pixels are counted on the way. Boxes of objects, joined tile by tile, give the pairs to look at, and
only runs that can lie near enough are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_MIN_TILE_PX = 16
_CHUNK = 1 << 18  # pairs of runs looked at together: they stay in the cache, and memory stays bounded
# Lower bounds are rounded differently from distances: what they leave out must lie beyond doubt.
_SLACK = 1.0 + 1e-9


def pairs(
    labels_a: npt.ArrayLike,
    labels_b: npt.ArrayLike | None,
    *,
    store_um: float,
    pixel_size_um: tuple[float, float],
) -> dict[str, npt.NDArray[np.int64] | npt.NDArray[np.float64]]:
    """Every pair of objects that lie within a distance, with that distance.

    Parameters
    ----------
    labels_a : (Y, X) int
        Label image; 0 is background.
    labels_b : (Y, X) int or None
        The other population in the same frame; None for pairs within ``labels_a``.
    store_um : float
        Largest distance that is returned, inclusive, in µm.
    pixel_size_um : (float, float)
        Height and width of a pixel in µm.

    Returns
    -------
    dict
        ``label_a``, ``label_b`` (K,) int64, by ascending (a, b); within one image each pair once, ``label_a
        < label_b``. ``gap_um`` (K,) float64: the smallest distance between pixel centres, in µm: 0 if and
        only if a pixel is shared, one pixel where edges touch. ``overlap_px`` (K,) int64: pixels shared.

    Raises
    ------
    ValueError
        If an image is not two-dimensional, has no pixel, holds no integers or negative ones, the two differ
        in shape, or a size or distance is not finite and in range.
    """
    size_y, size_x = (float(side) for side in pixel_size_um)
    if not (np.isfinite([size_y, size_x]).all() and min(size_y, size_x) > 0):
        raise ValueError(f"pixel_size_um must be finite and greater than 0, got {pixel_size_um}")
    if not (np.isfinite(store_um) and store_um >= 0):
        raise ValueError(f"store_um must be finite and not negative, got {store_um}")
    image_a = _label_image(labels_a, "labels_a")
    a = b = _runs(image_a)
    if labels_b is not None:
        image_b = _label_image(labels_b, "labels_b")
        if image_a.shape != image_b.shape:
            raise ValueError(f"labels_a has shape {image_a.shape} and labels_b {image_b.shape}")
        b = _runs(image_b)
    reach_y, reach_x = (
        int(min(store_um / size * _SLACK, side))
        for size, side in zip((size_y, size_x), image_a.shape, strict=True)
    )
    search = _Search(a, b, labels_b is None, float(store_um), size_y, size_x, reach_y, reach_x)
    i, j = search.near_boxes(image_a.shape)
    squared, overlap_px = search.smallest(i, j)
    gap_um = np.sqrt(squared)
    near = np.flatnonzero(gap_um <= store_um)
    near = near[np.lexsort((j[near], i[near]))]
    return {
        "label_a": a.label[i[near]],
        "label_b": b.label[j[near]],
        "gap_um": gap_um[near],
        "overlap_px": overlap_px[near],
    }


@dataclass(frozen=True)
class _Runs:
    """Objects of one image, by ascending label, and their runs, by object, row and column.

    ``row_at[o] + y - y0[o]`` is the place of row y of object o in ``run_at``, which gives its first run;
    the next place gives the run behind its last. Ends are inclusive.
    """

    label: IntArray
    y0: IntArray
    y1: IntArray
    x0: IntArray
    x1: IntArray
    run_y: IntArray
    run_x0: IntArray
    run_x1: IntArray
    row_at: IntArray
    run_at: IntArray

    def between(self, index: IntArray, first_y: IntArray, last_y: IntArray) -> tuple[IntArray, IntArray]:
        """First run, and number of runs, of objects in rows ``first_y..last_y`` of their boxes."""
        place = self.row_at[index] - self.y0[index]
        start = self.run_at[place + first_y]
        return start, self.run_at[place + last_y + 1] - start


def _runs(labels: npt.NDArray[np.integer]) -> _Runs:
    height, width = labels.shape
    # A column of background at the right keeps runs from going on in the next row.
    flat = np.zeros((height, width + 1), labels.dtype)
    flat[:, :width] = labels
    flat = flat.ravel()
    change = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = np.concatenate([np.zeros(1, np.int64), change])
    stop = np.concatenate([change, np.full(1, flat.size)])
    value = flat[start]
    inside = np.flatnonzero(value)
    inside = inside[np.argsort(value[inside], kind="stable")]
    start, stop, value = start[inside], stop[inside], value[inside].astype(np.int64)
    run_y = start // (width + 1)
    run_x0 = start - run_y * (width + 1)
    run_x1 = run_x0 + (stop - start - 1)
    new = np.ones(len(value), np.bool_)
    new[1:] = value[1:] != value[:-1]
    first = np.flatnonzero(new)
    if first.size == 0:
        none = np.empty(0, np.int64)
        return _Runs(*([none] * 10))
    last = np.append(first[1:], len(value)) - 1
    y0, y1 = run_y[first], run_y[last]
    places = y1 - y0 + 2
    row_at = np.cumsum(places) - places
    counts = np.bincount(np.repeat(row_at - y0, last - first + 1) + run_y, minlength=int(places.sum()))
    return _Runs(
        label=value[first],
        y0=y0,
        y1=y1,
        x0=np.minimum.reduceat(run_x0, first),
        x1=np.maximum.reduceat(run_x1, first),
        run_y=run_y,
        run_x0=run_x0,
        run_x1=run_x1,
        row_at=row_at,
        run_at=np.cumsum(counts) - counts,
    )


@dataclass(frozen=True)
class _Search:
    """Two sets of objects, and how far apart a pair of them may lie: in µm, in rows, and in columns."""

    a: _Runs
    b: _Runs
    same: bool
    store_um: float
    size_y: float
    size_x: float
    reach_y: int
    reach_x: int

    def near_boxes(self, shape: tuple[int, ...]) -> tuple[IntArray, IntArray]:
        """Pairs of objects whose boxes lie within the distance."""
        a, b = self.a, self.b
        tile_y, tile_x = max(_MIN_TILE_PX, self.reach_y), max(_MIN_TILE_PX, self.reach_x)
        tiles_across = shape[1] // tile_x + 1
        grown = (
            np.maximum(a.y0 - self.reach_y, 0) // tile_y,
            np.minimum(a.y1 + self.reach_y, shape[0] - 1) // tile_y,
            np.maximum(a.x0 - self.reach_x, 0) // tile_x,
            np.minimum(a.x1 + self.reach_x, shape[1] - 1) // tile_x,
        )
        plain = (b.y0 // tile_y, b.y1 // tile_y, b.x0 // tile_x, b.x1 // tile_x)
        a_index, a_ty, a_tx = _tiles(*grown)
        b_index, b_ty, b_tx = _tiles(*plain)
        n_tiles = (shape[0] // tile_y + 1) * tiles_across
        b_tile = b_ty * tiles_across + b_tx
        b_index = b_index[np.argsort(b_tile, kind="stable")]
        b_count = np.bincount(b_tile, minlength=n_tiles)
        a_tile = a_ty * tiles_across + a_tx
        entry, at = _expand((np.cumsum(b_count) - b_count)[a_tile], b_count[a_tile])
        i, j = a_index[entry], b_index[at]
        # Two boxes meet in a rectangle of tiles: its first tile alone counts, so that each pair comes once.
        once = (a_ty[entry] == np.maximum(grown[0][i], plain[0][j])) & (
            a_tx[entry] == np.maximum(grown[2][i], plain[2][j])
        )
        if self.same:
            once &= i < j
        i, j = i[once], j[once]
        gap_y = _apart(a.y0[i], a.y1[i], b.y0[j], b.y1[j])
        gap_x = _apart(a.x0[i], a.x1[i], b.x0[j], b.x1[j])
        near = self._squared(gap_y, gap_x) <= self._limit()
        return i[near], j[near]

    def smallest(self, i: IntArray, j: IntArray) -> tuple[FloatArray, IntArray]:
        """Per pair of objects: smallest squared µm (infinite beyond the search), pixels shared."""
        a, b = self.a, self.b
        squared = np.full(len(i), np.inf)
        overlap_px = np.zeros(len(i), np.int64)
        pair, run_a = _expand(
            *a.between(
                i,
                np.maximum(a.y0[i], b.y0[j] - self.reach_y),
                np.minimum(a.y1[i], b.y1[j] + self.reach_y),
            )
        )
        y = a.run_y[run_a]
        bound = self._squared(
            _apart(y, y, b.y0[j[pair]], b.y1[j[pair]]),
            _apart(a.run_x0[run_a], a.run_x1[run_a], b.x0[j[pair]], b.x1[j[pair]]),
        )
        near = bound <= self._limit()
        pair, run_a, bound = pair[near], run_a[near], bound[near]
        # One promising run of each pair first: its distance leaves few of the others to compare.
        best = _middle_of_lowest(bound, pair)
        self._compare(pair[best], run_a[best], j, squared, None)
        near = bound <= squared[pair] * _SLACK
        self._compare(pair[near], run_a[near], j, squared, overlap_px)
        return squared, overlap_px

    def _compare(
        self, pair: IntArray, run_a: IntArray, j: IntArray, squared: FloatArray, overlap_px: IntArray | None
    ) -> None:
        """Compare runs of ``a`` with those runs of the pair's ``b`` that may be nearer than ``squared`` says.

        Lowers ``squared``, and adds the pixels that they share to ``overlap_px`` where that is given.
        """
        a, b = self.a, self.b
        reach = np.minimum(np.sqrt(squared[pair]) / self.size_y * _SLACK, self.reach_y).astype(np.int64)
        box, y = j[pair], a.run_y[run_a]
        low, high = np.maximum(b.y0[box], y - reach), np.minimum(b.y1[box], y + reach)
        within = np.flatnonzero(low <= high)
        start, count = b.between(box[within], low[within], high[within])
        for part in _chunks(count):
            entry, run_b = _expand(start[part], count[part])
            if entry.size == 0:
                continue
            left, owner = run_a[within[part]][entry], pair[within[part]][entry]
            gap_x = _apart(a.run_x0[left], a.run_x1[left], b.run_x0[run_b], b.run_x1[run_b])
            distance = self._squared(a.run_y[left] - b.run_y[run_b], gap_x)
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            squared[owner[first]] = np.minimum(squared[owner[first]], np.minimum.reduceat(distance, first))
            if overlap_px is not None:
                shared = np.flatnonzero(distance == 0)
                r, s = left[shared], run_b[shared]
                length = np.minimum(a.run_x1[r], b.run_x1[s]) - np.maximum(a.run_x0[r], b.run_x0[s]) + 1
                np.add.at(overlap_px, owner[shared], length)

    def _limit(self) -> float:
        beyond = self.store_um * _SLACK
        return beyond * beyond

    def _squared(self, gap_y: IntArray, gap_x: IntArray) -> FloatArray:
        squared: FloatArray = (gap_y * self.size_y) ** 2 + (gap_x * self.size_x) ** 2
        return squared


def _apart(low_a: IntArray, high_a: IntArray, low_b: IntArray, high_b: IntArray) -> IntArray:
    """Steps between two stretches of pixels; 0 if they overlap, 1 if they touch."""
    steps: IntArray = np.maximum(np.maximum(low_b - high_a, low_a - high_b), 0)
    return steps


def _tiles(ty0: IntArray, ty1: IntArray, tx0: IntArray, tx1: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Every tile of every box: index of the box, row and column of the tile."""
    across = tx1 - tx0 + 1
    index, place = _expand(np.zeros(len(ty0), np.int64), (ty1 - ty0 + 1) * across)
    down = place // across[index]
    return index, ty0[index] + down, tx0[index] + place - down * across[index]


def _expand(start: IntArray, count: IntArray) -> tuple[IntArray, IntArray]:
    """Write out entries that stand for ``start .. start + count - 1``: entry of each element, and element."""
    stop = np.cumsum(count)
    entry = np.repeat(np.arange(len(count)), count)
    return entry, np.arange(len(entry)) + np.repeat(start - stop + count, count)


def _middle_of_lowest(value: FloatArray, owner: IntArray) -> IntArray:
    """Per owner, whose entries lie together: the entry of the lowest value, the middle one of several."""
    if value.size == 0:
        return np.empty(0, np.int64)
    first = np.flatnonzero(np.diff(owner, prepend=-1))
    lowest = np.repeat(np.minimum.reduceat(value, first), np.diff(np.append(first, len(value))))
    ties = np.flatnonzero(value == lowest)
    first = np.flatnonzero(np.diff(owner[ties], prepend=-1))
    middle: IntArray = ties[(first + np.append(first[1:], len(ties))) // 2]
    return middle


def _chunks(count: IntArray) -> Iterator[slice]:
    """Slices of entries that together stand for about ``_CHUNK`` elements each."""
    total = np.cumsum(count)
    if total.size == 0:
        return
    cuts = np.searchsorted(total, np.arange(_CHUNK, int(total[-1]), _CHUNK))
    cuts = np.unique(np.concatenate([[0], cuts + 1, [len(count)]]))
    for low, high in pairwise(cuts):
        yield slice(int(low), int(high))


def _label_image(labels: npt.ArrayLike, name: str) -> npt.NDArray[np.integer]:
    image = np.asarray(labels)
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"{name} must have shape (Y, X) and a pixel at least, got {image.shape}")
    if image.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got {image.dtype}")
    if image.dtype.kind == "i" and image.size and image.min() < 0:
        raise ValueError(f"{name} holds negative labels")
    return image
