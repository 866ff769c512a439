"""Figures show the planted numbers, and words where there is nothing to show."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from dataops_parsl.figures import base, groups, over_time
from dataops_parsl.figures.dead_over_time import dead_over_time
from dataops_parsl.figures.death_traces import death_traces, traces_of
from dataops_parsl.figures.groups import Design, Site
from dataops_parsl.figures.kills import Kills, contact_to_death, kills_of, kills_per_effector
from dataops_parsl.figures.plate_map import place, plate_map
from dataops_parsl.figures.quality import places_of, quality
from dataops_parsl.figures.sheets import sheets
from dataops_parsl.figures.strips import Crop, Strip, credible, strips, window
from dataops_parsl.figures.survival import at_risk, estimates, survival_curves

_SPEC = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
assert _SPEC is not None
assert _SPEC.loader is not None
planted = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(planted)


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    return planted.run(n_targets=20, replicates=2, n_frames=40)


@pytest.fixture(scope="module")
def rows(tables: dict[str, Any]) -> dict[str, dict[str, np.ndarray]]:
    return {n: {c: t[c].to_numpy() for c in t.column_names} for n, t in tables.items()}


@pytest.fixture(scope="module")
def design(rows: dict[str, Any]) -> Design:
    return groups.design_of(rows["positions"])


def words(made: Figure) -> str:
    made.draw_without_rendering()
    found = [text.get_text() for text in made.texts]
    for axes in made.axes:
        found += [text.get_text() for text in axes.texts]
        found += [axes.get_xlabel(), axes.get_ylabel(), axes.get_title(loc="left"), axes.get_title()]
    legends = [*made.legends, *(axes.get_legend() for axes in made.axes if axes.get_legend())]
    return "\n".join(found + [text.get_text() for legend in legends for text in legend.get_texts()])


def drawn(made: Figure, panel: int, name: str) -> np.ndarray:
    return next(np.asarray(x.get_ydata()) for x in made.axes[panel].lines if x.get_label().startswith(name))


def test_controls_are_last_and_grey_and_wells_are_the_replicates_where_they_hold_several() -> None:
    sites = {"a": Site("no cells", "A1", "negative"), "b": Site("CAR-T", "A2"), "c": Site("CAR-T", "A2")}
    design = Design(sites)
    assert design.conditions == ["CAR-T", "no cells"]
    assert design.unit == "well"
    assert design.positions["CAR-T"] == {"A2": ["b", "c"]}
    assert design.pens()["no cells"].ink == base.GREY
    assert Design({"a": Site(well="A1"), "b": Site(well="A2")}).unit == "position"
    assert Design({"a": Site()}).conditions == [groups.UNNAMED]


def test_mean_and_sem() -> None:
    x = np.arange(3.0)
    grid, mean, sem = groups.mean_of([(x, np.array([1.0, 2, 3])), (x[:2], np.array([3.0, 6]))])
    np.testing.assert_array_equal(grid, x)
    np.testing.assert_allclose(mean, [2, 4, 3])
    np.testing.assert_allclose(sem, [1, 2, np.nan])


def test_dead_over_time_is_the_mean_of_the_replicates(rows: dict[str, Any], design: Design) -> None:
    counts = over_time.counts(rows["frames"], rows["cells"], "target")
    dead = over_time.percent(counts, design, "n_dead", ("n_live", "n_dead"))
    live = over_time.per_field(counts, design, "n_live")
    made = dead_over_time(dead, live, design)
    # Replicates of the co-culture have 6 and 7 of 20 dead in frame 20.
    assert drawn(made, 0, "coculture")[20] == pytest.approx(100 * 6.5 / 20)
    assert drawn(made, 1, "coculture")[20] == pytest.approx(13.5)
    assert drawn(made, 0, "control")[5] == 0
    band = made.axes[0].collections[0].get_paths()[0].get_extents()
    assert band.ymax > 30
    assert "coculture (n = 2)" in words(made)


def test_unknown_life_is_said_in_words(design: Design) -> None:
    assert "Not known which targets are alive" in words(dead_over_time({}, {}, design))
    assert "no position" in words(dead_over_time({}, {}, Design({})))


def test_survival_steps_and_numbers_at_risk(rows: dict[str, Any], design: Design) -> None:
    found = estimates(rows["survival"], "film_start", "censored")
    one = found["coculture"]
    np.testing.assert_array_equal(at_risk(one, np.array([0.0, 1200.0, 1201.0, 1e9])), [40, 40, 39, 0])
    made = survival_curves(rows["survival"], "film_start", design)
    np.testing.assert_allclose(drawn(made, 0, "coculture")[1:], 100 * one["alive_frac"])
    table = [t.get_text() for t in made.axes[2].texts]
    assert table[0] == "40"
    assert "counted as dead" in words(made)
    assert "since the start of the film" in words(made)


@pytest.mark.parametrize(("known", "said"), [(True, "from its first contact"), (False, "Not known")])
def test_no_survival_is_said(rows: dict[str, Any], design: Design, known: bool, said: str) -> None:
    empty = {name: column[:0] for name, column in rows["survival"].items()}
    assert said in words(survival_curves(empty, "first_contact", design, known))


def test_kills_stand_beside_chance_and_controls(rows: dict[str, Any], design: Design) -> None:
    names = ("deaths", "chance", "chance_kills", "effectors")
    kills = kills_of(*(rows[n] for n in names), design)
    one = kills["coculture"]
    assert (one.n_deaths, one.n_attributed) == (13, 9)
    assert len(one.by_chance) == 200
    made = kills_per_effector(kills, design)
    heights = [p.get_height() for p in made.axes[0].patches]
    np.testing.assert_allclose(heights, [27, 13, 40 - 13 / 4, 13 / 4])
    for said in (
        f"by chance {one.by_chance.mean():.1f} (95 %",
        "control death rate: 0.013",
        "9 of 13 deaths",
    ):
        assert said in words(made)
        assert said in words(contact_to_death(kills, design))


def test_no_kill_is_counted_without_the_chance_level() -> None:
    design = Design({"a": Site("x")})
    kills = {"x": Kills(n_deaths=7, n_attributed=5, observed=np.array([3.0, 5.0]), delay_s=np.ones(5))}
    for made in (kills_per_effector(kills, design), contact_to_death(kills, design)):
        assert "chance level not known" in words(made)
        assert "no negative control" in words(made)
        assert "5" not in words(made)
        assert not any(axes.patches for axes in made.axes)
    assert "no target died" in words(kills_per_effector({"x": Kills()}, design))
    assert "Not known which" in words(kills_per_effector(kills, design, known=False))


def test_delays_and_their_median(rows: dict[str, Any], design: Design) -> None:
    one = Kills(4, 4, np.ones(200), 0.1, delay_s=np.array([600.0, 1200, 1800]))
    made = contact_to_death({"coculture": one}, design)
    assert sum(p.get_height() for p in made.axes[0].patches) == 3
    assert made.axes[0].lines[0].get_xdata()[0] == 20
    assert "1 more without" in words(made)


def test_traces_are_aligned_to_death(rows: dict[str, Any]) -> None:
    args = rows["frames"], rows["cells"], rows["deaths"]
    traces = traces_of(*args, "death_score", (1200, 1200))
    assert traces.values.shape == (len(rows["deaths"]["track_id"]), 21)
    assert np.nanmax(traces.values[:, :10]) < 120
    assert np.nanmin(traces.values[:, 11:]) > 120
    made = death_traces({"death score": traces}, 120.0)
    median = drawn(made, 0, "median")
    np.testing.assert_allclose(median[12], np.nanmedian(traces.values[:, 12]))
    assert "dead above 120" in words(made)
    assert "No target was seen to die" in words(death_traces({}))
    assert "Not known which" in words(death_traces({}, known=False))


def test_wells_on_the_plate() -> None:
    assert place("A1") == (0, 0)
    assert place("h12") == (7, 11)
    assert place("B03") == (1, 2)
    assert place("well 3") is None
    made = plate_map({"A1": 0.25, "H12": float("nan"), "B2": -0.04}, "Died")
    assert made is not None
    assert len(made.axes[0].patches) == 96
    assert [t.get_text() for t in made.axes[0].texts] == ["25", "−4", "?"]
    bigger = plate_map({"P24": 0.1}, "Died")
    assert bigger is not None
    assert len(bigger.axes[0].patches) == 384
    assert plate_map({"left": 0.1}, "Died") is None


def test_quality_counts_objects_and_losses(rows: dict[str, Any]) -> None:
    places = places_of(rows["frames"], rows["cells"], rows["tracks"], (0.5, 0.5))
    one = places["p00"]
    assert one.n_objects["target"][0] == 20
    assert one.n_lost["target"].sum() == 5
    assert one.n_lost["target"][29] == 5
    made = quality(places, rows["tracks"])
    assert "4 of 160 frames not valid" in words(made)
    assert "no position" in words(quality({}, rows["tracks"]))


def test_windows_hang_over_the_border() -> None:
    image = np.arange(25).reshape(5, 5)
    np.testing.assert_array_equal(window(image, (2, 2), (1, 1)), image[1:4, 1:4])
    np.testing.assert_array_equal(window(image, (0, 0), (1, 1)), [[0, 0, 0], [0, 0, 1], [0, 5, 6]])
    assert not window(image, (-20, 40), (1, 1)).any()


def test_the_clearest_deaths_come_first(rows: dict[str, Any]) -> None:
    own = {
        n: {c: v[t["position_id"] == "p03"] for c, v in t.items()}
        for n, t in rows.items()
        if "position_id" in t
    }
    found = credible(own["cells"], own["deaths"], own["death_candidates"], 120.0, 3)
    assert len(found) == 3
    assert found[0].score >= found[1].score >= found[2].score
    assert all(kill.target[1] == kill.effector[1] for kill in found)
    nothing = {c: v[:0] for c, v in own["deaths"].items()}
    assert credible(own["cells"], nothing, own["death_candidates"], 120.0, 3) == []


def test_strips_frame_the_death_and_show_both_cells() -> None:
    mask = np.zeros((21, 21), bool)
    mask[5:12, 5:12] = True
    image = np.random.default_rng(1).random((21, 21))
    crop = Crop({"target": image}, image, mask, ~mask)
    made = strips([Strip([None, crop, crop], "target 1")], ["−2 min", "death", "+2 min"], 1, 0.8, "p1")
    assert "no frame" in words(made)
    assert "5 µm" in words(made)
    assert made.axes[1].spines["left"].get_edgecolor()[:3] == pytest.approx((0.835, 0.369, 0), abs=0.01)
    assert len(made.axes[1].collections) == 2
    with pytest.raises(ValueError, match="one crop for each head"):
        strips([Strip([None])], [], 0, 0.8, "p1")


def test_sheets_are_wide(tables: dict[str, Any]) -> None:
    made = sheets(tables)
    dead = made["dead_over_time"]
    assert dead.column_names == [
        "time_h",
        "coculture | p02",
        "coculture | p03",
        "control | p00",
        "control | p01",
    ]
    assert dead["coculture | p03"][20].as_py() == pytest.approx(35)
    assert dead["time_h"][30].as_py() == pytest.approx(1.0)
    curve = made["survival_film_start_lost_censored"]
    assert curve["coculture"][0].as_py() == 100
    assert made["kills_per_effector"]["coculture | observed"].to_pylist() == [27, 13]
    assert made["kills_and_chance"]["attributed"].to_pylist() == [9, 0]
    assert made["contact_to_death"]["coculture (min)"].to_pylist()[:2] == [14, 18]
    assert len(made["death_traces"].column_names) == 1 + 14
    assert sheets({}) == {}


@pytest.mark.parametrize("what", [{"deaths": False}, {"known": False}])
def test_sheets_without_deaths(what: dict[str, bool]) -> None:
    made = sheets(planted.run(n_targets=4, replicates=1, n_frames=12, **what))
    assert "death_traces" not in made
    assert "kills_per_effector" not in made
    assert ("dead_over_time" in made) is what.get("known", True)
    assert "contacts_over_time" in made


def test_svg_bytes_are_text_and_the_same_each_time(design: Design) -> None:
    first = base.svg_bytes(dead_over_time({}, {}, design))
    assert b"Not known which" in first
    assert first == base.svg_bytes(dead_over_time({}, {}, design))
