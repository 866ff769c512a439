"""Tracks and lineages from the edges between objects.

A track is an unbranched run of objects: a division ends it, and its daughters are new tracks. A lineage is
the whole tree of tracks, what TrackMate calls a track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]

NO_PARENT = -1


@dataclass(frozen=True)
class Lineage:
    """Tracks of objects, and the trees that the tracks form.

    Attributes
    ----------
    object_track_id : (N,) int64
        Track of each object, in the order of the input rows.
    track_id : (K,) int64
        1..K, by the frame and then the label of the track's first object.
    first_row, last_row : (K,) int64
        Input rows of each track's first and last object.
    parent_track_id : (K,) int64
        The track that divided into this one; -1 for none.
    lineage_id : (K,) int64
        Smallest track id of the tree.
    generation : (K,) int64
        Divisions between the tree's root and this track; 0 at the root.
    divides : (K,) bool
        Whether the track ends by dividing.
    """

    object_track_id: IntArray
    track_id: IntArray
    first_row: IntArray
    last_row: IntArray
    parent_track_id: IntArray
    lineage_id: IntArray
    generation: IntArray
    divides: BoolArray


def build(
    frame: npt.ArrayLike, label: npt.ArrayLike, source_row: npt.ArrayLike, target_row: npt.ArrayLike
) -> Lineage:
    """Number the tracks of a film, and find their parents.

    Parameters
    ----------
    frame, label : (N,) int
        Key of each object; no two objects share both.
    source_row, target_row : (E,) int
        Objects joined by links, gaps and splits, the earlier frame first. An object with several targets
        divides.

    Returns
    -------
    Lineage
        Every object has a track, a lone one too. Ids do not depend on the order of objects or edges.

    Raises
    ------
    ValueError
        If two objects share frame and label, an edge is given twice, names no row or runs backwards, or an
        object has several sources: tracks of cells do not merge.
    """
    frames, labels = _integers(frame, "frame"), _integers(label, "label")
    source, target = _integers(source_row, "source_row"), _integers(target_row, "target_row")
    if len(frames) != len(labels):
        raise ValueError(f"frame has {len(frames)} rows and label {len(labels)}")
    order = np.lexsort((labels, frames))
    _check_objects(frames, labels, order)
    _check_edges(frames, labels, source, target)
    n = len(frames)
    divides_here = np.bincount(source, minlength=n) > 1
    goes_on = ~divides_here[source]
    component = _components(n, source[goes_on], target[goes_on])

    # A component's first object in (frame, label) order is its first object in time: its number follows
    # from it.
    _, first_at, inverse = np.unique(component[order], return_index=True, return_inverse=True)
    by_start = np.argsort(first_at)
    number = np.empty(len(by_start), np.int64)
    number[by_start] = np.arange(1, len(by_start) + 1)
    object_track_id = np.empty(n, np.int64)
    object_track_id[order] = number[inverse]
    track_id = np.arange(1, len(by_start) + 1)
    first_row = order[first_at[by_start]]
    last_row = np.empty(len(by_start), np.int64)
    last_row[object_track_id[order] - 1] = order

    parent = np.full(len(by_start), NO_PARENT, np.int64)
    parent[object_track_id[target[~goes_on]] - 1] = object_track_id[source[~goes_on]]
    lineage_id, generation = _trees(track_id, parent)
    return Lineage(
        object_track_id, track_id, first_row, last_row, parent, lineage_id, generation, divides_here[last_row]
    )


def rows_of(
    frame: npt.ArrayLike, label: npt.ArrayLike, wanted_frame: npt.ArrayLike, wanted_label: npt.ArrayLike
) -> IntArray:
    """Find objects by frame and label.

    Parameters
    ----------
    frame, label : (N,) int
        Key of each object; no two objects share both.
    wanted_frame, wanted_label : (K,) int
        Keys to look for, in any order, repeated or not.

    Returns
    -------
    (K,) int64
        Row of each.

    Raises
    ------
    ValueError
        If a wanted key names no object, or two objects share frame and label.
    """
    frames, labels = _integers(frame, "frame"), _integers(label, "label")
    of_frame, of_label = _integers(wanted_frame, "wanted_frame"), _integers(wanted_label, "wanted_label")
    if len(frames) != len(labels) or len(of_frame) != len(of_label):
        raise ValueError("frames and labels differ in length")
    if of_frame.size == 0:
        return np.empty(0, np.int64)
    order = np.lexsort((labels, frames))
    _check_objects(frames, labels, order)
    # Labels as their ranks, so that a frame and any 32-bit label fit into one integer.
    names, rank = np.unique(labels, return_inverse=True)
    keys = (frames * len(names) + rank)[order]
    of_rank = np.searchsorted(names, of_label)
    at = np.searchsorted(keys, of_frame * len(names) + of_rank)
    found = np.zeros(len(at), np.bool_)
    inside = np.flatnonzero(at < len(keys))
    rows: IntArray = order[at[inside]]
    found[inside] = (frames[rows] == of_frame[inside]) & (labels[rows] == of_label[inside])
    if not found.all():
        lost = int(np.flatnonzero(~found)[0])
        raise ValueError(f"no object has frame {of_frame[lost]} and label {of_label[lost]}")
    return rows


def _trees(track_id: IntArray, parent: IntArray) -> tuple[IntArray, IntArray]:
    """Root and depth of each track, by climbing all trees at once: one step per generation."""
    root = track_id.copy()
    generation = np.zeros(len(track_id), np.int64)
    climbing = np.flatnonzero(parent != NO_PARENT)
    while climbing.size:
        root[climbing] = parent[root[climbing] - 1]
        generation[climbing] += 1
        climbing = climbing[parent[root[climbing] - 1] != NO_PARENT]
    return root, generation


def _components(n: int, source: IntArray, target: IntArray) -> IntArray:
    matrix = coo_matrix((np.ones(len(source), np.int8), (source, target)), shape=(n, n))
    component: IntArray = connected_components(matrix, directed=False)[1].astype(np.int64)
    return component


def _check_objects(frame: IntArray, label: IntArray, order: IntArray) -> None:
    f, k = frame[order], label[order]
    twice = np.flatnonzero((f[1:] == f[:-1]) & (k[1:] == k[:-1]))
    if twice.size:
        raise ValueError(f"frame {f[twice[0]]} has label {k[twice[0]]} more than once")


def _check_edges(frame: IntArray, label: IntArray, source: IntArray, target: IntArray) -> None:
    if len(source) != len(target):
        raise ValueError(f"edges have {len(source)} sources and {len(target)} targets")
    n = len(frame)
    for rows in (source, target):
        if rows.size and (rows.min() < 0 or rows.max() >= n):
            raise ValueError(f"edges name rows outside 0..{n - 1}")
    backwards = np.flatnonzero(frame[target] <= frame[source])
    if backwards.size:
        at = source[backwards[0]]
        raise ValueError(f"an edge from frame {frame[at]}, label {label[at]} does not run forward in time")
    arriving = np.bincount(target, minlength=n)
    if arriving.max(initial=0) > 1:
        at = int(arriving.argmax())
        raise ValueError(
            f"{arriving[at]} edges reach frame {frame[at]}, label {label[at]}: merges and repeated edges are "
            "no part of a lineage; leave them out"
        )


def _integers(values: npt.ArrayLike, name: str) -> IntArray:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"{name} must hold integers, got {array.dtype}")
    return array.astype(np.int64).ravel()
