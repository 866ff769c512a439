"""What the deaths mean, from planted tracks, contacts and deaths."""

from __future__ import annotations

import math
from typing import Any

import pytest

from dataops_parsl.film import Film
from dataops_parsl.stages.contact import CONTACT_EVENTS
from dataops_parsl.stages.killing_tables import CANDIDATES, CELLS, DEATHS, THRESHOLDS, TRACKS
from dataops_parsl.stages.outcome import Outcome
from dataops_parsl.tables import Rows, Schema

DEFAULTS: dict[str, Any] = {"int64": 1, "float64": 0.0, "string": "film", "bool": False}
PLATE = {"well": None, "condition": None, "control": None, "replicate": None}


def _rows(schema: Schema, rows: list[dict[str, Any]], **constants: Any) -> Rows:
    columns = {
        c.name: [row.get(c.name, constants.get(c.name, DEFAULTS[c.kind])) for row in rows]
        for c in schema.columns
    }
    return Rows(schema.table(columns))


ROLES = {"population": "target", "effector_population": "effector", "window_min": 60.0, "detach_min": 5.0}


class Planted:
    """Positions of one hour, a frame a minute, to which cells, contacts and deaths are added."""

    def __init__(self, threshold: float | None = 100.0) -> None:
        self.films: dict[str, Film] = {}
        self.threshold = threshold
        self._tracks: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._deaths: list[dict[str, Any]] = []
        self._candidates: list[dict[str, Any]] = []

    def position(self, name: str, **plate: str) -> Planted:
        self.films[name] = Film(name, facts={"plate": PLATE | plate})
        return self

    def cell(self, position: str, population: str, track: int, **columns: Any) -> Planted:
        judged = population == "target" and self.threshold is not None
        row = {"end_s": 3600.0, "death_time_s": None, "first_contact_s": None, "speed_contact_um_min": None}
        row |= {"judged_from_s": 0.0 if judged else None, "judged_until_s": 3600.0 if judged else None}
        row |= {"dead": False if judged else None, "dead_at_entry": False if judged else None}
        row |= {"position_id": position, "population": population, "track_id": track}
        self._tracks.append(row | columns)
        return self

    def contact(self, position: str, target: int, effector: int, start: float, end: float) -> Planted:
        row = {"position_id": position, "population_a": "effector", "track_id_a": effector}
        row |= {"population_b": "target", "track_id_b": target, "start_s": start, "end_s": end}
        self._events.append(row | {"start_frame": int(start // 60)})
        return self

    def death(self, position: str, target: int, time: float, effector: int | None = None) -> Planted:
        """The target must be there; `delay_s` is 600 s."""
        mine = {"position_id": position, "population": "target", "track_id": target}
        track = next(t for t in self._tracks if mine.items() <= t.items())
        track |= {"death_time_s": time, "dead": True}
        row = {"death_time_s": time, "top_effector_track_id": effector, "since_previous_kill_s": None}
        if effector is None:
            row |= {"attribution": "unattributed", "top_effector_population": None, "delay_s": None}
        else:
            row |= {"attribution": "attributed", "top_effector_population": "effector", "delay_s": 600.0}
            who = {"effector_population": "effector", "effector_track_id": effector, "credit_frac": 1.0}
            self._candidates.append(mine | who)
        self._deaths.append(mine | row)
        return self

    def run(self, **parameters: Any) -> dict[str, Any]:
        """All dataset tables, as lists of rows, through their schemas."""
        stage = Outcome(**parameters)
        ports = {
            "tracks": _rows(TRACKS, self._tracks),
            "deaths": _rows(DEATHS, self._deaths),
            "death_candidates": _rows(CANDIDATES, self._candidates),
            "contact_events": _rows(CONTACT_EVENTS, self._events),
            "thresholds": _rows(THRESHOLDS, [ROLES | {"threshold": self.threshold}]),
        }
        found: dict[str, Any] = {}
        for name in ("attribute", "survive", "summarise"):
            step = stage.steps()[name]
            made = stage.bound(name)(self.films, **{p: ports[p] for p in step.ports})
            for table, schema in step.gives.items():
                built = schema.table(made[table] if len(step.gives) > 1 else made)
                assert schema.problems(built) == []
                ports[table], found[table] = Rows(built), built.to_pylist()
        return found


def _killing(condition: str = "treated", threshold: float | None = 100.0) -> Planted:
    """Position A: effector 1 kills targets 1 and 2, 9 lives; effector 2 idles; 3 dies alone, 4 is lost."""
    planted = Planted(threshold).position("A", condition=condition)
    for track in (2, 1):
        planted.cell("A", "effector", track, speed_contact_um_min=2.0 * track, speed_free_um_min=3.0)
    for track in range(1, 10):
        planted.cell("A", "target", track)
    planted.cell("A", "target", 10, end_reason="lost", judged_until_s=600.0, end_s=600.0)
    planted.cell("A", "target", 11, dead=True, dead_at_entry=True)
    planted.contact("A", 1, 1, 600, 1200).contact("A", 2, 1, 1800, 2400).contact("A", 9, 1, 3000, 3600)
    return planted


def _with_deaths(planted: Planted) -> Planted:
    return planted.death("A", 1, 1200.0, 1).death("A", 2, 2400.0, 1).death("A", 3, 1200.0)


def test_effectors_beside_chance() -> None:
    found = _with_deaths(_killing()).run()
    first, second = found["effectors"]
    assert (first["track_id"], first["n_kills"], first["credited_kills"]) == (1, 2, 2.0)
    assert (first["n_targets"], first["contact_s"], first["kills_per_contact_h"]) == (3, 1800.0, 4.0)
    assert (first["observed_s"], first["alive_s"], first["control_deaths_per_h"]) == (3600, 3600, None)
    assert (second["n_kills"], second["chance_kills"], second["kills_per_contact_h"]) == (0, 0.0, None)
    # At 1200 s two of ten targets at risk get a death, one of the ten was in contact; at 2400 s target 2 of
    # seven was, and 1 no longer counts.
    assert first["chance_kills"] == pytest.approx(2 / 10 + 1 / 7, abs=0.1)
    assert len(found["chance"]) == 200
    mean = sum(r["n_attributed"] for r in found["chance"]) / 200
    assert mean == pytest.approx(first["chance_kills"])
    kills = {r["n_kills"]: (r["n_effectors"], r["n_effectors_by_chance"]) for r in found["chance_kills"]}
    assert (kills[0][0], kills[2][0]) == (1, 1)
    assert sum(by_chance for _, by_chance in kills.values()) == pytest.approx(2)


def test_summary_of_a_position() -> None:
    row = _with_deaths(_killing()).run()["summary"][0]
    expected = {
        "level": "position",
        "name": "A",
        "unit": "position",
        "n_positions": 1,
        "n_replicates": 1,
        "n_targets": 11,
        "n_effectors": 2,
        "n_contact_events": 3,
        "n_dead_at_entry": 1,
        "n_at_risk": 10,
        "n_lost": 1,
        "n_deaths": 3,
        "n_attributed": 2,
        "target_h": pytest.approx((6 * 3600 + 2 * 1200 + 2400 + 600) / 3600),
        "contact_h": 0.5,
        "kills_per_contact_h": 4.0,
        "effector_h": 2.0,
        "kills_per_effector": 1.0,
        "dead_frac": pytest.approx(0.3),
        "dead_frac_sem": None,
        "dead_frac_minus_control": None,
        "control_deaths_per_target_h": None,
        "effector_speed_contact_um_min": 3.0,
        "effector_speed_free_um_min": 3.0,
        "n_delays": 2,
        "delay_median_s": 600.0,
        "death_threshold": 100.0,
    }
    assert {name: row[name] for name in expected} == expected
    assert row["deaths_per_target_h"] == pytest.approx(3 / row["target_h"])
    assert row["chance_p"] < 0.1
    assert row["chance_low"] <= row["chance_attributed"] <= row["chance_high"] <= 2


def test_the_dead_neither_touch_nor_count_their_time() -> None:
    planted = Planted().position("A").cell("A", "target", 1)
    planted.cell("A", "effector", 1, death_time_s=900.0, dead_at_entry=False, dead=True)
    planted.cell("A", "effector", 2, dead_at_entry=True, dead=True)
    planted.contact("A", 1, 1, 600, 1800).contact("A", 1, 2, 600, 1800)
    found = planted.run()
    assert [(e["contact_s"], e["alive_s"], e["n_targets"]) for e in found["effectors"]] == [
        (300.0, 900.0, 1),
        (0.0, 0.0, 0),
    ]
    assert found["summary"][0]["n_contact_events"] == 2


@pytest.mark.parametrize(
    ("planted", "n_targets"),
    [
        (_killing(), 11),  # no deaths
        (Planted().position("A").cell("A", "target", 1), 1),  # no effectors
        (Planted().position("A").cell("A", "effector", 1, speed_contact_um_min=1.0), 0),  # no targets
        (Planted().position("A"), 0),
    ],
)
def test_no_deaths(planted, n_targets) -> None:
    found = planted.run(draws=5)
    row = found["summary"][0]
    assert (row["n_targets"], row["n_deaths"], row["n_attributed"], row["chance_p"]) == (
        n_targets,
        0,
        0,
        None,
    )
    assert [r["n_attributed"] for r in found["chance"]] == [0] * 5
    assert row["dead_frac"] == (0.0 if n_targets else None)
    assert row["delay_median_s"] is None
    n = sum(r["n_effectors"] for r in found["chance_kills"])
    assert n == row["n_effectors"] == len(found["effectors"])


def test_unknown_threshold_leaves_deaths_unknown() -> None:
    found = _killing(threshold=None).run()
    assert (found["chance"], found["chance_kills"], found["survival"]) == ([], [], [])
    known = {
        *("level", "name", "condition", "control", "unit", "n_positions", "n_replicates", "n_targets"),
        *("n_effectors", "n_contact_events", "n_lost", "contact_h", "effector_h"),
        *("effector_speed_contact_um_min", "effector_speed_free_um_min"),
    }
    for row in found["summary"]:
        assert {name for name, value in row.items() if value is not None} == known - {"control"}
    assert [e["contact_s"] for e in found["effectors"]] == [1800.0, 0.0]
    for name in ("n_kills", "credited_kills", "chance_kills", "kills_per_contact_h", "control_deaths_per_h"):
        assert {e[name] for e in found["effectors"]} == {None}


def _plate(wells: dict[str, str]) -> Planted:
    """Two treated positions with 1/4 and 3/4 dead, two controls with 0/4 and 2/4."""
    planted = Planted()
    dead = {"a": 1, "b": 3, "c": 0, "d": 2}
    for name, n in dead.items():
        control = {"control": "negative"} if name in "cd" else {}
        planted.position(name, condition="cd" if name in "cd" else "ab", well=wells[name], **control)
        for track in range(1, 5):
            planted.cell(name, "target", track)
        planted.cell(name, "effector", 1)
        for track in range(1, n + 1):
            planted.death(name, track, 1800.0)
    return planted


def test_replicates_are_the_unit() -> None:
    found = _plate({p: p.upper() for p in "abcd"}).run(draws=3)
    rows = {(r["level"], r["name"]): r for r in found["summary"]}
    treated, control = rows["condition", "ab"], rows["condition", "cd"]
    assert (treated["unit"], treated["n_replicates"]) == ("position", 2)
    assert treated["dead_frac"] == 0.5
    assert treated["dead_frac_sem"] == pytest.approx(0.25)
    assert (control["dead_frac"], control["control"], treated["control"]) == (0.25, "negative", None)
    assert treated["dead_frac_minus_control"] == 0.25
    assert treated["dead_frac_minus_control_sem"] == pytest.approx(math.hypot(0.25, 0.25))
    assert rows["position", "b"]["dead_frac_minus_control"] == 0.5
    assert rows["position", "b"]["dead_frac_minus_control_sem"] is None
    # Controls: 2 deaths in 6 h + 2 half hours.
    assert [r["control_deaths_per_target_h"] for r in found["summary"]] == pytest.approx([2 / 7] * 6)
    assert found["effectors"][0]["control_deaths_per_h"] == pytest.approx(2 / 7)


def test_positions_of_a_well_are_one_replicate() -> None:
    found = _plate({"a": "A1", "b": "A1", "c": "B1", "d": "B2"}).run(draws=3)
    rows = {(r["level"], r["name"]): r for r in found["summary"]}
    treated = rows["condition", "ab"]
    assert (treated["unit"], treated["n_replicates"], treated["n_positions"]) == ("well", 1, 2)
    assert (treated["dead_frac"], treated["dead_frac_sem"]) == (0.5, None)
    assert treated["dead_frac_minus_control_sem"] is None
    assert rows["condition", "cd"]["n_replicates"] == 2


def test_positions_have_draws_of_their_own_whatever_the_order_of_rows() -> None:
    one = _with_deaths(_killing())
    expected = one.run(draws=50)
    one._tracks.reverse()
    one._events.reverse()
    one._deaths.reverse()
    assert one.run(draws=50) == expected
    assert one.run(draws=50, seed=1)["chance"] != expected["chance"]


def test_survival_of_a_position_and_of_its_condition() -> None:
    rows = _with_deaths(_killing()).run(draws=1)["survival"]
    curves: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        curves.setdefault((row["level"], row["name"], row["origin"], row["lost_as"]), []).append(row)
    # Nobody has a first contact here.
    assert {key[2] for key in curves} == {"film_start", "entry"}
    assert {key[:2] for key in curves} == {("position", "A"), ("condition", "treated")}
    one = curves["position", "A", "film_start", "censored"]
    assert [r["time_s"] for r in one] == [0, 600, 1200, 2400, 3600]
    assert [r["n_at_risk"] for r in one] == [10, 10, 9, 7, 6]
    assert [r["alive_frac"] for r in one] == pytest.approx([1, 1, 7 / 9, 6 / 9, 6 / 9])
    assert [r["low_frac"] is None for r in one] == [True, True, False, False, False]
    lost = curves["position", "A", "entry", "dead"]
    assert [r["alive_frac"] for r in lost] == pytest.approx([1, 0.9, 0.7, 0.6, 0.6])


def test_spread_of_each_population() -> None:
    cells = [
        {"population": p, "frame": f, "label": 1, "track_id": 1, "x_um": speed * f, "y_um": 0.0}
        for p, speed in (("target", 0.0), ("effector", 2.0))
        for f in (2, 0, 1)
    ]
    schema = CELLS.for_channels([])
    film = Film("A", range(3), facts={"time_s": {0: 0.0, 1: 30.0, 2: 60.0}})
    found = Outcome(max_lag_frames=5).spread(film, _rows(schema, cells, position_id="A"))
    assert found["population"] == ["effector"] * 2 + ["target"] * 2
    assert found["lag_s"] == [30, 60] * 2
    assert found["msd_um2"] == [4, 16, 0, 0]
    assert Outcome().spread(film, _rows(schema, []))["msd_um2"] == []
