"""The killing stage on planted tables: rules, thresholds, who died and who was in contact before."""

from __future__ import annotations

import numpy as np
import pytest

from dataops_parsl.errors import ConfigError
from dataops_parsl.film import Film
from dataops_parsl.stages.contact import CONTACT_EVENTS, TOUCHES
from dataops_parsl.stages.killing import Killing
from dataops_parsl.stages.killing_tables import CANDIDATES, CELLS, DEATHS, THRESHOLDS, TRACKS
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.stages.trackmate import LINEAGES, MEMBERS
from dataops_parsl.tables import Rows

CHANNELS = {"gfp": {"lost_on_death": True}, "pi": {"death_marker": True}}
N_FRAMES, EVERY_S = 20, 120.0


def _rows(schema, **columns) -> Rows:
    return Rows(schema.for_channels(CHANNELS).table(columns, position_id="p"))


def _film(**facts) -> Film:
    return Film("p", range(N_FRAMES), facts={"time_s": {f: f * EVERY_S for f in range(N_FRAMES)}, **facts})


def _objects(pi: dict[tuple[str, int], list[float]], gfp=None, edge=(), position="p") -> Rows:
    """One object a frame for each cell (population, label), with its death stain over time."""
    columns: dict[str, list] = {c.name: [] for c in OBJECTS.for_channels(CHANNELS).columns}
    for (population, label), scores in pi.items():
        for frame, score in enumerate(scores):
            row = dict.fromkeys(columns, 1.0)
            row |= {"position_id": position, "population": population, "frame": frame, "label": label}
            row |= {"x_um": float(frame), "y_um": 0.0, "eccentricity_frac": 0.5}
            row |= {name: score for name in columns if name.endswith("bg_pi")}
            row |= {"mean_bg_gfp": (gfp or {}).get((population, label), [100.0] * N_FRAMES)[frame]}
            row["touches_edge"] = (population, label, frame) in edge
            for name, value in row.items():
                columns[name].append(value)
    return Rows(OBJECTS.for_channels(CHANNELS).table(columns))


def _close(stage: Killing, objects: Rows, events: list[dict], threshold: Rows) -> dict[str, Rows]:
    members, lineages = {}, {}
    for population in ("effector", "target"):
        mine = objects.where(objects["population"] == population)
        ids = sorted(set(mine["label"].tolist()))
        members[population] = _rows(
            MEMBERS,
            population=mine["population"],
            frame=mine["frame"],
            label=mine["label"],
            track_id=mine["label"],
        )
        n = len(ids)
        lineages[population] = _rows(
            LINEAGES,
            population=[population] * n,
            track_id=ids,
            first_frame=[0] * n,
            last_frame=[N_FRAMES - 1] * n,
            lineage_id=ids,
            parent_track_id=[None] * n,
            generation=[0] * n,
            divides=[False] * n,
        )
    columns = {
        c.name: [e.get(c.name) for e in events] for c in CONTACT_EVENTS.columns if c.name != "position_id"
    }
    touches = TOUCHES.table({c.name: [] for c in TOUCHES.columns})
    found = stage.close(
        _film(), objects, members, lineages, Rows(touches), _rows(CONTACT_EVENTS, **columns), threshold
    )
    schemas = {"cells": CELLS, "tracks": TRACKS, "deaths": DEATHS, "death_candidates": CANDIDATES}
    return {
        name: Rows(schema.for_channels(CHANNELS).table(found[name], position_id="p"))
        for name, schema in schemas.items()
    }


def _event(effector: int, target: int, start: int, end: int, reason: str = "contact") -> dict:
    return {
        "population_a": "effector",
        "track_id_a": effector,
        "population_b": "target",
        "track_id_b": target,
        "start_frame": start,
        "end_frame": end - 1,
        "start_s": start * EVERY_S,
        "end_s": end * EVERY_S,
        "n_frames": end - start,
        "min_gap_um": 0.0,
        "start_reason": reason,
        "end_reason": "separated",
    }


