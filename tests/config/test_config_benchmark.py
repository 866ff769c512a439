"""The benchmark's own layers: benchmark.def.toml and benchmark.user.toml."""

from __future__ import annotations

from pathlib import Path

from dataops_parsl.config import load, write_benchmark_default
from dataops_parsl.stages import discover
from tests.config.config_toys import Project, said

SOURCE = Path(__file__).parents[2]
USER = "configs/benchmark.user.toml"


def test_it_differs_from_a_run_as_the_contract_says(project: Project) -> None:
    run, bench = project.load(), project.load(benchmark=True)
    assert run.bench is None
    assert bench.bench is not None
    assert bench.bench.workers == (1, 2, 4, 8)
    assert bench.bench.repeats == 1
    assert bench.config.dataset.total_frames == 80
    assert bench.origins["dataset.total_frames"] == "configs/benchmark.def.toml"
    assert run.config.dataset.total_frames is None


def test_its_layers_lie_right_after_the_defaults_and_after_the_user(project: Project) -> None:
    project.user("batch_frames = 7\n[dataset]\ntotal_frames = 5\n")
    assert project.load(benchmark=True).config.dataset.total_frames == 5
    project.write(USER, "[dataset]\ntotal_frames = 6\n[bench]\nrepeats = 3\n")
    both = project.load(benchmark=True)
    assert (both.config.batch_frames, both.config.dataset.total_frames) == (7, 6)
    assert both.bench is not None
    assert both.bench.repeats == 3
    assert both.origins["bench.repeats"] == USER
    assert project.load(benchmark=True, sets=["bench.repeats=2"]).effective()["bench"]["repeats"] == 2
    assert project.load().config.dataset.total_frames == 5, "a run does not read them"


def test_typos_are_named(project: Project) -> None:
    project.write(USER, "[bench]\nrepeat = 3\nworkers = [0]\n")
    lines = said(project, benchmark=True)
    assert any(f"{USER}: bench.repeat is not" in x and "'repeats'" in x for x in lines)
    project.write(USER, "[bench]\nworkers = [0]\n")
    (line,) = said(project, benchmark=True)
    assert line.startswith(f"{USER}: bench.workers")
    project.write(USER, "")
    project.user("[bench]\nrepeats = 3\n")
    (line,) = said(project)
    assert line.startswith("configs/config.user.toml: bench is not a known key")


def test_the_committed_file_is_the_code_and_loads_to_itself(project: Project) -> None:
    text = (SOURCE / "configs" / "benchmark.def.toml").read_text(encoding="utf-8")
    assert text == write_benchmark_default(), "run `make config`"
    bare = load(project.root, stage_classes=discover(), benchmark=True)
    assert bare.resources("cellpose").gres == "gpu:a100-pcie-40gb:1"
    project.write("configs/benchmark.def.toml", text)
    assert load(project.root, stage_classes=discover(), benchmark=True).effective() == bare.effective()
    changed = text.replace("repeats = 1", "repeats = 2")
    project.write("configs/benchmark.def.toml", changed)
    (line,) = said(project, benchmark=True)[:1]
    assert "configs/benchmark.def.toml: bench.repeats was changed by hand" in "\n".join(
        said(project, benchmark=True)
    )
    assert line
