"""Fault j: frames that raise and frames that kill their worker, in blocks of a real SLURM."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import Driver, same_tables
from tests.slurm.cluster import Cluster
from tests.slurm.faults import FAST, leaves_nothing
from tests.slurm.report import record_cost
from tests.slurm.toy import Toy, toy_project
from tests.slurm.toy_stages import VICTIM

BAD, EARLY = 5, 1
N_FRAMES = 24
# Two batches of two frames come before the bad one's.
BAD_TASK = f"nap.nap/{VICTIM}/00002"
PLACE = (*FAST, "--set=stages.nap.seconds=0.3")
CASES = {
    "poisoned": (f"--set=stages.nap.poisoned_frame={BAD}",),
    "deadly": (f"--set=stages.nap.deadly_frame={BAD}",),
    "stopped": (
        f"--set=stages.nap.poisoned_frame={EARLY}",
        "--set=engine.on_failure=stop",
        "--set=batch_frames=1",
    ),
}


@dataclass
class Ended:
    """A run that is over."""

    toy: Toy
    driver: Driver

    @property
    def output(self) -> str:
        """What the user saw."""
        return self.driver.output

    def line(self, words: str) -> str:
        """The one line that the user saw of a subject."""
        (line,) = (line for line in self.output.splitlines() if words in line)
        return line

    def lost(self) -> list[dict[str, Any]]:
        """Attempts that died."""
        return self.toy.events("lost")


@pytest.fixture(scope="module")
def ended(
    tmp_path_factory: pytest.TempPathFactory, small_films: Path, cluster: Cluster
) -> Iterator[dict[str, Ended]]:
    """Three runs side by side, each with another bad frame."""
    folder = tmp_path_factory.mktemp("bad-frames")
    runs = {}
    for case, words in CASES.items():
        toy = toy_project(folder / case, small_films, cluster.environment)
        runs[case] = Ended(toy, toy.start_toy(*PLACE, *words))
    try:
        for run in runs.values():
            assert run.driver.wait(120) == 4, run.output
            assert "Traceback" not in run.output
            leaves_nothing(cluster, run.toy)
        yield runs
    finally:
        cluster.reset()


def without(tables: dict[str, Any], frame: int) -> dict[str, Any]:
    """Tables of an undisturbed run as they are when a frame of the victim never came through."""

    def is_bad(row: dict[str, Any]) -> bool:
        return bool(row["position_id"] == VICTIM and row["frame"] == frame)

    rows = {name: tables[name].to_pylist() for name in ("naps", "glows")}
    return {name: tables[name].filter([not is_bad(row) for row in many]) for name, many in rows.items()}


def test_a_poisoned_frame_fails_alone_and_is_named(ended) -> None:
    run = ended["poisoned"]
    line = run.line(f"{VICTIM} frame {BAD}, ")
    assert "nap.nap" in line
    assert "this frame is poisoned" in line
    assert not run.lost(), "a frame that raises costs no worker"
    (struck,) = [x["time"] for x in run.toy.said("start", "nap") if _is_bad(x)]
    record_cost(
        "j1", "a frame raises", run.toy, struck, "exit 4, the frame and its error named, the rest done"
    )


@pytest.mark.parametrize("case", ["poisoned", "deadly"])
def test_all_but_the_bad_frame_is_as_without_it(ended, undisturbed, case: str) -> None:
    tables = ended[case].toy.toy_tables()
    counts = {row["position_id"]: row for row in tables.pop("counts").to_pylist()}
    assert same_tables(tables, without(undisturbed, BAD))
    for row in undisturbed["counts"].to_pylist():
        lost = int(row["position_id"] == VICTIM)
        assert counts[row["position_id"]]["n_naps"] == row["n_naps"] - lost
        assert counts[row["position_id"]]["n_glows"] == row["n_glows"] - lost


def test_a_frame_that_kills_its_worker_fails_alone_and_is_named(ended) -> None:
    run = ended["deadly"]
    line = run.line(f"{VICTIM} frame {BAD}, ")
    assert "nap.nap" in line
    assert "the worker died on this frame" in line
    deaths = [x for x in run.toy.said("start", "nap") if _is_bad(x)]
    ends = [x for x in run.toy.said("end", "nap") if _is_bad(x)]
    assert deaths, "workers were in mid-task"
    assert not ends
    assert not any(psutil.pid_exists(x["pid"]) for x in deaths)
    assert [(e["task"], e["attempt"]) for e in run.lost()] == [(BAD_TASK, 1), (BAD_TASK, 2)]
    for event, death in zip(run.lost(), deaths, strict=True):
        # Who died, where, in which job.
        assert event["pid"] == death["pid"]
        assert event["job_id"] == death["job"]
        assert f"process {death['pid']} on {event['host']}, died" in event["reason"]
        assert f"job {death['job']}" in event["reason"]
    note = "exit 4, the frame named: the worker died on it; the rest done"
    record_cost("j2", "a frame kills its worker", run.toy, deaths[0]["time"], note)


def test_a_killed_worker_takes_no_other_task_with_it(ended) -> None:
    run = ended["deadly"]
    ended_blocks = [e for e in run.toy.events("block") if e["state"] == "ended"]
    assert all(e["reason"] == "given back" for e in ended_blocks), "its block lives on"
    computed = [e["task"] for e in run.toy.events("submitted")]
    assert {t for t in computed if computed.count(t) > 1} == {BAD_TASK}


def test_on_failure_stop_submits_nothing_more(ended) -> None:
    run = ended["stopped"]
    assert f"{VICTIM} frame {EARLY}, nap.nap: " in run.line("this frame is poisoned")
    # What was under way when it failed comes to its end.
    submitted, came_back = run.toy.events("submitted"), run.toy.events("ended")
    assert {e["task"] for e in submitted} == {e["task"] for e in came_back}
    failed = next(e["time"] for e in came_back if e["failed"])
    assert max(e["time"] for e in submitted) < failed
    assert 0 < len(run.toy.said("end", "nap")) < N_FRAMES
    note = "exit 4; what was under way ends, nothing more is submitted"
    record_cost("j3", 'a frame raises, on_failure = "stop"', run.toy, failed, note)


def _is_bad(line: dict[str, Any]) -> bool:
    return bool(line["position"] == VICTIM and line["frame"] == BAD)
