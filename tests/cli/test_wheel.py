"""The wheel, installed away from the checkout, starts in a folder that holds nothing but `configs/`."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Project

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
NO_INDEX = ("No matching distribution found for hatchling", "Could not find a version that satisfies")
DESCRIPTION = """\
pixel_size_um = [0.65, 0.65]
[channels]
gfp = { stain = "GFP" }
[populations.target]
segment = ["gfp"]
diameter_um = 20
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(PROJECT)]
    have_backend = importlib.util.find_spec("hatchling") is not None
    if have_backend:
        build.insert(-1, "--no-build-isolation")
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if not have_backend and any(words in done.stderr for words in NO_INDEX):
        pytest.skip("hatchling is neither installed nor to be had from a package index")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's content alone."""
    target = tmp_path_factory.mktemp("installed")
    subprocess.run([*PIP, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def _film(folder: Path) -> Path:
    """One frame with one round cell."""
    y, x = np.mgrid[:64, :64]
    disc = 200 + 400 * (np.hypot(y - 30, x - 34) < 14)
    folder.mkdir()
    tifffile.imwrite(
        folder / "P1.ome.tif",
        np.random.default_rng(1).poisson(disc).astype(np.uint16)[None, None],
        ome=True,
        metadata={"axes": "TCYX", "Channel": {"Name": ["gfp"]}},
    )
    (folder / "dataset.toml").write_text(DESCRIPTION)
    return folder


def test_the_wheel_carries_the_package_and_the_project_files_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {n.split("/")[0].partition("-")[0] for n in names} == {"dataops_parsl"}
    for file in sorted((PROJECT / "apps").glob("*.py")):
        assert f"dataops_parsl/_project/apps/{file.name}" in names
    for file in (PROJECT / "dataops_parsl").rglob("*.toml"):
        assert str(file.relative_to(PROJECT)) in names, "scenes to simulate are data of the package"
    for file in (PROJECT / "configs").rglob("*.toml"):
        packed = f"dataops_parsl/_project/{file.relative_to(PROJECT)}" in names
        assert packed != file.name.endswith(".user.toml"), f"{file} is the user's own: not for the wheel"


def test_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    project = Project(tmp_path / "project")
    (project.root / "configs").mkdir(parents=True)
    place: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(installed)}}
    code = "import dataops_parsl; print(dataops_parsl.__file__)"
    where = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **place)
    assert Path(where.stdout).is_relative_to(installed)
    assert "no datasets in" in project.run("dataset", "list", **place)
    ingest.add(_film(tmp_path / "film"), "one", project.root / "data" / "datasets")
    plan = project.run("run", "--dataset", "one", "--dry-run", **place)
    assert "outcome.summarise" in plan
    assert not project.bundles()
    project.run("run", "stills", "--dataset", "one", "--workers", "1", **place)
    assert project.tables(workflow="stills")["cells"].num_rows == 1
    script = subprocess.run(
        [sys.executable, str(installed / "bin" / "dataops-parsl"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        **place,
    )
    assert script.stdout.startswith("dataops-parsl ")
    assert not (project.root / "apps").exists()
