"""Bad input, as a user meets it: a clear message, the right exit code, no traceback, nothing lost."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers import Project

TEXT = """\
pixel_size_um = [0.65, 0.65]
frame_interval_s = 60
pattern = "{{position}}/{{channel}}/im_{{frame:05d}}.tif"
[channels]
gfp = {{ stain = "GFP" }}
{populations}
"""
NO_FIJI = (
    (2, ["which TrackMate", "fiji_dir", "docs/fiji.md"])
    if importlib.util.find_spec("imagej")
    else (3, ["pip install 'dataops_parsl[fiji]'"])
)
"""Exit code and words when TrackMate itself is asked for and no more is said, with and without the extra."""
TARGETS = '[populations.target]\nsegment = ["gfp"]\ndiameter_um = 20\n'


def _film(folder: Path, frames: list[np.ndarray], populations: str = TARGETS) -> Path:
    for index, frame in enumerate(frames):
        path = folder / "P1" / "gfp" / f"im_{index:05d}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, frame)
    (folder / "dataset.toml").write_text(TEXT.format(populations=populations))
    return folder


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(200, 3, (64, 64)).astype(np.uint16)


# Where the extra is installed, tests/cli/test_cpsam.py says what is missing then.
NO_CPSAM = ["remedy" if importlib.util.find_spec("cellpose") else "pip install 'dataops_parsl[cellpose]'"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("run", "--dataset", "smal"), 2, ["no dataset 'smal'", "did you mean 'small'"]),
        (("run", "cytotoxity"), 2, ["no workflow 'cytotoxity'", "did you mean 'cytotoxicity'", "stills"]),
        (("run", "--until", "contacts"), 2, ["no stage 'contacts'", "did you mean 'contact'"]),
        (("run", "--force", "kill"), 2, ["no stage 'kill'", "killing"]),
        (("run", "--site", "laptp"), 2, ["laptp", "did you mean 'laptop'"]),
        (
            ("run", "--set", "stages.cellpose.backend=watershd"),
            2,
            ["--set", "stages.cellpose.backend", "watershed"],
        ),
        (("run", "--set", "stages.cellpose.backend=cpsam"), 3, NO_CPSAM),
        (("run", "--set", "stages.trackmate.backend=fiji"), *NO_FIJI),
        (("run", "--set", "stages.trackmate.fiji_dir=Fiji.app"), 2, ["stages.trackmate.fiji_dir"]),
        (("run", "--set", "stages.cellpose.backend=labels"), 2, ["no channel carries masks", "dataset.toml"]),
        (
            ("run", "--set", "stages.contact.radus_um=2"),
            2,
            ["stages.contact.radus_um", "did you mean 'radius_um'"],
        ),
        (("run", "--set", "stages.contact.radius_um=20"), 2, ["store_um"]),
        (("run", "--set", "stages.trackmate.targe.splitting=true"), 2, ["targe", "did you mean 'target'"]),
        (("run", "--set", 'populations.target.segment=["gfb"]'), 2, ["'gfb'", "did you mean 'gfp'"]),
        (("run", "--set", "stages.register_denoise.channel=dapi"), 2, ["dapi", "ctdr, gfp, pi"]),
        (
            ("run", "--set", "stages.killing.targets=targt"),
            2,
            ["no population 'targt'", "did you mean 'target'"],
        ),
        (
            ("run", "--set", "populations.target.diameter_um=0.5"),
            2,
            ["too small to be seen", "pixel_size_um"],
        ),
        (
            ("run", "--set", "stages.contact.target.radius_um=3"),
            2,
            ["stages.contact.target", "all populations"],
        ),
        (("dataset", "verify", "nothing"), 2, ["no dataset 'nothing'"]),
        (("dataset", "add", "/nowhere", "--name", "x"), 2, ["/nowhere"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_refused_at_once(project: Project, arguments, code: int, words: list[str]) -> None:
    output = project.run(*arguments, expect=code)
    for word in words:
        assert word in output
    assert not project.bundles(), "nothing may be started"


def test_no_population(bare_project: Project, tmp_path: Path) -> None:
    source = _film(tmp_path / "film", [_noise(0)], populations="")
    bare_project.run("dataset", "add", str(source), "--name", "plain")
    output = bare_project.run("run", "--dataset", "plain", expect=2)
    assert "no population" in output
    assert "[populations.target]" in output


def test_frames_without_objects_and_of_zeros_and_no_death_channel(
    bare_project: Project, tmp_path: Path
) -> None:
    frames = [_noise(0), np.zeros((64, 64), np.uint16), _noise(2)]
    source = _film(tmp_path / "film", frames)
    bare_project.run("dataset", "add", str(source), "--name", "empty")
    output = bare_project.run("run", "--dataset", "empty", "--workers", "1")
    tables = bare_project.tables()
    assert tables["cells"].num_rows == 0
    assert tables["frames"].num_rows == 3
    assert tables["summary"]["n_deaths"].to_pylist() == [None]
    assert "death_marker" in tables["thresholds"]["source"][0].as_py()
    assert "note: no target was found in any frame" in output
    assert "note: no channel is marked death_marker" in output


def test_one_frame_only(bare_project: Project, tmp_path: Path) -> None:
    yy, xx = np.mgrid[:64, :64]
    disc = 200 + 400 * (np.hypot(yy - 30, xx - 34) < 14)
    source = _film(tmp_path / "film", [np.random.default_rng(1).poisson(disc).astype(np.uint16)])
    bare_project.run("dataset", "add", str(source), "--name", "one")
    bare_project.run("run", "--dataset", "one", "--workers", "1")
    tables = bare_project.tables()
    assert tables["cells"].num_rows == 1
    cell = tables["cells"].to_pylist()[0]
    assert abs(cell["y_um"] / 0.65 - 30) < 1
    assert abs(cell["x_um"] / 0.65 - 34) < 1
    assert cell["step_speed_um_min"] is None
    assert tables["tracks"].num_rows == 1


@pytest.mark.parametrize("key", ["scratch_root", "output_root"])
def test_a_place_that_cannot_be_written(project: Project, key: str) -> None:
    # /proc can never be written, whoever asks.
    output = project.run("run", "--set", f"paths.{key}=/proc/here", expect=3)
    assert "/proc/here" in output
    assert f"paths.{key}" in output


@pytest.fixture
def tiny_disk(tmp_path: Path):
    """A file system of 1 MB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_full_disk_then_room_again(project: Project, tiny_disk: Path) -> None:
    scratch = f"paths.scratch_root={tiny_disk}/scratch"
    output = project.run("run", "--workers", "2", "--set", scratch, expect=3)
    assert "the disk is full" in output
    assert "paths.scratch_root" in output
    assert not list(tiny_disk.rglob("*.tmp")), "nothing half written"
    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny_disk)], check=True)
    assert "Continuing" in project.run("run", "--workers", "2", "--set", scratch)


def test_excluded_frame_is_null_and_the_run_is_whole(project: Project, small_films: Path) -> None:
    project.run(
        "dataset", "add", str(small_films), "--name", "holes", "--exclude", "coculture:4:out of focus"
    )
    project.run("run", "--dataset", "holes", "--workers", "2")
    tables = project.tables()
    row = [r for r in tables["frames"].to_pylist() if r["position_id"] == "coculture" and r["frame"] == 4]
    assert row[0]["reason"] == "excluded: out of focus"
    assert row[0]["dy_px"] is None
    frames = {r["frame"] for r in tables["cells"].to_pylist() if r["position_id"] == "coculture"}
    assert frames == set(range(12)) - {4}
