"""Executors of a run, from the configuration alone: what shares one, how many blocks, which ask for a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from dataops_parsl.config import Loaded, load
from dataops_parsl.engine.groups import Group, card, groups, largest_divisor
from dataops_parsl.errors import ConfigError
from dataops_parsl.stage import Stage
from dataops_parsl.stages.cellpose import Cellpose

SITE = """
[site]
kind = "slurm"
[site.slurm]
partition = "short"
gpu_partition = "gpu_short"
workers_per_block = 4
gpu_workers_per_block = 1
[resources.default]
mem_gb = 8
[resources.glow]
gres = "gpu:a100:1"
"""


class Nap(Stage):
    name = "nap"


class Count(Stage):
    name = "count"


class Glow(Stage):
    name = "glow"
    backend: Literal["cpu", "gpu"] = "gpu"

    @property
    def on_gpu(self) -> bool:
        return self.backend == "gpu"


STAGES: tuple[type[Stage], ...] = (Nap, Glow, Count)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sites = tmp_path / "configs" / "sites"
    sites.mkdir(parents=True)
    (sites / "laptop.toml").write_text('[site]\nkind = "local"\n')
    (sites / "slurm.toml").write_text(SITE)
    return tmp_path


def loaded(folder: Path, *sets: str, workers: int = 8, site: str = "slurm") -> Loaded:
    return load(folder, stage_classes=STAGES, site=site, flags={"--workers": workers}, sets=sets)


def of(config: Loaded) -> list[Group]:
    return groups(config, [config.stage(cls) for cls in STAGES])


@pytest.mark.parametrize("n", range(1, 65))
@pytest.mark.parametrize("configured", [1, 4, 8])
def test_blocks_hold_exactly_the_workers_asked_for(folder: Path, n: int, configured: int) -> None:
    for group in of(loaded(folder, f"site.slurm.workers_per_block={configured}", workers=n)):
        wanted = 1 if group.gres else configured
        divisors = [d for d in range(1, n + 1) if n % d == 0]
        assert group.workers_per_block == max(d for d in divisors if d <= wanted)
        assert group.max_blocks * group.workers_per_block == group.workers == n


def test_a_block_s_workers_spread_evenly_over_its_nodes(folder: Path) -> None:
    sets = ("site.slurm.workers_per_block=8", "site.slurm.nodes_per_block=3")
    cpu = of(loaded(folder, *sets))[0]
    assert (cpu.workers_per_block, cpu.nodes_per_block, cpu.workers_per_node) == (8, 2, 4)


def test_largest_divisor_of_a_prime_is_one_or_itself() -> None:
    assert [largest_divisor(7, ceiling) for ceiling in (1, 6, 7, 100)] == [1, 1, 7, 7]


def test_stages_with_equal_needs_share_an_executor(folder: Path) -> None:
    cpu, gpu = of(loaded(folder))
    assert (cpu.stages, cpu.partition, cpu.gres) == (("nap", "count"), "short", "")
    assert (gpu.stages, gpu.partition, gpu.gres) == (("glow",), "gpu_short", "gpu:a100:1")
    assert (cpu.computes_on_gpu, gpu.computes_on_gpu) == (False, True)


@pytest.mark.parametrize(
    "difference",
    [
        "resources.count.cores=2",
        "resources.count.mem_gb=9",
        "resources.count.walltime_min=30",
        "resources.count.partition='long'",
    ],
)
def test_a_stage_that_needs_something_else_has_an_executor_of_its_own(folder: Path, difference: str) -> None:
    found = of(loaded(folder, difference))
    assert [g.stages for g in found] == [("nap",), ("glow",), ("count",)]
    assert len({g.label for g in found}) == 3, "labels name folders and executors"


def test_a_need_said_again_with_the_same_value_makes_no_difference(folder: Path) -> None:
    assert of(loaded(folder, "resources.count.mem_gb=8")) == of(loaded(folder))


def test_a_stage_moves_between_cpu_and_gpu_blocks_by_configuration_alone(folder: Path) -> None:
    (everything,) = of(loaded(folder, "stages.glow.backend=cpu"))
    assert (everything.stages, everything.gres) == (("nap", "glow", "count"), "")
    assert [g.stages for g in of(loaded(folder, "stages.glow.backend=gpu"))] == [("nap", "count"), ("glow",)]


def test_gres_without_a_computation_on_a_gpu_is_not_asked_for_unless_forced(folder: Path) -> None:
    sets = ("resources.nap.gres=gpu:1",)
    assert [g.stages for g in of(loaded(folder, *sets))] == [("nap", "count"), ("glow",)]
    forced = of(loaded(folder, *sets, "resources.nap.force_gres=true"))[0]
    assert (forced.stages, forced.gres, forced.partition) == (("nap",), "gpu:1", "gpu_short")
    assert not forced.computes_on_gpu, "its device need not be checked"


@pytest.mark.parametrize("backend", ["watershed", "labels"])
def test_watershed_and_labels_never_ask_for_a_gpu(folder: Path, backend: str) -> None:
    sets = [f"stages.cellpose.backend={backend}", "resources.cellpose.gres=gpu:a100:1"]
    # Of the site's file only what knows no toy stage.
    (folder / "configs/sites/slurm.toml").write_text('[site]\nkind = "slurm"\n')
    config = load(folder, stage_classes=[Cellpose], site="slurm", sets=sets)
    (group,) = groups(config, [config.stage(Cellpose)])
    assert group.gres == group.node_gres == ""


def test_one_stage_may_compute_on_both_for_two_populations(folder: Path) -> None:
    config = loaded(folder)
    found = groups(config, [Glow(backend="cpu"), Glow(backend="gpu"), Nap()])
    assert [(g.serves, bool(g.gres)) for g in found] == [
        ((("glow", False), ("nap", False)), False),
        ((("glow", True),), True),
    ]


@pytest.mark.parametrize(
    ("per_block", "blocks", "node_gres"), [(1, 8, "gpu:a100:1"), (4, 2, "gpu:a100:4"), (8, 1, "gpu:a100:8")]
)
def test_eight_one_gpu_jobs_or_one_node_with_eight(
    folder: Path, per_block: int, blocks: int, node_gres: str
) -> None:
    gpu = of(loaded(folder, f"site.slurm.gpu_workers_per_block={per_block}"))[1]
    assert (gpu.max_blocks, gpu.node_gres) == (blocks, node_gres)


def test_several_devices_for_one_worker_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"resources\.glow\.gres is 'gpu:a100:2'") as caught:
        of(loaded(folder, "resources.glow.gres=gpu:a100:2"))
    assert "site.slurm.gpu_workers_per_block" in caught.value.remedy


def test_without_a_partition_for_gpus_the_only_one_is_taken(folder: Path) -> None:
    assert of(loaded(folder, "site.slurm.gpu_partition=''"))[1].partition == "short"
    assert of(loaded(folder, "resources.glow.partition=special"))[1].partition == "special"


def test_on_a_laptop_all_stages_share_one_executor(folder: Path) -> None:
    (group,) = of(loaded(folder, workers=7, site="laptop"))
    assert (group.workers, group.max_blocks, group.workers_per_block) == (7, 1, 7)
    assert group.stages == ("nap", "glow", "count")


def test_more_memory_for_one_task_is_another_label(folder: Path) -> None:
    cpu = of(loaded(folder))[0]
    larger = cpu.with_memory(16)
    assert (larger.mem_gb, larger.cores, larger.partition) == (16, cpu.cores, cpu.partition)
    assert larger.label != cpu.label


@pytest.mark.parametrize(
    ("gres", "kind"), [("", ""), ("gpu", ""), ("gpu:1", ""), ("gpu:a100:1", "a100"), ("gpu:v100", "v100")]
)
def test_type_of_card(gres: str, kind: str) -> None:
    assert card(gres) == kind
