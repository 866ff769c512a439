"""Edge lists of contact networks, and their graphs."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest

from dataops_parsl.algorithms.network import film_edges, frame_edges, to_networkx

CONTACTS = pd.DataFrame(
    {
        "position_id": ["p", "p", "p", "q"],
        "frame": [0, 0, 1, 0],
        "population_a": ["effector", "target", "effector", "effector"],
        "label_a": [1, 1, 2, 1],
        "population_b": ["target", "target", "target", "target"],
        "label_b": [1, 2, 1, 1],
        "gap_um": [0.0, 2.0, 5.0, 1.5],
        "overlap_px": [4, 0, 0, 0],
    }
)
EVENTS = pd.DataFrame(
    {
        "position_id": ["p", "q", "p", "p"],
        "population_a": ["effector"] * 4,
        "track_id_a": [7, 7, 7, 2],
        "population_b": ["target"] * 4,
        "track_id_b": [3, 3, 3, 3],
        "start_s": [0.0, 0.0, 600.0, 60.0],
        "end_s": [120.0, 60.0, 900.0, 240.0],
        "n_frames": [2, 2, 4, 3],
        "min_gap_um": [0.5, 0.0, 0.25, 1.0],
    }
)


def test_edges_of_frames_are_the_contacts_within_the_radius() -> None:
    found = frame_edges(CONTACTS, 2.0)
    assert found["label_a"].tolist() == [1, 1, 1]
    assert found["gap_um"].tolist() == [0.0, 2.0, 1.5]
    assert found["position_id"].tolist() == ["p", "p", "q"]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_edges_of_a_film_sum_the_time_of_a_pairs_events(order: list[int]) -> None:
    found = film_edges(EVENTS.iloc[order])
    assert {name: column.tolist() for name, column in found.items()} == {
        "position_id": ["p", "p", "q"],
        "population_a": ["effector"] * 3,
        "track_id_a": [2, 7, 7],
        "population_b": ["target"] * 3,
        "track_id_b": [3, 3, 3],
        "contact_s": [180.0, 420.0, 60.0],
        "n_frames": [3, 6, 2],
        "n_events": [1, 2, 1],
        "min_gap_um": [1.0, 0.25, 0.0],
    }


def test_no_contact_has_no_edges() -> None:
    assert {len(column) for column in frame_edges(CONTACTS, 0.0).values()} == {1}
    assert {len(column) for column in frame_edges(CONTACTS.iloc[:0], 9.0).values()} == {0}
    none = film_edges(EVENTS.iloc[:0])
    assert {len(column) for column in none.values()} == {0}
    assert none["n_frames"].dtype == none["n_events"].dtype == np.int64


@pytest.mark.parametrize("radius_um", [-1.0, float("nan")])
def test_a_radius_that_is_none(radius_um: float) -> None:
    with pytest.raises(ValueError, match="radius_um"):
        frame_edges(CONTACTS, radius_um)


def test_a_film_as_a_graph() -> None:
    graph = to_networkx(film_edges(EVENTS))
    assert set(graph.nodes) == {
        ("p", "effector", 2),
        ("p", "effector", 7),
        ("p", "target", 3),
        ("q", "effector", 7),
        ("q", "target", 3),
    }
    assert graph.edges[("p", "effector", 7), ("p", "target", 3)] == {
        "contact_s": 420.0,
        "weight": 420.0,
        "n_frames": 6,
        "n_events": 2,
        "min_gap_um": 0.25,
    }
    assert graph.degree(("p", "target", 3), weight="weight") == 600.0


def test_frames_as_a_graph() -> None:
    graph = to_networkx(frame_edges(CONTACTS, 10.0))
    assert graph.number_of_edges() == 4
    assert graph.edges[("p", 0, "target", 1), ("p", 0, "target", 2)] == {"gap_um": 2.0, "overlap_px": 0}
    assert ("p", 1, "effector", 2) in graph
    assert to_networkx(frame_edges(CONTACTS.iloc[:0], 1.0)).number_of_nodes() == 0


def test_without_networkx_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install networkx"):
        to_networkx(film_edges(EVENTS))
