"""The state of a simulated world: bodies, who is bound to whom and until when, who dies when and by whom."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.truth.bodies import Bodies, cross_pairs, push_apart, reflect, unit
from dataops_parsl.truth.hard import Plan, plan_targets
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.shapes import HARMONICS, Complexes, Floats

SHAPE_CV = {"effector": (0.05, 0.04, 0.02), "target": (0.08, 0.045, 0.02)}
ELONGATION = {True: 0.13, False: 0.03}  # of an effector that walks, that does not
_DEAD_RADIUS_FRAC, _SHRINK_MIN = 0.87, 15.0
_KEPT_OFF_UM = 4.0
AWAY = -1e6  # where those wait that are not there
NONE = -1


class State:
    """Places everybody at the start, and holds what the processes of a `World` change."""

    def __init__(self, scene: Scene, rng: np.random.Generator, hard_rng: np.random.Generator) -> None:
        # What is hard is drawn from a generator of its own: scenes without it play as they always did.
        self.scene, self.rng, self.hard_rng, self.now_min = scene, rng, hard_rng, 0.0
        height, width = scene.field_um
        self.low = complex(-scene.margin_um, -scene.margin_um)
        self.high = complex(width + scene.margin_um, height + scene.margin_um)
        more = (height + 2 * scene.margin_um) * (width + 2 * scene.margin_um) / (height * width)
        self.targets = self._bodies(round(scene.n_targets * more), scene.target_diameter_um, "target")
        self.effectors = self._bodies(round(scene.n_effectors * more), scene.effector_diameter_um, "effector")
        self.extra_um = np.zeros(len(self.targets.z))
        self._settle()
        self._start_effectors()
        self._start_targets()
        self._lay_effectors()

    def _settle(self) -> None:
        """Move all apart until nobody touches anybody."""
        scene = self.scene
        for _ in range(150):
            push_apart(self.targets, scene.target_gap_um)
            self._keep_inside(self.targets)
        apart_um = max(scene.sense_um, scene.clearance_um)
        for _ in range(60):
            push_apart(self.effectors, 0.0)
            self._keep_off_targets(np.full(len(self.effectors.z), NONE), apart_um, np.inf)
            self._keep_inside(self.effectors)

    def _start_effectors(self) -> None:
        scene, rng, count = self.scene, self.rng, len(self.effectors.z)
        self.heading = rng.uniform(0, 2 * np.pi, count)
        self.speed_um_min = scene.effector_speed_um_min * np.exp(rng.normal(-0.03, 0.25, count))
        self.bound = np.full(count, NONE, np.int64)
        self.leave_min = np.zeros(count)
        self.avoided = np.full(count, NONE, np.int64)
        self.avoid_until_min = np.zeros(count)
        self.effector_death_min = np.full(count, np.inf)
        self.responds = self.hard_rng.random(count) < scene.responsive_frac
        self.hovered = np.full(count, NONE, np.int64)
        self.hover_until_min = np.zeros(count)

    def _start_targets(self) -> None:
        """Plan for the targets, and keep places for the daughters."""
        scene, founders = self.scene, len(self.targets.z)
        plan = plan_targets(scene.hard, founders, scene.duration_min, scene.divisions_per_h, self.hard_rng)
        self.plan: Plan = plan.with_daughters()
        daughters = len(self.plan.death_min) - founders
        if daughters:
            z = AWAY * (1 + 1e-3 * np.arange(daughters)) + 0j
            shape = np.zeros((daughters, len(HARMONICS)), np.complex128)
            old = self.targets
            self.targets = Bodies(
                np.append(old.z, z),
                np.append(old.radius_um, np.ones(daughters)),
                np.append(old.shape, shape, axis=0),
            )
        count = founders + daughters
        self.dividing = np.flatnonzero(np.isfinite(self.plan.division_min))
        self.parent, self.born_min = np.full(count, NONE, np.int64), np.zeros(count)
        self.born_min[founders:] = np.inf
        self.present = np.arange(count) < founders
        self.place, self.offset = self.targets.z.copy(), np.zeros(count, np.complex128)
        rate_per_min = scene.spontaneous_deaths_per_h / 60
        waits = self.rng.exponential(1.0, count)
        by_itself_min = waits / rate_per_min if rate_per_min > 0 else np.full(count, np.inf)
        self.death_min = np.minimum(by_itself_min, self.plan.death_min)
        self.killer = np.full(count, NONE, np.int64)
        self.waits_for_near_miss = np.isfinite(self.plan.hover_min)
        self.extra_um = np.where(self.plan.kept_off, _KEPT_OFF_UM, 0.0)

    def _lay_effectors(self) -> None:
        """Lay the nearest free effector on each target for which this is planned."""
        for target in np.flatnonzero(self.plan.laid_on):
            away = np.where(self.bound == NONE, np.abs(self.effectors.z - self.targets.z[target]), np.inf)
            if not np.isfinite(away).any():
                return
            effector = np.array([np.argmin(away)])
            outward = unit(self.effectors.z[effector] - self.targets.z[target])
            on = np.array([target])
            apart = self.targets.outline_um(on, outward) + self.effectors.outline_um(effector, -outward)
            self.effectors.z[effector] = self.targets.z[on] + (apart - self.scene.overlap_um) * outward
            self.bound[effector], self.leave_min[effector] = target, np.inf
            self.effector_death_min[effector] = self.plan.effector_death_min[target]
        if self.plan.laid_on.any():
            push_apart(self.effectors, 0.0)

    def _moves(self) -> NDArray[np.bool_]:
        """The effectors that are alive."""
        return self.effector_death_min > self.now_min

    def effectors_now(self) -> Bodies:
        """A copy for the film, drawn out along the walk."""
        shape = self.effectors.shape.copy()
        walks = (self.bound == NONE) & (self.hovered == NONE) & self._moves()
        shape[:, 0] += np.where(walks, ELONGATION[True], ELONGATION[False]) * np.exp(2j * self.heading)
        shrunk = self._shrunk(self.effector_death_min)
        return Bodies(self.effectors.z.copy(), self.effectors.radius_um * shrunk, shape)

    def targets_now(self) -> Bodies:
        """A copy for the film; the dead have shrunk."""
        shrunk = self._shrunk(self.death_min)
        return Bodies(self.targets.z.copy(), self.targets.radius_um * shrunk, self.targets.shape.copy())

    def _shrunk(self, death_min: Floats) -> Floats:
        dead_min = np.maximum(self.now_min - death_min, 0.0)
        shrunk: Floats = 1 - (1 - _DEAD_RADIUS_FRAC) * -np.expm1(-dead_min / _SHRINK_MIN)
        return shrunk

    def _bodies(self, count: int, diameter_um: float, population: str) -> Bodies:
        span = self.high - self.low
        z = self.low + span.real * self.rng.random(count) + 1j * span.imag * self.rng.random(count)
        radius = diameter_um / 2 * np.exp(self.rng.normal(0.0, self.scene.size_cv, count))
        return Bodies(z, radius, self._noise(count, population))

    def _noise(self, count: int, population: str) -> Complexes:
        scale = np.array(SHAPE_CV[population]) / np.sqrt(2)
        draw = self.rng.normal(size=(2, count, len(HARMONICS)))
        noise: Complexes = scale * (draw[0] + 1j * draw[1])
        return noise

    def _keep_off_targets(self, wanted: NDArray[np.int64], gap_um: float, farthest_um: float) -> None:
        """Push effectors `gap_um` off all targets but the one that each wants, by up to `farthest_um`."""
        pairs = cross_pairs(self.effectors, self.targets, gap_um + self.extra_um.max(initial=0.0))
        keep_um = gap_um + self.extra_um[pairs.second]
        missing = np.where(wanted[pairs.first] == pairs.second, 0.0, keep_um - pairs.gap_um)
        np.add.at(self.effectors.z, pairs.first, -np.clip(missing, 0.0, farthest_um) * pairs.direction)

    def _keep_inside(self, bodies: Bodies) -> None:
        """Mirror at the walls of the world."""
        x = reflect(bodies.z.real, self.low.real, self.high.real)
        y = reflect(bodies.z.imag, self.low.imag, self.high.imag)
        bodies.z = x + 1j * y
