"""Killed at any moment and started again: the same tables. On a real HighThroughputExecutor."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.helpers import Project, processes_of, same_tables, wait_for
from tests.in_process import parts, planned

pytestmark = pytest.mark.usefixtures("leaves_nothing")


@pytest.fixture(scope="module")
def expected(tmp_path_factory, small_films):
    """Tables of an undisturbed run with one worker."""
    import shutil

    from dataops_parsl.dataset import ingest
    from tests.helpers import PROJECT

    root = tmp_path_factory.mktemp("undisturbed") / "project"
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    ingest.add(small_films, "small", root / "data" / "datasets")
    shutil.copytree(PROJECT / "apps", root / "apps")
    (root / "configs" / "config.user.toml").write_text('batch_frames = 4\n[dataset]\nname = "small"\n')
    undisturbed = Project(root)
    undisturbed.run("run", "--workers", "1")
    return undisturbed.tables()


def _events(project: Project) -> list[dict[str, object]]:
    lines = [p.read_text().splitlines() for p in project.root.glob("output/*/run_*/log/events.jsonl")]
    return [json.loads(line) for many in lines for line in many if line.endswith("}")]


def _ended(project: Project) -> int:
    return sum(e["event"] == "ended" for e in _events(project))


def _in_flight(project: Project) -> bool:
    events = _events(project)
    return sum(e["event"] == "submitted" for e in events) > _ended(project) > 0


@pytest.mark.parametrize("after", [12, *(pytest.param(n, marks=pytest.mark.faults) for n in (1, 40))])
def test_driver_killed_then_the_same_command(project: Project, expected, after: int) -> None:
    driver = project.start("run", "--workers", "2")
    wait_for(lambda: _ended(project) >= after, 90, f"{after} tasks ended")
    assert _in_flight(project), "the driver must be killed in mid-work"
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    before = _events(project)
    assert not project.bundles()[0].joinpath("provenance_manifest.json").exists()
    # Orphaned workers may still write: the new run starts at once.
    output = project.run("run", "--workers", "2")
    assert "Continuing" in output
    assert len(project.bundles()) == 1
    assert same_tables(project.tables(), expected)
    done = {e["task"] for e in before if e["event"] == "ended"}
    computed = {e["task"] for e in _events(project)[len(before) :] if e["event"] == "ended"}
    assert done, "something was done before the kill"
    assert not done & computed, "what was done must not be done again"


def _busy_worker(project: Project) -> psutil.Process | None:
    """A worker that computes now: its pid is known from a task that it ended."""
    for pid in {e["pid"] for e in _events(project) if e["event"] == "ended"}:
        if psutil.pid_exists(pid) and (worker := psutil.Process(pid)).cpu_percent(0.1) > 20:
            return worker
    return None


def test_worker_killed(project: Project, expected) -> None:
    driver = project.start("run", "--workers", "2")
    wait_for(lambda: _ended(project) >= 2, 90, "two tasks ended")
    wait_for(lambda: _busy_worker(project), 30, "a worker is busy").send_signal(signal.SIGKILL)
    assert driver.wait() == 0, driver.output
    assert any(e["event"] == "lost" for e in _events(project)), "the victim must have been in mid-task"
    assert same_tables(project.tables(), expected)


@pytest.mark.faults  # make test does it on a cluster
def test_manager_killed(project: Project, expected) -> None:
    driver = project.start("run", "--workers", "2")
    wait_for(lambda: _in_flight(project), 90, "tasks are in flight")
    managers = [
        p for p in processes_of(project.root) if any("process_worker_pool.py" in w for w in p.cmdline())
    ]
    assert managers, "there is a manager to kill"
    for manager in managers:
        manager.send_signal(signal.SIGKILL)
    assert driver.wait() == 0, driver.output
    assert any(e["event"] == "lost" for e in _events(project)), "tasks must have been in flight"
    assert same_tables(project.tables(), expected)


@pytest.mark.parametrize(
    "number",  # make test does the others on a cluster
    [signal.SIGINT, *(pytest.param(n, marks=pytest.mark.faults) for n in (signal.SIGTERM, signal.SIGHUP))],
)
def test_interrupted_leaves_nothing_and_says_how_to_go_on(project: Project, number: signal.Signals) -> None:
    driver = project.start("run", "--workers", "2")
    wait_for(lambda: _in_flight(project), 90, "tasks are in flight")
    os.killpg(driver.pid, number)  # what a terminal does: to the whole group
    assert driver.wait(60) == 130, driver.output
    output = driver.output
    assert "the same command goes on from there" in output
    assert "Traceback" not in output
    wait_for(lambda: not processes_of(project.root), 5, "no process is left")


@pytest.mark.parametrize(("workers", "batch"), [("4", 1), ("3", 50)])
def test_workers_and_batches_change_nothing(project: Project, expected, workers: str, batch: int) -> None:
    project.run("run", "--workers", workers, "--set", f"batch_frames={batch}")
    assert same_tables(project.tables(), expected)


def test_two_runs_at_once_make_one_result(project: Project, expected) -> None:
    drivers = [project.start("run", "--workers", "1") for _ in range(2)]
    for driver in drivers:
        assert driver.wait() == 0, driver.output
    (bundle,) = project.bundles()
    assert same_tables(project.tables(bundle), expected)
    one, other = sorted((driver.output for driver in drivers), key=lambda text: "this result is in" in text)
    assert "verdict: accepted" in one
    assert f"this result is in {bundle}" in other
    assert "makes the same result" in other
    computed = [int(re.search(r"^(\d+) tasks", text, re.MULTILINE).group(1)) for text in (one, other)]
    assert sum(computed) == len(parts(planned(project.root)))
    assert all(computed), "both worked"


def test_second_run_does_nothing_and_purged_scratch_costs_nothing(project: Project, expected) -> None:
    import shutil

    project.run("run", "--workers", "2")
    assert "Nothing to do" in project.run("run")
    shutil.rmtree(project.root / "data" / "scratch")
    assert "Nothing to do" in project.run("run")
    assert len(project.bundles()) == 1
    # A changed radius needs contact events and what follows, which need their own inputs only.
    project.run("run", "--workers", "2", "--set", "stages.contact.radius_um=3")
    assert len(project.bundles()) == 2
    assert "Nothing to do" in project.run("run")
    assert same_tables(project.tables(project.bundles()[0]), expected)


def test_damaged_intermediate_is_computed_again(project: Project, expected) -> None:
    project.run("run", "--workers", "2", "--until", "measure")
    scratch = project.root / "data" / "scratch"
    shard = next(p for p in sorted(scratch.rglob("c.1.0.0")) if "labels" in str(p))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 0xFF
    shard.write_bytes(data)
    table = next(iter(sorted(scratch.glob("small/measure/objects-*/*.parquet"))))
    table.write_bytes(table.read_bytes()[:-7] + b"garbage")
    project.run("run", "--workers", "2")
    assert same_tables(project.tables(), expected)


def _poison(project: Project, position: str, channel: str, frame: int) -> Path:
    path = project.root / "data" / "datasets" / "small" / position / channel / f"im_{frame:05d}.tif"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:200])
    return path


def test_poisoned_frame_fails_alone_and_heals(project: Project, expected) -> None:
    source = project.root / "data" / "datasets" / "small" / "coculture" / "gfp" / "im_00005.tif"
    whole = source.read_bytes()
    _poison(project, "coculture", "gfp", 5)
    output = project.run("run", "--workers", "2", expect=4)
    assert "coculture frame 5" in output
    assert "register_denoise" in output
    assert "im_00005.tif" in output
    tables = project.tables()
    frames = tables["frames"].to_pylist()
    lost = [(f["position_id"], f["frame"]) for f in frames if f["reason"] == "failed"]
    assert lost == [("coculture", 5)]
    assert {r["frame"] for r in tables["cells"].to_pylist() if r["position_id"] == "coculture"} == set(
        range(12)
    ) - {5}
    # Again: nothing changed, so the partial bundle is named and no other is made.
    again = project.run("run", "--workers", "2", expect=4)
    assert str(project.bundles()[0]) in again
    assert len(project.bundles()) == 1
    source.write_bytes(whole)
    project.run("run", "--workers", "2")
    assert same_tables(project.tables(), expected)
