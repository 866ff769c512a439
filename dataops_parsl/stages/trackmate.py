"""trackmate: tracks of one population, as TrackMate's LAP tracker makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.algorithms import edge_kinds, fiji, gaps, lap, lineage
from dataops_parsl.errors import ConfigError
from dataops_parsl.film import Film
from dataops_parsl.stage import Requirement, Stage, step
from dataops_parsl.stages import trackmate_fiji
from dataops_parsl.stages.track_tables import EDGES, LINEAGES, LINKS, MEMBERS
from dataops_parsl.tables import Rows


@dataclass(frozen=True)
class _Edges:
    """Edges between rows of objects, the earlier one first."""

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    kind: NDArray[np.object_]
    cost: NDArray[np.float64]


class Trackmate(Stage):
    """Track one population."""

    name: ClassVar[str] = "trackmate"
    version: ClassVar[int] = 4

    backend: Literal["lap", "labels", "fiji"] = "lap"
    """lap: TrackMate's LAP tracker, restated in Python. labels: tracks given with the masks, an object having
    the same label in all its frames. fiji: TrackMate itself, in Java; see docs/fiji.md."""

    linking_max_distance_um: float | None = Field(None, gt=0)
    """Farthest step between frames. Not set: 1.0 times the population's diameter."""

    gap_closing_max_distance_um: float | None = Field(None, gt=0)
    """Farthest step over missing frames. Not set: 1.5 times the population's diameter."""

    max_frame_gap: int = Field(2, ge=0)
    """TrackMate's MAX_FRAME_GAP: frames from the end of one segment to the start of the next; 2 bridges
    one missing frame, 0 closes no gap. An object that linking left alone is never joined, as in TrackMate."""

    splitting: bool = False
    """Whether a track may divide."""

    splitting_max_distance_um: float | None = Field(None, gt=0)
    """Farthest step to a daughter. Not set: 1.0 times the population's diameter."""

    merging: bool = False
    """TrackMate's track merging; refused, since two cells never become one."""

    fiji_dir: str = Field("", pattern=r"^$|^[/~]", examples=["/opt/Fiji.app"])
    """For backend fiji: Fiji's folder, as an absolute path that all nodes see; used without a network."""

    maven: str = Field("", pattern=r"^$|^[\w.-]+:[\w.-]+:\d[\w.-]*$", examples=["sc.fiji:TrackMate:7.14.0"])
    """For backend fiji, instead of fiji_dir: Maven coordinates of TrackMate with its version, which the
    workers fetch over the network."""

    java_home: str = Field("", pattern=r"^$|^[/~]", examples=["/usr/lib/jvm/java-21-openjdk-amd64"])
    """For backend fiji: the Java to use. Empty: JAVA_HOME, else Fiji's own, else that of the PATH."""

    def check(self, film: Film) -> None:
        """Refuse merging, a backend that is not here, and given tracks where no masks are given."""
        if self.merging:
            raise ConfigError(
                "stages.trackmate.merging = true would make one cell of two: every object here has one past",
                "leave it false; what merges is mostly two cells segmented as one, so look at the masks",
            )
        given = {c.labels for c in film.channels.values()}
        if self.backend == "labels" and film.population_name not in given:
            raise ConfigError(
                "stages.trackmate.backend = 'labels' takes tracks from given masks, but no channel "
                f"carries masks of {film.population_name!r}",
                f'write labels = "{film.population_name}" at a channel in dataset.toml and set '
                "stages.cellpose.backend = 'labels' too, or use the backend 'lap'",
            )
        if self.backend == "fiji":
            self._fiji.check()

    @classmethod
    def check_each(cls, stages: Mapping[str, Self]) -> None:
        """Refuse populations with another TrackMate or Java: a worker starts one JVM, for all of them."""
        by_fiji = {name: stage for name, stage in stages.items() if stage.backend == "fiji"}
        trackmate_fiji.check_one({name: stage._fiji for name, stage in by_fiji.items()})

    def identity(self, step: str) -> Mapping[str, str]:
        """For backend fiji TrackMate's version: where it lies does not matter."""
        return {"trackmate": self._fiji.trackmate.version} if self.backend == "fiji" else {}

    def requirements(self) -> Sequence[Requirement]:
        """For backend fiji its packages, which TrackMate, and which Java."""
        return self._fiji.requirements() if self.backend == "fiji" else ()

    def prepare(self, step: str, mem_gb: float) -> None:
        """For backend fiji: start this worker's JVM, if it has none yet."""
        if self.backend == "fiji" and step == "close":
            self._fiji.start(mem_gb)

    @property
    def _fiji(self) -> trackmate_fiji.Place:
        return trackmate_fiji.Place(self.fiji_dir, self.maven, self.java_home)

    def frame_and_before(self, frame: int) -> list[int]:
        """A frame is linked to the one before it."""
        return [frame - 1, frame]

    @step(
        scope="batch",
        gives={"links": LINKS},
        facts=("populations",),
        window={"objects": "frame_and_before"},
        parameters=("backend", "linking_max_distance_um"),
    )
    def link(self, film: Film, frame: int, objects: Rows) -> dict[str, Any]:
        """Links from the frame before to this one: a frame pair stands on its own."""
        before, here = objects.at(frame - 1), objects.at(frame)
        if self.backend == "fiji":  # links all frames at once, when it closes gaps
            source, target, cost = (np.empty(0, kind) for kind in (np.int64, np.int64, np.float64))
        elif self.backend == "labels":
            _, source, target = np.intersect1d(before["label"], here["label"], return_indices=True)
            cost = np.full(len(source), np.nan)
        else:
            reach = self.linking_max_distance_um or film.population.diameter_um
            source, target, cost = lap.link(_yx(before), _yx(here), reach)
        return {
            "source_frame": np.full(len(source), frame - 1),
            "source_label": before["label"][source],
            "target_frame": np.full(len(source), frame),
            "target_label": here["label"][target],
            "cost": cost,
        }

    def _by_fiji(self, film: Film, objects: Rows) -> _Edges:
        """TrackMate's own edges."""
        diameter = film.population.diameter_um
        settings = fiji.tracker_settings(
            linking_max_distance=self.linking_max_distance_um or diameter,
            gap_closing_max_distance=self.gap_closing_max_distance_um or 1.5 * diameter,
            max_frame_gap=self.max_frame_gap,
            splitting=self.splitting,
            splitting_max_distance=self.splitting_max_distance_um or diameter,
        )
        made = trackmate_fiji.track(film, objects["frame"], _yx(objects), settings)
        kind = edge_kinds.kinds(objects["frame"], made.source_row, made.target_row, made.cost)
        return _Edges(made.source_row, made.target_row, kind, made.cost)

    def _by_gaps(self, film: Film, objects: Rows, links: Rows) -> _Edges:
        """The links that are there, and those over gaps."""
        source, target = (
            lineage.rows_of(objects["frame"], objects["label"], links[f"{end}_frame"], links[f"{end}_label"])
            for end in ("source", "target")
        )
        closing = self._closing(film, objects, source, target)
        return _Edges(
            np.concatenate([source, closing.source_row]),
            np.concatenate([target, closing.target_row]),
            np.concatenate([np.full(len(source), "link", object), closing.kind.astype(object)]),
            np.concatenate([links["cost"], closing.cost]),
        )

    def _closing(
        self, film: Film, objects: Rows, source: NDArray[np.int64], target: NDArray[np.int64]
    ) -> gaps.Closing:
        if self.backend == "labels":
            return _same_label(objects["frame"], objects["label"])
        diameter = film.population.diameter_um
        return gaps.close(
            objects["frame"],
            _yx(objects),
            source,
            target,
            gap_closing_max_distance=(
                (self.gap_closing_max_distance_um or 1.5 * diameter) if self.max_frame_gap else None
            ),
            max_frame_gap=max(self.max_frame_gap, 1),
            splitting_max_distance=(self.splitting_max_distance_um or diameter) if self.splitting else None,
        )

    @step(
        scope="film",
        gives={"edges": EDGES, "members": MEMBERS, "lineages": LINEAGES},
        facts=("populations",),
        columns={"objects": ("frame", "label", "y_um", "x_um")},
        parameters=(
            "backend",
            "linking_max_distance_um",
            "gap_closing_max_distance_um",
            "max_frame_gap",
            "splitting",
            "splitting_max_distance_um",
            "merging",
        ),
    )
    def close(self, film: Film, objects: Rows, links: Rows) -> dict[str, Any]:
        """Close gaps over the whole film, then number tracks and lineages."""
        frame, label = objects["frame"], objects["label"]
        edges = (
            self._by_fiji(film, objects) if self.backend == "fiji" else self._by_gaps(film, objects, links)
        )
        ends = edges.source, edges.target
        tree = lineage.build(frame, label, *ends)
        key = {"position_id": film.position_id, "population": film.population_name}
        order = np.lexsort((label[ends[1]], frame[ends[1]], label[ends[0]], frame[ends[0]]))
        return {
            "edges": {
                **_constant(key, len(order)),
                "source_frame": frame[ends[0]][order],
                "source_label": label[ends[0]][order],
                "target_frame": frame[ends[1]][order],
                "target_label": label[ends[1]][order],
                "kind": edges.kind[order],
                "cost": edges.cost[order],
            },
            "members": {
                **_constant(key, len(frame)),
                "frame": frame,
                "label": label,
                "track_id": tree.object_track_id,
            },
            "lineages": {
                **_constant(key, len(tree.track_id)),
                "track_id": tree.track_id,
                "first_frame": frame[tree.first_row],
                "last_frame": frame[tree.last_row],
                "lineage_id": tree.lineage_id,
                "parent_track_id": [int(p) if p > 0 else None for p in tree.parent_track_id],
                "generation": tree.generation,
                "divides": tree.divides,
            },
        }


def _same_label(frame: NDArray[Any], label: NDArray[Any]) -> gaps.Closing:
    """Links over the frames in which a given track is not seen."""
    order = np.lexsort((frame, label))
    one, other = order[:-1], order[1:]
    gap = (label[one] == label[other]) & (frame[other] - frame[one] > 1)
    n = int(gap.sum())
    return gaps.Closing(one[gap], other[gap], np.full(n, "gap"), np.full(n, np.nan))


def _yx(objects: Rows) -> NDArray[np.float64]:
    return np.column_stack([objects["y_um"], objects["x_um"]]).astype(np.float64)


def _constant(key: dict[str, str], n: int) -> dict[str, Any]:
    return {name: np.full(n, value, object) for name, value in key.items()}
