"""contact: which objects touch in a frame, and for how long their tracks stay together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dataops_parsl.algorithms import contact_events, contacts
from dataops_parsl.stage import Film, Stack, Stage, step
from dataops_parsl.tables import Column, Reference, Rows, Schema

_POSITION = Column("position_id", "string", "field of view", key=True)
CONTACTS = Schema(
    "contacts",
    "a pair of objects in a frame",
    (
        _POSITION,
        Column("frame", "int64", "0-based frame", key=True, low=0),
        Column("population_a", "string", "population of the first object", key=True),
        Column("label_a", "int64", "label of the first object", key=True, low=1),
        Column("population_b", "string", "population of the second object", key=True),
        Column("label_b", "int64", "label of the second object", key=True, low=1),
        Column("gap_um", "float64", "smallest distance of pixel centres; 0 if a pixel is shared", "µm", low=0),
        Column("overlap_px", "int64", "shared pixels", "px", low=0),
    ),
    tuple(
        Reference(
            "cells",
            (
                ("position_id", "position_id"),
                (f"population_{one}", "population"),
                ("frame", "frame"),
                (f"label_{one}", "label"),
            ),
        )
        for one in "ab"
    ),
)
CONTACT_EVENTS = Schema(
    "contact_events",
    "a maximal run of contact of a track pair",
    (
        _POSITION,
        Column("population_a", "string", "population of the first track", key=True),
        Column("track_id_a", "int64", "first track", key=True, low=1),
        Column("population_b", "string", "population of the second track", key=True),
        Column("track_id_b", "int64", "second track", key=True, low=1),
        Column("start_frame", "int64", "first frame in contact", key=True, low=0),
        Column("end_frame", "int64", "last frame in contact", low=0),
        Column("start_s", "float64", "time of the first frame in contact", "s"),
        Column("end_s", "float64", "time of the first frame after the last one in contact", "s"),
        Column("n_frames", "int64", "frames in contact, bridged ones not counted", low=1),
        Column("start_reason", "string", "contact, or why the start was not seen: film, edge, lost, division"),
        Column("end_reason", "string", "separated, or why the end was not seen: film, edge, lost, division"),
    ),
    tuple(
        Reference(
            "tracks",
            (
                ("position_id", "position_id"),
                (f"population_{one}", "population"),
                (f"track_id_{one}", "track_id"),
            ),
        )
        for one in "ab"
    ),
)


class Contact(Stage):
    """Contacts by exact pixel distance."""

    name: ClassVar[str] = "contact"
    version: ClassVar[int] = 1

    radius_um: float = Field(2.0, gt=0)
    """Two objects are in contact when their gap is at most this."""

    store_um: float = Field(10.0, gt=0)
    """Pairs up to this gap are stored, so that the radius can be changed without computing them again."""

    bridge_frames: int = Field(1, ge=0)
    """A contact that is missing for so many frames goes on."""

    min_frames: int = Field(2, ge=1)
    """Events with fewer frames in contact are left out."""

    same_population: bool = False
    """Whether contacts within a population are looked for too."""

    @model_validator(mode="after")
    def _ordered(self) -> Contact:
        if self.store_um < self.radius_um:
            raise ValueError(f"store_um {self.store_um} must not be below radius_um {self.radius_um}")
        return self

    @step(scope="batch", gives={"contacts": CONTACTS}, facts=("pixel_size_um",))
    def pairs(self, film: Film, frame: int, labels: Mapping[str, Stack]) -> dict[str, Any]:
        """All pairs of one frame up to `store_um`; needs no tracks."""
        images = {name: image for name, stack in labels.items() if (image := stack[frame]) is not None}
        wanted: list[tuple[str, str]] = list(combinations(images, 2))
        if self.same_population:
            wanted += [(name, name) for name in images]
        columns: dict[str, list[Any]] = {c.name: [] for c in CONTACTS.columns[2:]}
        for one, other in wanted:
            second = None if one == other else images[other]
            found = contacts.pairs(
                images[one], second, store_um=self.store_um, pixel_size_um=film.pixel_size_um
            )
            n = len(found["label_a"])
            columns["population_a"].append(np.full(n, one, object))
            columns["population_b"].append(np.full(n, other, object))
            for name, values in found.items():
                columns[name].append(values)
        return {name: np.concatenate(many) if many else [] for name, many in columns.items()}

    @step(scope="film", gives={"contact_events": CONTACT_EVENTS}, facts=("time_s", "n_frames"))
    def events(
        self,
        film: Film,
        contacts: Rows,
        objects: Rows,
        members: Mapping[str, Rows],
        lineages: Mapping[str, Rows],
    ) -> dict[str, Any]:
        """Runs of contact within `radius_um`, between tracks."""
        near = contacts.where(contacts["gap_um"] <= self.radius_um)
        columns: dict[str, list[Any]] = {c.name: [] for c in CONTACT_EVENTS.columns}
        tracks = {name: _Tracks(members[name], lineages[name], objects, name) for name in members}
        pairs = dict.fromkeys(zip(near["population_a"], near["population_b"], strict=True))
        for one, other in sorted(pairs):
            rows = near.where((near["population_a"] == one) & (near["population_b"] == other))
            found = contact_events.events(
                rows["frame"],
                tracks[one].of(rows["frame"], rows["label_a"]),
                tracks[other].of(rows["frame"], rows["label_b"]),
                tracks[one].info,
                tracks[other].info,
                last_frame=film.n_frames - 1,
                bridge_frames=self.bridge_frames,
                min_frames=self.min_frames,
            )
            n = len(found["start_frame"])
            columns["position_id"].append(np.full(n, film.position_id, object))
            columns["population_a"].append(np.full(n, one, object))
            columns["population_b"].append(np.full(n, other, object))
            columns["track_id_a"].append(found["track_a"])
            columns["track_id_b"].append(found["track_b"])
            for name in ("start_frame", "end_frame", "n_frames", "start_reason", "end_reason"):
                columns[name].append(found[name])
            columns["start_s"].append([film.time_s[int(f)] for f in found["start_frame"]])
            columns["end_s"].append([end_time_s(film, int(f)) for f in found["end_frame"]])
        return {name: np.concatenate(many) if many else [] for name, many in columns.items()}


def end_time_s(film: Film, frame: int) -> float:
    """Time at which a run that was last seen in `frame` is over: that of the next frame, or one interval on."""
    times = film.time_s
    if frame + 1 in times:
        return times[frame + 1]
    return times[frame] + (times[frame] - times[frame - 1] if frame - 1 in times else 0.0)
