"""TrackMate itself, in a JVM of this process, through pyimagej: all that touches Java.

A process has one JVM, once: `start` it, then `track` as often as there are films. Types are exact on purpose:
TrackMate takes a ``java.lang.Double`` where a Python float would become a Float or a Python int a Long, and
refuses those.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
Setting = bool | int | float

_TRACKMATE = "fiji.plugin.trackmate"


class FijiError(RuntimeError):
    """The JVM did not start, or TrackMate gave up; with its own words."""


@dataclass(frozen=True)
class Jvm:
    """The JVM of this process.

    Attributes
    ----------
    source : str or tuple of str
        Fiji's folder, or Maven coordinates.
    trackmate, java : str
        Versions, as they say themselves.
    jar : str
        Where TrackMate's classes were loaded from.
    heap_mb : int
        Most memory that Java's objects may take, MB (2**20 bytes).
    start_s : float
        What starting it took, seconds.
    """

    source: str | tuple[str, ...]
    trackmate: str
    java: str
    jar: str
    heap_mb: int
    start_s: float


@dataclass(frozen=True)
class Tracked:
    """Edges that TrackMate made.

    Attributes
    ----------
    source_row, target_row : (E,) int64
        Rows of the objects; the source is the earlier one.
    cost : (E,) float64
        TrackMate's weight of the edge: the squared distance.
    settings : dict
        TrackMate's tracker settings as they were given, in Java's words.
    """

    source_row: IntArray
    target_row: IntArray
    cost: FloatArray
    settings: dict[str, str]


_jvm: Jvm | None = None


def running() -> Jvm | None:
    """The JVM of this process, if it was started."""
    return _jvm


def start(source: str | Sequence[str], java_home: str, heap_mb: int) -> Jvm:
    """Start this process's JVM with ImageJ2, headless; when it runs already, only say what it is.

    Parameters
    ----------
    source : str or sequence of str
        Folder of a Fiji, which is used without a network; or Maven coordinates, fetched over one.
    java_home : str
        The Java to use; it is never downloaded.
    heap_mb : int
        Most memory for Java's objects, MB (2**20 bytes).

    Raises
    ------
    FijiError
        If it does not start, has no TrackMate, or was started for another source.
    """
    global _jvm
    source = source if isinstance(source, str) else tuple(source)
    if _jvm is not None:
        if _jvm.source != source:
            raise FijiError(f"this process has a JVM with {_jvm.source}, so it can have none with {source}")
        return _jvm
    began = time.monotonic()
    os.environ["JAVA_HOME"] = java_home
    imagej, scyjava, jpype = (importlib.import_module(name) for name in ("imagej", "scyjava", "jpype"))
    if jpype.isJVMStarted():
        raise FijiError("this process has a JVM already, of something else or of a start that failed")
    # Otherwise scyjava would download a Java, whatever there is.
    scyjava.config.set_java_constraints(fetch="auto")
    if isinstance(source, str):
        # Importing imagej asks Maven for imglib2-imglyb; Fiji's folder has to hold it instead.
        scyjava.config.endpoints.clear()
    # Its share of a node: threads and garbage collectors otherwise take all cores. -Xrs leaves signals alone.
    scyjava.config.add_options([f"-Xmx{heap_mb}m", "-Xrs", "-XX:+UseSerialGC", "-XX:ActiveProcessorCount=1"])
    try:
        imagej.init(source if isinstance(source, str) else list(source), mode="headless")
        trackmate = jpype.JClass(f"{_TRACKMATE}.TrackMate")
        place = trackmate.class_.getProtectionDomain().getCodeSource().getLocation()
        version = str(trackmate.PLUGIN_NAME_VERSION or "")
        java = str(jpype.JClass("java.lang.System").getProperty("java.version"))
    except Exception as error:  # Java's exceptions are Python's; pyimagej raises any
        raise FijiError(f"{type(error).__name__}: {error}") from error
    finally:
        _end_with_the_process(jpype)
    _jvm = Jvm(source, version, java, str(place.getPath()), heap_mb, round(time.monotonic() - began, 3))
    return _jvm


def _end_with_the_process(jpype: Any) -> None:
    """Let the JVM end when this process does, without waiting for threads that ImageJ leaves behind.

    JPype's own thread, which frees Python's objects, is stopped before: it aborts a process that ends
    under it.
    """
    jpype.config.destroy_jvm = False

    def stop() -> None:
        with contextlib.suppress(Exception):
            jpype.JClass("org.jpype.ref.JPypeReferenceQueue").getInstance().stop()

    atexit.register(stop)


def tracker_settings(
    *,
    linking_max_distance: float,
    gap_closing_max_distance: float,
    max_frame_gap: int,
    splitting: bool,
    splitting_max_distance: float,
) -> dict[str, Setting]:
    """TrackMate's settings of the LAP tracker, one to one; distances in any one unit.

    Merging is never allowed, no feature is penalized, and the constants are TrackMate's defaults.
    """
    return {
        "LINKING_MAX_DISTANCE": float(linking_max_distance),
        "ALLOW_GAP_CLOSING": max_frame_gap > 0,
        "GAP_CLOSING_MAX_DISTANCE": float(gap_closing_max_distance),
        "MAX_FRAME_GAP": int(max_frame_gap),
        "ALLOW_TRACK_SPLITTING": bool(splitting),
        "SPLITTING_MAX_DISTANCE": float(splitting_max_distance),
        "ALLOW_TRACK_MERGING": False,
        "CUTOFF_PERCENTILE": 0.9,
        "ALTERNATIVE_LINKING_COST_FACTOR": 1.05,
        "BLOCKING_VALUE": float("inf"),
    }


def track(
    frames: Sequence[int],
    frame: npt.ArrayLike,
    yx: npt.ArrayLike,
    radius: float,
    settings: Mapping[str, Setting],
) -> Tracked:
    """Link the objects of a film by TrackMate's sparse LAP tracker, in the JVM that was started.

    Parameters
    ----------
    frames : sequence of int
        All frames of the film. Those without an object are given to TrackMate as empty: it would link across
        a frame that it does not know.
    frame : (N,) int
        Frame of each object.
    yx : (N, 2) float64
        Position of each object, in the unit of the settings' distances.
    radius : float
        Of all spots; of no influence.
    settings : mapping
        See `tracker_settings`.

    Returns
    -------
    Tracked
        Objects in no track have no edge.

    Raises
    ------
    FijiError
        If no JVM was started, or TrackMate fails; with its message.
    """
    if _jvm is None:
        raise FijiError("no JVM was started in this process: call start() first")
    numbers, points = np.asarray(frame, np.int64).ravel(), np.asarray(yx, np.float64).reshape(-1, 2)
    jpype = importlib.import_module("jpype")
    try:
        return _track(jpype, frames, numbers, points, radius, settings)
    except jpype.JException as error:
        raise FijiError(str(error)) from error


def _track(
    jpype: Any,
    frames: Sequence[int],
    frame: IntArray,
    yx: FloatArray,
    radius: float,
    settings: Mapping[str, Setting],
) -> Tracked:
    model, spots = jpype.JClass(f"{_TRACKMATE}.Model")(), jpype.JClass(f"{_TRACKMATE}.SpotCollection")()
    model.setLogger(jpype.JClass(f"{_TRACKMATE}.Logger").VOID_LOGGER)
    rows = _fill(jpype, spots, frames, frame, yx, radius)
    model.setSpots(spots, False)
    wanted = jpype.JClass(f"{_TRACKMATE}.Settings")()
    wanted.trackerFactory = jpype.JClass(f"{_TRACKMATE}.tracking.jaqaman.SparseLAPTrackerFactory")()
    given = wanted.trackerFactory.getDefaultSettings()
    for key, value in settings.items():
        given.put(key, _boxed(jpype, value))
    for event in ("LINKING", "GAP_CLOSING", "SPLITTING", "MERGING"):
        given.put(f"{event}_FEATURE_PENALTIES", jpype.JClass("java.util.HashMap")())
    wanted.trackerSettings = given
    trackmate = jpype.JClass(f"{_TRACKMATE}.TrackMate")(model, wanted)
    trackmate.setNumThreads(1)
    if rows and not trackmate.execTracking():  # which calls it an error when there is nothing to track
        raise FijiError(str(trackmate.getErrorMessage()).strip())
    said = {str(entry.getKey()): str(entry.getValue().toString()) for entry in given.entrySet()}
    return Tracked(*_edges(model.getTrackModel(), rows), settings=dict(sorted(said.items())))


def _boxed(jpype: Any, value: Setting) -> Any:
    kind = "Boolean" if isinstance(value, bool) else "Integer" if isinstance(value, int) else "Double"
    return jpype.JClass(f"java.lang.{kind}")(value)


def _fill(
    jpype: Any, spots: Any, frames: Sequence[int], frame: IntArray, yx: FloatArray, radius: float
) -> dict[int, int]:
    """Put objects and empty frames into a SpotCollection; returns the row of each spot's id."""
    double, integer = jpype.JClass("java.lang.Double"), jpype.JClass("java.lang.Integer")
    try:
        spot_class = jpype.JClass(f"{_TRACKMATE}.SpotBase")  # from TrackMate 8 on, where Spot is an interface
    except TypeError:
        spot_class = jpype.JClass(f"{_TRACKMATE}.Spot")
    # Ids, which decide between ties, come from a counter of the whole JVM: a film's must not depend on which
    # films the worker had before, nor on the order of its rows.
    spot_class.IDcounter.set(-1)
    rows = {}
    for row in np.lexsort((yx[:, 1], yx[:, 0], frame)).tolist():
        spot = spot_class(float(yx[row, 1]), float(yx[row, 0]), 0.0, float(radius), 1.0)
        spot.putFeature("POSITION_T", double(float(frame[row])))
        spots.add(spot, integer(int(frame[row])))
        rows[int(spot.ID())] = row
    for empty in sorted(set(frames) - set(frame.tolist())):
        spots.put(int(empty), jpype.JClass("java.util.ArrayList")())
    return rows


def _edges(tracks: Any, rows: Mapping[int, int]) -> tuple[IntArray, IntArray, FloatArray]:
    """Edges of a TrackModel, which have no direction, the earlier object first."""
    found = []
    for track_id in tracks.trackIDs(True):
        for edge in tracks.trackEdges(track_id):
            one, other = tracks.getEdgeSource(edge), tracks.getEdgeTarget(edge)
            if one.diffTo(other, "FRAME") > 0:
                one, other = other, one
            found.append((rows[int(one.ID())], rows[int(other.ID())], float(tracks.getEdgeWeight(edge))))
    found.sort()
    source, target, cost = zip(*found, strict=True) if found else ((), (), ())
    return np.array(source, np.int64), np.array(target, np.int64), np.array(cost, np.float64)