def _threshold(stage: Killing, objects: Rows | None = None, **controls) -> Rows:
    films = {
        p: Film(p, facts={"channels": CHANNELS, "plate": {"control": c}})
        for p, c in (controls or {"p": None}).items()
    }
    row = stage.threshold(films, objects or _objects({("target", 1): [0.0] * N_FRAMES}))
    return Rows(THRESHOLDS.table(row))


def _dies(at: int, high: float = 50.0) -> list[float]:
    return [1.0] * at + [high] * (N_FRAMES - at)


def test_a_planted_kill_names_its_killer_and_not_the_dead() -> None:
    stage = Killing(threshold_count=10.0)
    cells = {
        ("target", 1): _dies(12),
        ("target", 2): _dies(15),
        ("target", 3): [1.0] * N_FRAMES,
        ("target", 4): _dies(0),
        ("effector", 1): [1.0] * N_FRAMES,  # touches 1 for long, then 2
        ("effector", 2): _dies(0),  # dead from the start, lies on 1
        ("effector", 3): _dies(9),  # dies on 1
    }
    objects = _objects(cells)
    events = [_event(1, 1, 4, 13), _event(2, 1, 0, 20, "film"), _event(3, 1, 7, 20), _event(1, 2, 13, 15)]
    found = _close(stage, objects, events, _threshold(stage))
    deaths = found["deaths"].table.to_pylist()
    assert [(d["track_id"], d["death_frame"], d["top_effector_track_id"]) for d in deaths] == [
        (1, 12, 1),
        (2, 15, 1),
    ]
    assert deaths[0]["n_candidates"] == 2
    assert deaths[0]["last_alive_s"] == 11 * EVERY_S
    assert deaths[0]["delay_s"] == 8 * EVERY_S
    assert deaths[0]["since_previous_kill_s"] is None
    assert deaths[1]["since_previous_kill_s"] == 3 * EVERY_S
    credit = {
        (c["track_id"], c["effector_track_id"]): (c["rank"], c["contact_s"])
        for c in found["death_candidates"].table.to_pylist()
    }
    assert credit == {
        (1, 1): (1, 8 * EVERY_S),
        (1, 3): (2, 2 * EVERY_S),  # until it died itself
        (2, 1): (1, 2 * EVERY_S),
    }
    tracks = {(t["population"], t["track_id"]): t for t in found["tracks"].table.to_pylist()}
    assert tracks["target", 4]["dead_at_entry"] is True
    assert tracks["target", 4]["death_time_s"] is None
    assert tracks["effector", 3]["death_time_s"] == 9 * EVERY_S
    assert tracks["target", 3]["dead"] is False
    assert tracks["target", 1]["first_contact_s"] == 0.0
    assert tracks["target", 3]["first_contact_s"] is None


def test_nobody_was_there_and_a_start_that_was_not_seen() -> None:
    stage = Killing(threshold_count=10.0)
    objects = _objects(
        {("target", 1): _dies(12), ("target", 2): _dies(12), ("effector", 1): [1.0] * N_FRAMES}
    )
    found = _close(stage, objects, [_event(1, 2, 0, 12, "film")], _threshold(stage))
    lonely, touched = found["deaths"].table.to_pylist()
    assert (lonely["attribution"], lonely["n_candidates"], lonely["top_effector_track_id"]) == (
        "unattributed",
        0,
        None,
    )
    assert (touched["attribution"], touched["delay_s"]) == ("attributed", None)


def test_the_border_gives_no_call() -> None:
    stage = Killing(threshold_count=10.0)
    edge = {("target", 1, f) for f in range(N_FRAMES)}
    found = _close(stage, _objects({("target", 1): _dies(12)}, edge=edge), [], _threshold(stage))
    assert len(found["deaths"]) == 0
    assert found["tracks"]["dead"].tolist() == [None]
    assert set(found["cells"]["alive"]) == {None}


