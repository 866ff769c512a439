"""How good found tables are against the truth: arrays in, floats out, nothing corrected on the way.

Shares are fractions. Where nothing was found nothing was found wrongly, and where there is nothing to find
nothing was missed: such a precision or recall is 1. An error over no cases is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

Ints = NDArray[np.int64]
Pairs = NDArray[np.int64]


class Agreement(NamedTuple):
    """precision = TP / (TP + FP), recall = TP / (TP + FN), f1 = 2 TP / (2 TP + FP + FN)."""

    precision: float
    recall: float
    f1: float


class ShiftError(NamedTuple):
    """Distance between found and true shift, px."""

    median_px: float
    max_px: float


def shift_error_px(found: ArrayLike, true: ArrayLike) -> ShiftError:
    """Median and largest distance of the shifts, over all frames and without removing any offset.

    Parameters
    ----------
    found, true : (T, 2) float
        dy, dx of each frame, px. A found shift that is not finite counts as infinitely wrong.
    """
    shifts, truth = np.asarray(found, np.float64), np.asarray(true, np.float64)
    if shifts.shape != truth.shape or shifts.ndim != 2 or shifts.shape[1] != 2:
        raise ValueError(f"shifts must both be (T, 2), not {shifts.shape} and {truth.shape}")
    if not len(shifts):
        return ShiftError(np.nan, np.nan)
    error = np.hypot(*(shifts - truth).T)
    error = np.where(np.isfinite(error), error, np.inf)
    return ShiftError(float(np.median(error)), float(error.max()))


def match_objects(
    found_frame: ArrayLike,
    found_yx: ArrayLike,
    true_frame: ArrayLike,
    true_yx: ArrayLike,
    max_distance_px: float,
) -> Ints:
    """One-to-one matching in each frame: as many pairs within the distance as there can be, then the closest.

    Parameters
    ----------
    found_frame, true_frame : (n,) and (m,) int
    found_yx, true_yx : (n, 2) and (m, 2) float
        Places y, x, px.
    max_distance_px : float
        Farthest that a found object may lie from its true one.

    Returns
    -------
    (n,) int64
        Row of the true object of each found one; -1 for none.
    """
    frames, truth_frames = np.asarray(found_frame, np.int64), np.asarray(true_frame, np.int64)
    places = np.asarray(found_yx, np.float64).reshape(-1, 2)
    truth = np.asarray(true_yx, np.float64).reshape(-1, 2)
    matching = np.full(len(frames), -1, np.int64)
    for frame in np.intersect1d(frames, truth_frames):
        rows, columns = np.flatnonzero(frames == frame), np.flatnonzero(truth_frames == frame)
        step = places[rows, None] - truth[None, columns]
        distance = np.hypot(step[..., 0], step[..., 1])
        near = distance <= max_distance_px
        # A refused pair costs more than all accepted ones together, so that number goes before closeness.
        refused = (max_distance_px + 1) * (min(near.shape) + 1)
        first, second = linear_sum_assignment(np.where(near, distance, refused))
        kept = near[first, second]
        matching[rows[first[kept]]] = columns[second[kept]]
    return matching


def detection(
    found_frame: ArrayLike,
    found_yx: ArrayLike,
    true_frame: ArrayLike,
    true_yx: ArrayLike,
    max_distance_px: float,
) -> Agreement:
    """Objects found: a true positive is a pair of `match_objects`, whose parameters these are."""
    matching = match_objects(found_frame, found_yx, true_frame, true_yx, max_distance_px)
    return _agreement(int(np.count_nonzero(matching >= 0)), len(matching), len(np.asarray(true_frame)))


def track_edges(frame: ArrayLike, track_id: ArrayLike) -> Pairs:
    """Links (k, 2) of rows, earlier and later: of each track, every object with its next one in time."""
    frames, tracks = np.asarray(frame), np.asarray(track_id)
    order = np.lexsort((frames, tracks))
    same = tracks[order[1:]] == tracks[order[:-1]]
    return np.column_stack([order[:-1][same], order[1:][same]]).astype(np.int64)


def edge_f1(found_edges: ArrayLike, true_edges: ArrayLike, matching: ArrayLike) -> Agreement:
    """Links found: right are those whose two ends are matched to the two ends of a true link.

    Parameters
    ----------
    found_edges, true_edges : (k, 2) int
        Rows of the found and of the true objects, earlier and later.
    matching : (n,) int
        From `match_objects`.
    """
    found = np.asarray(found_edges, np.int64).reshape(-1, 2)
    true = {tuple(edge) for edge in np.asarray(true_edges, np.int64).reshape(-1, 2).tolist()}
    ends = np.asarray(matching, np.int64)[found]
    claimed = {tuple(edge) for edge in ends[(ends >= 0).all(axis=1)].tolist()}
    return _agreement(len(claimed & true), len(np.unique(found, axis=0)), len(true))


def mask_average_precision(labels: NDArray[Any], truth: NDArray[Any], iou: float = 0.5) -> float:
    """TP / (TP + FP + FN) of label images; a true positive is a pair whose intersection over union is >= iou.

    Pairs are one-to-one, as many as there can be. In a film the counts of all frames are summed first. This
    is the "average precision" of cell segmentation (Schmidt et al 2018, MICCAI). 1 without objects.

    Parameters
    ----------
    labels, truth : (Y, X) or (T, Y, X) int
        Label images, 0 is background.
    iou : float
        In (0, 1].
    """
    if labels.shape != truth.shape or labels.ndim not in (2, 3) or not 0 < iou <= 1:
        raise ValueError(
            f"need label images of one shape and 0 < iou <= 1: {labels.shape}, {truth.shape}, {iou}"
        )
    hits = objects = 0
    frames = (labels, truth) if labels.ndim == 3 else (labels[None], truth[None])
    for found, true in zip(*frames, strict=True):
        n_found, n_true, pairs = _overlaps(found, true, iou)
        hits += _count_pairs(pairs)
        objects += n_found + n_true
    return hits / (objects - hits) if objects else 1.0


def identities(found_track: ArrayLike, true_id: ArrayLike, matching: ArrayLike) -> dict[int, int]:
    """The true cell that each found track follows longest (the smaller id of equals); unmatched ones are out.

    Parameters
    ----------
    found_track : (n,) int
        Track of each found object.
    true_id : (m,) int
        Cell of each true object.
    matching : (n,) int
        From `match_objects`.
    """
    rows = np.asarray(matching, np.int64)
    kept = rows >= 0
    tracks, cells = np.asarray(found_track, np.int64), np.asarray(true_id, np.int64)
    pairs = np.column_stack([tracks[kept], cells[rows[kept]]])
    votes, counts = np.unique(pairs, axis=0, return_counts=True)
    best: dict[int, tuple[int, int]] = {}
    for (track, cell), count in zip(votes.tolist(), counts.tolist(), strict=True):
        if count > best.get(track, (0, 0))[0]:
            best[track] = (count, cell)
    return {track: cell for track, (_, cell) in best.items()}


def contact_runs(
    frame: ArrayLike, effector: ArrayLike, target: ArrayLike, bridge_frames: int = 1, min_frames: int = 2
) -> Pairs:
    """Contact events (k, 4): effector, target, first frame, frame after the last; sorted.

    Parameters
    ----------
    frame, effector, target : (n,) int
        Pairs that are in contact.
    bridge_frames, min_frames : longest gap inside one event, and fewest frames in contact for one
    """
    rows = np.column_stack([np.asarray(column, np.int64) for column in (effector, target, frame)])
    rows = np.unique(rows, axis=0)
    if not len(rows):
        return np.empty((0, 4), np.int64)
    step = np.diff(rows, axis=0)
    new = np.r_[True, step[:, :2].any(axis=1) | (step[:, 2] > bridge_frames + 1)]
    starts = np.flatnonzero(new)
    ends = np.r_[starts[1:], len(rows)]
    events = np.column_stack([rows[starts], rows[ends - 1, 2] + 1])
    kept: Pairs = events[ends - starts >= min_frames]
    return kept


def match_events(found: ArrayLike, true: ArrayLike, min_iou: float = 0.5) -> Ints:
    """Contact events of the same pair whose times overlap enough, one-to-one, as many as there can be.

    Parameters
    ----------
    found, true : (k, 4) and (m, 4) int or float
        Effector, target, start, end (not included), as from `contact_runs`, in true cells; a found one of no
        true cell has -1 there and matches none.
    min_iou : float
        Least intersection over union of the two time spans, in (0, 1].

    Returns
    -------
    (k,) int64
        Row of the true event of each found one; -1 for none.
    """
    spans, truth = (np.asarray(events, np.float64).reshape(-1, 4) for events in (found, true))
    by_pair: dict[tuple[float, float], list[int]] = {}
    for row, (effector, target, _, _) in enumerate(truth.tolist()):
        by_pair.setdefault((effector, target), []).append(row)
    pairs: list[tuple[int, int]] = []
    for row, (effector, target, start, end) in enumerate(spans.tolist()):
        for other in by_pair.get((effector, target), []) if min(effector, target) >= 0 else []:
            shared = min(end, truth[other, 3]) - max(start, truth[other, 2])
            union = max(end, truth[other, 3]) - min(start, truth[other, 2])
            if shared > 0 and shared >= min_iou * union:
                pairs.append((row, other))
    return _one_to_one(np.array(pairs, np.int64).reshape(-1, 2), len(spans))


def match_deaths(
    found_id: ArrayLike,
    found_frame: ArrayLike,
    true_id: ArrayLike,
    true_frame: ArrayLike,
    max_error_frames: float = np.inf,
) -> Ints:
    """For each target that dies, the found death nearest in time (the first of equals), if near enough.

    Parameters
    ----------
    found_id, true_id : (n,) and (m,) int
        True cell of each death; a found one of no true cell has -1. A target dies once.
    found_frame, true_frame : (n,) and (m,) float
    max_error_frames : float
        Farthest that a right death may lie from the true one.

    Returns
    -------
    (n,) int64
        Row of the true death of each found one; -1 for none.
    """
    ids, frames = np.asarray(found_id, np.int64), np.asarray(found_frame, np.float64)
    matching = np.full(len(ids), -1, np.int64)
    truth = zip(np.asarray(true_id, np.int64), np.asarray(true_frame, np.float64), strict=True)
    for row, (cell, frame) in enumerate(truth):
        own = np.flatnonzero(ids == cell)
        error = np.abs(frames[own] - frame)
        if error.min(initial=np.inf) <= max_error_frames and len(own):
            matching[own[error.argmin()]] = row
    return matching


def _agreement(hits: int, n_found: int, n_true: int) -> Agreement:
    return Agreement(
        precision=hits / n_found if n_found else 1.0,
        recall=hits / n_true if n_true else 1.0,
        f1=2 * hits / (n_found + n_true) if n_found + n_true else 1.0,
    )


def _overlaps(found: NDArray[Any], true: NDArray[Any], iou: float) -> tuple[int, int, Pairs]:
    """Numbers of objects, and the pairs (k, 2) of their ranks that overlap by at least `iou`."""
    found_ids, found_rank, found_area = np.unique(found, return_inverse=True, return_counts=True)
    true_ids, true_rank, true_area = np.unique(true, return_inverse=True, return_counts=True)
    both = np.column_stack([found_rank.ravel(), true_rank.ravel()])[
        (found.ravel() != 0) & (true.ravel() != 0)
    ]
    pairs, shared = np.unique(both, axis=0, return_counts=True)
    union = found_area[pairs[:, 0]] + true_area[pairs[:, 1]] - shared
    return int((found_ids != 0).sum()), int((true_ids != 0).sum()), pairs[shared >= iou * union]


def _count_pairs(pairs: Pairs) -> int:
    """Most pairs that can hold at once when each side is used once."""
    return int((_one_to_one(pairs, int(pairs[:, 0].max(initial=-1)) + 1) >= 0).sum())


def _one_to_one(pairs: Pairs, n_rows: int) -> Ints:
    """The second of each first (n_rows,), -1 for none, so that most pairs hold and each side is used once."""
    matching = np.full(n_rows, -1, np.int64)
    if len(pairs):
        rows, columns = pairs.astype(np.int32).T  # the matching takes no other index
        shape = (n_rows, int(columns.max()) + 1)
        graph = csr_array((np.ones(len(pairs)), (rows, columns)), shape=shape)
        matching[:] = maximum_bipartite_matching(graph, perm_type="column")
    return matching
