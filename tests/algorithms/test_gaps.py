"""Gap closing, splits and merges: link for link what TrackMate 7.14.0 and 6.0 made of the same spots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dataops_parsl.algorithms.gaps import Closing, close
from dataops_parsl.algorithms.lineage import build
from tests.algorithms import trackmate
from tests.algorithms.trackmate import link_film, track


def assert_equal_but_for_ties(case: trackmate.Case, source: np.ndarray, target: np.ndarray) -> None:
    """Links that differ must be a tie; they are shown otherwise."""
    ours, theirs, tie = trackmate.differing(case, source, target)
    assert tie, f"only ours: {ours}; only TrackMate's: {theirs}"


def partition(frame: np.ndarray, source: np.ndarray, target: np.ndarray, merges: bool) -> np.ndarray:
    """What TrackMate calls tracks: lineages, or connected objects where segments may merge too."""
    n = len(frame)
    if not merges:
        found = build(frame, np.arange(n), source, target)
        return found.lineage_id[found.object_track_id - 1]
    matrix = coo_matrix((np.ones(len(source)), (source, target)), shape=(n, n))
    return connected_components(matrix, directed=False)[1]


@pytest.mark.parametrize("name", trackmate.golden())
def test_every_link_is_trackmates(name: str) -> None:
    case = trackmate.read_golden(name)
    source, target, _ = track(case.frame, case.yx, case.linking, **case.settings)
    assert_equal_but_for_ties(case, source, target)
    assert case.track is not None
    in_track = case.track >= 0
    mine = partition(case.frame, source, target, merges=case.settings["merging_max_distance"] is not None)
    pairs = np.unique(np.column_stack([mine[in_track], case.track[in_track]]), axis=0)
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
    assert np.bincount(mine)[mine[~in_track]].max(initial=1) == 1


@pytest.mark.parametrize("name", trackmate.EXPORTS)
def test_every_link_of_a_trackmate_session_file(name: str, test_data: Path) -> None:
    case = trackmate.read_export(test_data, name)
    source, target, _ = track(case.frame, case.yx, case.linking, **case.settings)
    assert_equal_but_for_ties(case, source, target)


def test_a_link_that_is_no_tie_is_told() -> None:
    case = trackmate.read_golden("sparse100")
    source, target, _ = track(case.frame, case.yx, case.linking, **case.settings)
    assert trackmate.differing(case, source, target) == ([], [], True)
    ours, theirs, tie = trackmate.differing(case, source[1:], target[1:])
    assert (ours, theirs, tie) == ([], [(case.spot[source[0]], case.spot[target[0]])], False)


LINE = {"gap_closing_max_distance": 5.0}


def line(frames: list[int], y: float, step: float = 1.0) -> list[tuple[int, float, float]]:
    return [(f, y, step * f) for f in frames]


def solve(objects: list[tuple[int, float, float]], linking: float = 3.0, **settings: float | None) -> Closing:
    table = np.array(objects)
    return track(table[:, 0].astype(int), table[:, 1:], linking, **settings)[2]


@pytest.mark.parametrize(("missing", "max_frame_gap", "n"), [(1, 1, 0), (1, 2, 1), (2, 2, 0), (2, 3, 1)])
def test_max_frame_gap_counts_frames_not_missing_ones(missing: int, max_frame_gap: int, n: int) -> None:
    objects = line([0, 1, 2], 0.0) + line([3 + missing, 4 + missing], 0.0)
    closing = solve(objects, gap_closing_max_distance=9.0, max_frame_gap=max_frame_gap)
    assert closing.kind.tolist() == ["gap"] * n
    assert closing.source_row.tolist() == [2] * n
    assert closing.target_row.tolist() == [3] * n


def test_the_gap_limit_is_closed() -> None:
    objects = [(0, 0.0, 0.0), (1, 0.0, 0.0), (3, 3.0, 4.0), (4, 3.0, 4.0)]
    assert solve(objects, gap_closing_max_distance=5.0).cost.tolist() == [25.0]
    assert solve(objects, gap_closing_max_distance=np.nextafter(5.0, 0.0)).cost.tolist() == []


def test_a_lone_object_is_never_closed() -> None:
    assert len(solve([(0, 0.0, 0.0), (1, 0.0, 0.0), (3, 0.0, 0.0)], **LINE).kind) == 0


def test_a_split_leaves_an_inner_object_one_frame_before() -> None:
    objects = [*line([0, 1, 2, 3], 0.0, 0.0), (2, 3.5, 0.0), (3, 3.5, 0.0)]
    closing = solve(objects, gap_closing_max_distance=None, splitting_max_distance=5.0)
    assert (closing.kind.tolist(), closing.source_row.tolist(), closing.target_row.tolist()) == (
        ["split"],
        [1],
        [4],
    )


def test_a_split_never_leaves_the_first_object() -> None:
    objects = [*line([0, 1, 2, 3], 0.0, 0.0), (1, 3.5, 0.0), (2, 3.5, 0.0)]
    assert len(solve(objects, gap_closing_max_distance=None, splitting_max_distance=5.0).kind) == 0


def test_a_merge_goes_into_an_inner_object() -> None:
    objects = [*line([0, 1, 2, 3], 0.0, 0.0), (0, 3.5, 0.0), (1, 3.5, 0.0)]
    closing = solve(objects, gap_closing_max_distance=None, merging_max_distance=5.0)
    assert (closing.kind.tolist(), closing.source_row.tolist(), closing.target_row.tolist()) == (
        ["merge"],
        [5],
        [2],
    )


def test_nothing_allowed_closes_nothing() -> None:
    assert len(solve(line([0, 1], 0.0) + line([3, 4], 0.0), gap_closing_max_distance=None).kind) == 0


def test_no_object() -> None:
    closing = close([], np.empty((0, 2)), [], [], gap_closing_max_distance=5.0)
    assert len(closing.source_row) == len(closing.kind) == 0


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(5)
    table = np.unique(
        np.column_stack([np.repeat(np.arange(20), 60), rng.integers(0, 150, (1200, 2))]), axis=0
    )
    frame, yx = table[:, 0], table[:, 1:].astype(float)
    source, target = link_film(frame, yx, 15.0)
    settings = {"gap_closing_max_distance": 20.0, "max_frame_gap": 3, "splitting_max_distance": 12.0}
    expected = close(frame, yx, source, target, **settings)
    p = rng.permutation(len(frame))
    back = np.argsort(p)
    found = close(frame[p], yx[p], back[source], back[target], **settings)
    assert set(zip(p[found.source_row], p[found.target_row], found.kind, strict=True)) == set(
        zip(expected.source_row, expected.target_row, expected.kind, strict=True)
    )


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"link_source": [0, 0], "link_target": [1, 2]}, "row 0 has several links from"),
        ({"link_source": [0, 1], "link_target": [2, 2]}, "row 2 has several links to"),
        ({"link_source": [2], "link_target": [0]}, "forward in time"),
        ({"link_source": [0], "link_target": [9]}, "outside"),
        ({"link_source": [0], "link_target": []}, "1 sources and 0 targets"),
        ({"frame": [0, 1]}, "frame has 2 rows"),
        ({"max_frame_gap": 0}, "max_frame_gap"),
        ({"gap_closing_max_distance": -1.0}, "gap_closing_max_distance"),
    ],
)
def test_misuse(change: dict, complaint: str) -> None:
    arguments = {
        "frame": [0, 1, 2],
        "yx": np.zeros((3, 2)),
        "link_source": [],
        "link_target": [],
        "gap_closing_max_distance": 5.0,
    }
    with pytest.raises(ValueError, match=complaint):
        close(**(arguments | change))
