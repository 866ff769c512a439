"""The backend fiji in a real JVM, through the real pyimagej, against *stand-ins* for TrackMate's classes.

They prove types, order and units of the calls, which are written down here as TrackMate 7.14 takes them, and
the way back of the edges; not how TrackMate links: test_fiji_contract.py compares that, where there is one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataops_parsl import open_run
from dataops_parsl.algorithms import fiji
from dataops_parsl.stages.fiji_place import find_java
from tests.helpers import PROJECT, Project, processes_of
from tests.stages import fiji_standin, films

pytestmark = pytest.mark.skipif(bool(fiji_standin.why_not()), reason=fiji_standin.why_not())

SETTINGS = fiji.tracker_settings(
    linking_max_distance=5,
    gap_closing_max_distance=7.5,
    max_frame_gap=2,
    splitting=True,
    splitting_max_distance=6,
)
FILM = {
    "frames": [0, 1, 2, 3, 4, 5],
    # Divides after frame 0, one daughter goes on after a frame without it; at last one that is alone.
    "frame": [5, 0, 3, 1, 1],
    "yx": [[50, 60], [1, 10], [2, 12], [1, 11], [3, 10]],
    "radius": 2.5,
    "settings": SETTINGS,
}


@pytest.fixture(scope="session")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a Fiji's with TrackMate 7.14.0."""
    return fiji_standin.build(tmp_path_factory.mktemp("fiji") / "Fiji.app")


