"""``preview``: what is seen before a run, in words and pictures, whatever the input is like."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dataops_parsl.cli import main
from tests.helpers import Project


def _preview(project: Project, *arguments: str) -> int:
    fast = ["--set", "stages.register_denoise.denoise=off"]
    return main(["preview", *arguments, *fast, "--project", str(project.root)])


def test_words_and_pictures(project: Project) -> None:
    output = project.run("preview", "--set", "populations.target.diameter_um=29")
    assert "looked at coculture, frames 0, 5, 11 of 12" in output
    assert "looked at targets_alone, frames 0, 5, 11 of 12" in output
    found = re.search(r"set populations.target.diameter_um = (\d+) in dataset.toml", output)
    assert found
    assert 17 <= int(found[1]) <= 22
    assert "now 10: fine" in output, "effectors are as large as they are said to be"
    assert "(controls: targets_alone)" in output
    folder = project.root / "output" / "preview" / "small"
    stems = ("frames_coculture", "frames_targets_alone", "cells")
    names = {f"{stem}.{kind}" for stem in stems for kind in ("png", "svg")}
    assert {p.name for p in folder.iterdir()} == names | {"preview.txt"}
    assert all(p.stat().st_size > 100 for p in folder.iterdir())
    assert not (project.root / "data" / "scratch").exists()
    assert not project.bundles()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "smal"], ["no dataset 'smal'", "did you mean 'small'"]),
        (["--positions", "cocultur"], ["no position 'cocultur'", "did you mean 'coculture'"]),
        (["--set", "populations.target.diameter_um=0.5"], ["too small to be seen"]),
    ],
    ids=["dataset", "position", "diameter"],
)
def test_refused(
    project: Project, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    assert _preview(project, *arguments) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words)
    assert not (project.root / "output" / "preview").exists()


def test_a_single_frame_and_no_threshold(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--set", "batch_frames=1", "--set", "dataset.total_frames=1", "--positions", "coculture"]
    assert _preview(project, *one) == 0
    said = capsys.readouterr().out
    assert "looked at coculture, frames 0 of 1" in said
    assert "0 steps seen, too few to judge a linking distance; now 20: left as it is" in said
    assert "--positions coculture,targets_alone" in said, "the control was not looked at"
    assert _preview(project, *one, "--set", "stages.killing.threshold_count=9000") == 0
    said = capsys.readouterr().out
    assert "threshold_count = 9000" in said
    assert "lies above every death score seen (max " in said


def test_no_death_channel_and_damaged_frames(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    root = project.root / "data" / "datasets" / "small"
    text = (root / "dataset.toml").read_text().replace(", death_marker = true", "")
    (root / "dataset.toml").write_text(text)
    damaged = _frame(root, "coculture", 0)
    damaged.chmod(0o644)
    damaged.write_bytes(b"no image")
    assert _preview(project, "--positions", "coculture") == 0
    said = capsys.readouterr().out
    assert "left out coculture, frames 0:" in said
    assert "looked at coculture, frames 5, 11 of 12" in said
    assert "no channel is marked death_marker" in said
    for path in damaged.parent.glob("*.tif"):
        path.chmod(0o644)
        path.write_bytes(b"no image")
    assert _preview(project, "--positions", "coculture") == 2
    assert "dataset verify small" in capsys.readouterr().err


def _frame(root: Path, position: str, frame: int) -> Path:
    return sorted((root / position / "gfp").glob("*.tif"))[frame]
