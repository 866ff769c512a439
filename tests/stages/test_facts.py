"""What a stage may know of populations: its own, and how large the cells are that it excludes."""

from __future__ import annotations

from dataops_parsl.film import Film, population_facts

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
