"""Contact networks: who touches whom in each frame, and for how long over a whole film.

Nodes are tuples that begin with the position, so that networks of several positions never share one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Table = Mapping[str, Any]
"""Columns by name: a table of a bundle as pandas reads it, or a dict of arrays."""
Edges = dict[str, npt.NDArray[Any]]

FRAME_NODE = ("position_id", "frame", "population", "label")
FILM_NODE = ("position_id", "population", "track_id")


def frame_edges(contacts: Table, radius_um: float) -> Edges:
    """Edges of the network of each frame: pairs of objects in contact.

    Parameters
    ----------
    contacts : table
        The table ``contacts``.
    radius_um : float
        Largest gap of a contact, inclusive, in µm; at most the ``contact.store_um`` of the run, beyond which
        nothing is stored.

    Returns
    -------
    dict
        ``position_id``, ``frame``, ``population_a``, ``label_a``, ``population_b``, ``label_b`` and, in µm
        and pixels, ``gap_um`` and ``overlap_px``; in the order of the table.

    Raises
    ------
    ValueError
        If the radius is not finite and at least 0.
    """
    if not (np.isfinite(radius_um) and radius_um >= 0):
        raise ValueError(f"radius_um must be finite and not negative, got {radius_um}")
    near = np.flatnonzero(np.asarray(contacts["gap_um"], np.float64) <= radius_um)
    names = ("position_id", "frame", "population_a", "label_a", "population_b", "label_b")
    return {name: np.asarray(contacts[name])[near] for name in (*names, "gap_um", "overlap_px")}


def film_edges(contact_events: Table) -> Edges:
    """Edges of the network of a whole film: pairs of tracks, weighted by their time in contact.

    Parameters
    ----------
    contact_events : table
        The table ``contact_events``.

    Returns
    -------
    dict
        One row a pair of tracks that had a contact event, by position, populations and tracks: the columns
        ``position_id``, ``population_a``, ``track_id_a``, ``population_b``, ``track_id_b``; ``contact_s``
        (float64: the durations of their events, bridged frames included, summed), ``n_frames`` (int64:
        frames in contact, bridged ones not counted), ``n_events`` (int64) and ``min_gap_um`` (float64).
    """
    names = ("position_id", "population_a", "track_id_a", "population_b", "track_id_b")
    pairs = [np.asarray(contact_events[name]) for name in names]
    ranks = [np.unique(column, return_inverse=True)[1] for column in pairs]
    order = np.lexsort(ranks[::-1])
    changes = np.zeros(len(order), np.bool_)
    changes[:1] = True
    for rank in ranks:
        changes[1:] |= np.diff(rank[order]) != 0
    first = np.flatnonzero(changes)
    start_s, end_s, gap_um = (
        np.asarray(contact_events[name], np.float64)[order] for name in ("start_s", "end_s", "min_gap_um")
    )
    frames = np.asarray(contact_events["n_frames"], np.int64)[order]
    some = first.size > 0
    return {
        **{name: column[order][first] for name, column in zip(names, pairs, strict=True)},
        "contact_s": np.add.reduceat(end_s - start_s, first) if some else np.empty(0),
        "n_frames": np.add.reduceat(frames, first) if some else np.empty(0, np.int64),
        "n_events": np.diff(np.append(first, len(order))),
        "min_gap_um": np.minimum.reduceat(gap_um, first) if some else np.empty(0),
    }


def to_networkx(edges: Edges) -> Any:
    """An undirected graph of `networkx` from the edges of frames or of films.

    Parameters
    ----------
    edges : dict
        What `frame_edges` or `film_edges` gives.

    Returns
    -------
    networkx.Graph
        Nodes ``(position_id, frame, population, label)`` of frames, or ``(position_id, population,
        track_id)`` of films; cells without a contact are not in it. Columns that are no part of a node are
        attributes of the edge, as plain Python numbers; of a film ``weight`` is ``contact_s``.

    Raises
    ------
    ModuleNotFoundError
        If networkx is not installed.
    """
    try:
        import networkx  # type: ignore[import-untyped, unused-ignore]
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "a graph of networkx was asked for, and networkx is not installed: pip install networkx",
            name="networkx",
        ) from error
    parts = FILM_NODE if "track_id_a" in edges else FRAME_NODE
    values = {name: column.tolist() for name, column in edges.items()}
    sides = [[part if part in values else f"{part}_{side}" for part in parts] for side in "ab"]
    ends = [zip(*(values[name] for name in names), strict=True) for names in sides]
    graph = networkx.Graph()
    attributes = {name: column for name, column in values.items() if name not in sides[0] + sides[1]}
    if "contact_s" in attributes:
        attributes["weight"] = attributes["contact_s"]
    for at, (one, other) in enumerate(zip(*ends, strict=True)):
        graph.add_edge(one, other, **{name: column[at] for name, column in attributes.items()})
    return graph
