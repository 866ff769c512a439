"""A project with one short film, and how far its runs go."""

from __future__ import annotations

import shutil
from pathlib import Path

from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Project

ONE = "one"
"""Name of the dataset."""
LAST = "contact"
"""The last stage of most runs."""


def some_films(small_films: Path, folder: Path, n_frames: int) -> Path:
    """The first frames of one position of `small_films`."""
    shutil.copytree(small_films / "coculture", folder / "coculture")
    for path in folder.rglob("*.tif"):
        if int(path.stem.rpartition("_")[2]) >= n_frames:
            path.unlink()
    shutil.copy(small_films / "dataset.toml", folder)
    lines = (small_films / "plate.csv").read_text().splitlines(keepends=True)
    (folder / "plate.csv").write_text("".join(x for x in lines if "targets_alone" not in x))
    return folder


def take_in(project: Project, films: Path) -> None:
    """Take films in under the name `ONE`, instead of those that were there: frames may have been appended."""
    root = project.root / "data" / "datasets"
    if (root / ONE).exists():
        for path in (root / ONE).rglob("*"):
            path.chmod(0o755)
        shutil.rmtree(root / ONE)
    ingest.add(films, ONE, root)


def one_film(root: Path, small_films: Path) -> Project:
    """A project with one film of twelve frames, in batches of four."""
    for name in ("configs", "apps"):
        shutil.copytree(PROJECT / name, root / name, ignore=shutil.ignore_patterns("*.user.toml"))
    project = Project(root)
    take_in(project, some_films(small_films, root / "films", 12))
    (root / "configs" / "config.user.toml").write_text(f'batch_frames = 4\n[dataset]\nname = "{ONE}"\n')
    return project
