"""Simulated co-cultures with a known truth: who migrates where, touches whom, and who dies of it.

Effectors walk persistently at random, turn towards live targets nearby, bind, dwell and leave; some contacts
are lethal and kill after a delay. Targets stay and jitter. The stage drifts. All follows from the seed.
"""

from __future__ import annotations

import numpy as np

from dataops_parsl.truth.bodies import Bodies, reflect
from dataops_parsl.truth.film import Cells, Film
from dataops_parsl.truth.hard import Flags, plan_debris
from dataops_parsl.truth.scene import Scene, demo_scenes
from dataops_parsl.truth.shapes import Floats
from dataops_parsl.truth.state import NONE
from dataops_parsl.truth.world import World

__all__ = ["Film", "Scene", "demo_scenes", "simulate"]

_STEP_MIN = 0.5  # no process of a scene is faster than a few of these
_GRAINS = 10


def simulate(scene: Scene, seed: int) -> Film:
    """Play a scene.

    Parameters
    ----------
    scene : Scene
        What there is and what it does.
    seed : int
        Not negative. Equal scenes and seeds give equal films.
    """
    rng, hard_rng = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 5])
    world = World(scene, rng, hard_rng)
    blurred = np.flatnonzero(world.plan.blurred)
    debris = plan_debris(
        scene.hard, world.place[blurred], world.targets.radius_um[blurred], scene.duration_min, hard_rng
    )
    interval_min = scene.frame_interval_s / 60
    n_steps = max(1, round(interval_min / _STEP_MIN))
    effectors, targets = [world.effectors_now()], [world.targets_now()]
    bound, present = [world.bound.copy()], [world.present.copy()]
    for _ in range(scene.n_frames - 1):
        for _ in range(n_steps):
            world.step(interval_min / n_steps)
        effectors.append(world.effectors_now())
        targets.append(world.targets_now())
        bound.append(world.bound.copy())
        present.append(world.present.copy())
    end_min = interval_min * (scene.n_frames - 1)
    died = world.death_min <= end_min
    all_effectors = np.ones((scene.n_frames, len(world.bound)), np.bool_)
    return Film(
        scene=scene,
        seed=seed,
        effectors=_cells(scene, rng, effectors, _in_film_s(world.effector_death_min, end_min), all_effectors),
        targets=_cells(
            scene, rng, targets, _in_film_s(world.death_min, end_min), np.array(present), world.plan.dye_lost
        ),
        drift_px=_drift(scene, np.random.default_rng([seed, 2]), np.random.default_rng([seed, 6])),
        killer_id=np.where(died & (world.killer != NONE), world.killer + 1, -1),
        bound_to=np.array(bound, np.int64) + 1,
        parent_id=np.where(world.born_min <= end_min, world.parent + 1, 0),
        debris=debris,
    )


def _in_film_s(time_min: Floats, end_min: float) -> Floats:
    """Times up to the film's end, s; inf for those after it."""
    return np.where(time_min <= end_min, time_min * 60, np.inf)


def _cells(
    scene: Scene,
    rng: np.random.Generator,
    frames: list[Bodies],
    death_time_s: Floats,
    present: Flags,
    dye_lost: Flags | None = None,
) -> Cells:
    """Stack one population's moments and give each cell its looks."""
    n_cells = len(frames[0].z)
    z = np.where(present, np.array([bodies.z for bodies in frames]), complex(np.nan, np.nan))
    grains = np.concatenate(
        [
            rng.normal(0.0, 0.45, (n_cells, _GRAINS, 2)),
            rng.uniform(0.12, 0.45, (n_cells, _GRAINS, 1)),
            rng.normal(0.0, 1.0, (n_cells, _GRAINS, 1)),
        ],
        axis=2,
    )
    return Cells(
        ids=np.arange(1, n_cells + 1, dtype=np.uint32),
        y_um=z.imag,
        x_um=z.real,
        radius_um=np.array([bodies.radius_um for bodies in frames]),
        shape=np.array([bodies.shape for bodies in frames]),
        present=present,
        death_time_s=death_time_s,
        brightness=np.exp(rng.normal(0.0, scene.optics.brightness_cv, n_cells)),
        texture=grains,
        dye_lost=np.zeros(n_cells, np.bool_) if dye_lost is None else dye_lost,
    )


def _drift(scene: Scene, rng: np.random.Generator, jump_rng: np.random.Generator) -> Floats:
    """Random walk from 0, reflected at the limit, and the jump on top of it, (T, 2) px."""
    drift = np.zeros((scene.n_frames, 2))
    if scene.drift_limit_px > 0:
        walk = np.cumsum(rng.normal(0.0, scene.drift_px, (scene.n_frames, 2)), axis=0)
        drift = reflect(walk - walk[0], -scene.drift_limit_px, scene.drift_limit_px)
    if scene.jump_frame > 0:
        angle = jump_rng.uniform(0, 2 * np.pi)
        drift[scene.jump_frame :] += scene.jump_px * np.array([np.sin(angle), np.cos(angle)])
    return drift
