"""Tracks, their numbers and their trees, from edges with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.algorithms.lineage import NO_PARENT, Lineage, build, rows_of


def film() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two cells and a lone one; the first divides at frame 1, one daughter again at frame 3 after a gap.

    Rows: 0..1 root; 2 (gap at frame 3) 3 daughter b; 4, 5 daughter a, which divides into 6 and 7; 8..9
    other cell; 10 lone.
    """
    frame = np.array([0, 1, 2, 4, 2, 3, 4, 4, 0, 1, 1])
    label = np.array([2, 2, 9, 9, 3, 3, 1, 2, 1, 1, 7])
    source = np.array([0, 1, 2, 1, 4, 5, 5, 8])
    target = np.array([1, 2, 3, 4, 5, 6, 7, 9])
    return frame, label, source, target


def test_a_division_ends_a_track() -> None:
    found = build(*film())
    assert found.object_track_id.tolist() == [2, 2, 5, 5, 4, 4, 6, 7, 1, 1, 3]
    assert found.track_id.tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert found.parent_track_id.tolist() == [NO_PARENT, NO_PARENT, NO_PARENT, 2, 2, 4, 4]
    assert found.lineage_id.tolist() == [1, 2, 3, 2, 2, 2, 2]
    assert found.generation.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert found.first_row.tolist() == [8, 0, 10, 4, 2, 6, 7]
    assert found.last_row.tolist() == [9, 1, 10, 5, 3, 6, 7]
    assert found.divides.tolist() == [False, True, False, True, False, False, False]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_rows_and_edges_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, label, source, target = film()
    expected = build(frame, label, source, target)
    rows, edges = rng.permutation(len(frame)), rng.permutation(len(source))
    back = np.argsort(rows)
    found = build(frame[rows], label[rows], back[source][edges], back[target][edges])
    np.testing.assert_array_equal(found.object_track_id, expected.object_track_id[rows])
    np.testing.assert_array_equal(rows[found.first_row], expected.first_row)
    np.testing.assert_array_equal(rows[found.last_row], expected.last_row)
    for name in ("track_id", "parent_track_id", "lineage_id", "generation", "divides"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_random_trees_hold_what_a_lineage_promises(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = np.sort(rng.integers(0, 8, n))
    label = np.arange(n) + 1
    pairs = [
        (int(rng.choice(before)), row)
        for row in range(n)
        if (before := np.flatnonzero(frame < frame[row])).size and rng.random() < 0.8
    ]
    source, target = (np.array(side, np.int64) for side in (zip(*pairs, strict=True) if pairs else ([], [])))
    found = build(frame, label, source, target)
    assert_promises(found, frame, source, target)


def assert_promises(found: Lineage, frame: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
    track = found.object_track_id
    branches = np.bincount(source, minlength=len(frame))[source] > 1
    assert np.all(track[source[~branches]] == track[target[~branches]])
    assert np.all(found.parent_track_id[track[target[branches]] - 1] == track[source[branches]])
    assert np.sum(found.parent_track_id != NO_PARENT) == branches.sum()
    for number in found.track_id:
        frames = frame[track == number]
        assert len(set(frames.tolist())) == len(frames)
    child = found.parent_track_id != NO_PARENT
    parent_at = found.parent_track_id[child] - 1
    assert np.all(found.generation[child] == found.generation[parent_at] + 1)
    assert np.all(found.lineage_id[child] == found.lineage_id[parent_at])
    assert np.all(found.generation[~child] == 0)
    assert np.all(found.lineage_id[~child] == found.track_id[~child])
    assert np.all(found.parent_track_id < found.track_id)


def test_no_object() -> None:
    found = build([], [], [], [])
    assert found.object_track_id.shape == found.track_id.shape == found.lineage_id.shape == (0,)
    assert found.object_track_id.dtype == np.int64


def test_lone_objects_are_tracks_numbered_by_frame_and_label() -> None:
    found = build([3, 0, 0], np.array([1, 70_000, 65_536], np.uint32), [], [])
    assert found.object_track_id.tolist() == [3, 2, 1]
    assert found.parent_track_id.tolist() == [NO_PARENT] * 3


def test_a_track_starts_at_its_first_frame_not_at_its_smallest_label() -> None:
    found = build([0, 1, 0], [9, 1, 5], [0], [1])
    assert found.object_track_id.tolist() == [2, 2, 1]


def test_a_million_objects_in_long_tracks() -> None:
    n_tracks, n_frames = 2000, 250
    frame = np.repeat(np.arange(n_frames), n_tracks)
    label = np.tile(np.arange(1, n_tracks + 1), n_frames)
    source = np.arange((n_frames - 1) * n_tracks)
    found = build(frame, label, source, source + n_tracks)
    np.testing.assert_array_equal(found.object_track_id, label)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (([0, 0, 1], [1, 2, 1], [0, 1], [2, 2]), "2 edges reach frame 1, label 1"),
        (([0, 1], [1, 1], [0, 0], [1, 1]), "repeated edges"),
        (([0, 1], [1, 1], [1], [0]), "frame 1, label 1 does not run forward"),
        (([0, 0], [1, 2], [0], [1]), "forward in time"),
        (([0, 0], [4, 4], [], []), "frame 0 has label 4 more than once"),
        (([0, 1], [1, 1], [0], [2]), "outside 0..1"),
        (([0, 1], [1, 1], [-1], [1]), "outside 0..1"),
        (([0, 1], [1], [], []), "frame has 2 rows and label 1"),
        (([0, 1], [1, 1], [0], []), "1 sources and 0 targets"),
        (([0.5, 1], [1, 1], [], []), "frame must hold integers"),
    ],
)
def test_misuse(arguments: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        build(*arguments)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_objects_are_found_by_frame_and_label(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    keys = np.unique(np.column_stack([rng.integers(0, 5, n), rng.integers(1, 2**32, n)]), axis=0)
    frame, label = keys[rng.permutation(len(keys))].T
    wanted = rng.integers(0, len(keys), 2 * len(keys)) if len(keys) else np.empty(0, np.int64)
    np.testing.assert_array_equal(rows_of(frame, label, frame[wanted], label[wanted]), wanted)


@pytest.mark.parametrize("wanted", [(0, 3), (2, 1), (1, 2), (-1, 1)])
def test_an_object_that_is_not_there(wanted: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"frame {wanted[0]} and label {wanted[1]}"):
        rows_of([0, 0, 1], [1, 2, 1], [wanted[0]], [wanted[1]])
