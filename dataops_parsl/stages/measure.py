"""measure: shapes and acquired counts of every object, knowing all populations' labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import background as backgrounds
from dataops_parsl.algorithms import measure as measuring
from dataops_parsl.algorithms import shift as drift
from dataops_parsl.film import Film
from dataops_parsl.stage import Stack, Stage, step
from dataops_parsl.stages.register_tables import shift_at
from dataops_parsl.tables import Column, Rows, Schema

OBJECT_KEY = (
    Column("position_id", "string", "field of view", key=True),
    Column("population", "string", "population", key=True),
    Column("frame", "int64", "0-based frame", key=True, low=0),
    Column("label", "int64", "value in the label image of this population and frame", key=True, low=1),
)
OBJECT_COLUMNS = (
    Column("x_um", "float64", "centroid, drift-corrected, to the right", "µm"),
    Column("y_um", "float64", "centroid, drift-corrected, down", "µm"),
    Column("x_px_raw", "float64", "centroid in the acquired frame, to the right", "px"),
    Column("y_px_raw", "float64", "centroid in the acquired frame, down", "px"),
    Column("area_um2", "float64", "area of the mask", "µm²", low=0),
    Column("perimeter_um", "float64", "length of the outline", "µm", low=0),
    Column("major_axis_um", "float64", "long axis of the ellipse of equal second moments", "µm", low=0),
    Column("minor_axis_um", "float64", "short axis of that ellipse", "µm", low=0),
    Column(
        "eccentricity_frac", "float64", "eccentricity of that ellipse, 0 for a circle", "frac", low=0, high=1
    ),
    Column("solidity_frac", "float64", "area over the area of the convex hull", "frac", low=0, high=1.0001),
    Column("touches_edge", "bool", "touches the border or pixels that the registration had to invent"),
    Column("mean_raw_{channel}", "float64", "mean acquired count in {channel}", "count"),
    Column("mean_bg_{channel}", "float64", "mean count in {channel}, local background subtracted", "count"),
    Column(
        "p50_bg_{channel}",
        "float64",
        "median of {channel}, background subtracted, pixels of other populations excluded",
        "count",
    ),
    Column(
        "p95_bg_{channel}",
        "float64",
        "95th percentile of {channel}, background subtracted, pixels of other populations excluded",
        "count",
    ),
)
OBJECTS = Schema("objects", "an object in a frame", (*OBJECT_KEY, *OBJECT_COLUMNS))


class Measure(Stage):
    """Measure every object on the acquired counts, moved by the frame's drift and never denoised."""

    name: ClassVar[str] = "measure"
    version: ClassVar[int] = 2

    background_tile_um: float = Field(40.0, gt=0)
    """The local background is the median of the pixels outside all cells, in tiles of this size."""

    @step(scope="batch", gives={"objects": OBJECTS}, facts=("pixel_size_um", "channels"))
    def objects(
        self,
        film: Film,
        frame: int,
        raw: Mapping[str, Stack],
        transforms: Rows,
        labels: Mapping[str, Stack],
    ) -> dict[str, Any]:
        """All objects of one frame, populations in order, labels ascending."""
        images = {name: stack[frame] for name, stack in labels.items()}
        found = {name: image for name, image in images.items() if image is not None}
        shift = shift_at(transforms, frame)
        shape = next(iter(found.values())).shape
        valid = drift.valid_mask(shape, shift)
        cells = np.zeros(shape, bool)
        for image in found.values():
            cells |= image > 0
        size_y, size_x = film.pixel_size_um
        counts, grounds = {}, {}
        for channel in (name for name, c in film.channels.items() if not c.labels):
            counts[channel], grounds[channel] = self._counts(raw[channel][frame], shift, cells, valid, size_y)
        columns: dict[str, list[Any]] = {c.name: [] for c in OBJECTS.for_channels(counts).columns[1:]}
        del columns["frame"]
        for population, image in found.items():
            others = np.zeros(shape, bool)
            for name, other in found.items():
                if name != population:
                    others |= other > 0
            rows = measuring.measure(image, counts, others, valid, grounds)
            for name, values in _in_um(rows, shift, shape, (size_y, size_x)).items():
                columns[name].append(values)
            columns["population"].append(np.full(len(rows["label"]), population, object))
        return {name: np.concatenate(many) if many else [] for name, many in columns.items()}

    def _counts(
        self,
        image: NDArray[Any] | None,
        shift: drift.Shift,
        cells: NDArray[np.bool_],
        valid: NDArray[np.bool_],
        size_um: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        if image is None:  # this channel was not acquired in this frame
            unknown = np.full(cells.shape, np.nan, np.float32)
            return unknown, unknown
        moved = drift.apply(image.astype(np.float32), shift)
        tile_px = max(8, round(self.background_tile_um / size_um))
        ground = backgrounds.background(moved, cells | ~valid, tile_px=tile_px)
        moved[~valid] = np.nan
        return moved, ground


def _in_um(
    rows: Mapping[str, NDArray[Any]],
    shift: drift.Shift,
    shape: tuple[int, ...],
    pixel_size_um: tuple[float, float],
) -> dict[str, NDArray[Any]]:
    size_y, size_x = pixel_size_um
    # Axes and outlines have no single direction: the geometric mean serves pixels that are not square.
    size = float(np.sqrt(size_y * size_x))
    y_px, x_px = rows["y_px"], rows["x_px"]
    y_raw, x_raw = drift.forward(y_px, x_px, shift, (shape[0], shape[1]))
    out = {
        "label": rows["label"].astype(np.int64),
        "x_um": x_px * size_x,
        "y_um": y_px * size_y,
        "x_px_raw": x_raw,
        "y_px_raw": y_raw,
        "area_um2": rows["area_px"] * size_y * size_x,
        "perimeter_um": rows["perimeter_px"] * size,
        "major_axis_um": rows["major_axis_px"] * size,
        "minor_axis_um": rows["minor_axis_px"] * size,
    }
    same = ("eccentricity_frac", "solidity_frac", "touches_edge")
    counts = [n for n in rows if n.startswith(("mean_raw_", "mean_bg_", "p50_bg_", "p95_bg_"))]
    return {**out, **{n: rows[n] for n in (*same, *counts)}}
