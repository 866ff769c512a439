"""The backend fiji of the stage trackmate: what it needs, its JVM, and TrackMate's answer in our words."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from dataops_parsl.algorithms import fiji
from dataops_parsl.errors import ConfigError, DataopsError, PlaceError
from dataops_parsl.film import Film
from dataops_parsl.stage import Requirement
from dataops_parsl.stages import fiji_place
from dataops_parsl.stages.fiji_place import Java, TrackMate
from dataops_parsl.telling import tell

IMAGEJ = "net.imagej:imagej"
"""What pyimagej starts beside TrackMate when both come from Maven."""


class TrackmateError(DataopsError):
    """TrackMate itself failed on a film, whose part is then failed and named."""

    exit_code = 4


@dataclass(frozen=True)
class Place:
    """Where TrackMate and Java are, as configured: parameters of the stage trackmate."""

    fiji_dir: str
    maven: str
    java_home: str

    @property
    def trackmate(self) -> TrackMate:
        """The TrackMate; see `fiji_place.find_trackmate`."""
        return fiji_place.find_trackmate(self.fiji_dir, self.maven)

    @property
    def java(self) -> Java:
        """The Java; see `fiji_place.find_java`."""
        return fiji_place.find_java(self.java_home, self.fiji_dir)

    def check(self) -> None:
        """Refuse what cannot work here.

        Raises
        ------
        ConfigError, PlaceError, MissingExtraError
        """
        fiji_place.check_extra()
        fiji_place.check_java(self.java, self.trackmate)

    def requirements(self) -> list[Requirement]:
        """Each thing that is needed, with what was found."""
        return [
            _asked("packages", self._packages),
            _asked("TrackMate", lambda: f"{self.trackmate.version}, {self.trackmate.place}"),
            _asked("Java", self._java_words),
        ]

    def _packages(self) -> str:
        fiji_place.check_extra()
        return ", ".join(fiji_place.PACKAGES)

    def _java_words(self) -> str:
        java = self.java
        if self.fiji_dir or self.maven:
            fiji_place.check_java(java, self.trackmate)
        return f"{java.version}, {java.home}"

    def start(self, mem_gb: float) -> None:
        """Start this process's JVM, if it has none yet, and note which TrackMate it has.

        Parameters
        ----------
        mem_gb : float
            Memory of this worker, GB (2**30 bytes).

        Raises
        ------
        PlaceError
            If it does not start, or has another TrackMate than the one that the results are named after.
        """
        self.check()
        trackmate = self.trackmate
        source = str(Path(self.fiji_dir).expanduser()) if self.fiji_dir else (IMAGEJ, self.maven)
        running = fiji.running() is not None
        try:
            jvm = fiji.start(source, self.java.home, fiji_place.heap_mb(mem_gb))
        except fiji.FijiError as error:
            raise PlaceError(
                f"the JVM with TrackMate from {trackmate.place} did not start: {error}",
                "see docs/fiji.md, which tells how to try that Java and that Fiji alone",
            ) from error
        if jvm.trackmate != trackmate.version:
            raise PlaceError(
                f"{trackmate.place} is TrackMate {trackmate.version} by its name, but Java loaded "
                f"{jvm.trackmate or 'one without a version'} from {jvm.jar}",
                "two versions lie in that Fiji, or a jar was renamed: take Fiji anew",
            )
        if not running:
            tell("loaded", what=f"TrackMate {jvm.trackmate} in Java {jvm.java}", load_s=jvm.start_s)
        tell(
            "noted",
            trackmate={"version": jvm.trackmate, "java": jvm.java},
            jvm={"pid": os.getpid(), "start_s": jvm.start_s, "heap_mb": jvm.heap_mb, "jar": jvm.jar},
        )


def check_one(places: Mapping[str, Place]) -> None:
    """Refuse populations whose places differ: a worker has one JVM, and computes for any of them.

    Parameters
    ----------
    places : mapping of population to Place

    Raises
    ------
    ConfigError
    """
    for (one, place), (other, another) in itertools.pairwise(places.items()):
        there = asdict(another)
        for key, value in asdict(place).items():
            if there[key] != value:
                raise ConfigError(
                    f"stages.trackmate.{key} is {value!r} for {one} and {there[key]!r} for {other}, but a "
                    "worker has one JVM, which tracks both",
                    f"set stages.trackmate.{key} once, without a population; or give one of the two the "
                    "backend 'lap'",
                )


def _asked(subject: str, answer: Callable[[], str]) -> Requirement:
    try:
        return Requirement(subject, True, answer())
    except DataopsError as error:
        return Requirement(subject, False, error.message, error.remedy)


def track(film: Film, frame: ArrayLike, yx: ArrayLike, settings: Mapping[str, Any]) -> fiji.Tracked:
    """TrackMate's edges of a film, with the settings that it was given noted.

    Parameters
    ----------
    film : Film
        With its frames; those without objects count.
    frame : (N,) int
    yx : (N, 2) float64
        µm.
    settings : mapping
        See `fiji.tracker_settings`; µm.

    Raises
    ------
    TrackmateError
        With TrackMate's message.
    """
    try:
        made = fiji.track(film.frames, frame, yx, film.population.diameter_um / 2, settings)
    except fiji.FijiError as error:
        raise TrackmateError(
            f"TrackMate failed on {film.position_id}, {film.population_name}: {error}",
            "Java's heap was too small for this film: resources.trackmate.mem_gb sizes it"
            if "OutOfMemoryError" in str(error)
            else "the words are TrackMate's own; the backend 'lap' links by the same rules without Java",
        ) from error
    tell("noted", trackmate_settings=made.settings)
    return made
