"""What makes a film hard to read: which targets get which difficulty, and when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, model_validator

from dataops_parsl.truth.optics import FROZEN
from dataops_parsl.truth.shapes import Floats

Flags = NDArray[np.bool_]

FATES = (
    "dead_at_start",
    "spontaneous_death",
    "harmless_contact",
    "several_candidates",
    "corpse_detaches",
    "dye_lost",
)
CASES = ("near_miss", *FATES, "dead_effector", "out_of_focus")


class HardCases(BaseModel):
    """Hard cases to plant: the share of the targets that each is planned for, and how long it lasts.

    A target is planned for one fate at most (`FATES`), and besides for any of near_miss, dead_effector and
    out_of_focus. What came of the plan is in `Film.cases`: cells that nobody meets do not die of contacts.
    """

    model_config = FROZEN

    near_miss: float = Field(default=0.0, ge=0, le=1)
    """An effector stays 3 to 6 µm away for a while, then leaves."""
    harmless_contact: float = Field(default=0.0, ge=0, le=1)
    """No contact kills."""
    spontaneous_death: float = Field(default=0.0, ge=0, le=1)
    """Dies by itself; effectors keep off."""
    dead_at_start: float = Field(default=0.0, ge=0, le=1)
    """Dead for one to four hours when the film begins."""
    dead_effector: float = Field(default=0.0, ge=0, le=1)
    """An effector lies on it from the start; two of three are dead then, the third dies there."""
    several_candidates: float = Field(default=0.0, ge=0, le=1)
    """Killed by an effector that comes while another, harmless one holds on."""
    corpse_detaches: float = Field(default=0.0, ge=0, le=1)
    """Killed by a contact; the corpse later vanishes, or drifts away and then vanishes."""
    dye_lost: float = Field(default=0.0, ge=0, le=1)
    """Killed by a contact, and loses all of the live stain at once."""
    out_of_focus: float = Field(default=0.0, ge=0, le=1)
    """Debris above it throws a blurred light into the channel of the targets or of the effectors."""
    near_miss_min: tuple[float, float] = (15.0, 35.0)
    """Shortest and longest stay of a near miss, min."""
    detach_min: tuple[float, float] = (20.0, 40.0)
    """Shortest and longest time from death to detaching, min."""
    out_of_focus_min: tuple[float, float] = (20.0, 60.0)
    """Shortest and longest stay of debris, min."""

    @model_validator(mode="after")
    def _one_fate_each(self) -> HardCases:
        total = sum(float(getattr(self, fate)) for fate in FATES)
        if total > 1 + 1e-9:
            raise ValueError(f"the shares of {', '.join(FATES)} must sum to at most 1, not {total:g}")
        for name in ("near_miss_min", "detach_min", "out_of_focus_min"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(
                    f"{name}: write the shortest time, then the longest, not ({low:g}, {high:g})"
                )
        return self


@dataclass(frozen=True, eq=False)
class Debris:
    """Out-of-focus light: Gaussian blobs fixed to the world.

    Attributes
    ----------
    in_effectors : (B,) bool
        Whether it is seen in the effectors' channel, else in the live targets'.
    y_um, x_um, sigma_um : (B,) float64
        Centre and standard deviation, µm.
    height_frac : (B,) float64
        Peak relative to the typical intensity of the channel.
    start_s, end_s : (B,) float64
        While it is there: [start, end).
    """

    in_effectors: Flags
    y_um: Floats
    x_um: Floats
    sigma_um: Floats
    height_frac: Floats
    start_s: Floats
    end_s: Floats


@dataclass(frozen=True, eq=False)
class Plan:
    """What is planned for each target; arrays (N,), times in min since the film's start, inf for never."""

    death_min: Floats
    kept_off: Flags
    immune: Flags
    helped: Flags
    doomed: Flags
    ripe_min: Floats
    dye_lost: Flags
    detach_after_min: Floats
    floats: Flags
    hover_min: Floats
    hover_for_min: Floats
    laid_on: Flags
    effector_death_min: Floats
    blurred: Flags
    division_min: Floats

    def with_daughters(self) -> Plan:
        """Two more targets, without a plan, for each that is to divide; those come last."""
        more = 2 * np.count_nonzero(np.isfinite(self.division_min))
        none = {np.dtype(np.bool_): False, np.dtype(np.float64): np.inf}
        arrays = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Plan(**{name: np.append(a, np.full(more, none[a.dtype])) for name, a in arrays.items()})


