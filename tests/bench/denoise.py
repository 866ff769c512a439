"""Our denoiser against ANTs', on simulated frames whose noise-free image is known.

    make bench-stages SECTIONS=denoise

One thread each, both in one process.
"""

from __future__ import annotations

import os

os.environ.update(ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1", OMP_NUM_THREADS="1", ANTS_RANDOM_SEED="1")

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dataops_parsl.algorithms.denoise import denoise
from dataops_parsl.algorithms.watershed import segment
from dataops_parsl.truth import render as rendering
from dataops_parsl.truth import scores
from dataops_parsl.truth.film import labels
from dataops_parsl.truth.scene import Optics, Scene
from dataops_parsl.truth.simulate import simulate
from tests.bench.measure import Row

SEED, FRAME, EDGE_PX = 9, 1, 2.0
BAR = 2.0
DIM: dict[str, float] = {"effector_counts": 64, "target_counts": 64, "death_counts": 64}
FILMS = {
    "dim": Optics(**DIM),
    "bright": Optics(),
    "dark": Optics(background_counts=2, offset_counts=2, read_noise_counts=1, **DIM),
}
STAINS = {"gfp": ("target", 22.0), "ctdr": ("effector", 12.0)}
COLUMNS = ("CPU s", "RMSE cells", "RMSE background", "RMSE edge", "AP@0.5", "mean, ppm")
Image = NDArray[Any]


def frame(optics: Optics, channel: str) -> tuple[Image, Image, Image]:
    """The noise-free image, the acquired one, and the true labels."""
    scene = Scene(
        height_px=768,
        width_px=768,
        pixel_size_um=0.8,
        n_targets=200,
        n_effectors=600,
        n_frames=FRAME + 1,
        optics=optics,
    )
    film = simulate(scene, SEED)
    index = rendering.CHANNELS.index(channel)
    light = ndimage.gaussian_filter(rendering._light(film, FRAME)[index], optics.psf_sigma_px)
    flat = rendering._illumination(scene, np.random.default_rng([film.seed, 3, index]))
    clean = flat * (light + optics.background_counts) + optics.offset_counts
    return clean, rendering.render(film, FRAME)[channel], labels(film, FRAME)[STAINS[channel][0]]


def judged(method: Callable[[Image], Image], channel: str, films: tuple[Image, Image, Image]) -> list[float]:
    """The figures of `COLUMNS`."""
    clean, noisy, true = films
    started = time.process_time()
    found = method(noisy)
    spent = time.process_time() - started
    inside = true > 0
    depth = np.where(inside, ndimage.distance_transform_edt(inside), -ndimage.distance_transform_edt(~inside))
    error = found - clean
    where = (depth > EDGE_PX, depth < -3 * EDGE_PX, np.abs(depth) <= EDGE_PX)
    rmse = [float(np.sqrt(np.mean(error[w] ** 2))) for w in where]
    precision = scores.mask_average_precision(segment(found, STAINS[channel][1], trim_frac=None), true)
    return [spent, *rmse, precision, 1e6 * (float(found.mean()) / float(noisy.mean()) - 1)]


def rows() -> Iterator[Row]:
    """CPU time per film and stain; agreement: no more noise left and edges no less sharp than ANTs'."""
    denoise(np.random.default_rng(0).random((32, 32)) * 9, "ants")  # loads ANTs
    for name, optics in FILMS.items():
        for channel in STAINS:
            films = frame(optics, channel)
            ants, ours = (
                judged(lambda image, m=m: denoise(image, m), channel, films)  # type: ignore[misc]
                for m in ("ants", "nlm")
            )
            as_good = all(o <= 1.05 * a for o, a in zip(ours[1:4], ants[1:4], strict=True))
            figures = "; ".join(
                f"{what} {o:.3g} / {a:.3g}"
                for what, o, a in zip(COLUMNS[1:], ours[1:], ants[1:], strict=True)
            )
            yield {
                "what": f"denoise 768², {name}, {channel}",
                "ours": ours[0],
                "reference": ants[0],
                "unit": "CPU s",
                "ratio": ants[0] / ours[0],
                "bar": f">= {BAR:g}x, RMSE no more than 5 % higher",
                "met": ants[0] / ours[0] >= BAR and as_good,
                "note": f"ours / ANTs: {figures}",
            }
