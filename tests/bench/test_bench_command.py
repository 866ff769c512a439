"""``bench`` as a user would: its layout, an interruption, equal results; and a replay."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dataops_parsl.bench import overhead
from dataops_parsl.bench.record import TASKS
from dataops_parsl.bench.results import AGGREGATED, RESULTS
from dataops_parsl.bundle import Bundle, seal_files
from dataops_parsl.provenance import file_sha256
from dataops_parsl.stages import discover
from tests.helpers import PROJECT, Project, wait_for

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


@pytest.mark.slow
def test_interrupted_it_goes_on_at_the_missing_one(project: Project) -> None:
    driver = project.start(*ARGUMENTS)
    wait_for(lambda: _measured(project) >= 1, 300, "a first measurement")
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
    n_cores = len(os.sched_getaffinity(0))
    assert ("there are more workers than cores" in output) == (n_cores < 2)

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
    assert two["bound"]["work_s"] <= two["streamed_s"] < 5 * two["bound"]["work_s"] + 5
    assert "replay" in project.run("runs")
    assert "accepted" in project.run("validate", folder.name)
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


def test_repeats_notes_and_one_number_of_workers(project: Project) -> None:
    output = project.run(
        "bench", "--workers", "3", "--set", 'bench.stages=["cellpose"]', "--set", "bench.repeats=2",
        "--set", "dataset.total_frames=2",
    )  # fmt: skip
    assert "note: resources.cellpose.gres = 'gpu:a100-pcie-40gb:1' is not used" in output
    if len(os.sched_getaffinity(0)) < 3:
        assert "with 3 workers there are more workers than cores" in output
    (folder,) = _folders(project, "cellpose")
    rows = pq.read_table(folder / "tables" / "results.parquet").to_pylist()
    assert [(r["workers"], r["repeat"], r["lost"]) for r in rows] == [(3, 0, 0), (3, 1, 0)]
    (one,) = pq.read_table(
        _folders(project, "master")[0] / "benchmark_results_aggregated.parquet"
    ).to_pylist()
    assert one["repeats"] == 2
    assert one["efficiency_frac"] is None
    assert one["frames"] == 2 * 4, "whole batches of two films"


def test_inputs_with_a_bad_frame_are_refused_by_name(project: Project) -> None:
    frame = project.root / "data/datasets/small/coculture/ctdr/im_00003.tif"
    (found,) = project.root.rglob("coculture/ctdr/*00003*") if not frame.exists() else [frame]
    found.chmod(0o644)
    found.write_bytes(b"no image")
    output = project.run("bench", "--workers", "1", "--set", 'bench.stages=["contact"]', expect=4)
    assert "coculture" in output
    assert "frame 3" in output
    assert "without bad frames" in output


def test_the_engine_is_measured_beside_bare_parsl(tmp_path: Path) -> None:
    lease = tmp_path / "lease"
    lease.touch()
    with overhead.many_batches("cytotoxicity", PROJECT, discover(), 120) as many:
        rates = overhead.rates(many, 1, "test", tmp_path / "log", lease)
        n, seconds = overhead.resume_s(many)
    assert 30 < rates.tasks < 120
    assert rates.bare > 0
    assert 0.05 < rates.dispatched / rates.bare < 20
    assert 0 < rates.whole < 20 * rates.bare
    assert 120 <= n < 200
    assert 0 < seconds < 120


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