def in_jvm(source: Path, *films: dict[str, Any]) -> dict[str, Any]:
    """What `fiji_in_jvm` says; it must end by itself."""
    asked = {"source": str(source), "java_home": find_java("", "").home, "films": films}
    done = subprocess.run(
        [sys.executable, "-m", "tests.stages.fiji_in_jvm"],
        input=json.dumps(asked),
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def spot(name: str, x: float, y: float, number: int, frame: int) -> list[str]:
    """The calls for one spot: a position in x, y, z, all of them Double; its frame an Integer."""
    return [
        *(f"putFeature String:POSITION_{a} Double:{v}" for a, v in (("X", x), ("Y", y), ("Z", 0.0))),
        "putFeature String:RADIUS Double:2.5",
        "putFeature String:QUALITY Double:1.0",
        f"{name} Double:{x} Double:{y} Double:0.0 Double:2.5 Double:1.0",
        f"putFeature String:POSITION_T Double:{frame}.0",
        f"putFeature String:FRAME Double:{frame}.0",
        f"add Integer:{number} Integer:{frame}",
    ]


def expected_calls(name: str) -> list[str]:
    """All calls for `FILM`, in their order."""
    return [
        "setLogger String:VOID_LOGGER",
        *spot(name, 10.0, 1.0, 0, 0),
        *spot(name, 11.0, 1.0, 1, 1),
        *spot(name, 10.0, 3.0, 2, 1),
        *spot(name, 12.0, 2.0, 3, 3),
        *spot(name, 60.0, 50.0, 4, 5),
        "put Integer:2 Integer:0",
        "put Integer:4 Integer:0",
        "setSpots Boolean:false",
        "setNumThreads Integer:1",
        "execTracking",
        "setting String:ALLOW_GAP_CLOSING Boolean:true",
        "setting String:ALLOW_TRACK_MERGING Boolean:false",
        "setting String:ALLOW_TRACK_SPLITTING Boolean:true",
        "setting String:ALTERNATIVE_LINKING_COST_FACTOR Double:1.05",
        "setting String:BLOCKING_VALUE Double:Infinity",
        "setting String:CUTOFF_PERCENTILE Double:0.9",
        "setting String:GAP_CLOSING_FEATURE_PENALTIES String:{}",
        "setting String:GAP_CLOSING_MAX_DISTANCE Double:7.5",
        "setting String:LINKING_FEATURE_PENALTIES String:{}",
        "setting String:LINKING_MAX_DISTANCE Double:5.0",
        "setting String:MAX_FRAME_GAP Integer:2",
        "setting String:MERGING_FEATURE_PENALTIES String:{}",
        "setting String:MERGING_MAX_DISTANCE Double:15.0",
        "setting String:SPLITTING_FEATURE_PENALTIES String:{}",
        "setting String:SPLITTING_MAX_DISTANCE Double:6.0",
        "trackIDs Boolean:true",
    ]


EDGES = [[1, 3, 1.0], [1, 4, 4.0], [3, 2, 2.0]]
"""Rows of `FILM`, the earlier object first, though every second edge of a stand-in lies the other way."""


def test_types_order_and_units_of_the_calls_and_the_edges_back(standin: Path) -> None:
    failing = {**FILM, "settings": {**SETTINGS, "LINKING_MAX_DISTANCE": 4.25}}
    empty = {**FILM, "frame": [], "yx": []}
    order = [4, 2, 0, 3, 1]
    shuffled = {**FILM, **{key: [FILM[key][row] for row in order] for key in ("frame", "yx")}}  # type: ignore[index]
    said = in_jvm(
        standin,
        FILM,
        {**FILM, "thread": True},
        shuffled,
        empty,
        {**failing, "properties": {"standin.fails": "4.25"}},
        {**failing, "properties": {"standin.fails": "0", "standin.throws": "4.25"}},
        # As if it had been made by scyjava: a Long is no Integer, and TrackMate says so.
        {**FILM, "settings": {**SETTINGS, "MAX_FRAME_GAP": 2.0}},
        FILM,
    )
    first, in_thread, other_order, nothing, fails, throws, no_integer, last = said["films"]
    assert first["calls"] == expected_calls("Spot")
    assert first["edges"] == EDGES
    assert first["settings"]["BLOCKING_VALUE"] == "Infinity"
    assert first["settings"]["LINKING_MAX_DISTANCE"] == "5.0"
    assert len(first["settings"]) == 15
    # Neither the thread, nor what the JVM did before, nor the order of rows makes a difference.
    assert in_thread == first == last
    assert other_order["calls"] == first["calls"]
    assert [[order[a], order[b], c] for a, b, c in other_order["edges"]] == sorted(
        EDGES, key=lambda e: (order.index(e[0]), order.index(e[1]))
    )
    # TrackMate is not asked to track nothing, which it calls an error.
    assert nothing["edges"] == []
    assert [c for c in nothing["calls"] if c.startswith(("put ", "exec"))] == [
        f"put Integer:{frame} Integer:0" for frame in range(6)
    ]
    assert fails["error"] == "a planted error"
    assert throws["error"] == "java.lang.OutOfMemoryError: a planted lack of memory"
    assert no_integer["error"] == "MAX_FRAME_GAP is no Integer but java.lang.Double"
    jvm = said["jvm"]
    assert (jvm["trackmate"], jvm["heap_mb"]) == ("7.14.0", 512)
    assert jvm["jar"] == str(standin / "jars" / "TrackMate-7.14.0.jar")
    assert jvm["java"] == find_java("", "").version
    assert "so it can have none with /another" in said["another"]


def test_spots_of_trackmate_8(standin: Path, tmp_path: Path) -> None:
    # Its Java is not asked for here: the stand-ins need none so new.
    newer = fiji_standin.build(tmp_path / "Fiji", "8.1.2", like=standin)
    (film,) = in_jvm(newer, FILM)["films"]
    assert film["calls"] == expected_calls("SpotBase")
    assert film["edges"] == EDGES


def masks(many: int, radius: int, seed: int, n_frames: int = 6) -> list[np.ndarray]:
    """Discs that stand still, the first of them unseen in frame 3."""
    yy, xx = np.mgrid[:96, :96]
    places = np.random.default_rng(seed).permutation(np.mgrid[12:96:24, 12:96:24].reshape(2, -1).T)[:many]
    film = []
    for frame in range(n_frames):
        image = np.zeros(yy.shape, np.uint32)
        for number, (y, x) in enumerate(places, 1):
            if (frame, number) != (3, 1):
                image[(yy - y) ** 2 + (xx - x) ** 2 <= radius**2] = number
        film.append(image)
    return film


def test_a_run_with_one_jvm_a_worker_in_which_one_film_fails(
    standin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = {"target": masks(4, 5, 1), "effector": masks(5, 3, 2)}
    project = Project(films.project(tmp_path / "project", film))
    log = tmp_path / "jvms"
    # The linking distance of targets is their diameter, 10 µm.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-Dstandin.log={log} -Dstandin.fails=10.0")
    output = project.run(
        *("run", "tracks", "--dataset", "film", "--workers", "1", *films.GIVEN[:3]),
        "--set=stages.trackmate.backend=fiji",
        f"--set=stages.trackmate.fiji_dir={standin}",
        "--set=resources.trackmate.mem_gb=3",
        expect=4,
    )
    assert "TrackMate failed on P1, target: a planted error" in output
    # One worker, two films, one JVM: headless, on one core, in three quarters of 3 GB less half a one.
    (line,) = log.read_text().splitlines()
    _, heap, cores, headless = line.split()
    assert (cores, headless) == ("1", "true")
    assert int(heap) == pytest.approx(1792 * 2**20, rel=0.05)
    (bundle,) = project.bundles("tracks")
    run = open_run(bundle)
    assert run.arrow("members")["population"].to_pylist() == ["effector"] * (5 * 6 - 1)
    kinds = [row["kind"] for row in run.arrow("edges").to_pylist()]
    assert kinds.count("gap") == 1
    assert kinds.count("link") == 5 * 5 - 2
    facts = json.loads((bundle / "run.json").read_text())
    (failure,) = facts["failures"]
    assert failure["stage"] == "trackmate.close[target]"
    assert "a planted error" in failure["reason"]
    noted = facts["noted"]["trackmate.close[effector]"]
    assert noted["trackmate"] == [{"version": "7.14.0", "java": find_java("", "").version}]
    assert [s["LINKING_MAX_DISTANCE"] for s in noted["trackmate_settings"]] == ["6.0"]
    assert noted["jvm"][0]["heap_mb"] == 1792
    assert facts["identities"]["trackmate.close[effector]"] == {"trackmate": "7.14.0"}
    assert processes_of(project.root) == []


def test_a_jar_that_is_not_what_its_name_says(standin: Path, tmp_path: Path) -> None:
    renamed = shutil.copytree(standin, tmp_path / "Fiji.app")
    (renamed / "jars" / "TrackMate-7.14.0.jar").rename(renamed / "jars" / "TrackMate-7.15.0.jar")
    code = (
        "from dataops_parsl.stages.trackmate import Trackmate\n"
        f"Trackmate(backend='fiji', fiji_dir={str(renamed)!r}).prepare('close', 2)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "TrackMate 7.15.0 by its name, but Java loaded 7.14.0 from" in done.stderr
