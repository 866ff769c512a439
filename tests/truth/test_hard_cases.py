"""What makes a film hard is planted where it is said to be, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataops_parsl.errors import ConfigError
from dataops_parsl.truth.film import labels
from dataops_parsl.truth.gaps import gaps_px
from dataops_parsl.truth.hard import CASES, HardCases
from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import Optics, Scene, load_scenes, scene_files
from dataops_parsl.truth.simulate import Film, simulate

CALM = Scene(
    height_px=220,
    width_px=220,
    pixel_size_um=0.8,
    n_frames=40,
    n_targets=14,
    n_effectors=14,
    kill_probability=0.0,
    kill_delay_min=(8.0, 12.0),
    dwell_min=(4.0, 10.0),
    spontaneous_deaths_per_h=0.0,
)


def played(seed: int = 4, **changes: object) -> Film:
    return simulate(Scene.model_validate({**CALM.model_dump(), **changes}), seed)


def planted(case: str, share: float = 0.5, **changes: object) -> tuple[Film, np.ndarray]:
    hard = HardCases.model_validate({case: share, "near_miss_min": (14, 20), "detach_min": (8, 12)})
    film = played(hard=hard.model_dump(), **changes)
    cases = film.cases()
    return film, cases["target_id"][cases[case]].astype(np.int64) - 1


@pytest.fixture(scope="module")
def small() -> Film:
    placed = load_scenes("small").positions["coculture"]
    return simulate(placed.scene, placed.seed)


def test_moderate_holds_each_case_in_a_twentieth_of_the_targets() -> None:
    film = simulate(load_scenes("moderate").positions["seed_01"].scene, 7)
    cases = film.cases()
    for case in CASES:
        assert cases[case].mean() >= 0.05, case
    shown = film.seen["target"].area_px[0] > 0
    assert 190 <= shown.sum() <= 230
    deaths = film.deaths()
    assert 0.25 <= deaths["visible"].sum() / len(cases["target_id"]) <= 0.4
    assert deaths["whole"].sum() > 40


def test_the_committed_scenes_are_what_they_are_called() -> None:
    assert {"demo", "moderate", "plate", "small"} <= set(scene_files())
    moderate = load_scenes("moderate")
    assert moderate.radius_um == 2.0
    seeds = {name: placed.seed for name, placed in moderate.positions.items() if name.startswith("seed_")}
    assert list(seeds.values()) == list(range(1001, 1011))
    for name in seeds:
        scene = moderate.positions[name].scene
        assert scene == moderate.positions["seed_01"].scene
        size = (scene.n_targets, scene.n_effectors, scene.n_frames, scene.drift_px, scene.optics.snr)
        assert size == (200, 600, 120, 1.0, 5.0)
    plate = load_scenes("plate")
    assert len({placed.plate["well"] for placed in plate.positions.values()}) == 7
    assert [placed.plate["control"] for placed in plate.positions.values()].count("negative") == 1


def test_controls_and_harmless_effectors_kill_nobody() -> None:
    positions = load_scenes("small").positions
    for name in ("targets_alone", "harmless"):
        film = simulate(positions[name].scene, positions[name].seed)
        assert len(film.deaths()["target_id"]) == 0
        assert film.objects()["alive"].all()
        assert film.cases()["harmless_contact"].any() == (name == "harmless")
    assert positions["targets_alone"].plate["control"] == "negative"


def test_the_small_film_has_all_cases(small: Film) -> None:
    cases = small.cases()
    assert all(cases[case].any() for case in CASES)
    assert len(small.lineage()["frame"]) > 0


def test_nothing_is_planted_unasked() -> None:
    film = played()
    cases = film.cases()
    asked = set(CASES) - {"near_miss", "harmless_contact"}  # those come by themselves
    assert not any(cases[case].any() for case in asked)
    assert len(film.debris.y_um) == 0
    assert len(film.lineage()["frame"]) == 0
    assert film.targets.present.all()


def test_dead_at_start_is_no_event() -> None:
    film, dead = planted("dead_at_start")
    assert len(dead) >= 4
    assert len(film.deaths()["target_id"]) == 0
    objects = film.objects()
    rows = (objects["population"] == "target") & np.isin(objects["cell_id"], dead + 1)
    assert not objects["alive"][rows].any()
    image, true = render(film, 0), labels(film, 0)["target"]
    marked = [float(np.median(image["pi"][true == cell + 1])) for cell in dead if (true == cell + 1).any()]
    others = np.isin(true, dead + 1, invert=True) & (true > 0)
    assert min(marked) > np.percentile(image["pi"][others], 99)


def test_spontaneous_deaths_are_met_by_nobody() -> None:
    film, dead = planted("spontaneous_death", n_effectors=25)
    deaths = film.deaths()
    assert len(dead) >= 3
    assert np.all(deaths["cause"] == "spontaneous")
    close = film.contacts(2.0)
    for target, frame in zip(deaths["target_id"], deaths["death_frame"], strict=True):
        assert not np.any((close["target_id"] == target) & (close["frame"] < frame))


def test_near_misses_do_not_touch() -> None:
    film, missed = planted("near_miss", clearance_um=9.0, sense_um=0.0)
    without = played(clearance_um=9.0, sense_um=0.0).cases()
    assert len(missed) >= 3
    assert without["near_miss"].sum() < len(missed)
    assert not np.isin(film.contacts(2.0)["target_id"], missed + 1).any()


def test_dead_effectors_lie_on_targets_and_kill_nobody() -> None:
    film, under = planted("dead_effector", 0.4)
    assert len(under) >= 3
    dead = np.flatnonzero(film.effectors.death_time_s <= 0)
    assert len(dead) >= 2
    assert not np.isin(dead + 1, film.killer_id).any()
    for effector in dead:
        target = int(film.bound_to[0, effector]) - 1
        assert target >= 0
        apart = np.hypot(
            film.effectors.y_um[:, effector] - film.targets.y_um[:, target],
            film.effectors.x_um[:, effector] - film.targets.x_um[:, target],
        )
        assert apart.max() < 20
    objects = film.objects()
    rows = (objects["population"] == "effector") & np.isin(objects["cell_id"], dead + 1)
    assert not objects["alive"][rows].any()


@pytest.mark.parametrize("case", ["several_candidates", "corpse_detaches", "dye_lost"])
def test_planned_kills_happen(case: str) -> None:
    film, chosen = planted(case, 1.0, n_effectors=40, n_frames=60)
    deaths = film.deaths()
    assert len(chosen) >= 2
    assert np.all(deaths["cause"] == "killed")
    if case == "several_candidates":
        assert deaths["n_candidates"][np.isin(deaths["target_id"], chosen + 1)].min() >= 2
    if case == "corpse_detaches":
        assert not film.targets.present[-1, chosen].all()
        assert np.isnan(film.targets.y_um[~film.targets.present]).all()


def test_a_lost_dye_is_gone_in_the_frame_of_death() -> None:
    film, _ = planted("dye_lost", 1.0, n_effectors=40, n_frames=60)
    deaths = film.deaths()
    row = int(np.flatnonzero(deaths["whole"])[0])
    frame, target = int(deaths["death_frame"][row]), deaths["target_id"][row]
    level = []
    for at in (frame - 1, frame + 2):
        true = labels(film, at)
        inside = (true["target"] == target) & (true["effector"] == 0)
        level.append({c: float(np.median(i[inside])) - 170 for c, i in render(film, at).items()})
    assert level[1]["gfp"] < 0.3 * level[0]["gfp"]
    assert level[1]["pi"] > 100 > 50 > level[0]["pi"]


def test_debris_throws_light() -> None:
    film, _ = planted("out_of_focus", 0.5)
    clear = played()
    frame = int(np.median(film.debris.start_s) // film.scene.frame_interval_s) + 1
    glow = [
        render(film, frame)[c].astype(float).mean() - render(clear, frame)[c].mean() for c in ("ctdr", "gfp")
    ]
    assert max(glow) > 3
    np.testing.assert_array_equal(render(film, frame)["pi"].shape, render(clear, frame)["pi"].shape)


def test_daughters_take_the_place_of_their_parent() -> None:
    film = played(divisions_per_h=0.5, n_effectors=0)
    lineage, present = film.lineage(), film.targets.present
    assert len(lineage["frame"]) >= 4
    for child, parent, frame in zip(*(lineage[k].tolist() for k in lineage), strict=True):
        assert present[frame - 1, parent - 1]
        assert not present[frame:, parent - 1].any()
        assert present[frame:, child - 1].all()
        assert not present[:frame, child - 1].any()
        radius = film.targets.radius_um
        assert radius[frame, child - 1] == pytest.approx(0.8 * radius[0, parent - 1])
        y, x = film.targets.y_um, film.targets.x_um
        way = np.hypot(
            y[frame, child - 1] - y[frame - 1, parent - 1], x[frame, child - 1] - x[frame - 1, parent - 1]
        )
        assert way < 14
    assert np.all(np.unique(lineage["parent_id"], return_counts=True)[1] == 2)


@pytest.mark.parametrize("snr", [3.0, 5.0, 12.0])
def test_the_planted_signal_to_noise_is_that_of_the_images(snr: float) -> None:
    optics = Optics(snr=snr, vignetting_frac=0.0, brightness_cv=0.0, texture_frac=0.0)
    film = played(
        optics=optics.model_dump(),
        hard={"dead_at_start": 0.5},
        n_targets=20,
        target_gap_um=4.0,
        pixel_size_um=0.5,
    )
    image, true = render(film, 0), labels(film, 0)
    objects = film.objects()
    now = objects["frame"] == 0
    for channel, population, alive in (
        ("ctdr", "effector", True),
        ("gfp", "target", True),
        ("pi", "target", False),
    ):
        rows = now & (objects["population"] == population) & (objects["alive"] == alive)
        inside = np.isin(true[population], objects["cell_id"][rows])
        signal = float(image[channel][inside].mean()) - 170
        noise = np.sqrt((signal + 70) / 0.8 + 2.5**2)
        assert signal / noise == pytest.approx(snr, rel=0.15), channel


def test_stains_bleach_and_the_stage_jumps() -> None:
    optics = Optics(target_bleach_min=60.0)
    film = played(optics=optics.model_dump(), n_effectors=0, jump_frame=10, jump_px=15.0)
    first, last = render(film, 0)["gfp"].mean() - 165.0, render(film, 39)["gfp"].mean() - 165.0
    assert 0.1 < last / first < 0.5
    steps = np.hypot(*np.diff(film.drift_px, axis=0).T)
    assert np.argmax(steps) == 9
    assert steps[9] > 11
    assert np.sort(steps)[-2] < 4


def test_whole_deaths_keep_off_the_border(small: Film) -> None:
    deaths = small.deaths()
    assert 0 < deaths["whole"].sum() < len(deaths["whole"])
    for row in np.flatnonzero(deaths["whole"]):
        frame, target = int(deaths["death_frame"][row]), deaths["target_id"][row]
        for at in range(frame - 1, frame + 4):
            y, x = np.nonzero(labels(small, at)["target"] == target)
            for place, size, drift in ((y, 256, small.drift_px[at, 0]), (x, 256, small.drift_px[at, 1])):
                assert min(place.min(), place.min() - drift) >= 1
                assert max(place.max(), place.max() - drift) <= size - 2


def test_gaps_of_planted_squares() -> None:
    effectors, targets = np.zeros((30, 30), np.uint32), np.zeros((30, 30), np.uint32)
    effectors[2:5, 2:5], effectors[20:24, 2:5] = 3, 7
    targets[2:6, 9:15], targets[22:28, 4:9] = 2, 5
    assert gaps_px(effectors, targets, 5.0) == [(3, 2, 5.0), (7, 5, 0.0)]
    assert gaps_px(effectors, targets, 4.9) == [(7, 5, 0.0)]
    assert gaps_px(effectors, np.zeros_like(targets), 9.0) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[scene]\nn_target = 3", r"scene.n_target: no such key \(did you mean 'n_targets'"),
        ("[scene.hard]\ndye_loss = 0.1", r"scene.hard.dye_loss: no such key \(did you mean 'dye_lost'"),
        ("[scene.hard]\ndye_lost = 0.6\ndead_at_start = 0.6", "must sum to at most 1"),
        ("radius = 2", r"radius: no such key \(did you mean 'radius_um'"),
        ("[scene]\nn_frames = 0", "scene.n_frames: Input should be greater"),
        ("[scene", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.toml"
    place = '\n[[position]]\nname = "a"\nwell = "A1"\ncondition = "c"\nseed = 1\n'
    path.write_text(f'title = "mine"\n{text}{place}')
    with pytest.raises(ConfigError, match=said) as raised:
        load_scenes(path)
    assert "mine.toml" in str(raised.value)


def test_positions_override_and_are_named_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    place = '[[position]]\nname = "a"\nwell = "A1"\ncondition = "c"\nseed = 1\n'
    place += "scene = { hard = { dye_lost = 0.2 } }\n"
    path.write_text(f'title = "mine"\nscene = {{ n_frames = 3, hard = {{ near_miss = 0.1 }} }}\n{place}')
    hard = load_scenes(path).positions["a"].scene.hard
    assert (hard.near_miss, hard.dye_lost) == (0.1, 0.2)
    path.write_text(f'title = "mine"\n{place}{place}')
    with pytest.raises(ConfigError, match="two positions"):
        load_scenes(path)
    with pytest.raises(ConfigError, match="did you mean 'moderate'"):
        load_scenes("moderat")
