"""The stage contact: the same tables for any batch and order, and pairs within one population."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.film import Film
from dataops_parsl.stages.contact import CONTACTS, Contact
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.stages.trackmate import LINEAGES, MEMBERS
from dataops_parsl.tables import Rows

Images = dict[str, np.ndarray]


def about(n_frames: int, size: tuple[float, float] = (1.0, 1.0)) -> Film:
    facts = {"pixel_size_um": size, "time_s": {f: 60.0 * f for f in range(n_frames)}, "excluded": {}}
    return Film("p", range(n_frames), "", facts)


def pairs(stage: Contact, labels: Images, order: list[int], size: tuple[float, float] = (1.0, 1.0)) -> Rows:
    """The table of pairs, its frames computed in this order."""
    n_frames = len(order)
    made = []
    for f in order:
        found = stage.pairs(about(n_frames, size), f, labels)
        made.append(found | {"frame": np.full(len(found["label_a"]), f)})
    columns = {c: np.concatenate([m[c] for m in made]) for c in CONTACTS.names[1:]}
    return Rows(CONTACTS.table(columns, position_id="p"))


def tables_of(labels: Images, track: dict[str, dict[tuple[int, int], int]]) -> dict[str, Any]:
    """What `events` reads beside the pairs, from the track of every (frame, label)."""
    members, lineages = {}, {}
    rows: list[tuple[str, int, int]] = []
    for name, of in track.items():
        keys = sorted(of)
        rows += [(name, f, n) for f, n in keys]
        ids = sorted(set(of.values()))
        frames = {i: [f for (f, _), t in of.items() if t == i] for i in ids}
        given = {
            "frame": [f for f, _ in keys],
            "label": [n for _, n in keys],
            "track_id": [of[k] for k in keys],
        }
        members[name] = Rows(MEMBERS.table(given, position_id="p", population=name))
        given = {
            "track_id": ids,
            "first_frame": [min(frames[i]) for i in ids],
            "last_frame": [max(frames[i]) for i in ids],
            "lineage_id": ids,
            "parent_track_id": [None] * len(ids),
            "generation": [0] * len(ids),
            "divides": [False] * len(ids),
        }
        lineages[name] = Rows(LINEAGES.table(given, position_id="p", population=name))
    schema = OBJECTS.for_channels([])
    columns: dict[str, Any] = {c.name: [0.0] * len(rows) for c in schema.columns if c.kind == "float64"}
    columns |= {"touches_edge": [False] * len(rows), "population": [r[0] for r in rows]}
    columns |= {"frame": [r[1] for r in rows], "label": [r[2] for r in rows]}
    objects = Rows(schema.table(columns, position_id="p"))
    return {"objects": objects, "members": members, "lineages": lineages}


def listed(columns: dict[str, Any]) -> list[tuple[Any, ...]]:
    return sorted(zip(*(list(np.asarray(c)) for c in columns.values()), strict=True), key=str)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n_frames=st.integers(1, 7), same=st.booleans())
def test_no_table_depends_on_the_order_of_frames(seed: int, n_frames: int, same: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = {
        name: rng.integers(0, 5, (n_frames, 9, 9)) * (rng.random((n_frames, 9, 9)) < 0.2) for name in "ab"
    }
    track = {
        name: {(f, int(n)): int(n) for f in range(n_frames) for n in np.unique(film[f]) if n}
        for name, film in labels.items()
    }
    stage = Contact(radius_um=1.5, store_um=4.0, same_population=same, min_frames=1)
    given = tables_of(labels, track)
    found = []
    for order in (list(range(n_frames)), rng.permutation(n_frames).tolist()):
        table = pairs(stage, labels, order)
        events = stage.events(about(n_frames), table, **given)
        found.append((listed({c: table[c] for c in CONTACTS.names}), listed(events["contact_events"])))
    assert found[0] == found[1]


def test_a_pair_within_a_population_is_one_whichever_label_is_smaller() -> None:
    labels = np.zeros((4, 3, 9), np.uint32)
    labels[:, 1, 2], labels[:, 1, 3] = 1, 2
    # Labels are numbered anew in each frame: the two cells have changed theirs in frames 1 and 3.
    of = {(f, n): (n if f % 2 == 0 else 3 - n) + 10 for f in range(4) for n in (1, 2)}
    stage = Contact(same_population=True)
    table = pairs(stage, {"cell": labels}, [0, 1, 2, 3])
    found = stage.events(about(4), table, **tables_of({"cell": labels}, {"cell": of}))["contact_events"]
    assert (list(found["track_id_a"]), list(found["track_id_b"])) == ([11], [12])
    assert (list(found["start_frame"]), list(found["n_frames"])) == ([0], [4])


def test_pixels_that_are_not_square() -> None:
    labels = np.zeros((1, 9, 9), np.uint32)
    labels[0, 1, 1], labels[0, 3, 1], labels[0, 1, 3] = 1, 2, 3
    table = pairs(Contact(same_population=True), {"cell": labels}, [0], size=(0.5, 2.0))
    assert list(zip(table["label_a"], table["label_b"], table["gap_um"], strict=True))[:2] == [
        (1, 2, 1.0),
        (1, 3, 4.0),
    ]


@pytest.mark.parametrize("same", [False, True])
def test_no_object(same: bool) -> None:
    labels = {name: np.zeros((2, 5, 5), np.uint32) for name in "ab"}
    stage = Contact(same_population=same)
    table = pairs(stage, labels, [0, 1])
    assert len(table) == 0
    found = stage.events(about(2), table, **tables_of(labels, {"a": {}, "b": {}}))
    assert len(found["contact_events"]["track_id_a"]) == 0
    assert len(found["touches"]["label"]) == 0


def test_labels_beyond_16_bits_and_on_the_border() -> None:
    labels = {"a": np.zeros((1, 4, 4), np.uint32), "b": np.zeros((1, 4, 4), np.uint32)}
    labels["a"][0, 0, 0], labels["b"][0, 0, 1] = 70_000, 4_000_000_000
    table = pairs(Contact(), labels, [0])
    assert (table["label_a"].tolist(), table["label_b"].tolist()) == ([70_000], [4_000_000_000])
