"""The backend cpsam through a whole run: the real cellpose on the CPU, with weights whose answer is known."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from dataops_parsl import cli, open_run
from dataops_parsl.algorithms import cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import hash_now
from dataops_parsl.dataset import ingest
from tests.helpers import Project
from tests.stages import known_film

N_FRAMES = 2


@pytest.fixture
def known_project(bare_project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project with the known film, one frame a batch, and cpsam on the CPU for both populations."""
    monkeypatch.setenv(cpsam_weights.FOLDER_VARIABLE, str(tmp_path / "models"))
    root = bare_project.root
    ingest.add(known_film.write(tmp_path / "film", N_FRAMES), "known", root / "data" / "datasets")
    (root / "configs" / "config.user.toml").write_text(
        'batch_frames = 1\n[dataset]\nname = "known"\n'
        '[stages.cellpose]\nbackend = "cpsam"\ndevice = "cpu"\ncpsam_model = "known"\n'
    )
    return bare_project


def test_a_whole_run_finds_what_was_planted_and_loads_the_model_once_a_worker(
    known_project: Project, known_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights", "import", str(known_weights), "--name", "known"]) == 0
    known_project.run("run", "--workers", "2")
    run = open_run(known_project.bundles()[-1])
    cells = run.cells
    for population, centres in (("effector", known_film.EFFECTORS), ("target", known_film.TARGETS)):
        for frame in range(N_FRAMES):
            found = cells[(cells.population == population) & (cells.frame == frame)]
            assert np.allclose(sorted(zip(found.y_px_raw, found.x_px_raw, strict=True)), centres, atol=1.5)
    trace = run.trace
    segmented = trace[(trace.stage == "cellpose") & (trace.step == "segment")]
    assert len(segmented) == 2 * N_FRAMES
    assert set(segmented.device) == {"cpu"}
    assert set(segmented.population) == {"effector", "target"}
    loads = trace[trace.load_s.notna()]
    # Two workers, each with tasks of more than one batch, and of both populations or not: one load each.
    assert len(loads) == segmented.worker_pid.nunique() == 2
    assert loads.worker_pid.is_unique
    facts = json.loads((known_project.bundles()[-1] / "run.json").read_text())
    identity = facts["identities"]["cellpose.segment[target]"]
    assert identity["weights_sha256"] == hash_now(known_weights)
    assert identity["cellpose"] == "4.2"
    assert facts["identities"]["cellpose.limits[target]"] == {}
    assert facts["worker_gpus"] == ["cpu"]
    (made,) = facts["made_by"]
    ((device, parts),) = made["devices"].items()
    assert parts == len(segmented)
    assert device.startswith("cpu, cellpose 4.2")
    assert ", torch " in device
    # Where the weights lie and how much is computed at once is in no key: nothing is computed again.
    where = f"stages.cellpose.cpsam_model={known_weights}"
    output = known_project.run("run", "--set", where, "--set", "stages.cellpose.tiles_at_once=4")
    assert "Nothing to do" in output


def planned(project: Project, *sets: str, site: str = "") -> tuple[int, list[str]]:
    """A run of it up to the segmentation."""
    words = [
        "run",
        "--project",
        str(project.root),
        "--until",
        "cellpose",
        *(["--site", site] if site else []),
    ]
    for one in sets:
        words += ["--set", f"stages.cellpose.{one}"]
    return cli.main(words), words


@pytest.mark.parametrize(
    ("sets", "code", "words"),
    [
        (["cpsam_model=cpsam_v2"], 3, ["weights fetch cpsam_v2", "weights import FILE --name cpsam_v2"]),
        (["cpsam_model=cpsamv2"], 3, ["'cpsamv2' are not in", "weights import FILE --name cpsamv2"]),
        (["cpsam_model=/no/such/file.pth"], 3, ["there are no weights at", "nothing is downloaded"]),
        (["cpsam_model=some/file.pth"], 3, ["relative path"]),
        (["cpsam_model={weights}", f"cpsam_sha256={'0' * 64}"], 3, ["was asked for"]),
        (["cpsam_model={cut}"], 3, ["cut short"]),
        (["cpsam_model="], 2, ["cpsam_model is empty"]),
        (["cpsam_sha256=abc"], 2, ["cpsam_sha256"]),
        (["cpsam_model={weights}", "device=gpu"], 3, ['device = "gpu", but torch', 'device = "cpu"']),
        (["device=cuda"], 2, ['must be "gpu" or "cpu"']),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_refused_before_anything_starts(
    known_project: Project,
    known_weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sets: list[str],
    code: int,
    words: list[str],
) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(known_weights.read_bytes()[:1_000_000])
    given = [one.format(weights=known_weights, cut=cut) for one in sets]
    found, _ = planned(known_project, *given)
    said = capsys.readouterr().err
    assert found == code, said
    for word in words:
        assert word in said
    assert "remedy" in said or code == 2
    assert not (known_project.root / "output").exists() or not known_project.bundles()


def test_check_says_what_is_missing_and_what_is_there(
    known_project: Project, known_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check", "--project", str(known_project.root)]
    assert cli.main(words) == 3
    said = capsys.readouterr().out
    assert "weights import FILE --name known" in " ".join(said.split())
    assert cli.main([*words, "--set", f"stages.cellpose.cpsam_model={known_weights}"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert hash_now(known_weights)[:12] in said
    assert "computes on the CPU, slowly" in said


def test_check_fails_where_run_would_for_want_of_a_card(
    known_project: Project, known_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    words = ["check", "--project", str(known_project.root), "--set", "stages.cellpose.device=gpu"]
    assert cli.main([*words, "--set", f"stages.cellpose.cpsam_model={known_weights}"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert 'FAILED device stages.cellpose.device = "gpu", but torch' in said
    assert "1 of" in said
    assert "GPU of a worker" not in said


@pytest.mark.skipif(importlib.util.find_spec("cellpose") is not None, reason="cellpose is installed")
def test_without_the_extra_it_says_how_to_install_it(
    known_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = planned(known_project)
    assert code == 3
    assert "pip install 'dataops_parsl[cellpose]'" in capsys.readouterr().err
