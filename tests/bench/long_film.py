"""How far the drift of a long film errs at its end: errors of comparisons add up along the chain.

A film of 8,640 frames has 864 keyframes by default; they alone are drawn and registered here, since the
frames between add one comparison each. Cells stay, or live for 50 to 250 keyframes, then another appears.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataops_parsl.film import Film
from dataops_parsl.stage import Stack
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.stages.register_tables import SHIFTS
from dataops_parsl.tables import Rows

N_KEYFRAMES, SIDE_PX, N_CELLS = 864, 160, 60
LIVES = (50, 250)
"""Shortest and longest life of a cell, keyframes."""

FACTS = {
    "channels": {"gfp": {"labels": "", "every": 1}},
    "segments": {"target": ["gfp"]},
    "shape_px": (SIDE_PX, SIDE_PX),
}


def registered(stack: Stack, n_frames: int, stage: RegisterDenoise) -> list[dict[str, Any]]:
    """Rows of `transforms`, frame by frame."""
    film, carry, out = Film(position_id="p", facts=FACTS), None, []
    for frame in range(n_frames):
        shifts = SHIFTS.table(stage.estimate(film, frame, {"gfp": stack}), position_id="p", frame=frame)
        row, carry = stage.chain(film, frame, carry, Rows(shifts))
        out.append({name: values[0] for name, values in row.items()})
    return out


def drift_px() -> NDArray[np.float64]:
    """Planted drift (keyframes, 2): slow waves of some pixels, and a step of the stage every now and then."""
    rng = np.random.default_rng(3)
    time = np.arange(N_KEYFRAMES)[:, None] / N_KEYFRAMES
    waves = 5 * np.sin(2 * np.pi * (time * (2.3, 3.1) + (0, 0.4)))
    steps = rng.normal(0, 3, (N_KEYFRAMES // 50 + 1, 2))[np.arange(N_KEYFRAMES) // 50]
    wander = waves + steps + rng.normal(0, 0.3, (N_KEYFRAMES, 2))
    return np.asarray(wander - wander[0])


class LongFilm(Mapping[int, NDArray[np.uint16]]):
    """Keyframes, drawn when they are asked for; the last few are kept."""

    def __init__(self, *, renewed: bool) -> None:
        self.drift_px = drift_px()
        rng = np.random.default_rng(4)
        self._lives = rng.integers(*LIVES, N_CELLS) if renewed else np.full(N_CELLS, 10 * N_KEYFRAMES)
        self._phases = rng.integers(0, 10 * N_KEYFRAMES, N_CELLS) % self._lives if renewed else 0
        self._drawn: dict[int, NDArray[np.uint16]] = {}

    def __len__(self) -> int:
        return N_KEYFRAMES

    def __iter__(self) -> Any:
        return iter(range(N_KEYFRAMES))

    def __getitem__(self, keyframe: int) -> NDArray[np.uint16]:
        if keyframe not in self._drawn:
            self._drawn[keyframe] = self._draw(keyframe)
        return self._drawn[keyframe]

    def _draw(self, keyframe: int) -> NDArray[np.uint16]:
        generations = (keyframe + self._phases) // self._lives
        grid = np.arange(SIDE_PX)
        image = np.full((SIDE_PX, SIDE_PX), 60.0)
        for cell, generation in enumerate(generations.tolist()):
            own = np.random.default_rng([cell, generation])
            y, x = own.uniform(-20, SIDE_PX + 20, 2) + self.drift_px[keyframe]
            peak, radius = 150 * own.lognormal(0, 0.35), own.uniform(4, 7)
            down, right = (np.exp(-((grid - c) ** 2) / (2 * radius**2)) for c in (y, x))
            image += peak * np.outer(down, right)
        rng = np.random.default_rng([5, keyframe])
        noisy = rng.poisson(image) + rng.normal(0, 3, image.shape)
        return np.maximum(0, noisy).round().astype(np.uint16)


def end_errors_px(film: LongFilm, stage: RegisterDenoise) -> tuple[float, float, float, int]:
    """Median and largest error, px; that which the last frame states; and frames that were not registered."""
    rows = registered(film, len(film), stage)
    found = np.array([(row["dy_px"], row["dx_px"]) for row in rows])
    errors = np.hypot(*(found - film.drift_px).T)
    lost = sum(not row["valid"] for row in rows)
    return float(np.median(errors)), float(errors.max()), float(rows[-1]["error_px"] or np.nan), lost
