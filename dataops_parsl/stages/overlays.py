"""overlays: pictures of a run: outlines and tracks on a few frames of each position."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.figures import base
from dataops_parsl.figures.overlay import Panel, black_and_white, montage
from dataops_parsl.film import Film
from dataops_parsl.stage import Stack, Stage, readable, step
from dataops_parsl.tables import Column, Rows, Schema

PICTURES = Schema(
    "pictures",
    "a picture",
    (
        Column("file", "string", "file name", key=True),
        Column("data", "binary", "the file's bytes"),
    ),
)


class Overlays(Stage):
    """Draw what was found."""

    name: ClassVar[str] = "overlays"
    version: ClassVar[int] = 1

    frames_shown: int = Field(3, ge=1, le=12)
    """Frames of each position that are drawn, evenly spaced."""

    tail_frames: int = Field(15, ge=0)
    """Length of the tracks' tails."""

    def shown_frames(self, n_frames: int) -> list[int]:
        """Which frames are drawn."""
        return sorted({round(f) for f in np.linspace(0, n_frames - 1, self.frames_shown)})

    @step(
        scope="film",
        gives={"outlines": PICTURES},
        facts=("pixel_size_um", "segments"),
        window={"denoised": "shown_frames", "labels": "shown_frames"},
    )
    def outline(
        self,
        film: Film,
        denoised: Mapping[str, Stack],
        labels: Mapping[str, Stack],
        cells: Rows,
        contact_events: Rows,
    ) -> dict[str, Any]:
        """One montage a position."""
        size_y, size_x = film.pixel_size_um
        panels = []
        for frame in self.shown_frames(len(film.frames)):
            images = {p: together(denoised, channels, frame) for p, channels in film.segments.items()}
            masks = {p: stack[frame] for p, stack in labels.items()}
            seen = {p: i for p, i in images.items() if i is not None}
            found = {p: m for p, m in masks.items() if m is not None}
            if len(seen) < len(images) or len(found) < len(masks):  # the frame failed
                continue
            here = cells.at(frame)
            where = {
                (p, t): (y / size_y, x / size_x)
                for p, t, y, x in zip(
                    here["population"], here["track_id"].tolist(), here["y_um"], here["x_um"], strict=True
                )
            }
            running = contact_events.where(
                (contact_events["start_frame"] <= frame) & (contact_events["end_frame"] >= frame)
            )
            pairs = zip(
                zip(running["population_a"], running["track_id_a"].tolist(), strict=True),
                zip(running["population_b"], running["track_id_b"].tolist(), strict=True),
                strict=True,
            )
            dead = np.flatnonzero(here["alive"] == False)  # noqa: E712 - nullable
            panels.append(
                Panel(
                    seen,
                    found,
                    tails=self._tails(cells, frame, (size_y, size_x)),
                    contacts=[(where[a], where[b]) for a, b in pairs if a in where and b in where],
                    dead=[(here["y_um"][i] / size_y, here["x_um"][i] / size_x) for i in dead],
                    title=f"{film.position_id}, frame {frame}",
                    limits=black_and_white(seen),
                )
            )
        if not panels:
            return {"file": [], "data": []}
        picture = montage(panels, size_x)
        return {"file": [f"outlines_{film.position_id}.png"], "data": [base.png_bytes(picture)]}

    def _tails(
        self, cells: Rows, frame: int, size_um: tuple[float, float]
    ) -> list[tuple[str, NDArray[np.float64]]]:
        recent = cells.where((cells["frame"] <= frame) & (cells["frame"] >= frame - self.tail_frames))
        order = np.lexsort((recent["frame"], recent["track_id"], recent["population"].astype(str)))
        points = np.column_stack([recent["y_um"] / size_um[0], recent["x_um"] / size_um[1]])[order]
        names, tracks = recent["population"].astype(str)[order], recent["track_id"][order]
        new = np.flatnonzero((names[1:] != names[:-1]) | (tracks[1:] != tracks[:-1])) + 1
        starts = [0, *new.tolist()] if len(order) else []
        return [
            (str(names[s]), part)
            for s, part in zip(starts, np.split(points, new), strict=False)
            if len(part) > 1
        ]


def together(denoised: Mapping[str, Stack], channels: tuple[str, ...], frame: int) -> NDArray[Any] | None:
    """Sum of a population's channels; None where one of them is not there."""
    if frame < 0:
        return None
    images = [readable(denoised[c], frame) for c in channels]
    if any(i is None for i in images):
        return None
    total: NDArray[Any] = np.sum([np.asarray(i, np.float32) for i in images if i is not None], axis=0)
    return total
