"""`check` on a real cluster: what it finds, what it refuses and why, and that it costs nothing."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import cli
from dataops_parsl.engine import fitness
from tests.helpers import Project
from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.usefixtures("leaves_no_jobs")
FORCED = "--set resources.cellpose.force_gres=true"
ON_V100 = f"{FORCED} --set site.slurm.gpu_partition=gpu_v100 --set resources.cellpose.gres=gpu:v100:1"


class Site:
    """A project, the cluster that it runs on, and the command in this process: it starts in no time."""

    def __init__(
        self,
        project: Project,
        cluster: Cluster,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.project, self.cluster, self.capsys = project, cluster, capsys
        for name, value in cluster.environment.items():
            monkeypatch.setenv(name, value)

    def check(self, words: str = "", expect: int = 0) -> str:
        """What `check` prints, with its lines joined where it wrapped them."""
        code = cli.main(["check", "--site", "slurm", *words.split(), "--project", str(self.project.root)])
        printed = self.capsys.readouterr().out
        assert code == expect, printed
        lines = [line for line in printed.splitlines() if str(self.project.root) not in line]
        assert max(map(len, lines)) <= 110
        return re.sub(r"\n {9,}(?!→)", " ", printed)


@pytest.fixture
def site(
    bare_project: Project,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Site:
    return Site(bare_project, cluster, monkeypatch, capsys)


def row(printed: str, subject: str) -> str:
    """The line of a subject, and the remedy under it."""
    found = re.search(rf"^(ok|note|FAILED) +{re.escape(subject)} .*(\n +→ .*)?", printed, re.MULTILINE)
    assert found, f"no {subject} in\n{printed}"
    return found[0]


def test_a_cluster_that_fits_is_told_so_and_nothing_is_done_to_it(site: Site) -> None:
    jobs, files = site.cluster.jobs("all"), sorted(site.project.root.rglob("*"))
    printed = site.check("--workers 8")
    assert "FAILED" not in printed
    assert "sinfo" in row(printed, "SLURM")
    assert "is UP" in row(printed, "controller")
    assert row(printed, "partition short").endswith(
        "up, jobs of up to 4:00 h, 8 of 8 nodes at work: 16 cores, 64 GB"
    )
    assert "accepts a block" in row(printed, "sbatch")
    assert site.cluster.jobs("all") == jobs
    assert sorted(site.project.root.rglob("*")) == files, "no folder, no demo dataset"


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("--workers 8", "at most 2 jobs of 4 workers, each with 4 cores, 32 GB for 4:00 h"),
        ("--workers 1", "at most 1 job of 1 worker, each with 1 core, 8 GB for 4:00 h"),
        (
            "--workers 8 --set site.slurm.workers_per_block=8 --set site.slurm.nodes_per_block=2",
            "at most 1 job of 8 workers on 2 nodes, each with 8 cores, 64 GB for 4:00 h",
        ),
        ("--workers 7", "at most 7 jobs of 1 worker"),
    ],
)
def test_it_says_what_a_number_of_workers_would_ask_for(site: Site, words: str, asked: str) -> None:
    assert asked in row(site.check(words), "jobs")


def test_blocks_with_gpus_are_checked_beside_the_others(site: Site) -> None:
    cpu, gpu = site.check(f"--workers 8 {FORCED}").split("\n\n")[2:4]
    assert cpu.startswith("short_1c_8gb\n")
    assert "cellpose" not in cpu
    assert gpu.startswith("gpu_short_gpu_1c_8gb\n")
    assert "at most 8 jobs of 1 worker" in row(gpu, "jobs")
    assert "gpu:a100-pcie-40gb:1 fit 1 node of gpu_short" in row(gpu, "block")
    assert "on g1" in row(gpu, "sbatch")


def test_a_node_with_eight_gpus_is_one_job(site: Site) -> None:
    printed = site.check(f"--workers 8 {FORCED} --set site.slurm.gpu_workers_per_block=8")
    assert "at most 1 job of 8 workers, each with 8 cores, 64 GB, 8 × gpu:a100-pcie-40gb" in printed


@pytest.mark.parametrize(
    ("words", "subject", "found", "remedy"),
    [
        (
            "--set site.slurm.partition=shrt",
            "partition",
            "there is no partition shrt",
            "set site.slurm.partition to one of short, brief, gpu_short, gpu_v100",
        ),
        (
            "--set site.slurm.partition=shrt",
            "sbatch",
            "invalid partition specified: shrt",
            "site.slurm.partition",
        ),
        (
            "--set resources.contact.partition=brief",
            "walltime",
            "4:00 h is more than the partition's limit of 0:05 h",
            "set resources.default.walltime_min to 5 or less",
        ),
        (
            "--set resources.contact.walltime_min=500",
            "sbatch",
            "Requested time limit is invalid",
            "resources.contact.walltime_min",
        ),
        (
            "--set resources.contact.cores=5 --workers 4",
            "block",
            "20 cores (5 × 4 workers) are asked for, but a node of short has at most 16",
            "lower resources.contact.cores, or site.slurm.workers_per_block to 3 or less",
        ),
        (
            "--set resources.default.mem_gb=70 --workers 1",
            "block",
            "70 GB are asked for, but a node of short has at most 64",
            "lower resources.default.mem_gb",
        ),
        (
            f"{FORCED} --set resources.cellpose.gres=gpu:h100:1",
            "block",
            "no node of gpu_short has gpu:h100; there are gpu:a100-pcie-40gb",
            "resources.cellpose.gres",
        ),
        (
            f"{FORCED} --set site.slurm.gpu_partition=short",
            "block",
            "no node of short has gpu:a100-pcie-40gb, nor any other device",
            "site.slurm.gpu_partition",
        ),
        (
            f"{FORCED} --workers 16 --set site.slurm.gpu_workers_per_block=16",
            "block",
            "a node of gpu_short has at most 8 × gpu:a100-pcie-40gb, but 16 are asked for",
            "set site.slurm.gpu_workers_per_block to 8 or less",
        ),
        (
            "--set site.slurm.constraint=cascade",
            "sbatch",
            "Invalid feature specification",
            "site.slurm.constraint",
        ),
        (
            "--set site.slurm.extra=['--nonsense']",
            "sbatch",
            "unrecognized option '--nonsense'",
            "site.slurm.extra",
        ),
        (
            "--set site.slurm.interface=ib99",
            "interface",
            "this host has no network interface ib99",
            "site.slurm.interface",
        ),
    ],
)
def test_what_the_cluster_cannot_give_is_refused_with_a_remedy(
    site: Site, words: str, subject: str, found: str, remedy: str
) -> None:
    printed = site.check(words, expect=3)
    rows = [
        row(part, subject) for part in printed.split("\n\n") if re.search(rf"^FAILED +{subject} ", part, re.M)
    ]
    assert any(found in r and remedy in r.partition("→")[2] for r in rows), printed


def test_a_small_card_is_refused_with_the_reason_and_the_override_says_its_risk(site: Site) -> None:
    refused = row(site.check(ON_V100, expect=3), "card")
    for words in ("v100 has 16 GB", "24 GB", "cpsam runs out of memory", "no native bf16"):
        assert words in refused
    assert "resources.cellpose.gres" in refused
    assert "site.allow_small_gpu = true and risk" in refused
    allowed = row(site.check(f"{ON_V100} --set site.allow_small_gpu=true"), "card")
    assert allowed.startswith("note")
    assert "may run out of memory in mid-film" in allowed
    assert row(site.check(f"{ON_V100} --set site.min_gpu_mem_gb=16"), "card").startswith("ok")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("--set site.slurm.gpu_mem_gb=[]", "how much memory a v100 has is not known here"),
        ("--set resources.cellpose.gres=gpu:1", "gpu:1 names no type of card"),
    ],
)
def test_a_card_that_is_not_known_is_said_to_be_so_and_not_refused(
    site: Site, words: str, found: str
) -> None:
    printed = row(site.check(f"{ON_V100} {words}"), "card")
    assert printed.startswith("note")
    assert f"{found}: each worker will look at the one that it gets" in printed


def test_nodes_that_are_away_are_a_note_since_blocks_can_wait(site: Site) -> None:
    site.cluster.set_node("g1", "drain")
    try:
        printed = site.check(FORCED)
    finally:
        site.cluster.set_node("g1", "resume")
    assert "0 of 1 nodes at work" in row(printed, "partition gpu_short")
    gpu = printed.split("\n\n")[3]
    for subject in ("block", "sbatch"):
        assert row(gpu, subject).startswith("note")


def test_a_scratch_folder_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    printed = row(site.check(f"--set paths.scratch_root={tmp_path}/file/scratch", expect=3), "scratch_root")
    assert "cannot be written: Not a directory" in printed
    assert "set paths.scratch_root" in printed


def test_a_controller_that_is_away_is_said_so(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound, not listening: nobody answers
        closed.bind(("", 0))
        text = Path(site.cluster.environment["SLURM_CONF"]).read_text()
        conf = tmp_path / "slurm.conf"
        conf.write_text(re.sub(r"SlurmctldPort=\d+", f"SlurmctldPort={closed.getsockname()[1]}", text))
        monkeypatch.setenv("SLURM_CONF", str(conf))
        printed = row(site.check(expect=3), "controller")
    assert "SLURM does not answer" in printed
    assert "is DOWN" in printed


@pytest.mark.parametrize(("hangs", "subject"), [("scontrol", "controller"), ("sbatch", "sbatch")])
def test_a_command_that_hangs_is_given_up(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str, subject: str
) -> None:
    stand_in = tmp_path / "bin" / hangs
    stand_in.parent.mkdir()
    stand_in.write_text("#!/bin/sh\nexec sleep 1000\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stand_in.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(fitness, "ANSWER_S", 1.0)
    assert f"{hangs} timed out after 1 s" in row(site.check(FORCED, expect=3), subject)


def test_without_slurm_the_missing_commands_are_named(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    printed = row(site.check(expect=3), "SLURM")
    assert "sbatch, squeue, sinfo, scancel, scontrol not found on the PATH" in printed
    assert "login node" in printed


def test_run_refuses_before_anything_is_opened(project: Project, cluster: Cluster) -> None:
    environment: dict[str, Any] = {**os.environ, **cluster.environment}
    words = ("run", "--site", "slurm", "--set", "site.slurm.partition=shrt")
    printed = project.run(*words, expect=3, env=environment)
    assert "there is no partition shrt" in printed
    assert "invalid partition specified: shrt" in printed
    assert "remedy: set site.slurm.partition" in printed
    assert not project.bundles()
    assert not cluster.jobs()


def test_run_refuses_a_small_card_before_submission(project: Project, cluster: Cluster) -> None:
    environment: dict[str, Any] = {**os.environ, **cluster.environment}
    before = cluster.jobs("all")
    printed = project.run("run", "--site", "slurm", *ON_V100.split(), expect=3, env=environment)
    assert "cpsam runs out of memory" in printed
    assert cluster.jobs("all") == before


def test_populations_of_a_dataset_are_taken_each_with_its_own_configuration(
    project: Project,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site = Site(project, cluster, monkeypatch, capsys)
    printed = site.check("--dataset small --set stages.cellpose.target.trim_frac=0.3")
    assert "small, 2 positions, 24 frames, populations effector, target" in row(printed, "dataset")
    printed = site.check("--dataset smal", expect=3)
    assert "did you mean 'small'?" in row(printed, "dataset")


def test_a_laptop_needs_no_slurm(bare_project: Project, tmp_path: Path) -> None:
    printed = bare_project.run("check", "--workers", "1", env={**os.environ, "PATH": str(tmp_path)})
    assert "1 worker on " in row(printed, "workers")
    assert "FAILED" not in printed
