"""Kinds of edges, told from their objects alone: as the tracker in Python names them."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.edge_kinds import kinds
from tests.algorithms import trackmate


def test_links_gaps_and_splits() -> None:
    #        0  1  2  3  4  5
    frame = [0, 1, 1, 3, 3, 4]
    source, target, cost = [0, 0, 1, 1, 3], [1, 2, 3, 4, 5], [4.0, 1.0, 2.0, 2.0, 0.0]
    assert kinds(frame, source, target, cost).tolist() == ["split", "link", "gap", "split", "link"]
    order = [3, 1, 4, 0, 2]
    again = kinds(frame, *(np.array(column)[order] for column in (source, target, cost)))
    assert again.tolist() == ["split", "link", "link", "split", "gap"]
    assert kinds(frame, [], [], []).tolist() == []


@pytest.mark.parametrize("name", ["sparse100", "gap4_300"])
def test_on_tracks_as_the_lap_tracker_names_them(name: str) -> None:
    case = trackmate.read_golden(name)
    source, target, closing = trackmate.track(case.frame, case.yx, case.linking, **case.settings)
    cost = ((case.yx[source] - case.yx[target]) ** 2).sum(axis=1)
    found = kinds(case.frame, source, target, cost)
    n_links = len(source) - len(closing.cost)
    over = case.frame[target] - case.frame[source] > 1
    assert set(found[:n_links]) == {"link"}
    assert "merge" not in closing.kind
    # What closing joins in the very next frame looks like a link: TrackMate's graph does not tell.
    assert (found[n_links:] == np.where(over[n_links:], closing.kind, "link")).all()
    assert over.any()
