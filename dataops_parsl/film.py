"""What a step may know of a position: facts that it declares, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FACTS = (
    "pixel_size_um",
    "shape_px",
    "channels",
    "populations",
    "segments",
    "excludes",
    "marked_um",
    "time_s",
    "plate",
    "excluded",
    "n_frames",
)


@dataclass(frozen=True)
class Population:
    """What is segmented and tracked, as the dataset describes it."""

    name: str
    segment: tuple[str, ...]
    mask: str
    diameter_um: float
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True)
class Channel:
    """A stain, as the dataset describes it."""

    name: str
    stain: str = ""
    death_marker: bool = False
    lost_on_death: bool = False
    every: int = 1
    labels: str = ""
    labels_frame: str = "raw"


def population_facts(populations: Mapping[str, Mapping[str, Any]], own: str = "") -> dict[str, Any]:
    """The facts that follow from the populations, as a dataset describes them.

    Parameters
    ----------
    populations : mapping of name to its JSON-like description
        All of them.
    own : str
        The one that a stage works for, or ``""`` for all: it gets facts of no other.
    """
    mine = {n: dict(p) for n, p in populations.items() if own in ("", n)}
    marked: dict[str, float] = {}
    for population in populations.values():
        for channel in population["segment"]:
            if any(channel in p["exclude"] for p in mine.values()):
                marked[channel] = max(marked.get(channel, 0.0), float(population["diameter_um"]))
    return {
        "populations": mine,
        "segments": {n: p["segment"] for n, p in mine.items()},
        "excludes": {n: p["exclude"] for n, p in mine.items()},
        "marked_um": marked,
    }


class Film:
    """What a step may know of a position: the facts that it declared, and no others.

    A fact that a step can read is in its recipe; one that it did not declare raises, so that a
    result can never depend on something that its key does not hold.

    Parameters
    ----------
    position_id : str
    frames : sequence of int
        Frames that this call covers.
    population : str
        The population that the stage works for, or ``""``.
    facts : mapping
        JSON-like values of the declared facts.
    """

    def __init__(
        self,
        position_id: str = "",
        frames: Iterable[int] = (),
        population: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.position_id = position_id
        self.frames = tuple(frames)
        self.population_name = population
        self._facts = dict(facts or {})

    def _fact(self, name: str) -> Any:
        if name not in self._facts:
            raise KeyError(
                f"this step reads the fact {name!r} without declaring it: @step(facts=({name!r},))"
            )
        return self._facts[name]

    @property
    def pixel_size_um(self) -> tuple[float, float]:
        """Size of a pixel, (y, x), µm."""
        y, x = self._fact("pixel_size_um")
        return float(y), float(x)

    @property
    def shape_px(self) -> tuple[int, int]:
        """Image size (Y, X), px."""
        y, x = self._fact("shape_px")
        return int(y), int(x)

    @property
    def channels(self) -> dict[str, Channel]:
        """Channels by name, in the dataset's order."""
        return {name: Channel(name=name, **c) for name, c in self._fact("channels").items()}

    @property
    def segments(self) -> dict[str, tuple[str, ...]]:
        """Channels that each population is segmented from, and nothing else about it."""
        return {name: tuple(channels) for name, channels in self._fact("segments").items()}

    @property
    def populations(self) -> dict[str, Population]:
        """Populations by name, in the dataset's order."""
        return {
            name: Population(
                name, tuple(p["segment"]), p["mask"], float(p["diameter_um"]), tuple(p.get("exclude", ()))
            )
            for name, p in self._fact("populations").items()
        }

    @property
    def excludes(self) -> dict[str, tuple[str, ...]]:
        """Channels that mark what is not of each population."""
        return {name: tuple(channels) for name, channels in self._fact("excludes").items()}

    @property
    def marked_um(self) -> dict[str, float]:
        """Expected diameter, µm, of the cells that are segmented from a channel that is excluded."""
        return {name: float(size) for name, size in self._fact("marked_um").items()}

    @property
    def population(self) -> Population:
        """The population that this stage works for."""
        return self.populations[self.population_name]

    @cached_property
    def time_s(self) -> Mapping[int, float]:
        """Acquisition time of each covered frame, s since the film's start."""
        return {int(f): float(t) for f, t in self._fact("time_s").items()}

    @property
    def plate(self) -> dict[str, Any]:
        """well, condition, control, replicate of the position."""
        return dict(self._fact("plate"))

    @property
    def excluded(self) -> dict[int, str]:
        """Frames that were excluded at ingest, with the reason."""
        return {int(f): str(r) for f, r in self._fact("excluded").items()}

    @property
    def n_frames(self) -> int:
        """Number of frames that this run covers."""
        return int(self._fact("n_frames"))
