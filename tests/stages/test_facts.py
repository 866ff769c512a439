"""What a stage may know of populations: its own, and how large the cells are that it excludes."""

from __future__ import annotations

import pytest

from dataops_parsl.errors import ConfigError
from dataops_parsl.film import Film, population_facts
from dataops_parsl.stages.trackmate import Trackmate

DESCRIBED = {
    "effector": {"segment": ["ctdr"], "mask": "cell", "diameter_um": 10.0, "exclude": []},
    "target": {"segment": ["gfp", "pi"], "mask": "cell", "diameter_um": 20.0, "exclude": ["ctdr"]},
}


def test_a_stage_of_one_population_knows_that_one() -> None:
    facts = population_facts(DESCRIBED, "target")
    assert list(facts["populations"]) == ["target"]
    assert facts["excludes"] == {"target": ["ctdr"]}
    assert Film(facts=facts).marked_um == {"ctdr": 10.0}


def test_what_is_not_excluded_is_not_known() -> None:
    assert population_facts(DESCRIBED, "effector")["marked_um"] == {}
    assert population_facts(DESCRIBED)["marked_um"] == {"ctdr": 10.0}


@pytest.mark.parametrize(("labels", "refused"), [("", True), ("effector", True), ("target", False)])
def test_tracks_are_taken_from_labels_only_where_masks_are_given(labels: str, refused: bool) -> None:
    facts = {**population_facts(DESCRIBED, "target"), "channels": {"masks": {"labels": labels}}}
    stage, film = Trackmate(backend="labels"), Film(population="target", facts=facts)
    if not refused:
        assert film.channels["masks"].labels == "target"
        stage.check(film)
        return
    with pytest.raises(ConfigError, match="no channel carries masks of 'target'"):
        stage.check(film)