def plan_targets(
    hard: HardCases, n_targets: int, duration_min: float, divisions_per_h: float, rng: np.random.Generator
) -> Plan:
    """Draw who gets what.

    Parameters
    ----------
    hard : HardCases
        Shares and times.
    n_targets : int
        Targets in the world.
    duration_min : float
        From the first frame to the last, min.
    divisions_per_h : float
        Rate per target without a fate.
    """
    fate = np.full(n_targets, -1)
    order, first = rng.permutation(n_targets), 0
    for index, name in enumerate(FATES):
        last = min(first + round(getattr(hard, name) * n_targets), n_targets)
        fate[order[first:last]] = index
        first = last
    is_ = {name: fate == index for index, name in enumerate(FATES)}

    def some(share: float, allowed: Flags) -> Flags:
        chosen = np.zeros(n_targets, np.bool_)
        candidates = rng.permutation(np.flatnonzero(allowed))
        chosen[candidates[: round(share * n_targets)]] = True
        return chosen

    def times(chosen: Flags, low: float, high: float) -> Floats:
        return np.where(chosen, rng.uniform(low, high, n_targets), np.inf)

    lives = ~is_["dead_at_start"] & ~is_["corpse_detaches"]
    near, laid_on = some(hard.near_miss, lives), some(hard.dead_effector, lives & ~is_["spontaneous_death"])
    dead_min = -times(is_["dead_at_start"], 60.0, 240.0)
    by_itself_min = times(is_["spontaneous_death"], min(70.0, 0.3 * duration_min), 0.85 * duration_min)
    dies_later = rng.random(n_targets) < 1 / 3
    later_min = rng.uniform(0.1, 0.4, n_targets) * duration_min
    lying_min = np.where(dies_later, later_min, -rng.uniform(60, 240, n_targets))
    wait = rng.exponential(1.0, n_targets) * 60
    divides_min = wait / divisions_per_h if divisions_per_h > 0 else np.full(n_targets, np.inf)
    divides = (fate == -1) & ~laid_on & (divides_min < duration_min)
    return Plan(
        death_min=np.where(is_["dead_at_start"], dead_min, by_itself_min),
        kept_off=is_["spontaneous_death"],
        immune=is_["harmless_contact"],
        helped=is_["several_candidates"],
        doomed=is_["corpse_detaches"] | is_["dye_lost"],
        ripe_min=rng.uniform(0, 0.4 * duration_min, n_targets),
        dye_lost=is_["dye_lost"],
        detach_after_min=times(is_["corpse_detaches"], *hard.detach_min),
        floats=is_["corpse_detaches"] & (rng.random(n_targets) < 0.5),
        hover_min=times(near, 0.0, max(0.0, 0.9 * duration_min - hard.near_miss_min[1])),
        hover_for_min=rng.uniform(*hard.near_miss_min, n_targets),
        laid_on=laid_on,
        effector_death_min=np.where(laid_on, lying_min, np.inf),
        blurred=some(hard.out_of_focus, np.ones(n_targets, np.bool_)),
        division_min=np.where(divides, divides_min, np.inf),
    )


def plan_debris(
    hard: HardCases,
    place: NDArray[np.complex128],
    radius_um: Floats,
    duration_min: float,
    rng: np.random.Generator,
) -> Debris:
    """Debris over the targets at `place` (x + iy, µm), one each."""
    count = len(place)
    off = rng.normal(0.0, 0.2, (2, count)) * radius_um
    stay_min = rng.uniform(*hard.out_of_focus_min, count)
    start_min = rng.uniform(0.0, 1.0, count) * np.maximum(duration_min - stay_min, 0.0)
    return Debris(
        in_effectors=rng.random(count) < 0.5,
        y_um=place.imag + off[0],
        x_um=place.real + off[1],
        sigma_um=radius_um * rng.uniform(1.0, 1.8, count),
        height_frac=rng.uniform(0.35, 0.7, count),
        start_s=start_min * 60,
        end_s=(start_min + stay_min) * 60,
    )
