"""Simulated films as a camera sees them: soft-edged stained cells, uneven light, shot and read noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from dataops_parsl.truth.film import Cells, Film, labels
from dataops_parsl.truth.scene import Optics, Scene
from dataops_parsl.truth.shapes import Patches, paste_sum, patches

__all__ = ["CHANNELS", "labels", "render"]

CHANNELS = ("ctdr", "gfp", "pi")
_SOFT_PX = 4
_NUCLEUS_FRAC = 0.6
_Image = NDArray[np.float32]


def render(film: Film, frame: int) -> dict[str, NDArray[np.uint16]]:
    """Images (Y, X) uint16 of one raw, drifted frame, by channel; the same for the same film seed and frame.

    `ctdr` stains effectors, `gfp` live targets (lost slowly on death), `pi` dead targets.

    Raises
    ------
    ValueError
        Where the film has no such frame.
    """
    scene, optics = film.scene, film.scene.optics
    if not 0 <= frame < scene.n_frames:
        raise ValueError(f"no frame {frame}: the film has frames 0 to {scene.n_frames - 1}")
    light = dict(zip(CHANNELS, _light(film, frame), strict=True))
    images: dict[str, NDArray[np.uint16]] = {}
    for index, channel in enumerate(CHANNELS):
        flat = _illumination(scene, np.random.default_rng([film.seed, 3, index]))
        seen = gaussian_filter(light[channel], optics.psf_sigma_px) if optics.psf_sigma_px else light[channel]
        counts = flat * (seen + optics.background_counts)
        images[channel] = _camera(counts, optics, np.random.default_rng([film.seed, 4, frame, index]))
    return images


def _light(film: Film, frame: int) -> tuple[_Image, _Image, _Image]:
    """Light of the cells and of debris in each channel, in counts."""
    scene, optics = film.scene, film.scene.optics
    size = scene.height_px, scene.width_px
    effector_counts, target_counts, death_counts = optics.counts()
    time_s = frame * scene.frame_interval_s
    where, body = _bodies(film, film.effectors, frame)
    dye, marker = _stains(film.effectors, frame, time_s, optics.effector_dye_left_frac, optics)
    ctdr = paste_sum(where, effector_counts * _each(dye) * body, *size)
    ctdr *= _left(optics.effector_bleach_min, time_s)
    pi = _nuclei(where, body, death_counts, marker, size)
    where, body = _bodies(film, film.targets, frame)
    dye, marker = _stains(film.targets, frame, time_s, optics.target_dye_left_frac, optics)
    gfp = paste_sum(where, target_counts * _each(dye) * body, *size)
    gfp *= _left(optics.target_bleach_min, time_s)
    pi += _nuclei(where, body, death_counts, marker, size)
    pi += np.float32(optics.bleed_frac) * gfp
    for in_effectors, image, counts in ((True, ctdr, effector_counts), (False, gfp, target_counts)):
        _add_debris(image, film, frame, in_effectors, counts)
    return ctdr, gfp, pi


def _stains(
    cells: Cells, frame: int, time_s: float, left_frac: float, optics: Optics
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of its live stain, and of the full death marker, of each cell that is there."""
    here = cells.present[frame]
    dead_s = np.maximum(time_s - cells.death_time_s[here], 0.0)
    dye = left_frac + (1 - left_frac) * np.exp(-dead_s / 60 / optics.target_dye_loss_min)
    dye[cells.dye_lost[here] & (dead_s > 0)] = 0.0
    return dye, -np.expm1(-dead_s / 60 / optics.death_rise_min)


def _nuclei(
    where: Patches, body: _Image, counts: float, marker: NDArray[np.float64], size: tuple[int, int]
) -> _Image:
    """Image of the death marker: dim in the body, bright in the nucleus of those that are dead."""
    dead = marker > 0
    of_dead = Patches(*(getattr(where, name)[dead] for name in where.__dataclass_fields__))
    nucleus = 0.55 * body[dead] + 0.6 * _soft((_NUCLEUS_FRAC - of_dead.relative) * 9)
    return paste_sum(of_dead, counts * _each(marker[dead]) * nucleus, *size)


