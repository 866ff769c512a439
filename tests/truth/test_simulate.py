"""The simulator keeps what its truth tables say."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt

from dataops_parsl.truth.render import CHANNELS, labels, render
from dataops_parsl.truth.simulate import Film, Scene, demo_scenes, simulate

SMALL = Scene(height_px=200, width_px=240, n_frames=30, n_targets=12, n_effectors=16)


@pytest.fixture(scope="module")
def film() -> Film:
    return simulate(SMALL, 5)


@pytest.fixture(scope="module")
def coculture() -> Film:
    return simulate(*demo_scenes()["coculture"])


def test_a_seed_repeats_its_film_and_no_other(film: Film) -> None:
    again, other = simulate(SMALL, 5), simulate(SMALL, 6)
    for table in ("objects", "contacts", "deaths", "drift"):
        first, second = getattr(film, table)(), getattr(again, table)()
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])
    assert not np.array_equal(film.effectors.y_um, other.effectors.y_um)


def test_a_mistyped_scene_is_refused() -> None:
    with pytest.raises(ValidationError, match="n_efectors"):
        Scene.model_validate({"n_efectors": 3})
    with pytest.raises(ValidationError, match="shortest time"):
        Scene(dwell_min=(40, 10))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_frames": 1},
        {"n_effectors": 0},
        {"n_targets": 0},
        {"n_effectors": 0, "n_targets": 0},
        {"n_targets": 0, "n_frames": 1},
        {"drift_limit_px": 0.0},
        {"kill_probability": 0.0, "spontaneous_deaths_per_h": 0.0},
        {"height_px": 16, "width_px": 17, "n_targets": 1, "n_effectors": 1},
    ],
)
def test_tables_and_images_of_odd_scenes(changes: dict[str, float]) -> None:
    scene = Scene.model_validate({**SMALL.model_dump(), "n_frames": 3, **changes})
    film = simulate(scene, 1)
    assert len(film.drift()["frame"]) == scene.n_frames
    objects, contacts = film.objects(), film.contacts()
    assert set(objects["population"].tolist()) <= {"effector", "target"}
    if not (scene.n_effectors and scene.n_targets):
        assert len(contacts["frame"]) == 0
    images = render(film, scene.n_frames - 1)
    assert {(image.shape, image.dtype) for image in images.values()} == {
        ((scene.height_px, scene.width_px), np.dtype(np.uint16))
    }
    if not scene.kill_probability:
        assert len(film.deaths()["target_id"]) == 0


@pytest.mark.parametrize("frame", [-1, 30])
def test_a_frame_that_is_not_there_is_refused(film: Film, frame: int) -> None:
    with pytest.raises(ValueError, match="no frame"):
        render(film, frame)
    with pytest.raises(ValueError, match="no frame"):
        labels(film, frame)


def test_objects_are_what_the_label_images_show(film: Film) -> None:
    objects = film.objects()
    for frame in (0, 13, 29):
        for population, image in labels(film, frame).items():
            rows = (objects["frame"] == frame) & (objects["population"] == population)
            seen = objects["cell_id"][rows & objects["visible"]]
            np.testing.assert_array_equal(np.sort(seen), np.unique(image[image > 0]))
            inside = rows & objects["visible"] & ~objects["touches_edge"]
            for row in np.flatnonzero(inside):
                y, x = np.nonzero(image == objects["cell_id"][row])
                assert len(y) == objects["area_px"][row]
                assert (
                    np.hypot(y.mean() - objects["y_px_raw"][row], x.mean() - objects["x_px_raw"][row]) < 1.5
                )
    dy, dx = film.drift_px[objects["frame"]].T
    np.testing.assert_allclose(objects["y_px_raw"] - objects["y_px"], dy, atol=1e-9)
    np.testing.assert_allclose(objects["x_px_raw"] - objects["x_px"], dx, atol=1e-9)


def test_contacts_are_the_gaps_of_the_label_images(film: Film) -> None:
    contacts = film.contacts(max_gap_um=6.0)
    frame = 20
    images = labels(film, frame)
    expected = {}
    for target in np.unique(images["target"])[1:]:
        away = distance_transform_edt(images["target"] != target) * SMALL.pixel_size_um
        for effector in np.unique(images["effector"])[1:]:
            gap = away[images["effector"] == effector].min()
            if gap <= 6.0:
                expected[int(effector), int(target)] = gap
    rows = contacts["frame"] == frame
    found = dict(
        zip(
            zip(contacts["effector_id"][rows].tolist(), contacts["target_id"][rows].tolist(), strict=True),
            contacts["gap_um"][rows].tolist(),
            strict=True,
        )
    )
    assert len(expected) >= 5
    assert found == pytest.approx(expected)


def test_bound_pairs_touch_and_others_keep_off(coculture: Film) -> None:
    contacts = coculture.contacts()
    gap_um, bound = contacts["gap_um"], contacts["bound"]
    assert np.mean(gap_um[bound] <= coculture.scene.pixel_size_um) > 0.98
    assert np.mean(gap_um[~bound] > 2.0) > 0.9
    assert bound.sum() > 500


def test_populations_do_not_overlap(coculture: Film) -> None:
    def covered(population: str, frame: int) -> float:
        cells = coculture.cells(population)
        area_um2 = np.pi * cells.radius_um[frame] ** 2
        image = labels(coculture, frame)[population]
        y, x = cells.y_um[frame], cells.x_um[frame]
        height_um, width_um = coculture.scene.field_um
        whole = (y > 20) & (y < height_um - 20) & (x > 20) & (x < width_um - 20)
        shown = np.isin(image, cells.ids[whole]).sum() * coculture.scene.pixel_size_um**2
        return float(shown / area_um2[whole].sum())

    for frame in (0, 30, 59):
        assert covered("target", frame) > 0.97
        assert covered("effector", frame) > 0.93


def test_the_demo_has_the_biology_it_promises(coculture: Film) -> None:
    deaths, scene = coculture.deaths(), coculture.scene
    objects = coculture.objects()
    last = (objects["frame"] == scene.n_frames - 1) & (objects["population"] == "target") & objects["visible"]
    assert 0.4 < np.mean(~objects["alive"][last]) < 0.65
    assert 30 <= np.count_nonzero(last) <= 50
    assert 5 < np.abs(coculture.drift_px).max() <= scene.drift_limit_px
    steps = np.hypot(*np.diff(coculture.drift_px, axis=0).T)
    assert 0.5 < steps.mean() < 1.3
    control = simulate(*demo_scenes()["targets_alone"])
    assert len(control.effectors.ids) == 0
    assert 0 < np.count_nonzero(control.deaths()["visible"]) <= 2
    assert np.all(control.deaths()["killer_id"] == -1)
    killed = deaths["cause"] == "killed"
    assert killed.sum() > 15
    np.testing.assert_array_equal(killed, deaths["killer_id"] > 0)


def test_killers_bind_first_and_kill_within_their_delay(coculture: Film) -> None:
    deaths, scene = coculture.deaths(), coculture.scene
    for target, killer, frame in zip(
        deaths["target_id"].tolist(),
        deaths["killer_id"].tolist(),
        deaths["death_frame"].tolist(),
        strict=True,
    ):
        assert frame * scene.frame_interval_s - deaths["death_time_s"][deaths["target_id"] == target][0] < 120
        if killer < 0:
            continue
        held = np.flatnonzero(coculture.bound_to[:frame, killer - 1] == target)
        assert len(held)
        run_start = held[np.r_[True, np.diff(held) > 1]][-1]
        wait_min = (frame - run_start) * scene.frame_interval_s / 60
        shortest, longest = scene.kill_delay_min
        assert shortest - 2 <= wait_min <= longest + 4


def test_effectors_walk_slower_than_the_linking_distance(coculture: Film) -> None:
    step_um = np.hypot(np.diff(coculture.effectors.y_um, axis=0), np.diff(coculture.effectors.x_um, axis=0))
    assert 1.0 < np.median(step_um) < 6.0
    assert np.percentile(step_um, 99.5) < coculture.scene.effector_diameter_um
    assert set(CHANNELS) == {"ctdr", "gfp", "pi"}
