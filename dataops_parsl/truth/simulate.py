"""Simulated co-cultures with a known truth: who migrates where, touches whom, and who dies of it.

Effectors walk persistently at random, turn towards live targets nearby, bind, dwell and leave; some contacts
are lethal and kill after a delay. Targets stay and jitter. The stage drifts. All follows from the seed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.truth.bodies import Bodies, cross_pairs, measure, push_apart, reflect, unit
from dataops_parsl.truth.film import Cells, Film
from dataops_parsl.truth.scene import Scene, demo_scenes
from dataops_parsl.truth.shapes import HARMONICS, Complexes, Floats

__all__ = ["Film", "Scene", "demo_scenes", "simulate"]

_STEP_MIN = 0.5  # no process of a scene is faster than a few of these
_SHAPE_CV = {"effector": (0.05, 0.04, 0.02), "target": (0.08, 0.045, 0.02)}
_SHAPE_MIN = {"effector": 6.0, "target": 90.0}
_ELONGATION = {True: 0.13, False: 0.03}  # of an effector that walks, that is bound
_DEAD_RADIUS_FRAC, _SHRINK_MIN = 0.87, 15.0
_JITTER_MIN = 20.0
_GRAINS = 10
_NONE = -1


def simulate(scene: Scene, seed: int) -> Film:
    """Play a scene.

    Parameters
    ----------
    scene : Scene
        What there is and what it does.
    seed : int
        Not negative. Equal scenes and seeds give equal films.
    """
    rng = np.random.default_rng([seed, 1])
    world = _World(scene, rng)
    interval_min = scene.frame_interval_s / 60
    n_steps = max(1, round(interval_min / _STEP_MIN))
    effectors, targets, bound = [world.effectors_now()], [world.targets_now()], [world.bound.copy()]
    for _ in range(scene.n_frames - 1):
        for _ in range(n_steps):
            world.step(interval_min / n_steps)
        effectors.append(world.effectors_now())
        targets.append(world.targets_now())
        bound.append(world.bound.copy())
    end_min = interval_min * (scene.n_frames - 1)
    died = world.death_min <= end_min
    return Film(
        scene=scene,
        seed=seed,
        effectors=_cells(scene, rng, effectors, np.full(len(world.bound), np.inf)),
        targets=_cells(scene, rng, targets, np.where(died, world.death_min * 60, np.inf)),
        drift_px=_drift(scene, np.random.default_rng([seed, 2])),
        killer_id=np.where(died & (world.killer != _NONE), world.killer + 1, -1),
        bound_to=np.array(bound, np.int64) + 1,
    )


def _cells(scene: Scene, rng: np.random.Generator, frames: list[Bodies], death_time_s: Floats) -> Cells:
    """Stack one population's moments and give each cell its looks."""
    n_cells = len(frames[0].z)
    z = np.array([bodies.z for bodies in frames])
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
        present=np.ones(z.shape, np.bool_),
        death_time_s=death_time_s,
        brightness=np.exp(rng.normal(0.0, scene.optics.brightness_cv, n_cells)),
        texture=grains,
    )


def _drift(scene: Scene, rng: np.random.Generator) -> Floats:
    """Random walk from 0, reflected at the limit, (T, 2) px."""
    if scene.drift_limit_px == 0:
        return np.zeros((scene.n_frames, 2))
    walk = np.cumsum(rng.normal(0.0, scene.drift_px, (scene.n_frames, 2)), axis=0)
    return reflect(walk - walk[0], -scene.drift_limit_px, scene.drift_limit_px)


