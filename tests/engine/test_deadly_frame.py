"""Frames and steps that kill their worker, for real: the rest completes, and what is lost is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Project, package_with_stage, processes_of, wait_for

STAGE = '''\
"""deadly: kills its worker, where it is told to."""

import os
import signal
from typing import ClassVar

from dataops_parsl.stage import Stage, step
from dataops_parsl.tables import Column, Schema

POSITION = Column("position_id", "string", "field of view", key=True)
SURVIVORS = Schema("survivors", "a frame", (
    POSITION,
    Column("frame", "int64", "0-based frame", key=True),
    Column("mean_count", "float64", "mean acquired count", "count"),
))
COUNTS = Schema("counts", "a field of view", (POSITION, Column("n", "int64", "surviving frames")))


def attempt(what):
    with open(os.environ["DEADLY_LOG"], "a") as log:
        log.write(what + "\\n")


class Deadly(Stage):
    """Kills its worker."""
    name: ClassVar[str] = "deadly"
    version: ClassVar[int] = 1
    frame: int = -1
    """Frame of coculture that kills the worker."""
    position: str = ""
    """Position whose count kills the worker."""
    wrong_frame: int = -1
    """Frame of coculture that raises."""

    @step(scope="batch", gives={"survivors": SURVIVORS}, parameters=("frame", "wrong_frame"))
    def look(self, film, frame, raw):
        if film.position_id == "coculture" and frame == self.frame:
            attempt("frame")
            os.kill(os.getpid(), signal.SIGKILL)
        if film.position_id == "coculture" and frame == self.wrong_frame:
            raise ValueError("this frame is wrong")
        return {"mean_count": [raw["gfp"][frame].mean()]}

    @step(scope="film", gives={"counts": COUNTS}, parameters=("position",))
    def count(self, film, survivors):
        if film.position_id == self.position:
            attempt("position")
            os.kill(os.getpid(), signal.SIGKILL)
        return {"n": [len(survivors)]}
'''
APP = """\
from dataops_parsl.stages.deadly import Deadly
from dataops_parsl.workflow import Workflow

workflow = Workflow("deadly")
deadly = workflow.add(Deadly, raw=workflow.raw)
workflow.publish(survivors=deadly.survivors, counts=deadly.counts)
"""
N_FRAMES = 12
LOG = "tried.txt"
DIES = (
    "run",
    "deadly",
    "--workers=2",
    "--set=stages.deadly.frame=5",
    "--set=stages.deadly.position=targets_alone",
    "--set=engine.max_attempts=2",
    "--set=engine.heartbeat_s=1",  # how soon a dead worker is noticed
)
STOPS = (
    "run",
    "deadly",
    "--workers=1",
    "--set=batch_frames=1",
    "--set=stages.deadly.wrong_frame=1",
    "--set=engine.on_failure=stop",
)


class Place(Project):
    """A project with the workflow `deadly`."""

    def tried(self, what: str) -> int:
        """How often a worker was killed at it."""
        return (self.root.parent / LOG).read_text().split().count(what)

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of the newest run."""
        lines = (self.bundles("deadly")[-1] / "log" / "events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == kind]

    def rows(self, name: str) -> list[dict[str, Any]]:
        """A table of the newest run."""
        rows: list[dict[str, Any]] = self.tables(workflow="deadly")[name].to_pylist()
        return rows


def _place(root: Path, small_films: Path) -> Place:
    (root / "configs").mkdir(parents=True)
    shutil.copytree(PROJECT / "configs" / "sites", root / "configs" / "sites")
    (root / "configs" / "config.user.toml").write_text('batch_frames = 4\n[dataset]\nname = "small"\n')
    (root / "apps").mkdir()
    (root / "apps" / "deadly.py").write_text(APP)
    ingest.add(small_films, "small", root / "data" / "datasets")
    return Place(root)


@pytest.fixture(scope="module")
def first_runs(
    tmp_path_factory: pytest.TempPathFactory, small_films: Path
) -> Iterator[tuple[tuple[Place, str], tuple[Place, str]]]:
    """Two projects and what their first runs printed: workers that died, and a stop at a failure."""
    folder = tmp_path_factory.mktemp("deadly")
    library = package_with_stage(folder / "library", "deadly", STAGE)
    died, stopped = (_place(folder / name, small_films) for name in ("died", "stopped"))
    with pytest.MonkeyPatch.context() as environment:
        for name, value in library.items():
            environment.setenv(name, value)
        environment.setenv("DEADLY_LOG", str(folder / LOG))
        drivers = [died.start(*DIES), stopped.start(*STOPS)]
        for driver in drivers:
            assert driver.wait() == 4, driver.output
            assert "Traceback" not in driver.output
        yield (died, drivers[0].output), (stopped, drivers[1].output)


@pytest.fixture
def died(first_runs) -> tuple[Place, str]:
    """A frame and a film-wide step killed their workers."""
    return first_runs[0]


def test_a_deadly_frame_fails_alone(died) -> None:
    place, output = died
    (line,) = (line for line in output.splitlines() if "coculture frame 5, " in line)
    assert "deadly.look" in line
    assert "the worker died on this frame" in line
    rows = {(r["position_id"], r["frame"]) for r in place.rows("survivors")}
    everything = {(p, f) for p in ("coculture", "targets_alone") for f in range(N_FRAMES)}
    assert everything - rows == {("coculture", 5)}
    lost = [e["attempt"] for e in place.events("lost") if e["task"] == "deadly.look/coculture/00001"]
    assert lost == [1, 2], "the first attempt shows that there is something, the second at which frame"
    assert place.tried("frame") >= 2


def test_a_deadly_step_is_given_up_after_max_attempts(died) -> None:
    place, output = died
    (line,) = (line for line in output.splitlines() if "targets_alone" in line)
    assert "deadly.count" in line
    assert "its worker died 2 times" in line
    assert {r["position_id"]: r["n"] for r in place.rows("counts")} == {"coculture": N_FRAMES - 1}
    lost = [e["attempt"] for e in place.events("lost") if e["task"] == "deadly.count/targets_alone"]
    assert lost == [1, 2]


def test_only_what_killed_a_worker_was_lost(died) -> None:
    place, _ = died
    assert {e["task"] for e in place.events("lost")} == {
        "deadly.look/coculture/00001",
        "deadly.count/targets_alone",
    }


def test_a_rerun_tries_them_once_more_and_ends_the_same(died) -> None:
    place, _ = died
    (bundle,) = place.bundles("deadly")
    frame, position = place.tried("frame"), place.tried("position")
    output = place.run(*DIES, expect=4)
    assert place.tried("frame") == 2 * frame
    assert place.tried("position") == 2 * position
    assert place.bundles("deadly") == [bundle]
    assert str(bundle) in output
    assert "coculture frame 5" in output
    assert "the worker died on this frame" in output
    assert "its worker died 2 times" in output
    wait_for(lambda: not processes_of(place.root), 40, "all processes of the project are gone")


def test_on_failure_stop_submits_nothing_more(first_runs) -> None:
    place, output = first_runs[1]
    assert "coculture frame 1, " in output
    assert "this frame is wrong" in output
    # Frame 0, and what was in flight at that moment.
    assert 1 <= len(place.rows("survivors")) < N_FRAMES
    assert len(place.events("submitted")) == len(place.events("ended")) < N_FRAMES