def _left(bleach_min: float, time_s: float) -> np.float32:
    """Share of a stain that has not bleached."""
    return np.float32(np.exp(-time_s / 60 / bleach_min) if bleach_min > 0 else 1)


def _add_debris(image: _Image, film: Film, frame: int, in_effectors: bool, counts: float) -> None:
    """Add the blobs of one channel that are there now."""
    debris, scene = film.debris, film.scene
    time_s = frame * scene.frame_interval_s
    now = (debris.start_s <= time_s) & (time_s < debris.end_s) & (debris.in_effectors == in_effectors)
    for index in np.flatnonzero(now):
        sigma = debris.sigma_um[index] / scene.pixel_size_um
        y = debris.y_um[index] / scene.pixel_size_um + film.drift_px[frame, 0]
        x = debris.x_um[index] / scene.pixel_size_um + film.drift_px[frame, 1]
        half = int(np.ceil(4 * sigma))
        rows = np.arange(max(int(y) - half, 0), max(min(int(y) + half + 1, scene.height_px), 0))
        cols = np.arange(max(int(x) - half, 0), max(min(int(x) + half + 1, scene.width_px), 0))
        if len(rows) and len(cols):
            across = np.exp(-0.5 * ((cols - x) / sigma) ** 2)
            blob = counts * debris.height_frac[index] * np.exp(-0.5 * ((rows - y) / sigma) ** 2)
            image[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += np.outer(blob, across).astype(np.float32)


def _bodies(film: Film, cells: Cells, frame: int) -> tuple[Patches, _Image]:
    """Windows of a population and the stain in them: soft-edged domes with grains, 1 for a typical cell."""
    scene = film.scene
    here = np.flatnonzero(cells.present[frame])
    where = patches(
        cells.y_um[frame, here] / scene.pixel_size_um + film.drift_px[frame, 0],
        cells.x_um[frame, here] / scene.pixel_size_um + film.drift_px[frame, 1],
        cells.radius_um[frame, here] / scene.pixel_size_um,
        cells.shape[frame, here],
        soft_px=_SOFT_PX,
    )
    place_y, place_x, size, height = (cells.texture[here, :, part].astype(np.float32) for part in range(4))
    along_y = np.exp(-0.5 * ((where.y[:, :, 0, None] - place_y[:, None]) / size[:, None]) ** 2)
    along_x = np.exp(-0.5 * ((where.x[:, 0, :, None] - place_x[:, None]) / size[:, None]) ** 2)
    structure = np.matmul(height[:, None] * along_y, along_x.transpose(0, 2, 1))
    dome = np.sqrt(np.maximum(1 - np.float32(0.8) * where.relative**2, np.float32(0.1)))
    relief = np.maximum(1 + np.float32(scene.optics.texture_frac) * structure, np.float32(0.1))
    return where, _each(cells.brightness[here]) * _soft(where.depth_px * 2) * dome * relief


def _soft(depth: _Image) -> _Image:
    """Soft step from 0 outside to 1 inside."""
    return np.float32(0.5) * (1 + np.tanh(depth))


def _each(values: NDArray[np.float64]) -> _Image:
    """One value a cell, to multiply windows with."""
    return values.astype(np.float32)[:, None, None]


def _illumination(scene: Scene, rng: np.random.Generator) -> _Image:
    """Uneven light, 1 at its centre, fixed to the camera."""
    centre = rng.uniform(0.35, 0.65, 2)
    y = (np.arange(scene.height_px, dtype=np.float32) / scene.height_px - np.float32(centre[0]))[:, None]
    x = (np.arange(scene.width_px, dtype=np.float32) / scene.width_px - np.float32(centre[1]))[None, :]
    fall = y * y + x * x
    loss = scene.optics.vignetting_frac / max(float(fall.max()), 1e-6)
    return (1 - np.float32(loss) * fall).astype(np.float32, copy=False)


def _camera(counts: _Image, optics: Optics, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Shot noise, read noise, offset and 16 bits."""
    electrons = rng.poisson(counts * optics.electrons_per_count)
    noisy = electrons / optics.electrons_per_count + optics.offset_counts
    noisy += optics.read_noise_counts * rng.standard_normal(counts.shape, np.float32)
    return np.clip(np.rint(noisy), 0, np.iinfo(np.uint16).max).astype(np.uint16)
