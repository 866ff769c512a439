"""The world that steps: who migrates where, touches whom, and who dies of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.truth.bodies import Bodies, cross_pairs, measure, push_apart, unit
from dataops_parsl.truth.state import AWAY, NONE, State

_SHAPE_MIN = {"effector": 6.0, "target": 90.0}
_JITTER_MIN = 20.0
_NEAR_MISS_UM = 4.8  # along the ray between the centres; the masks come somewhat closer
_NEAR_MISS_FROM_UM, _NEAR_MISS_WAY_MIN = 60.0, 6.0
_FLOAT_UM_MIN, _FLOAT_MIN = 4.0, 12.0
_DAUGHTER_FRAC, _DAUGHTERS_APART_UM = 0.8, 0.5


class World(State):
    """The processes, each of which changes the state by one small step in time."""

    def step(self, dt_min: float) -> None:
        """Move on by `dt_min`."""
        self.now_min += dt_min
        self._divide()
        self._detach(dt_min)
        self._move_targets(dt_min)
        if len(self.effectors.z):
            self._release(dt_min)
            self._send_near_misses()
            aim = self._steer(dt_min)
            self._move_effectors(aim, dt_min)
            self._bind(aim)

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
        holding = np.flatnonzero(self.bound != NONE)
        died_min = self.death_min[self.bound[holding]]
        just_dead = (died_min <= self.now_min) & (died_min > self.now_min - dt_min) & self._moves()[holding]
        shocked = holding[just_dead]
        wait_min = self.rng.exponential(1.0, len(shocked)) * self.scene.release_min
        self.leave_min[shocked] = np.minimum(self.leave_min[shocked], died_min[just_dead] + wait_min)
        leaving = np.flatnonzero((self.bound != NONE) & (self.leave_min <= self.now_min))
        self.heading[leaving] = np.angle(self.effectors.z[leaving] - self.targets.z[self.bound[leaving]])
        self.avoided[leaving] = self.bound[leaving]
        self.avoid_until_min[leaving] = self.now_min + self.scene.refractory_min
        self.bound[leaving] = NONE

    def _divide(self) -> None:
        """Replace targets whose time has come, that live and that nobody holds, by two daughters."""
        due = self.dividing[self.plan.division_min[self.dividing] <= self.now_min]
        for parent in due[
            self.present[due] & (self.death_min[due] > self.now_min) & (self.killer[due] == NONE)
        ]:
            if np.any(self.bound == parent):
                continue
            others = self.targets.z[self.present & (np.arange(len(self.place)) != parent)]
            radius = _DAUGHTER_FRAC * self.targets.radius_um[parent]
            middle, ways = self.targets.z[parent], np.exp(1j * np.pi * np.arange(8) / 8)
            half = radius + _DAUGHTERS_APART_UM / 2
            ends = middle + half * np.stack([ways, -ways], axis=1)
            room = np.abs(ends[:, :, None] - others).min(axis=(1, 2), initial=np.inf)
            first = len(self.place) - 2 * len(self.dividing) + 2 * np.searchsorted(self.dividing, parent)
            daughters = np.array([first, first + 1])
            self.place[daughters], self.targets.radius_um[daughters] = ends[np.argmax(room)], radius
            self.targets.z[daughters] = self.place[daughters]
            self.offset[daughters] = 0
            self.parent[daughters], self.born_min[daughters] = parent, self.now_min
            self.present[daughters], self.waits_for_near_miss[parent] = True, False
            self._take_away(np.array([parent]))
            self.death_min[parent] = np.inf

    def _detach(self, dt_min: float) -> None:
        """Let corpses drift off, and take them away."""
        loose_min = self.now_min - self.death_min - self.plan.detach_after_min
        loose = self.present & (loose_min >= 0)
        drifts = np.flatnonzero(loose & self.plan.floats & (loose_min < _FLOAT_MIN))
        way = np.exp(2j * np.pi * self.plan.ripe_min[drifts] / max(self.scene.duration_min, 1.0) / 0.4)
        self.place[drifts] += _FLOAT_UM_MIN * dt_min * way
        self.extra_um[drifts] = -np.inf  # it floats above: nobody has to go around it
        gone = loose.copy()
        gone[drifts] = False
        self._take_away(np.flatnonzero(gone))

    def _take_away(self, targets: NDArray[np.int64]) -> None:
        self.present[targets] = False
        self.place[targets] = AWAY * (2 + 1e-3 * targets) + 0j
        self.targets.z[targets] = self.place[targets]
        held = (self.bound != NONE) & np.isin(self.bound, targets)
        self.bound[held] = NONE

    def _send_near_misses(self) -> None:
        """Send an effector close to each target for which it is time, and call back those who have stayed."""
        gone = (
            ~self.present[self.hovered] & (self.hovered != NONE)
            if len(self.present)
            else self.hovered != NONE
        )
        back = np.flatnonzero((self.hovered != NONE) & ((self.hover_until_min <= self.now_min) | gone))
        self.heading[back] = np.angle(self.effectors.z[back] - self.targets.z[self.hovered[back]])
        self.avoided[back], self.avoid_until_min[back] = self.hovered[back], self.now_min + 60
        self.hovered[back] = NONE
        for target in np.flatnonzero(self.waits_for_near_miss & (self.plan.hover_min <= self.now_min)):
            free = (self.bound == NONE) & (self.hovered == NONE) & self._moves()
            away = np.where(free, np.abs(self.effectors.z - self.targets.z[target]), np.inf)
            nearest = int(np.argmin(away))
            if self.death_min[target] <= self.now_min or away[nearest] > _NEAR_MISS_FROM_UM:
                continue
            self.hovered[nearest] = target
            self.hover_until_min[nearest] = (
                self.now_min + _NEAR_MISS_WAY_MIN + self.plan.hover_for_min[target]
            )
            self.waits_for_near_miss[target] = False

    def _steer(self, dt_min: float) -> NDArray[np.int64]:
        """Turn at random, and towards the nearest live target that is sensed; its index for each effector."""
        turn = np.sqrt(2 * dt_min / self.scene.persistence_min)
        self.heading += turn * self.rng.normal(size=len(self.heading))
        pairs = cross_pairs(self.effectors, self.targets, self.scene.sense_um)
        lives = self._moves()
        held = np.bincount(self.bound[(self.bound != NONE) & lives], minlength=len(self.targets.z))
        shuns = self.avoid_until_min[pairs.first] > self.now_min
        shunned = shuns & (self.avoided[pairs.first] == pairs.second)
        sensed = pairs.where(
            (self.bound[pairs.first] == NONE)
            & (self.death_min[pairs.second] > self.now_min)
            & (held[pairs.second] < self.scene.max_bound)
            & (pairs.gap_um <= self.scene.sense_um)
            & ~shunned
            & (lives & self.responds)[pairs.first]
            & (self.hovered[pairs.first] == NONE)
            & ~self.plan.kept_off[pairs.second]
        )
        aim = np.full(len(self.heading), NONE, np.int64)
        order = np.argsort(-sensed.gap_um, kind="stable")  # the nearest is written last
        aim[sensed.first[order]] = sensed.second[order]
        toward = np.zeros(len(self.heading), np.complex128)
        toward[sensed.first[order]] = sensed.direction[order]
        self.heading = np.where(aim != NONE, np.angle(np.exp(1j * self.heading) + 2 * toward), self.heading)
        return aim

    def _move_effectors(self, aim: NDArray[np.int64], dt_min: float) -> None:
        before = self.effectors.z.copy()
        free = self.bound == NONE
        pace = self.speed_um_min * self.rng.gamma(4.0, 0.25, len(free)) * dt_min
        lives = self._moves()
        walks = free & lives & (self.hovered == NONE)
        self.effectors.z = before + np.where(walks, pace * np.exp(1j * self.heading), 0)
        self._reshape(self.effectors, "effector", dt_min)
        near = np.where(free, self.hovered, self.bound)
        holding = np.flatnonzero(near != NONE)
        held = near[holding]
        crawl = np.exp(1j * self.rng.normal(0.0, 0.04, len(holding)) * lives[holding])
        outward = unit(before[holding] - self.targets.z[held]) * crawl
        apart = self.targets.outline_um(held, outward) + self.effectors.outline_um(holding, -outward)
        gap_um = np.where(free[holding], _NEAR_MISS_UM, -self.scene.overlap_um)
        self.effectors.z[holding] = self.targets.z[held] + (apart + gap_um) * outward
        farthest = 3 * self.scene.effector_speed_um_min * dt_min
        for _ in range(2):
            push_apart(self.effectors, 0.0)
            self._keep_off_targets(np.where(near == NONE, aim, near), self.scene.clearance_um, farthest)
        moved = self.effectors.z - before
        self.effectors.z = before + moved * np.minimum(1, farthest / np.maximum(np.abs(moved), 1e-9))
        self._keep_inside(self.effectors)

    def _bind(self, aim: NDArray[np.int64]) -> None:
        """Bind who has arrived, and decide how long it stays and whether it kills."""
        scene, rng = self.scene, self.rng
        seekers = np.flatnonzero(aim != NONE)
        pairs = measure(self.effectors, self.targets, seekers, aim[seekers])
        arrived = pairs.where(pairs.gap_um <= 0)
        for effector, target in zip(arrived.first, arrived.second, strict=True):
            others = int(np.count_nonzero((self.bound == target) & self._moves()))
            if others >= scene.max_bound:
                continue
            self.bound[effector] = target
            self.leave_min[effector] = self.now_min + rng.uniform(*scene.dwell_min)
            delay_min, hit = rng.uniform(*scene.kill_delay_min), rng.random() < self._kills(target, others)
            death_min = self.now_min + delay_min
            if hit and self.killer[target] == NONE and death_min < self.death_min[target]:
                self.death_min[target], self.killer[target] = death_min, effector
                self.leave_min[effector] = np.inf  # until the target has died

    def _kills(self, target: int, others: int) -> float:
        """Chance that a contact with a target kills it, while `others` hold on to it too."""
        plan, ripe = self.plan, self.plan.ripe_min[target] <= self.now_min
        if plan.immune[target] or plan.kept_off[target]:
            return 0.0
        if plan.helped[target]:
            return float(ripe and others > 0)
        return float(ripe) if plan.doomed[target] else self.scene.kill_probability
