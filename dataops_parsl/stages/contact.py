"""contact: which objects touch in a frame, and for how long their tracks stay together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from dataops_parsl.algorithms import contact_events, contacts, lineage
from dataops_parsl.film import Film
from dataops_parsl.stage import Stack, Stage, step
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
        Column(
            "gap_um", "float64", "smallest distance of pixel centres; 0 if a pixel is shared", "µm", low=0
        ),
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
        Column("min_gap_um", "float64", "smallest gap during the event", "µm", low=0),
        Column(
            "start_reason", "string", "contact, or why the start was not seen: film, edge, lost, division"
        ),
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

TOUCHES = Schema(
    "touches",
    "an object in contact",
    (
        _POSITION,
        Column("population", "string", "population", key=True),
        Column("frame", "int64", "0-based frame", key=True, low=0),
        Column("label", "int64", "label of the object", key=True, low=1),
        Column("n_contacts", "int64", "objects within the contact radius", low=1),
    ),
)


class Contact(Stage):
    """Contacts by exact pixel distance."""

    name: ClassVar[str] = "contact"
    version: ClassVar[int] = 2

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

    @step(
        scope="batch",
        gives={"contacts": CONTACTS},
        facts=("pixel_size_um",),
        parameters=("store_um", "same_population"),
    )
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

    @step(
        scope="film",
        gives={"contact_events": CONTACT_EVENTS, "touches": TOUCHES},
        facts=("time_s", "excluded"),
        parameters=("radius_um", "bridge_frames", "min_frames"),
        columns={"objects": ("population", "frame", "label", "touches_edge")},
    )
    def events(
        self,
        film: Film,
        contacts: Rows,
        objects: Rows,
        members: Mapping[str, Rows],
        lineages: Mapping[str, Rows],
    ) -> dict[str, Any]:
        """Runs of contact within `radius_um` between tracks, and each object's number of contacts."""
        near = contacts.where(contacts["gap_um"] <= self.radius_um)
        tracks = {name: _Tracks(members[name], lineages[name], objects, name) for name in members}
        columns: dict[str, list[Any]] = {c.name: [] for c in CONTACT_EVENTS.columns}
        valid = [f for f in film.frames if f not in film.excluded]
        for one, other in sorted(set(zip(near["population_a"], near["population_b"], strict=True))):
            rows = near.where((near["population_a"] == one) & (near["population_b"] == other))
            first = tracks[one].of(rows["frame"], rows["label_a"])
            second = tracks[other].of(rows["frame"], rows["label_b"])
            if one == other:
                # Pairs are ordered by label, and which of two tracks has the smaller one changes.
                first, second = np.minimum(first, second), np.maximum(first, second)
            found = contact_events.find(
                first,
                second,
                rows["frame"],
                rows["gap_um"],
                tracks_a=tracks[one].known,
                tracks_b=tracks[other].known,
                valid_frames=valid,
                bridge_frames=self.bridge_frames,
                min_frames=self.min_frames,
            )
            made: dict[str, Any] = {
                "population_a": np.full(len(found.track_a), one, object),
                "population_b": np.full(len(found.track_a), other, object),
                "track_id_a": found.track_a,
                "track_id_b": found.track_b,
                "start_s": [film.time_s[int(f)] for f in found.start_frame],
                "end_s": [end_time_s(film, int(f)) for f in found.end_frame],
            }
            for name in ("start_frame", "end_frame", "n_frames", "start_reason", "end_reason", "min_gap_um"):
                made[name] = getattr(found, name)
            for name, values in made.items():
                columns[name].append(values)
        del columns["position_id"]
        return {
            "contact_events": {n: np.concatenate(many) if many else [] for n, many in columns.items()},
            "touches": _touches(near),
        }


def end_time_s(film: Film, frame: int) -> float:
    """Time at which a run that was last seen in `frame` is over: the next frame's, or one interval on."""
    times = film.time_s
    if frame + 1 in times:
        return times[frame + 1]
    return times[frame] + (times[frame] - times[frame - 1] if frame - 1 in times else 0.0)


def _touches(near: Rows) -> dict[str, Any]:
    """Number of contacts of each object that has any."""
    both = [
        (near[f"population_{one}"].astype(str), near["frame"], near[f"label_{one}"]) for one in ("a", "b")
    ]
    table = pa.table(
        {
            "population": np.concatenate([b[0] for b in both]),
            "frame": np.concatenate([b[1] for b in both]),
            "label": np.concatenate([b[2] for b in both]),
        }
    )
    keys = ["population", "frame", "label"]
    counted = table.group_by(keys).aggregate([([], "count_all")]).sort_by([(k, "ascending") for k in keys])
    return {**{k: counted[k] for k in keys}, "n_contacts": counted["count_all"]}


class _Tracks:
    """The tracks of one population, found by frame and label."""

    def __init__(self, members: Rows, lineages: Rows, objects: Rows, population: str) -> None:
        frame, label, track = (members[name] for name in ("frame", "label", "track_id"))
        self._frame, self._label, self._track = frame, label, track
        mine = objects.where(objects["population"] == population)
        touches = mine["touches_edge"].astype(bool)
        ends = [
            touches[lineage.rows_of(mine["frame"], mine["label"], frame[row], label[row])]
            for row in _ends(track, frame, lineages["track_id"])
        ]
        self.known = contact_events.Tracks(
            track_id=lineages["track_id"],
            first_frame=lineages["first_frame"],
            last_frame=lineages["last_frame"],
            starts_by_division=np.nan_to_num(lineages["parent_track_id"].astype(float), nan=-1) > 0,
            ends_by_division=lineages["divides"].astype(bool),
            first_touches_edge=ends[0],
            last_touches_edge=ends[1],
            observed_track_id=track,
            observed_frame=frame,
        )

    def of(self, frame: NDArray[Any], label: NDArray[Any]) -> NDArray[np.int64]:
        """The tracks of objects."""
        rows = lineage.rows_of(self._frame, self._label, frame, label)
        tracks: NDArray[np.int64] = self._track[rows].astype(np.int64)
        return tracks


def _ends(
    track: NDArray[Any], frame: NDArray[Any], wanted: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the first and of the last object of each wanted track."""
    order = np.lexsort((frame, track))
    sides = (np.searchsorted(track[order], wanted, side) for side in ("left", "right"))
    first, behind = sides
    return order[first], order[behind - 1]
