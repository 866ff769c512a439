"""What is said of a cell: alive, dead, or unknown; and which positions set the threshold."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.algorithms.deaths import Fate
from dataops_parsl.film import Film
from dataops_parsl.stages.closing import alive
from dataops_parsl.stages.contact import Contact
from dataops_parsl.stages.killing import Killing
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.tables import Rows


@pytest.mark.parametrize(
    ("fate", "score", "usable", "expected"),
    [
        (Fate(2, 1, False), [1, 1, 20, 20], [1, 1, 1, 1], [True, True, False, False]),
        (Fate(-1, -1, False), [1, 1, 1, 20], [1, 1, 1, 1], [True, True, True, None]),
        (Fate(0, -1, True), [20, 20, 20, 20], [1, 1, 1, 1], [False] * 4),
        (Fate(-1, -1, False), [1, 1, 1, 1], [0, 1, 0, 1], [None, True, None, True]),
        (Fate(-1, -1, False), [np.nan, 1, 1, 1], [1, 1, 1, 1], [None, True, True, True]),
        (Fate(2, 1, False), [1, 1, 20, 1], [1, 1, 1, 0], [True, True, False, False]),
    ],
)
def test_alive(fate, score, usable, expected) -> None:
    found = alive(fate, np.array(usable, bool), np.array(score, float), threshold=10.0)
    assert found.tolist() == expected


def _films(**controls: str | None) -> dict[str, Film]:
    channels = {"pi": {"death_marker": True}}
    return {p: Film(p, facts={"channels": channels, "plate": {"control": c}}) for p, c in controls.items()}


def _objects(**scores: float) -> Rows:
    schema = OBJECTS.for_channels(["pi"])
    n = len(scores)
    given = {c.name: [1.0] * n for c in schema.columns if c.kind == "float64"}
    given |= {"position_id": list(scores), "population": ["target"] * n, "frame": [0] * n, "label": [1] * n}
    given |= {"touches_edge": [False] * n, "p95_bg_pi": list(scores.values())}
    return Rows(schema.table(given))


@pytest.mark.parametrize(
    ("controls", "threshold", "word"),
    [
        ({"a": None, "b": "negative"}, 7.0, "controls: b"),
        ({"a": None, "b": "positive"}, None, "no negative control"),
        ({"a": None, "b": "no"}, None, "no negative control"),
    ],
)
def test_only_negative_controls_set_the_threshold(controls, threshold, word) -> None:
    found = Killing().threshold(_films(**controls), _objects(a=900.0, b=7.0))
    assert found["threshold"] == [threshold]
    assert word in found["source"][0]


def test_a_stage_works_in_a_notebook() -> None:
    left, right = np.zeros((1, 9, 9), np.uint32), np.zeros((1, 9, 9), np.uint32)
    left[0, 4, 1:3], right[0, 4, 5:7] = 1, 2
    film = Film(facts={"pixel_size_um": (0.5, 0.5)})
    found = Contact(radius_um=2, store_um=4).pairs(film, 0, {"effector": left, "target": right})
    assert found["gap_um"].tolist() == [1.5]
    assert (found["label_a"].tolist(), found["label_b"].tolist()) == ([1], [2])
