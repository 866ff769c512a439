"""A few frames of a dataset, seen with the run's own steps: in this process, without scratch.

A pair of neighbouring frames is taken for a film of two frames: the stages' steps register, denoise, segment
and measure it. So outlines are those of a run, but for the drift since the film's start, which is not undone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataops_parsl.config import Loaded
from dataops_parsl.dataset.manifest import Dataset, Position
from dataops_parsl.errors import DataopsError
from dataops_parsl.film import Film, population_facts
from dataops_parsl.stages.cellpose import LIMITS, Cellpose
from dataops_parsl.stages.death_rules import Rule
from dataops_parsl.stages.killing import Killing
from dataops_parsl.stages.killing_tables import THRESHOLDS
from dataops_parsl.stages.measure import OBJECTS, Measure
from dataops_parsl.stages.register_denoise import RegisterDenoise
from dataops_parsl.stages.register_tables import SHIFTS, TRANSFORMS
from dataops_parsl.stages.trackmate import Trackmate
from dataops_parsl.tables import Rows

LARGEST_SIDE_PX = 512
"""Of larger frames the middle is looked at: to denoise 2048 x 2048 pixels takes longer than a preview may."""
_SAMPLE_SIDE_PX = 1024


@dataclass(frozen=True, eq=False)
class Look:
    """What was seen in a frame, and where its cells are in the next or the one before.

    Attributes
    ----------
    frames : tuple of int
        The frames that were measured, in order; one where its neighbour is not there.
    shown : int
        The one that is to be drawn.
    images : mapping of population to (Y, X) float32
        What it was segmented in.
    labels : mapping of population to (Y, X) uint32
    counts : mapping of channel to (Y, X)
        Acquired counts of the frame that is shown.
    objects : pa.Table
        Rows of the stage measure, of all `frames`.
    """

    position: str
    frames: tuple[int, ...]
    shown: int
    images: Mapping[str, NDArray[Any]]
    labels: Mapping[str, NDArray[Any]]
    counts: Mapping[str, NDArray[Any]]
    objects: pa.Table


class _Frames:
    """Chosen frames of a channel as a `Stack`, numbered from 0; all or a part of their pixels."""

    def __init__(
        self, film: Position, channel: str, frames: Mapping[int, int], cut: tuple[slice, slice]
    ) -> None:
        self._film, self._channel, self._frames, self._cut = film, channel, frames, cut
        self._known: dict[int, NDArray[Any] | None] = {}

    def __getitem__(self, index: int) -> NDArray[Any] | None:
        if index not in self._known:
            pixels = self._film.read(self._channel, self._frames[index])
            self._known[index] = None if pixels is None else np.ascontiguousarray(pixels[self._cut])
        return self._known[index]


class Looker:
    """Looks at frames of one dataset.

    Parameters
    ----------
    dataset : Dataset
    config : Loaded
        With the dataset's populations.

    Raises
    ------
    ConfigError, PlaceError
        When a stage that is needed cannot work as it is configured.
    """

    def __init__(self, dataset: Dataset, config: Loaded) -> None:
        self.dataset, self.config = dataset, config
        self.populations = list(config.config.populations)
        described = {n: p.model_dump(mode="json") for n, p in config.config.populations.items()}
        self.facts: dict[str, Any] = {
            "pixel_size_um": list(dataset.pixel_size_um),
            "channels": {
                n: c.model_dump(mode="json", exclude={"found_as", "stain"})
                for n, c in dataset.description.channels.items()
            },
            **population_facts(described),
        }
        self.register = config.stage(RegisterDenoise)
        self.register.check(self._film(""))
        self.cellpose = {p: config.stage(Cellpose, p) for p in self.populations}
        for population, stage in self.cellpose.items():
            stage.check(self._film("", population))
            stage.check_device()
            config.stage(Trackmate, population).check(self._film("", population))
        self._limits: dict[tuple[str, str], Rows] = {}

    def _film(self, position: str, population: str = "", frames: tuple[int, ...] = ()) -> Film:
        facts = dict(self.facts)
        if position:
            facts["plate"] = asdict(self.dataset.positions[position].plate)
            facts["shape_px"] = [side.stop - side.start for side in self.cut(position)]
        return Film(position, frames, population, facts)

    @cached_property
    def image_channels(self) -> list[str]:
        """Channels that hold images, not masks."""
        return [n for n, c in self.dataset.description.channels.items() if not c.labels]

    def cut(self, position: str) -> tuple[slice, slice]:
        """The middle of the frames of a position that is looked at."""
        height, width = self.dataset.positions[position].shape_px
        return _middle(height), _middle(width)

    def is_cut(self, position: str) -> bool:
        """Whether only the middle is looked at."""
        return max(self.dataset.positions[position].shape_px) > LARGEST_SIDE_PX

    def threshold(self, positions: list[str], objects: pa.Table) -> tuple[Rule, str]:
        """How life and death are told, from what was seen in these positions, and where that comes from.

        Raises
        ------
        ConfigError
            When targets or the death channel are not there.
        """
        killing = self.config.stage(Killing)
        killing.check(self._film(""))
        found = killing.threshold({p: self._film(p) for p in positions}, Rows(objects))
        return Rule.of(Rows(THRESHOLDS.table(found))), str(found["source"][0])

    def limits(self, position: str, population: str) -> Rows:
        """Normalization limits, from the sample frames that a run takes them from.

        Of large frames every second, third, ... pixel is taken.
        """
        if (position, population) not in self._limits:
            film = self.dataset.positions[position]
            stride = -(-max(film.shape_px) // _SAMPLE_SIDE_PX)
            every = (slice(None, None, stride), slice(None, None, stride))
            frames = {f: f for f in film.sample_frames}
            raw = {c: _Frames(film, c, frames, every) for c in self.dataset.description.channels}
            found = self.cellpose[population].limits(
                self._film(position, population, film.sample_frames), raw
            )
            self._limits[position, population] = Rows(
                LIMITS.table(found, position_id=position, population=population)
            )
        return self._limits[position, population]

    def look(self, position: str, frames: tuple[int, ...], shown: int) -> Look:
        """Register, denoise, segment and measure one or two neighbouring frames.

        Raises
        ------
        DataopsError, ValueError
            When one of them cannot be read, or was left out.
        """
        film = self.dataset.positions[position]
        numbers = dict(enumerate(frames))
        raw = {c: _Frames(film, c, numbers, self.cut(position)) for c in self.dataset.description.channels}
        carry: Any = None
        tables, seen = [], {}
        for index, frame in numbers.items():
            found, carry = self._see(position, index, raw, carry)
            tables.append(self._objects(position, index, frame, raw, found))
            seen[frame] = index, found
        index, (_, images, labels) = seen[shown]
        together = {
            p: np.sum([np.asarray(images[c], np.float32) for c in channels], axis=0)
            for p, channels in self._film(position).segments.items()
            if all(c in images for c in channels)
        }
        acquired = {c: raw[c][index] for c in self.image_channels}
        counts = {c: image for c, image in acquired.items() if image is not None}
        return Look(position, frames, shown, together, labels, counts, pa.concat_tables(tables))

    def _see(
        self, position: str, index: int, raw: Mapping[str, _Frames], carry: Any
    ) -> tuple[tuple[Rows, dict[str, NDArray[Any]], dict[str, NDArray[Any]]], Any]:
        """Registered images and label images of a frame."""
        film = self._film(position)
        key = {"position_id": position, "frame": index}
        shift = Rows(SHIFTS.table(self.register.estimate(film, index, raw), **key))
        row, carry = self.register.chain(film, index, carry, shift)
        transforms = Rows(TRANSFORMS.table(row, **key))
        images = self.register.apply(film, index, raw, transforms)["denoised"]
        denoised = {c: {index: images.get(c)} for c in self.dataset.description.channels}
        labels = {
            p: stage.segment(
                self._film(position, p), index, denoised, raw, transforms, self._known_limits(position, p)
            )
            for p, stage in self.cellpose.items()
        }
        return (transforms, images, labels), carry

    def _known_limits(self, position: str, population: str) -> Rows:
        if self.cellpose[population].backend == "labels":
            return Rows(LIMITS.empty())  # given masks are not normalized
        return self.limits(position, population)

    def _objects(
        self,
        position: str,
        index: int,
        frame: int,
        raw: Mapping[str, _Frames],
        found: tuple[Rows, dict[str, NDArray[Any]], dict[str, NDArray[Any]]],
    ) -> pa.Table:
        transforms, _, labels = found
        stacks = {p: {index: image} for p, image in labels.items()}
        measured = self.config.stage(Measure).objects(self._film(position), index, raw, transforms, stacks)
        schema = OBJECTS.for_channels(self.image_channels)
        return schema.table(measured, position_id=position, frame=frame)


def choose_frames(film: Position, n_frames: int) -> list[tuple[tuple[int, ...], int]]:
    """First, middle and last frame that were not left out, each with a neighbour to see steps between them.

    Parameters
    ----------
    n_frames : int
        Frames of the film that a run would take.

    Returns
    -------
    list of (frames, shown)
    """
    usable = [f for f in range(n_frames) if f not in film.excluded]
    chosen: dict[int, tuple[int, ...]] = {}
    for index in sorted({0, (len(usable) - 1) // 2, len(usable) - 1} if usable else ()):
        frame = usable[index]
        after, before = frame + 1 in usable, frame - 1 in usable
        chosen[frame] = (frame, frame + 1) if after else (frame - 1, frame) if before else (frame,)
    return [(frames, shown) for shown, frames in chosen.items()]


def reason(error: Exception) -> str:
    """Why a frame could not be looked at."""
    return error.message if isinstance(error, DataopsError) else str(error)


def _middle(side_px: int) -> slice:
    start = max(0, (side_px - LARGEST_SIDE_PX) // 2)
    return slice(start, min(side_px, start + LARGEST_SIDE_PX))
