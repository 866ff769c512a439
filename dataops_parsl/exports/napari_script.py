"""Open the layers that lie beside this file: `napari view.py`, or with a Python that has napari and zarr.

Written by `runs napari`; `layers.json` names the arrays, ``tracks_*.csv`` are the tracks.
"""

import csv
import json
import sys
from pathlib import Path
from typing import Any

import napari
import numpy as np
import zarr

HERE = Path(globals().get("__file__") or next(a for a in sys.argv if a.endswith(".py"))).parent


def show(viewer: Any, layers: Any) -> None:
    """Add films, label images and tracks, all in µm."""
    scale = layers["scale"]
    for layer in layers["images"]:
        film = zarr.open_array(layer["path"], mode="r")
        low, high = np.percentile(film[layer["shown_frame"]], (1, 99.8))
        viewer.add_image(
            film,
            name=layer["name"],
            scale=scale,
            colormap=layer["colour"],
            blending="additive",
            contrast_limits=(float(low), float(max(high, low + 1))),
        )
    for layer in layers["labels"]:
        viewer.add_labels(
            zarr.open_array(layer["path"], mode="r"), name=layer["name"], scale=scale, opacity=0.4
        )
    for layer in layers["tracks"]:
        data, parents = read_tracks(HERE / layer["file"])
        if len(data):
            viewer.add_tracks(data, name=layer["name"], scale=scale, graph=parents)


def read_tracks(path: Path) -> Any:
    """Rows (track, frame, y, x) in frames and pixels, and the parents of tracks that a division began."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = np.array([[float(row[name]) for name in ("ID", "T", "Y", "X")] for row in rows]).reshape(-1, 4)
    parents = {int(row["ID"]): [int(row["parent"])] for row in rows if row["parent"]}
    return data, parents


if __name__ == "__main__":
    show(
        napari.current_viewer() or napari.Viewer(),
        json.loads((HERE / "layers.json").read_text(encoding="utf-8")),
    )
    napari.run()
