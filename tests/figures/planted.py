"""Planted tables of a run: known deaths, contacts and kills on a plate of any size."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa

INTERVAL_S = 120.0
ORIGINS = ("film_start", "entry", "first_contact")
_TYPES = {"s": pa.string(), "n": pa.float64(), "i": pa.int64(), "b": pa.bool_()}
_TABLES = {
    "positions": "position_id:s well:s condition:s control:s",
    "frames": "position_id:s frame:i time_s:n dy_px:n dx_px:n confidence:n valid:b jump:b refocused:b",
    "cells": "position_id:s population:s frame:i label:i track_id:i x_um:n y_um:n in_contact:b n_contacts:i "
    "death_score:n mean_bg_live:n alive:b",
    "tracks": "position_id:s population:s track_id:i start_s:n end_s:n end_reason:s",
    "deaths": "position_id:s population:s track_id:i death_frame:i death_time_s:n attribution:s delay_s:n",
    "death_candidates": "position_id:s population:s track_id:i effector_population:s effector_track_id:i "
    "contact_s:n lag_s:n credit_frac:n rank:i",
    "effectors": "position_id:s population:s control_deaths_per_h:n",
    "chance": "position_id:s draw:i n_attributed:i",
    "chance_kills": "position_id:s n_kills:i n_effectors:i n_effectors_by_chance:n",
    "survival": "level:s name:s origin:s lost_as:s time_s:n n_at_risk:n n_entered:n n_dead:n n_censored:n "
    "alive_frac:n low_frac:n high_frac:n",
    "summary": "level:s name:s condition:s dead_frac:n",
    "thresholds": "population:s channel:s threshold:n source:s",
}
Rows = dict[str, list[tuple[Any, ...]]]


def run(
    conditions: tuple[str | None, ...] = ("control", "coculture"),
    replicates: int = 3,
    n_frames: int = 60,
    n_targets: int = 30,
    deaths: bool = True,
    known: bool = True,
) -> dict[str, pa.Table]:
    """Tables of a plate: in condition i, target k of position r dies at frame 10 + k where k < 6 i + r.

    The first condition is the negative control; each death has one effector, of the target's number.
    """
    random, rows = np.random.default_rng(4), defaultdict[str, list[tuple[Any, ...]]](list)
    for i, condition in enumerate(conditions):
        n_dead = 0
        for r in range(replicates):
            number = i * replicates + r
            name, well = f"p{number:02d}", f"{chr(65 + number // 12)}{number % 12 + 1}"
            control = "negative" if i == 0 and len(conditions) > 1 else None
            rows["positions"].append((name, well, condition, control))
            mine = min(6 * i + r, n_targets) if deaths and known else 0
            n_dead += mine
            _frames(rows, name, n_frames, random)
            for k in range(n_targets):
                _pair(rows, name, k, 10 + k if k < mine else None, n_frames, known, random)
            _chance(rows, name, n_targets, mine, random)
            rows["summary"].append(("position", name, condition, mine / n_targets if known else None))
        for origin in ORIGINS if known else ():
            for lost in ("censored", "dead"):
                head = ("condition", condition or "all", origin, lost)
                _steps(rows, head, n_targets * replicates, n_dead, n_frames)
    rows["thresholds"].append(("target", "death" if known else None, 120.0 if known else None, ""))
    return {name: _table(rows[name], columns) for name, columns in _TABLES.items()}


def _table(rows: list[tuple[Any, ...]], columns: str) -> pa.Table:
    fields = [column.split(":") for column in columns.split()]
    values = list(zip(*rows, strict=True)) or [()] * len(fields)
    return pa.table({n: pa.array(v, _TYPES[k]) for (n, k), v in zip(fields, values, strict=True)})


def _frames(rows: Rows, name: str, n_frames: int, random: np.random.Generator) -> None:
    walk = np.cumsum(random.normal(0, 1.0, (n_frames, 2)), axis=0)
    for f, (dy, dx) in enumerate(walk.tolist()):
        rows["frames"].append(
            (name, f, f * INTERVAL_S, dy, dx, 0.9 + 0.05 * np.sin(f / 9), f != 7, f == 5, False)
        )


def _pair(
    rows: Rows, name: str, k: int, death: int | None, n_frames: int, known: bool, random: np.random.Generator
) -> None:
    """A target and its effector, in contact every third frame and after death; every fourth is lost."""
    stop, track = n_frames if k % 4 else n_frames - 10, k + 1
    death = None if death is None else min(death, n_frames - 6)
    for f in range(stop):
        dead = death is not None and f >= death
        near = dead or f % 3 == 0
        score = random.normal(40, 6) + (
            260 * min((f - death + 1) / 3, 1) if death is not None and dead else 0
        )
        live = random.normal(300, 20) * (0.4 if dead else 1)
        seen = (
            f,
            track,
            track,
            20.0 + 3 * k,
            30.0,
            near,
            int(near),
            score,
            live,
            not dead if known else None,
        )
        rows["cells"].append((name, "target", *seen))
        rows["cells"].append(
            (name, "effector", f, track, track, 24.0 + 3 * k, 30.0, near, 1, 30.0, 20.0, True)
        )
    for population in ("target", "effector"):
        end = ((stop - 1) * INTERVAL_S, "film" if k % 4 else "lost")
        rows["tracks"].append((name, population, track, 0.0, *end))
    rows["effectors"].append((name, "effector", 0.0125))
    if death is not None:
        credit = ("attributed", 600.0 + 240 * k) if k % 5 else ("unattributed", None)
        rows["deaths"].append((name, "target", track, death, death * INTERVAL_S, *credit))
        best = ("effector", track, 900.0 + 60 * k, 0.0, 1.0, 1)
        rows["death_candidates"].append((name, "target", track, *best))


def _chance(rows: Rows, name: str, n: int, dead: int, random: np.random.Generator) -> None:
    for draw in range(200 if dead else 0):
        rows["chance"].append((name, draw, int(random.poisson(dead / 4))))
    rows["chance_kills"] += [(name, 0, n - dead, n - dead / 4), (name, 1, dead, dead / 4)]


def _steps(rows: Rows, head: tuple[str, ...], n: int, n_dead: int, n_frames: int) -> None:
    """n targets from time 0; one dies every other frame from frame 10 on, the rest leave at the end."""
    alive, left = 1.0, n
    times = [0.0] + [(10 + 2 * k) * INTERVAL_S for k in range(min(n_dead, (n_frames - 12) // 2))]
    for row, time_s in enumerate([*times, (n_frames - 1) * INTERVAL_S]):
        died, before = int(0 < row < len(times)), left
        alive *= 1 - died / max(left, 1)
        left -= died
        band = 1.96 * np.sqrt(max(alive * (1 - alive), 0) / n)
        bounds = (max(alive - band, 0), min(alive + band, 1)) if band else (None, None)
        out = 0 if time_s < (n_frames - 1) * INTERVAL_S else left
        rows["survival"].append((*head, time_s, before, n if row == 0 else 0, died, out, alive, *bounds))
