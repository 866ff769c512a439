"""The scoring of real films: against the values that the challenge's own programs print."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.real import ctc
from tests.real.score import Graph, moved_back


def test_tra_and_det_are_those_of_the_challenge(test_data: Path) -> None:
    folder = test_data / "ctc_metric_fixture"
    found, true = (tifffile.imread(folder / f"{name}.tif") for name in ("res_mask", "gt_TRA"))
    tracks = (np.loadtxt(folder / f"{name}.txt", np.int64) for name in ("res_track", "man_track"))
    scores = ctc.tracking_scores(found, next(tracks), true, next(tracks))
    assert scores["DET"] == pytest.approx(0.688000, abs=5e-7)
    assert scores["TRA"] == pytest.approx(0.622980, abs=5e-7)


def test_seg_is_that_of_the_challenge(test_data: Path) -> None:
    folder = test_data / "ctc_metric_fixture"
    masks = [tifffile.imread(folder / f"seg_{name}_18frames.tif") for name in ("res", "gt")]
    assert ctc.seg_score(*masks) == pytest.approx(0.232874, abs=5e-7)


def test_tracks_with_gaps_and_daughters_become_the_challenges() -> None:
    labels = np.zeros((5, 1, 4), np.uint32)
    labels[[0, 1, 3], 0, 0] = 1, 2, 1
    labels[4, 0, :2] = 1, 2
    labels[:, 0, 3] = 9
    members = [(0, 1, 1), (1, 2, 1), (3, 1, 1), (4, 1, 2), (4, 2, 3), *((t, 9, 4) for t in range(5))]
    moved, lbep = ctc.as_ctc(labels, members, {2: 1, 3: 1})
    assert lbep.tolist() == [[1, 0, 1, 0], [2, 3, 3, 1], [3, 4, 4, 2], [4, 4, 4, 2], [5, 0, 4, 0]]
    assert moved[:, 0, 0].tolist() == [1, 1, 0, 2, 3]
    assert moved[4, 0].tolist() == [3, 4, 0, 5]
    assert ctc.tracking_scores(moved, lbep, moved, lbep) == {"TRA": 1, "DET": 1}


def test_labels_go_back_to_where_they_were_acquired() -> None:
    registered = np.zeros((2, 6, 6), np.uint32)
    registered[:, 1, 1] = 7
    back = moved_back(registered, [(0.0, 0.0), (2.2, -0.8)])
    assert np.argwhere(back).tolist() == [[0, 1, 1], [1, 3, 0]]


def test_true_links_need_neighbouring_frames() -> None:
    """A cell that was away is not linked over its absence; daughters are, when the mother is there."""
    frame, label = [0, 1, 3, 4, 4, 6], [1, 1, 1, 2, 3, 4]
    graph = Graph.of(frame, np.zeros((6, 2)), label, {2: 1, 3: 1, 4: 1})
    assert graph.edges.tolist() == [[0, 1], [2, 3], [2, 4]]
    assert graph.divisions.tolist() == [[2, 3], [2, 4]]
