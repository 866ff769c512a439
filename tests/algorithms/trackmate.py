"""What TrackMate 7.14 and 6 made of the same spots, and where ours differs."""

from __future__ import annotations

import csv
import gzip
import itertools
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.algorithms.gaps import Closing, close
from dataops_parsl.algorithms.lap import link

GOLDEN = Path(__file__).parent / "golden"
EXPORTS = (
    "without_gap_closing",
    "with_gap_closing",
    "with_splitting",
    "with_merging",
    "with_splitting_merging",
)
TIE = 1e-9
Link = tuple[int, int]


@dataclass(frozen=True)
class Case:
    """Spots of a film, how they are to be tracked, and TrackMate's links.

    Attributes
    ----------
    name : str
    frame, spot : (N,) int
    yx : (N, 2) float
    edges : set of (earlier spot, later spot)
    linking : float
        Largest linking distance.
    settings : dict
        What `close` takes beside objects and links.
    track : (N,) int or None
        TrackMate's track of each spot, -1 for none.
    """

    name: str
    frame: NDArray[np.int64]
    spot: NDArray[np.int64]
    yx: NDArray[np.float64]
    edges: set[Link]
    linking: float
    settings: dict[str, Any]
    track: NDArray[np.int64] | None = None


def golden() -> list[str]:
    """Names of the cases that are part of the project."""
    with (GOLDEN / "index.csv").open() as file:
        return [row["name"] for row in csv.DictReader(file)]


def read_golden(name: str) -> Case:
    """A case of TrackMate 7.14."""
    with (GOLDEN / "index.csv").open() as file:
        (case,) = (row for row in csv.DictReader(file) if row["name"] == name)
    spots, edges, tracks = (_read(GOLDEN / f"{name}.{part}.csv.gz") for part in ("spots", "edges", "tracks"))
    spot = spots["spot_id"].astype(int)
    theirs = dict(zip(tracks["spot_id"].astype(int), tracks["track_id"].astype(int), strict=True))
    settings = {
        key: float(case[key]) if case[key] else None
        for key in ("splitting_max_distance", "merging_max_distance")
    }
    closes = case["gap_closing"] == "true"
    settings["gap_closing_max_distance"] = float(case["gap_closing_max_distance"]) if closes else None
    links = set(zip(edges["source"].astype(int).tolist(), edges["target"].astype(int).tolist(), strict=True))
    assert len(links) == int(case["n_edges"])
    return Case(
        name,
        spots["frame"].astype(int),
        spot,
        np.column_stack([spots["y"], spots["x"]]),
        links,
        float(case["linking_max_distance"]),
        settings | {"max_frame_gap": int(case["max_frame_gap"])},
        np.array([theirs[one] for one in spot]),
    )


def _read(path: Path) -> dict[str, NDArray[np.float64]]:
    with gzip.open(path, "rt") as file:
        names = file.readline().strip().split(",")
        values = np.loadtxt(file, delimiter=",", ndmin=2)
    return dict(zip(names, values.T, strict=True))


def read_export(data: Path, name: str) -> Case:
    """A session file of TrackMate 6, from the folder of test data."""
    path = data / "trackmate_lap_dev" / f"trackmate_tracks_{name}.xml"
    root = ET.parse(path).getroot()
    spots = [spot.attrib for spot in root.iter("Spot")]
    edges = [edge.attrib for edge in root.iter("Edge")]
    tracker = next(root.iter("TrackerSettings"))

    def setting(tag: str, key: str) -> str:
        node = tracker.find(tag)
        assert node is not None
        return node.attrib[key]

    def allowed(tag: str, key: str) -> float | None:
        node = tracker.find(tag)
        assert node is not None
        on = next(v for k, v in node.attrib.items() if k.startswith("ALLOW"))
        return float(node.attrib[key]) if on == "true" else None

    spot = np.array([int(s["ID"]) for s in spots])
    frame = np.array([int(float(s["FRAME"])) for s in spots])
    frame_of = dict(zip(spot.tolist(), frame.tolist(), strict=True))
    ends = [(int(e["SPOT_SOURCE_ID"]), int(e["SPOT_TARGET_ID"])) for e in edges]
    return Case(
        f"TrackMate 6, {name.replace('_', ' ')}",
        frame,
        spot,
        np.array([[float(s["POSITION_Y"]), float(s["POSITION_X"])] for s in spots]),
        {(a, b) if frame_of[a] < frame_of[b] else (b, a) for a, b in ends},
        float(setting("Linking", "LINKING_MAX_DISTANCE")),
        {
            "gap_closing_max_distance": allowed("GapClosing", "GAP_CLOSING_MAX_DISTANCE"),
            "max_frame_gap": int(setting("GapClosing", "MAX_FRAME_GAP")),
            "splitting_max_distance": allowed("TrackSplitting", "SPLITTING_MAX_DISTANCE"),
            "merging_max_distance": allowed("TrackMerging", "MERGING_MAX_DISTANCE"),
        },
    )


def link_film(
    frame: NDArray[Any], yx: NDArray[Any], max_distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Link each frame of a film with the next; rows of the sources and of the targets."""
    order = np.argsort(frame, kind="stable")
    rows = np.split(order, np.searchsorted(frame[order], np.arange(1, int(frame.max()) + 1)))
    pairs = [
        (a[i], b[j]) for a, b in itertools.pairwise(rows) for i, j, _ in [link(yx[a], yx[b], max_distance)]
    ]
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def track(
    frame: NDArray[Any], yx: NDArray[Any], linking: float, **settings: Any
) -> tuple[NDArray[np.int64], NDArray[np.int64], Closing]:
    """Link a film and close its gaps: rows of the sources and targets of all edges."""
    source, target = link_film(frame, yx, linking)
    closing = close(frame, yx, source, target, **settings)
    return (
        np.concatenate([source, closing.source_row]),
        np.concatenate([target, closing.target_row]),
        closing,
    )


def differing(case: Case, source: NDArray[Any], target: NDArray[Any]) -> tuple[list[Link], list[Link], bool]:
    """Links that only we have, links that only TrackMate has, and whether that is an exact tie.

    A tie: as many links on both sides, whose total costs are equal within `TIE`.
    """
    mine = set(zip(case.spot[source].tolist(), case.spot[target].tolist(), strict=True))
    ours, theirs = sorted(mine - case.edges), sorted(case.edges - mine)
    row = {spot: at for at, spot in enumerate(case.spot.tolist())}

    def cost(links: list[Link]) -> float:
        return sum(float(((case.yx[row[a]] - case.yx[row[b]]) ** 2).sum()) for a, b in links)

    return ours, theirs, len(ours) == len(theirs) and abs(cost(ours) - cost(theirs)) <= TIE
