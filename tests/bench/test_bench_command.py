"""``bench`` as a user would: its layout, an interruption, equal results; and a replay."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataops_parsl.bench.record import TASKS
from dataops_parsl.bench.results import AGGREGATED, RESULTS
from dataops_parsl.bundle import Bundle, seal_files
from dataops_parsl.provenance import file_sha256
from tests.helpers import Project, wait_for

pytestmark = pytest.mark.usefixtures("leaves_nothing")
ARGUMENTS = ("bench", "--workers", "1,2", "--set", 'bench.stages=["trackmate", "contact"]')
MASTER = {
    "run_metadata.json",
    "benchmark_results_aggregated.parquet",
    "benchmark_results_aggregated.csv",
    "benchmark_results.png",
    "benchmark_results.svg",
    "benchmark_speedup.png",
    "benchmark_speedup.svg",
    "scaling_analysis.md",
    "provenance_manifest.json",
}


def _measured(project: Project) -> int:
    logs = project.root.glob("output/benchmark/*/run_*/log/measurements.jsonl")
    return sum(len(log.read_text().splitlines()) for log in logs)


def _folders(project: Project, name: str) -> list[Path]:
    return sorted((project.root / "output" / "benchmark" / name).glob("run_*"))


def test_interrupted_it_goes_on_at_the_missing_one(project: Project) -> None:
    driver = project.start(*ARGUMENTS)
    wait_for(lambda: _measured(project) >= 1, 120, "a first measurement")
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait() == 130, driver.output
    before = _measured(project)
    assert 1 <= before < 4
    assert "Traceback" not in driver.output
    assert not list(project.root.glob("data/scratch/.bench/*")), "what cases wrote is gone"
    output = project.run(*ARGUMENTS)
    assert "Continuing" in output
    assert output.count("N = ") == 4 - before, "what was measured is not measured again"
    assert "resources.cellpose.gres" not in output, "cellpose is not measured"

    (master,) = _folders(project, "master")
    assert {p.name for p in master.iterdir()} == MASTER
    assert re.fullmatch(r"run_\d{8}T\d{6}Z-[0-9a-f]{4}", master.name)
    aggregated = pq.read_table(master / "benchmark_results_aggregated.parquet")
    assert aggregated.schema.equals(AGGREGATED.arrow(), check_metadata=True)
    rows = aggregated.to_pylist()
    assert [(r["stage"], r["workers"]) for r in rows] == [
        ("trackmate", 1),
        ("trackmate", 2),
        ("contact", 1),
        ("contact", 2),
    ]
    assert all(r["same_result"] and r["wall_s"] > 0 and r["startup_s"] > 0 for r in rows)
    assert [r["exceeds_cores"] for r in rows] == [n > len(os.sched_getaffinity(0)) for n in (1, 2, 1, 2)]
    manifest = json.loads((master / "provenance_manifest.json").read_text())
    for stage in ("trackmate", "contact"):
        (folder,) = _folders(project, stage)
        assert folder.name == master.name
        assert {p.name for p in folder.iterdir()} == {"log", "tables"}
        results = pq.read_table(folder / "tables" / "results.parquet")
        assert results.schema.equals(RESULTS.arrow(), check_metadata=True)
        assert len(set(results["digest"].to_pylist())) == 1
        tasks = pq.read_table(folder / "tables" / "tasks.parquet")
        assert tasks.schema.equals(TASKS.arrow(), check_metadata=True)
        assert tasks.num_rows == sum(results["tasks"].to_pylist())
        assert len(set(tasks.filter(tasks["workers"].to_numpy() == 1)["pid"].to_pylist())) == 1
        listed = manifest["beside"][stage]
        assert "tables/tasks.parquet" in listed
        assert all(file_sha256(folder / name) == entry["sha256"] for name, entry in listed.items())
    facts = json.loads((master / "run_metadata.json").read_text())
    assert len(facts["starts"]) == 2
    assert all(start["versions"]["parsl"] and start["command"] for start in facts["starts"])
    analysis = (master / "scaling_analysis.md").read_text()
    for words in ("Amdahl", "Where time goes", "Advice", "contact.pairs", "pyCyto"):
        assert words in analysis

    assert "benchmark" in project.run("runs")
    said = project.run("validate", "latest")
    assert "accepted" in said
    assert "efficiencies: not checked: no run took 5 s" in said
    assert "scaling_analysis.md" in project.run("report", "latest", expect=2)
    _meddled(project, master)


def _meddled(project: Project, master: Path) -> None:
    """What validation says of a benchmark that was meddled with."""
    results = _folders(project, "contact")[0] / "tables" / "results.parquet"
    whole = results.read_bytes()
    table = pq.read_table(results)
    pq.write_table(table.slice(1), results)
    said = project.run("validate", master.name, expect=5)
    assert "is tampered" in said
    assert "contact/tables/results.parquet" in said
    # Sealed anew, the hashes fit, and the tables speak.
    names = ("trackmate", "contact")
    seal_files(master, Bundle.at(master).id, {name: _folders(project, name)[0] for name in names})
    said = project.run("validate", master.name, expect=5)
    assert "is rejected" in said
    assert "cases: contact, N = 1, repeat 0 is missing" in said
    assert "aggregated: from the results: contact, N = 1 is in one of them only" in said
    odd = table.set_column(
        table.column_names.index("digest"), table.schema.field("digest"), [["one", "other"]]
    )
    pq.write_table(odd, results)
    seal_files(master, Bundle.at(master).id, {name: _folders(project, name)[0] for name in names})
    assert "results: contact gave 2 results" in project.run("validate", master.name, expect=5)
    results.write_bytes(whole[:-40])
    said = project.run("validate", master.name, expect=5)
    assert "is tampered" in said
    assert "contact: results: results.parquet cannot be read" in said


def test_a_replay_sleeps_through_the_real_engine(project: Project, tmp_path: Path) -> None:
    costs = tmp_path / "costs.toml"
    costs.write_text(
        'title = "toy costs"\nframes = 6\n[seconds_a_frame]\n"register_denoise.estimate" = 5\n'
        '"cellpose.segment" = 1\n"contact.pairs" = 2\n'
    )
    output = project.run(
        "bench", "--replay", str(costs), "--workers", "1,2", "--mean-task-s", "0.1", "--no-overhead"
    )
    (folder,) = _folders(project, "replay")
    facts = json.loads((folder / "run_metadata.json").read_text())
    # Two positions of six frames: one estimate, two segmentations, one contact each.
    paid_s = 2 * 6 * (5 + 2 * 1 + 2)
    assert facts["time_scale"] == pytest.approx(0.1 * (2 * 6 * 4) / paid_s)
    one, two = (facts["timed"][str(n)] for n in (1, 2))
    scaled = facts["time_scale"]
    assert one["stages"]["register_denoise"] >= 2 * 6 * 5 * scaled
    assert two["stages"]["register_denoise"] >= 6 * 5 * scaled
    assert two["bound"]["work_s"] == pytest.approx(paid_s * scaled / 2)
    assert two["streamed_s"] >= two["bound"]["work_s"]
    assert one["streamed_s"] is None
    for words in (
        "toy costs",
        "time_scale",
        "replayed",
        "streamed / bound",
        "A projection, not a measurement",
    ):
        assert words in output
    assert (folder / "replay_speedup.png").stat().st_size > 10_000
    assert not list(project.root.glob("data/scratch/small/*")), "nothing was computed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "1,x"), "are no numbers of workers"),
        (("--set", 'bench.stages=["contacts"]'), "contact"),
        (("--replay", "none.toml"), "cannot be read"),
        (("--replay", "pycyto", "--mean-task-s", "0"), "is no duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(project: Project, arguments: tuple[str, ...], words: str) -> None:
    assert words in project.run("bench", *arguments, expect=2)
    assert not (project.root / "output").exists()
