"""What the camera sees is what was simulated."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from scipy.ndimage import shift as move
from skimage.registration import phase_cross_correlation

from dataops_parsl.truth.render import labels, render
from dataops_parsl.truth.scene import Optics
from dataops_parsl.truth.simulate import Film, Scene, demo_scenes, simulate


@pytest.fixture(scope="module")
def coculture() -> Film:
    return simulate(*demo_scenes()["coculture"])


def test_frames_are_independent_and_repeat(coculture: Film) -> None:
    first = render(coculture, 30)
    render(coculture, 2)
    for channel, image in render(coculture, 30).items():
        np.testing.assert_array_equal(image, first[channel])
    assert not np.array_equal(first["gfp"], render(coculture, 31)["gfp"])


def test_planted_drift_is_the_drift_of_the_images() -> None:
    still = Scene(
        n_frames=12, n_effectors=0, target_jitter_um=0.0, spontaneous_deaths_per_h=0.0, drift_px=2.5
    )
    film = simulate(still, 3)
    reference = render(film, 0)["gfp"].astype(float)
    assert np.abs(film.drift_px).max() > 4
    for frame in (4, 11):
        image = render(film, frame)["gfp"].astype(float)
        back, _, _ = phase_cross_correlation(reference, image, upsample_factor=20, normalization=None)
        np.testing.assert_allclose(-back, film.drift_px[frame], atol=0.35)
        aligned = move(image, -film.drift_px[frame], order=1, mode="nearest")
        inner = np.s_[20:-20, 20:-20]
        assert np.corrcoef(aligned[inner].ravel(), reference[inner].ravel())[0, 1] > 0.98


@pytest.mark.parametrize(
    ("background", "per_count", "read"), [(80.0, 0.5, 0.0), (200.0, 2.0, 3.0), (0.0, 1.0, 4.0)]
)
def test_noise_is_shot_noise_and_read_noise(background: float, per_count: float, read: float) -> None:
    optics = Optics(
        background_counts=background,
        electrons_per_count=per_count,
        read_noise_counts=read,
        vignetting_frac=0.0,
    )
    film = simulate(Scene(n_frames=1, n_targets=0, n_effectors=0, optics=optics), 1)
    pixels = render(film, 0)["ctdr"].astype(float)
    assert pixels.mean() == pytest.approx(100 + background, abs=0.2)
    assert pixels.var() == pytest.approx(background / per_count + read**2 + 1 / 12, rel=0.03)


def test_stains_lie_on_their_cells(coculture: Film) -> None:
    images, true = render(coculture, 10), labels(coculture, 10)
    for channel, population in (("ctdr", "effector"), ("gfp", "target")):
        inside = true[population] > 0
        far = ~binary_dilation(inside, iterations=6)
        level, noise = images[channel][far].mean(), images[channel][far].std()
        assert np.median(images[channel][inside]) > level + 10 * noise


def test_death_lights_up_pi_and_dims_gfp(coculture: Film) -> None:
    deaths = coculture.deaths()
    early = np.flatnonzero(deaths["visible"] & (deaths["death_frame"] < 40))
    for row in early[:6]:
        target, frame = int(deaths["target_id"][row]), int(deaths["death_frame"][row])
        level = {}
        for name, at in (("before", frame - 1), ("soon", frame + 3), ("late", frame + 15)):
            images, place = render(coculture, at), labels(coculture, at)["target"] == target
            level[name] = [float(np.median(images[channel][place])) - 170 for channel in ("pi", "gfp")]
        assert level["before"][0] < 40
        assert level["soon"][0] > 0.6 * level["late"][0]
        assert level["late"][0] > 120
        assert level["late"][1] < 0.75 * level["before"][1]


def test_pi_stays_dark_while_all_live(coculture: Film) -> None:
    assert int(coculture.deaths()["death_frame"].min()) > 0
    assert render(coculture, 0)["pi"].max() < 260


def test_empty_and_saturated_scenes() -> None:
    dark = Optics(background_counts=0, offset_counts=0, read_noise_counts=0)
    film = simulate(Scene(n_frames=1, n_targets=0, n_effectors=0, optics=dark), 1)
    assert not any(image.any() for image in render(film, 0).values())
    bright = Optics(target_counts=1e6)
    film = simulate(Scene(height_px=64, width_px=64, n_frames=1, n_targets=2, optics=bright), 1)
    assert render(film, 0)["gfp"].max() == 65_535


def test_rendering_is_fast(coculture: Film) -> None:
    render(coculture, 0)
    spent_s = []
    for frame in range(3):
        start = time.process_time()
        render(coculture, frame)
        spent_s.append(time.process_time() - start)
    assert min(spent_s) < 0.2
