"""Two runs at once on one tree, for real: processes, workers, SIGKILL."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import publish
from tests.engine.one_film import LAST, one_film
from tests.helpers import Driver, Project, processes_of, same_tables, wait_for
from tests.in_process import InProcess, parts, planned, run

FLAGS = ("--until", LAST, "--workers", "1")
WIDER = ("--set", "stages.contact.radius_um=3")
SEEDED = 20


class Place(Project):
    """A project in which two runs are at work."""

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """Events of all runs, of one kind or of all."""
        logs = self.root.glob("output/*/run_*/log/events.jsonl")
        lines = [line for path in logs for line in path.read_text().splitlines() if line.endswith("}")]
        return [e for e in map(json.loads, lines) if kind in ("", e["event"])]

    def wanted(self, *flags: str) -> set[str]:
        """All that a run has to compute, by recipe."""
        return {f"{p.id} {p.recipe}" for p in parts(planned(self.root, *flags, until=LAST))}


@pytest.fixture
def place(tmp_path: Path, small_films: Path) -> Iterator[Place]:
    """A project of its own, whose processes do not outlive the test."""
    made = Place(one_film(tmp_path / "a project", small_films).root)
    yield made
    for process in processes_of(made.root):
        process.send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def wider(tmp_path_factory: pytest.TempPathFactory, small_films: Path) -> dict[str, Any]:
    """Tables of an undisturbed run with another radius."""
    root = tmp_path_factory.mktemp("undisturbed")
    plan = planned(one_film(root / "project", small_films).root, *WIDER, until=LAST)
    with InProcess() as pool:
        assert run(plan, root / "log", pool) == {}
    return publish.tables(plan)


def _kill_one_of_two(place: Place, at_work: int, wait_s: float = 0.0) -> int:
    """Kill the first of two runs after so many tasks; the other completes. Returns what was in flight."""
    first = place.start("run", *FLAGS)
    # Once it has a claim, the other cannot have begun earlier.
    wait_for(lambda: place.events("submitted"), 90, "the first is at work")
    other = place.start("run", *FLAGS, *WIDER)
    wait_for(lambda: len(place.events("ended")) >= at_work, 120, f"{at_work} tasks ended")
    time.sleep(wait_s)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (dead,) = [b for b in place.bundles() if (b / "lease.json").exists() and _pid(b) == first.pid]
    lines = (dead / "log" / "events.jsonl").read_text().splitlines()
    kinds = Counter(json.loads(line)["event"] for line in lines if line.endswith("}"))
    assert _ends_well(other)
    return kinds["submitted"] - kinds["ended"]


def _pid(bundle: Path) -> int:
    return int(json.loads((bundle / "lease.json").read_text())["pid"])


def _ends_well(driver: Driver) -> bool:
    assert driver.wait() == 0, driver.output
    assert "Traceback" not in driver.output, driver.output
    return True


def _nothing_is_left(place: Place) -> bool:
    wait_for(lambda: not processes_of(place.root), 40, "all processes are gone")
    scratch = place.root / "data" / "scratch"
    assert not list(scratch.glob("*/.runs/*")), "no lease"
    return not list(scratch.rglob("*.claim"))


def _check(place: Place, in_flight: int, wider: dict[str, Any]) -> None:
    """The other's tables are right; the killed one goes on; only what was in flight was computed twice."""
    (sealed,) = [b for b in place.bundles() if (b / "provenance_manifest.json").exists()]
    assert same_tables(place.tables(sealed), wider)
    assert "Continuing" in place.run("run", *FLAGS)
    computed = len(place.events("ended"))
    once = len(place.wanted() | place.wanted(*WIDER))
    assert computed <= once, "what had ended was computed again"
    assert computed + in_flight >= once, "the killed run's workers may have finished what they were at"
    assert _nothing_is_left(place)


def test_one_of_two_runs_is_killed_and_the_other_takes_its_parts_over(
    place: Place, wider: dict[str, Any]
) -> None:
    in_flight = _kill_one_of_two(place, at_work=8)
    assert in_flight, "it was killed in mid-work"
    assert place.events("waits"), "they were at the same parts"
    _check(place, in_flight, wider)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(SEEDED))
def test_killed_at_any_moment(place: Place, wider: dict[str, Any], seed: int) -> None:
    rng = random.Random(seed)
    in_flight = _kill_one_of_two(place, at_work=rng.randrange(20), wait_s=rng.random())
    _check(place, in_flight, wider)