class _World:
    """The state that steps: bodies, who is bound to whom and until when, who dies when and by whom."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng, self.now_min = scene, rng, 0.0
        height, width = scene.field_um
        self.low = complex(-scene.margin_um, -scene.margin_um)
        self.high = complex(width + scene.margin_um, height + scene.margin_um)
        more = (height + 2 * scene.margin_um) * (width + 2 * scene.margin_um) / (height * width)
        self.targets = self._bodies(round(scene.n_targets * more), scene.target_diameter_um, "target")
        self.effectors = self._bodies(round(scene.n_effectors * more), scene.effector_diameter_um, "effector")
        for _ in range(150):
            push_apart(self.targets, scene.target_gap_um)
            self._keep_inside(self.targets)
        apart_um = max(scene.sense_um, scene.clearance_um)
        for _ in range(60):
            push_apart(self.effectors, 0.0)
            self._keep_off_targets(np.full(len(self.effectors.z), _NONE), apart_um, np.inf)
            self._keep_inside(self.effectors)
        self.place, self.offset = self.targets.z.copy(), np.zeros(len(self.targets.z), np.complex128)
        n_effectors, n_targets = len(self.effectors.z), len(self.targets.z)
        self.heading = rng.uniform(0, 2 * np.pi, n_effectors)
        self.speed_um_min = scene.effector_speed_um_min * np.exp(rng.normal(-0.03, 0.25, n_effectors))
        self.bound = np.full(n_effectors, _NONE, np.int64)
        self.leave_min = np.zeros(n_effectors)
        self.avoided = np.full(n_effectors, _NONE, np.int64)
        self.avoid_until_min = np.zeros(n_effectors)
        rate_per_min = scene.spontaneous_deaths_per_h / 60
        waits = rng.exponential(1.0, n_targets)
        self.death_min = waits / rate_per_min if rate_per_min > 0 else np.full(n_targets, np.inf)
        self.killer = np.full(n_targets, _NONE, np.int64)

    def effectors_now(self) -> Bodies:
        """A copy for the film, drawn out along the walk."""
        shape = self.effectors.shape.copy()
        drawn_out = np.where(self.bound == _NONE, _ELONGATION[True], _ELONGATION[False])
        shape[:, 0] += drawn_out * np.exp(2j * self.heading)
        return Bodies(self.effectors.z.copy(), self.effectors.radius_um.copy(), shape)

    def targets_now(self) -> Bodies:
        """A copy for the film; the dead have shrunk."""
        dead_min = np.maximum(self.now_min - self.death_min, 0.0)
        shrunk = 1 - (1 - _DEAD_RADIUS_FRAC) * -np.expm1(-dead_min / _SHRINK_MIN)
        return Bodies(self.targets.z.copy(), self.targets.radius_um * shrunk, self.targets.shape.copy())

    def step(self, dt_min: float) -> None:
        """Move on by `dt_min`."""
        self.now_min += dt_min
        self._move_targets(dt_min)
        if len(self.effectors.z):
            self._release(dt_min)
            aim = self._steer(dt_min)
            self._move_effectors(aim, dt_min)
            self._bind(aim)

    def _bodies(self, count: int, diameter_um: float, population: str) -> Bodies:
        span = self.high - self.low
        z = self.low + span.real * self.rng.random(count) + 1j * span.imag * self.rng.random(count)
        radius = diameter_um / 2 * np.exp(self.rng.normal(0.0, self.scene.size_cv, count))
        return Bodies(z, radius, self._noise(count, population))

    def _noise(self, count: int, population: str) -> Complexes:
        scale = np.array(_SHAPE_CV[population]) / np.sqrt(2)
        draw = self.rng.normal(size=(2, count, len(HARMONICS)))
        noise: Complexes = scale * (draw[0] + 1j * draw[1])
        return noise

    def _reshape(self, bodies: Bodies, population: str, dt_min: float) -> None:
        """Let outlines wander (Ornstein-Uhlenbeck), so that they stay as irregular as they began."""
        kept = np.exp(-dt_min / _SHAPE_MIN[population])
        bodies.shape = kept * bodies.shape + np.sqrt(1 - kept**2) * self._noise(len(bodies.z), population)

    def _move_targets(self, dt_min: float) -> None:
        kept = np.exp(-dt_min / _JITTER_MIN)
        draw = self.rng.normal(0.0, self.scene.target_jitter_um, (2, len(self.place)))
        self.offset = kept * self.offset + np.sqrt(1 - kept**2) * (draw[0] + 1j * draw[1])
        self.targets.z = self.place + self.offset
        self._reshape(self.targets, "target", dt_min)

    def _release(self, dt_min: float) -> None:
        """Let go where the time has come, and turn away."""
        holding = np.flatnonzero(self.bound != _NONE)
        died_min = self.death_min[self.bound[holding]]
        just_dead = (died_min <= self.now_min) & (died_min > self.now_min - dt_min)
        shocked = holding[just_dead]
        wait_min = self.rng.exponential(1.0, len(shocked)) * self.scene.release_min
        self.leave_min[shocked] = np.minimum(self.leave_min[shocked], died_min[just_dead] + wait_min)
        leaving = np.flatnonzero((self.bound != _NONE) & (self.leave_min <= self.now_min))
        self.heading[leaving] = np.angle(self.effectors.z[leaving] - self.targets.z[self.bound[leaving]])
        self.avoided[leaving] = self.bound[leaving]
        self.avoid_until_min[leaving] = self.now_min + self.scene.refractory_min
        self.bound[leaving] = _NONE

    def _steer(self, dt_min: float) -> NDArray[np.int64]:
        """Turn at random, and towards the nearest live target that is sensed; its index for each effector."""
        turn = np.sqrt(2 * dt_min / self.scene.persistence_min)
        self.heading += turn * self.rng.normal(size=len(self.heading))
        pairs = cross_pairs(self.effectors, self.targets, self.scene.sense_um)
        held = np.bincount(self.bound[self.bound != _NONE], minlength=len(self.targets.z))
        shuns = self.avoid_until_min[pairs.first] > self.now_min
        shunned = shuns & (self.avoided[pairs.first] == pairs.second)
        sensed = pairs.where(
            (self.bound[pairs.first] == _NONE)
            & (self.death_min[pairs.second] > self.now_min)
            & (held[pairs.second] < self.scene.max_bound)
            & (pairs.gap_um <= self.scene.sense_um)
            & ~shunned
        )
        aim = np.full(len(self.heading), _NONE, np.int64)
        order = np.argsort(-sensed.gap_um, kind="stable")  # the nearest is written last
        aim[sensed.first[order]] = sensed.second[order]
        toward = np.zeros(len(self.heading), np.complex128)
        toward[sensed.first[order]] = sensed.direction[order]
        self.heading = np.where(aim != _NONE, np.angle(np.exp(1j * self.heading) + 2 * toward), self.heading)
        return aim

    def _move_effectors(self, aim: NDArray[np.int64], dt_min: float) -> None:
        before = self.effectors.z.copy()
        free = self.bound == _NONE
        pace = self.speed_um_min * self.rng.gamma(4.0, 0.25, len(free)) * dt_min
        self.effectors.z = before + np.where(free, pace * np.exp(1j * self.heading), 0)
        self._reshape(self.effectors, "effector", dt_min)
        holding = np.flatnonzero(~free)
        held = self.bound[holding]
        crawl = np.exp(1j * self.rng.normal(0.0, 0.04, len(holding)))
        outward = unit(before[holding] - self.targets.z[held]) * crawl
        apart = self.targets.outline_um(held, outward) + self.effectors.outline_um(holding, -outward)
        self.effectors.z[holding] = self.targets.z[held] + (apart - self.scene.overlap_um) * outward
        farthest = 3 * self.scene.effector_speed_um_min * dt_min
        for _ in range(2):
            push_apart(self.effectors, 0.0)
            self._keep_off_targets(np.where(free, aim, self.bound), self.scene.clearance_um, farthest)
        moved = self.effectors.z - before
        self.effectors.z = before + moved * np.minimum(1, farthest / np.maximum(np.abs(moved), 1e-9))
        self._keep_inside(self.effectors)

    def _keep_off_targets(self, wanted: NDArray[np.int64], gap_um: float, farthest_um: float) -> None:
        """Push effectors `gap_um` off all targets but the one that each wants, by up to `farthest_um`."""
        pairs = cross_pairs(self.effectors, self.targets, gap_um)
        missing = np.where(wanted[pairs.first] == pairs.second, 0.0, gap_um - pairs.gap_um)
        np.add.at(self.effectors.z, pairs.first, -np.clip(missing, 0.0, farthest_um) * pairs.direction)

    def _keep_inside(self, bodies: Bodies) -> None:
        """Mirror at the walls of the world."""
        x = reflect(bodies.z.real, self.low.real, self.high.real)
        y = reflect(bodies.z.imag, self.low.imag, self.high.imag)
        bodies.z = x + 1j * y

    def _bind(self, aim: NDArray[np.int64]) -> None:
        """Bind who has arrived, and decide how long it stays and whether it kills."""
        scene, rng = self.scene, self.rng
        seekers = np.flatnonzero(aim != _NONE)
        pairs = measure(self.effectors, self.targets, seekers, aim[seekers])
        arrived = pairs.where(pairs.gap_um <= 0)
        for effector, target in zip(arrived.first, arrived.second, strict=True):
            if np.count_nonzero(self.bound == target) >= scene.max_bound:
                continue
            self.bound[effector] = target
            self.leave_min[effector] = self.now_min + rng.uniform(*scene.dwell_min)
            delay_min, hit = rng.uniform(*scene.kill_delay_min), rng.random() < scene.kill_probability
            death_min = self.now_min + delay_min
            if hit and self.killer[target] == _NONE and death_min < self.death_min[target]:
                self.death_min[target], self.killer[target] = death_min, effector
                self.leave_min[effector] = np.inf  # until the target has died