def test_unknown_death_is_null_everywhere() -> None:
    stage = Killing()
    threshold = _threshold(stage)
    assert threshold["threshold"].tolist() != [10.0]
    assert np.isnan(threshold["threshold"][0])
    assert "stages.killing.threshold_count" in threshold["source"][0]
    found = _close(stage, _objects({("target", 1): _dies(12)}), [], threshold)
    assert len(found["deaths"]) == 0
    assert set(found["cells"]["alive"]) == {None}
    assert found["tracks"]["dead"].tolist() == [None]
    assert found["cells"]["death_score"].max() == 50.0  # measured all the same


def test_target_loss_finds_the_leak_and_no_bleaching() -> None:
    stage = Killing(death_rule="target_loss")
    bleached = np.linspace(100, 65, N_FRAMES)
    gfp = {("target", 1): [*bleached[:10], *(0.2 * bleached[10:])], ("target", 2): bleached.tolist()}
    objects = _objects({key: [1.0] * N_FRAMES for key in gfp}, gfp=gfp)
    found = _close(stage, objects, [], _threshold(stage))
    assert found["deaths"]["track_id"].tolist() == [1]
    assert found["deaths"]["death_frame"].tolist() == [10]


def test_cdi_with_limits_from_controls_shows_no_death_where_none_is() -> None:
    stage = Killing(death_rule="cdi")
    rng = np.random.default_rng(0)
    calm = _objects({("target", 1): rng.normal(1, 0.5, N_FRAMES).tolist()})
    threshold = _threshold(stage, calm, p="negative")
    found = _close(stage, calm, [], threshold)
    assert len(found["deaths"]) == 0
    gfp = {("target", 1): [100.0] * 8 + [10.0] * 12}
    dying = _objects({("target", 1): [1.0] * 8 + [60.0] * 12}, gfp=gfp)
    assert _close(stage, dying, [], threshold)["deaths"]["death_frame"].tolist() == [8]


@pytest.mark.parametrize(("count", "where"), [(9000.0, "above"), (-50.0, "below")])
def test_a_threshold_outside_the_data_is_said(count, where) -> None:
    row = _threshold(Killing(threshold_count=count)).table.to_pylist()[0]
    assert where in row["warning"]
    assert _threshold(Killing(threshold_count=0.0)).table.to_pylist()[0]["warning"] is None


@pytest.mark.parametrize(
    ("parameters", "channels", "words"),
    [
        ({"death_rule": "cdi"}, {"pi": {"death_marker": True}}, "live dye"),
        ({"death_rule": "cdi"}, {"gfp": {"lost_on_death": True}}, "death stain"),
        ({"death_rule": "target_loss"}, {"pi": {"death_marker": True}}, "lost_on_death"),
        ({}, {"a": {"death_marker": True}, "b": {"death_marker": True}}, "a, b are all marked"),
        ({"live_channel": "gpf"}, CHANNELS, "gfp"),
        ({"cdi_live_limits_count": (9.0, 1.0)}, CHANNELS, "must be below"),
    ],
)
def test_rules_without_their_channels_are_refused(parameters, channels, words) -> None:
    target = {"target": {"segment": ["gfp"], "mask": "cell", "diameter_um": 20.0}}
    film = Film(facts={"channels": channels, "populations": target})
    with pytest.raises(ConfigError) as caught:
        Killing(**parameters).check(film)
    assert words in f"{caught.value.message} {caught.value.remedy}"


def test_without_a_death_channel_the_rest_runs() -> None:
    film = Film(
        facts={
            "channels": {"gfp": {}},
            "populations": {"target": {"segment": ["gfp"], "mask": "cell", "diameter_um": 20.0}},
        }
    )
    Killing().check(film)  # no refusal, and in words why nobody can be told dead
    films = {"p": Film("p", facts={"channels": {"gfp": {}}, "plate": {"control": "negative"}})}
    row = Killing().threshold(films, _objects({("target", 1): [0.0] * N_FRAMES}))
    assert row["threshold"] == [None]
    assert "mark one in dataset.toml" in row["source"][0]
