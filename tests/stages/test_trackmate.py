"""The stage trackmate: the same tables for any batch and order, divisions as lineages, merging refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.errors import ConfigError
from dataops_parsl.film import Film
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.stages.track_tables import LINKS
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.tables import Rows

Cell = tuple[int, int, float, float]
"""Frame, label, y and x in µm."""
STAGE = Trackmate(splitting=True)


def film(n_frames: int) -> Film:
    facts = {"populations": {"cell": {"segment": ["n"], "mask": "cell", "diameter_um": 8.0}}, "channels": {}}
    return Film("p", range(n_frames), "cell", facts)


def objects(cells: list[Cell]) -> Rows:
    schema = OBJECTS.for_channels([])
    given: dict[str, Any] = {c.name: [0.0] * len(cells) for c in schema.columns if c.kind == "float64"}
    given |= {"touches_edge": [False] * len(cells)}
    frame, label, y, x = zip(*cells, strict=True) if cells else ([], [], [], [])
    given |= {"frame": list(frame), "label": list(label), "y_um": list(y), "x_um": list(x)}
    return Rows(schema.table(given, position_id="p", population="cell"))


def tracked(
    cells: list[Cell], n_frames: int, batch: int, rng: np.random.Generator, stage: Trackmate = STAGE
) -> dict[str, Any]:
    """The tables of a film whose batches come in any order and whose rows lie in any order."""
    cells = [cells[i] for i in rng.permutation(len(cells))]
    about = film(n_frames)
    made = []
    for start in rng.permutation(np.arange(0, n_frames, batch)).tolist():
        own = [c for c in cells if start - 1 <= c[0] < start + batch]
        frames = range(max(start, 1), min(start + batch, n_frames))
        made += [stage.link(about, f, objects(own)) for f in rng.permutation(np.array(frames, int)).tolist()]
    links = {c: np.concatenate([part[c] for part in made]) if made else [] for c in LINKS.names[2:]}
    table = Rows(LINKS.table(links, position_id="p", population="cell"))
    return stage.close(about, objects(cells), table)


def plain(tables: dict[str, Any]) -> dict[str, list[Any]]:
    """Rows of each table, sorted: the order of a table's rows says nothing."""
    return {
        name: sorted(zip(*(list(c) for c in columns.values()), strict=True), key=str)
        for name, columns in tables.items()
    }


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n_frames=st.integers(1, 9), batch=st.integers(1, 9), whole=st.booleans()
)
def test_no_table_depends_on_batches_or_on_any_order(
    seed: int, n_frames: int, batch: int, whole: bool
) -> None:
    rng = np.random.default_rng(seed)
    cells: list[Cell] = []
    place = rng.uniform(0, 60, (25, 2))
    for f in range(n_frames):
        seen = place[rng.random(25) < rng.choice([0.0, 0.8, 1.0], p=[0.1, 0.6, 0.3])]
        seen = np.unique(seen.round() if whole else seen, axis=0)
        labels = rng.permutation(len(seen)) + 1
        cells += [(f, int(n), float(y), float(x)) for n, (y, x) in zip(labels, seen, strict=True)]
        place = place + rng.normal(0, 2, place.shape)
    expected = plain(tracked(cells, n_frames, n_frames, np.random.default_rng(0)))
    assert plain(tracked(cells, n_frames, batch, rng)) == expected
    assert len(expected["members"]) == len(cells)


def dividing() -> list[Cell]:
    """A cell that divides after frame 2, one daughter again after frame 5."""
    cells: list[Cell] = [(f, 1, 20.0, 20.0) for f in range(9)]
    cells += [(f, 2, 20.0, 26.0) for f in range(3, 9)]
    return [*cells, *((f, 3, 26.0, 26.0) for f in range(6, 9))]


def test_divisions_make_lineages() -> None:
    made = tracked(dividing(), 9, 3, np.random.default_rng(1))["lineages"]
    assert list(made["track_id"]) == [1, 2, 3, 4, 5]
    assert list(made["first_frame"]) == [0, 3, 3, 6, 6]
    assert made["parent_track_id"] == [None, 1, 1, 3, 3]
    assert list(made["generation"]) == [0, 1, 1, 2, 2]
    assert set(made["lineage_id"]) == {1}
    assert list(made["divides"]) == [True, False, True, False, False]


def test_without_splitting_there_are_no_parents() -> None:
    made = tracked(dividing(), 9, 3, np.random.default_rng(1), Trackmate())["lineages"]
    assert made["parent_track_id"] == [None] * 3


@pytest.mark.parametrize("empty", [{0}, {4}, {8}, {3, 4, 5}, set(range(9))], ids=str)
def test_empty_frames(empty: set[int]) -> None:
    cells = [(f, 70_000, 5.0, 5.0 + f) for f in range(9) if f not in empty]
    made = tracked(cells, 9, 2, np.random.default_rng(2))
    assert len(made["members"]["frame"]) == len(cells)
    bridged = empty in ({0}, {4}, {8})
    assert len(made["lineages"]["track_id"]) == (0 if not cells else 1 if bridged else 2)


def test_merging_is_refused_with_a_word() -> None:
    with pytest.raises(ConfigError, match="would make one cell of two"):
        Trackmate(merging=True).check(film(3))
    Trackmate().check(film(3))
