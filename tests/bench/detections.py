"""Tracking from true detections: films of the Cell Tracking Challenge whose every cell is known.

    DATAOPS_PARSL_TEST_DATA=/where/the/films/are python -m tests.bench.stages detections

Centres of true cells are tracked as the stage `trackmate` does it, with the distances of `make real`, and
compared with the true links. No segmentation and no registration has a part in it.
"""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage

from tests.algorithms.trackmate import Link, track
from tests.bench.measure import Row, row
from tests.real import sources
from tests.real.score import Graph

EDGE_BAR = 0.99
DIVISION_BARS = {sources.SIM.folder: 0.5, sources.HELA.folder: 0.9}


def simulated(folder: Path) -> Graph:
    """The truth of ``ctc_sim_01``: its masks' centres of mass."""
    lbep = np.loadtxt(folder / "man_track.txt", np.int64)
    frame: list[int] = []
    label: list[int] = []
    yx: list[tuple[float, float]] = []
    for t, image in enumerate(tifffile.imread(folder / "TRA.tif")):
        ids = np.unique(image[image > 0])
        frame += [t] * len(ids)
        label += ids.tolist()
        yx += ndimage.center_of_mass(image > 0, image, ids)
    return Graph.of(frame, np.array(yx), label, {int(one): int(p) for one, _, _, p in lbep if p})


def hela(folder: Path) -> Graph:
    """The truth of ``ctc_hela_01``: its points; a cell that comes into the crop has no mother there."""
    with open(folder / "gt_points.csv", newline="") as file:
        points = list(csv.DictReader(file))
    born = {int(one): int(b) for one, b, _, _ in np.loadtxt(folder / "man_track_fullfield.txt", np.int64)}
    first: dict[int, int] = {}
    for p in points:
        first[int(p["label"])] = min(int(p["t"]), first.get(int(p["label"]), sys.maxsize))
    parents = {
        int(p["label"]): int(p["parent"])
        for p in points
        if int(p["parent"]) and first[int(p["label"])] == born[int(p["label"])]
    }
    return Graph.of(
        [int(p["t"]) for p in points],
        [(float(p["y"]), float(p["x"])) for p in points],
        [int(p["label"]) for p in points],
        parents,
    )


TRUTHS = ((sources.SIM, simulated), (sources.HELA, hela))


def found(truth: Graph, reach_px: float) -> set[Link]:
    """Links of the true cells, by linking, gap closing and splitting up to one distance."""
    source, target, _ = track(
        truth.frame,
        truth.yx,
        reach_px,
        gap_closing_max_distance=reach_px,
        max_frame_gap=2,
        splitting_max_distance=reach_px,
    )
    return set(zip(source.tolist(), target.tolist(), strict=True))


def rows() -> Iterator[Row]:
    """F1 of the links, and recall of those to daughters."""
    data = Path(os.environ.get("DATAOPS_PARSL_TEST_DATA") or "/nowhere")
    for film, read in TRUTHS:
        if not (data / film.folder).is_dir():
            yield row(
                film.folder, 0, unit="", note="not measured: DATAOPS_PARSL_TEST_DATA has no such folder"
            )
            continue
        truth = read(data / film.folder)
        links = found(truth, film.reach_px)
        true = {(a, b) for a, b in truth.edges.tolist()}
        right = len(links & true)
        f1 = 2 * right / (len(links) + len(true))
        yield row(
            f"{film.folder}, links",
            f1,
            unit="F1",
            bar=f">= {EDGE_BAR}",
            met=f1 >= EDGE_BAR,
            note=f"{film.reach_px:.0f} px; {right:,} right of {len(links):,} found, {len(true):,} true",
        )
        divisions = {(a, b) for a, b in truth.divisions.tolist()}
        recall = len(links & divisions) / len(divisions)
        bar = DIVISION_BARS[film.folder]
        yield row(
            f"{film.folder}, links to daughters",
            recall,
            unit="recall",
            bar=f">= {bar}",
            met=recall >= bar,
            note=f"{len(links & divisions)} of {len(divisions)}",
        )
