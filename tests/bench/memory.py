"""Memory: a film of 1,000 objects x 1,000 frames through tracking, and contacts over 100 and 1,000 frames.

    python -m tests.bench.stages memory

Each in a process of its own, as a worker computes it; peak resident memory is the kernel's VmHWM.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dataops_parsl.algorithms.contacts import pairs
from dataops_parsl.film import Film
from dataops_parsl.stages.measure import OBJECTS
from dataops_parsl.stages.trackmate import LINKS, Trackmate
from dataops_parsl.tables import Rows
from tests.bench import films
from tests.bench.measure import Row, alone, peak_mb, row, seconds

N_OBJECTS, N_FRAMES, SIDE_PX, REACH_PX = 1000, 1000, 1024, 20.0
CONTACT_FRAMES = (100, 1000)
GROWTH_BAR_FRAC = 0.05


def tracking(n_frames: int) -> dict[str, Any]:
    """The stage `trackmate` over a film: tables in, tables out."""
    film = films.spots(N_OBJECTS, n_frames, SIDE_PX, 4.0, missed_frac=0.02)
    counts = [len(points) for points in film]
    place = np.concatenate(film)
    schema = OBJECTS.for_channels([])
    columns = {c.name: np.zeros(len(place), _NUMPY[c.kind]) for c in schema.columns}
    columns |= {
        "position_id": np.full(len(place), "a", object),
        "population": np.full(len(place), "cell", object),
        "frame": np.repeat(np.arange(n_frames), counts),
        "label": np.concatenate([np.arange(1, n + 1) for n in counts]),
        "y_um": place[:, 0],
        "x_um": place[:, 1],
    }
    objects = Rows(schema.table(columns))
    del columns, place, film
    start = peak_mb()
    stage = Trackmate(linking_max_distance_um=REACH_PX, gap_closing_max_distance_um=REACH_PX, splitting=True)
    facts = {"populations": {"cell": {"segment": ["n"], "mask": "cell", "diameter_um": REACH_PX}}}
    about = Film("a", range(n_frames), "cell", facts)
    made: list[dict[str, Any]] = []
    linking_s = seconds(lambda: made.extend(stage.link(about, f, objects) for f in range(1, n_frames)))
    links = {name: np.concatenate([part[name] for part in made]) for name in made[0]}
    table = Rows(LINKS.table(links, position_id="a", population="cell"))
    del links
    made.clear()
    closed: list[dict[str, Any]] = []
    closing_s = seconds(lambda: closed.append(stage.close(about, objects, table)))
    tracks = closed[0]["lineages"]["track_id"]
    return {
        "linking_s": linking_s,
        "closing_s": closing_s,
        "start_mb": start,
        "peak_mb": peak_mb(),
        "n_objects": len(objects),
        "n_tracks": len(tracks),
    }


_NUMPY = {"int64": np.int64, "float64": np.float64, "string": object, "bool": np.bool_, "binary": object}


def contacts(n_frames: int, side_px: int, n_cells: int) -> dict[str, Any]:
    """Pairs of so many frames, one after the other; nothing is kept but their number."""
    images = [films.cells(n_cells, side_px, 14.0, seed) for seed in range(4)]
    start = peak_mb()
    n = 0
    for f in range(n_frames):
        a, b = np.roll(images[f % 2], f, axis=0), np.roll(images[2 + f % 2], 3 * f, axis=1)
        n += len(pairs(a, b, store_um=10.0, pixel_size_um=(0.65, 0.65))["gap_um"])
    return {"start_mb": start, "peak_mb": peak_mb(), "n_pairs": n}


def rows() -> Iterator[Row]:
    """Peaks."""
    whole = alone("tests.bench.memory", "tracking", N_FRAMES)
    n = whole["n_objects"]
    matrix_mb = 8 * (n / 1000) ** 2
    yield row(
        f"tracking of {N_OBJECTS:,} objects x {N_FRAMES:,} frames",
        whole["peak_mb"],
        unit="MB peak",
        note=f"{n:,} objects, {whole['n_tracks']:,} tracks; {whole['start_mb']:.0f} MB before; linking "
        f"{whole['linking_s']:.0f} CPU s, closing {whole['closing_s']:.0f}; "
        f"one matrix of all pairs would be {matrix_mb:,.0f} MB",
    )
    large = alone("tests.bench.memory", "contacts", 2, 2048, 5000)
    yield row(
        "contacts of 2048², 5,000 objects a channel",
        large["peak_mb"],
        unit="MB peak",
        note=f"{large['start_mb']:.0f} MB before, with four label images",
    )
    few, many = (alone("tests.bench.memory", "contacts", n, 512, 300) for n in CONTACT_FRAMES)
    growth = many["peak_mb"] / few["peak_mb"] - 1
    yield row(
        f"contacts of 512² over {CONTACT_FRAMES[1]:,} and {CONTACT_FRAMES[0]} frames",
        many["peak_mb"],
        few["peak_mb"],
        unit="MB peak",
        bar=f"grows by <= {GROWTH_BAR_FRAC:.0%}",
        met=growth <= GROWTH_BAR_FRAC,
        note=f"{growth:+.1%}; {many['n_pairs']:,} pairs",
    )


if __name__ == "__main__":
    measure: Callable[..., dict[str, Any]] = {"tracking": tracking, "contacts": contacts}[sys.argv[1]]
    print(json.dumps(measure(*map(int, sys.argv[2:]))))
