"""Gap closing, splits and merges: link for link what TrackMate 7.14.0 and 6.0 made of the same spots."""

from __future__ import annotations

import csv
import gzip
import itertools
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from dataops_parsl.algorithms.gaps import Closing, close
from dataops_parsl.algorithms.lap import link
from dataops_parsl.algorithms.lineage import build

GOLDEN = Path(__file__).parent / "golden"


def read(path: Path) -> dict[str, np.ndarray]:
    with gzip.open(path, "rt") as file:
        names = file.readline().strip().split(",")
        values = np.loadtxt(file, delimiter=",", ndmin=2)
    return dict(zip(names, values.T, strict=True))


def link_film(frame: np.ndarray, yx: np.ndarray, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Link each frame of a film with the next; rows of the sources and of the targets."""
    rows = [np.flatnonzero(frame == f) for f in range(int(frame.max()) + 1)]
    pairs = [
        (a[i], b[j]) for a, b in itertools.pairwise(rows) for i, j, _ in [link(yx[a], yx[b], max_distance)]
    ]
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def track(
    frame: np.ndarray, yx: np.ndarray, linking: float, **settings: float | None
) -> tuple[np.ndarray, np.ndarray, Closing]:
    source, target = link_film(frame, yx, linking)
    closing = close(frame, yx, source, target, **settings)
    return (
        np.concatenate([source, closing.source_row]),
        np.concatenate([target, closing.target_row]),
        closing,
    )


def assert_equal_but_for_ties(
    mine: set[tuple[int, int]], theirs: set[tuple[int, int]], yx: np.ndarray, row: dict[int, int]
) -> None:
    """Links that differ must cost the same on both sides; a differing link is shown otherwise."""

    def cost(links: set[tuple[int, int]]) -> float:
        return sum(float(((yx[row[a]] - yx[row[b]]) ** 2).sum()) for a, b in links)

    only_mine, only_theirs = mine - theirs, theirs - mine
    assert len(only_mine) == len(only_theirs), (only_mine, only_theirs)
    assert cost(only_mine) == pytest.approx(cost(only_theirs), abs=1e-9), (only_mine, only_theirs)


def partition(frame: np.ndarray, source: np.ndarray, target: np.ndarray, merges: bool) -> np.ndarray:
    """What TrackMate calls tracks: lineages, or connected objects where segments may merge too."""
    n = len(frame)
    if not merges:
        found = build(frame, np.arange(n), source, target)
        return found.lineage_id[found.object_track_id - 1]
    matrix = coo_matrix((np.ones(len(source)), (source, target)), shape=(n, n))
    return connected_components(matrix, directed=False)[1]


def cases() -> list[dict[str, str]]:
    with (GOLDEN / "index.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_every_link_is_trackmates(case: dict[str, str]) -> None:
    spots = read(GOLDEN / f"{case['name']}.spots.csv.gz")
    edges = read(GOLDEN / f"{case['name']}.edges.csv.gz")
    tracks = read(GOLDEN / f"{case['name']}.tracks.csv.gz")
    frame, yx = spots["frame"].astype(int), np.column_stack([spots["y"], spots["x"]])
    closes = case["gap_closing"] == "true"
    source, target, _ = track(
        frame,
        yx,
        float(case["linking_max_distance"]),
        gap_closing_max_distance=float(case["gap_closing_max_distance"]) if closes else None,
        max_frame_gap=int(case["max_frame_gap"]),
        **{
            key: float(case[key]) if case[key] else None
            for key in ("splitting_max_distance", "merging_max_distance")
        },
    )
    ids = spots["spot_id"].astype(int)
    assert len(edges["source"]) == int(case["n_edges"])
    assert_equal_but_for_ties(
        set(zip(ids[source].tolist(), ids[target].tolist(), strict=True)),
        set(zip(edges["source"].astype(int).tolist(), edges["target"].astype(int).tolist(), strict=True)),
        yx,
        {spot: row for row, spot in enumerate(ids.tolist())},
    )
    theirs = dict(zip(tracks["spot_id"].astype(int), tracks["track_id"].astype(int), strict=True))
    their_track = np.array([theirs[spot] for spot in ids])
    in_track = their_track >= 0
    mine = partition(frame, source, target, merges=bool(case["merging_max_distance"]))
    pairs = np.unique(np.column_stack([mine[in_track], their_track[in_track]]), axis=0)
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1]))
    assert np.bincount(mine)[mine[~in_track]].max(initial=1) == 1


def read_export(folder: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, str | float | None]]:
    """Spots, edges and settings of a TrackMate session file."""
    root = ET.parse(folder / f"{name}.xml").getroot()
    spots = [spot.attrib for spot in root.iter("Spot")]
    edges = [edge.attrib for edge in root.iter("Edge")]
    tracker = next(root.iter("TrackerSettings"))

    def allowed(tag: str, key: str) -> float | None:
        node = tracker.find(tag)
        on = next(v for k, v in node.attrib.items() if k.startswith("ALLOW"))
        return float(node.attrib[key]) if on == "true" else None

    arrays = {
        "id": np.array([int(s["ID"]) for s in spots]),
        "frame": np.array([int(float(s["FRAME"])) for s in spots]),
        "yx": np.array([[float(s["POSITION_Y"]), float(s["POSITION_X"])] for s in spots]),
        "edges": np.array([[int(e["SPOT_SOURCE_ID"]), int(e["SPOT_TARGET_ID"])] for e in edges]),
    }
    return arrays, {
        "linking": float(tracker.find("Linking").attrib["LINKING_MAX_DISTANCE"]),
        "gap_closing_max_distance": allowed("GapClosing", "GAP_CLOSING_MAX_DISTANCE"),
        "max_frame_gap": int(tracker.find("GapClosing").attrib["MAX_FRAME_GAP"]),
        "splitting_max_distance": allowed("TrackSplitting", "SPLITTING_MAX_DISTANCE"),
        "merging_max_distance": allowed("TrackMerging", "MERGING_MAX_DISTANCE"),
    }


@pytest.mark.parametrize(
    "name",
    ["without_gap_closing", "with_gap_closing", "with_splitting", "with_merging", "with_splitting_merging"],
)
def test_every_link_of_a_trackmate_session_file(name: str, test_data: Path) -> None:
    arrays, settings = read_export(test_data / "trackmate_lap_dev", f"trackmate_tracks_{name}")
    ids, frame = arrays["id"], arrays["frame"]
    source, target, _ = track(frame, arrays["yx"], **settings)
    row = {spot: at for at, spot in enumerate(ids.tolist())}
    theirs = {tuple(sorted(edge, key=lambda spot: frame[row[spot]])) for edge in arrays["edges"].tolist()}
    mine = set(zip(ids[source].tolist(), ids[target].tolist(), strict=True))
    assert_equal_but_for_ties(mine, theirs, arrays["yx"], row)


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
