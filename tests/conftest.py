"""Fixtures for all rooms."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl.truth.render import render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.helpers import (
    CHANNELS,
    DESCRIPTION,
    KEPT,
    PLATE,
    PROJECT,
    Project,
    mounted,
    processes_of,
    wait_for,
)

DISK_MB = 8


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Real data with ground truth; not in the project, since most is licensed for research only."""
    place = os.environ.get("DATAOPS_PARSL_TEST_DATA", "")
    if not place or not Path(place).is_dir():
        pytest.skip("DATAOPS_PARSL_TEST_DATA names no folder of real test data")
    return Path(place)


@pytest.fixture(scope="session")
def small_films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small simulated assay as a folder of TIFFs with dataset.toml and plate.csv: a source for `add`."""
    from dataops_parsl.dataset import writers

    folder = tmp_path_factory.mktemp("films")
    crowd = Scene(height_px=128, width_px=128, n_frames=12, n_effectors=7, n_targets=6)
    films = {
        "coculture": simulate(crowd, 3),
        "targets_alone": simulate(crowd.model_copy(update={"n_effectors": 0}), 4),
    }
    size = crowd.pixel_size_um
    writers.write(
        "tiff-frames",
        folder,
        {p: f.scene.n_frames for p, f in films.items()},
        CHANNELS,
        lambda position, channel, frame: render(films[position], frame)[channel],
        (size, size),
        crowd.frame_interval_s,
    )
    text = DESCRIPTION.format(
        name="small", size=size, interval=crowd.frame_interval_s, pattern=f'pattern = "{writers.PATTERN}"\n'
    )
    (folder / "dataset.toml").write_text(text)
    (folder / "plate.csv").write_text(PLATE)
    return folder


@pytest.fixture(scope="session")
def known_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint of cpsam whose answer is known; needs torch and cellpose, the extra `backends`."""
    for module in ("torch", "cellpose"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: pip install -e '.[dev,backends]'")
    from tests.stages import known_answer

    return known_answer.write(tmp_path_factory.mktemp("weights") / "known.pth")


@pytest.fixture
def bare_project(tmp_path: Path) -> Project:
    """A project without datasets."""
    root = tmp_path / "a project"
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    return Project(root)


@pytest.fixture
def project(bare_project: Project, small_films: Path) -> Project:
    """A project with the dataset `small`, in batches of four frames."""
    from dataops_parsl.dataset import ingest

    ingest.add(small_films, "small", bare_project.root / "data" / "datasets")
    (bare_project.root / "configs" / "config.user.toml").write_text(
        'batch_frames = 4\n[dataset]\nname = "small"\n'
    )
    return bare_project


@pytest.fixture(scope="session")
def sealed_project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    """A project with a sealed run of `small` and a partial one of `torn`, for tests that read or copy them.

    In `torn` one frame was damaged after it was taken in. Sessions that run side by side make it once, and
    each has a copy of its own.
    """
    own = tmp_path_factory.mktemp("sealed") / "project"
    kept = os.environ.get(KEPT)
    if kept is None:
        return seal(own, request)
    with open(Path(kept) / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = Path(kept) / "sealed"
        if not (made / "done").exists():
            shutil.rmtree(made, ignore_errors=True)
            seal(made, request)
            (made / "done").touch()
    shutil.copytree(made, own)
    return Project(own)


def seal(root: Path, request: pytest.FixtureRequest) -> Project:
    """Make the project of `sealed_project`."""
    from dataops_parsl.dataset import ingest

    films = request.getfixturevalue("small_films")
    shutil.copytree(PROJECT / "configs", root / "configs", ignore=shutil.ignore_patterns("*.user.toml"))
    shutil.copytree(PROJECT / "apps", root / "apps")
    (root / "configs" / "config.user.toml").write_text('batch_frames = 4\n[dataset]\nname = "small"\n')
    for name in ("small", "torn"):
        ingest.add(films, name, root / "data" / "datasets")
    damaged = sorted((root / "data" / "datasets" / "torn").rglob("coculture/gfp/*.tif"))[2]
    damaged.chmod(0o644)
    damaged.write_bytes(b"no TIFF")
    made = Project(root)
    made.run("run", "--workers", "2")
    made.run("run", "stills", "--dataset", "torn", "--frames", "4", "--workers", "2", expect=4)
    return made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of a few megabytes."""
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs") as disk:
        yield disk


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than `tmp_path`: of memory, where there is one."""
    home = Path("/dev/shm")
    if not home.is_dir() or home.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    folder = Path(tempfile.mkdtemp(dir=home, prefix="dataops-test-"))
    try:
        yield folder
    finally:
        for inner, _, _ in os.walk(folder):
            os.chmod(inner, 0o700)
        shutil.rmtree(folder)


@pytest.fixture
def leaves_nothing(project: Project) -> Iterator[None]:
    """After the test no process of the project lives, whatever was killed in it."""
    yield
    try:
        wait_for(lambda: not processes_of(project.root), 40, "all processes of the project are gone")
    finally:
        for process in processes_of(project.root):
            process.send_signal(signal.SIGKILL)
