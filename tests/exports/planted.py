"""A film of known tracks: one with a gap that then divides, and an object seen once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataops_parsl.bundle import Bundle

DESCRIPTION = """\
axes = "TYX"
pixel_size_um = [0.5, 0.5]
frame_interval_s = 60
[channels]
gfp = { stain = "GFP" }
[populations.cell]
segment = ["gfp"]
mask = "cell"
diameter_um = 10
"""
OBJECTS = [
    (0, 1, 1),
    (0, 2, 2),
    (1, 1, 1),
    (3, 1, 1),
    (4, 1, 3),
    (4, 2, 4),
    (5, 2, 3),
    (5, 1, 4),
    (6, 1, 4),
]
"""Frame, label, track: track 1 is not seen in frame 2 and divides into 3 and 4; 2 is seen once."""
LINKS = [
    (0, 1, 1, 1),
    (1, 1, 3, 1),
    (3, 1, 4, 1),
    (3, 1, 4, 2),
    (4, 1, 5, 2),
    (4, 2, 5, 1),
    (5, 1, 6, 1),
]
"""Source frame and label, target frame and label."""
PARENTS = {1: None, 2: None, 3: 1, 4: 1}
N_FRAMES, SHAPE = 7, (8, 10)


def film(folder: Path) -> tuple[Bundle, dict[str, Any]]:
    """An open bundle of this film, and its tables as the workflow `tracks` publishes them."""
    bundle = Bundle(folder / "output" / "tracks" / "run_20260101T000000Z-aaaa")
    bundle.update(run=bundle.id, workflow="tracks", status="open", dataset={"name": "planted"})
    bundle.update(n_frames={"P1": N_FRAMES}, config={"populations": {"cell": {}}})
    bundle.write_text("dataset/dataset.toml", DESCRIPTION)
    key = {"position_id": "P1", "population": "cell"}
    cells = [
        {**key, "frame": f, "label": n, "x_um": 0.5 * n, "y_um": 1.0, "x_px_raw": 1.0, "y_px_raw": 2.0}
        for f, n, _ in OBJECTS
    ]
    edges = [
        {**key, "source_frame": a, "source_label": b, "target_frame": c, "target_label": d, "cost": None}
        for a, b, c, d in LINKS
    ]
    tracks = [
        {**key, "track_id": t, "lineage_id": 2 if t == 2 else 1, "parent_track_id": p}
        for t, p in PARENTS.items()
    ]
    members = [{**key, "frame": f, "label": n, "track_id": t} for f, n, t in OBJECTS]
    edges_schema = pa.schema(
        [
            *((name, pa.string()) for name in key),
            *((f"{e}_{of}", pa.int64()) for e in ("source", "target") for of in ("frame", "label")),
            ("cost", pa.float64()),
        ]
    )
    return bundle, {
        "cells": pa.Table.from_pylist([{**c, "area_um2": 12.5} for c in cells]),
        "edges": pa.Table.from_pylist(edges, edges_schema),
        "tracks": pa.Table.from_pylist(tracks),
        "members": pa.Table.from_pylist(members),
    }


def labels() -> NDArray[np.uint32]:
    """Its label images (T, Y, X): each object is a column of its label."""
    images = np.zeros((N_FRAMES, *SHAPE), np.uint32)
    for frame, label, _ in OBJECTS:
        images[frame, :, 3 * label] = label
    return images
