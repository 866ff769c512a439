"""Where the project and its sites are."""

from __future__ import annotations

import importlib.resources
import os
from pathlib import Path

from dataops_parsl.errors import ConfigError


def packaged_project() -> Path:
    """The copy of apps/ and configs/ that an installed wheel carries; absent in a source checkout."""
    return Path(str(importlib.resources.files("dataops_parsl"))) / "_project"


def find_project(start: Path | None = None, flag: Path | None = None) -> Path:
    """Find the project root: `flag`, else the nearest folder from `start` upwards that holds configs/.

    Parameters
    ----------
    start : Path or None
        Folder to search from; None is the working directory.
    flag : Path or None
        What ``--project`` says.

    Raises
    ------
    ConfigError
        When there is none.
    """
    remedy = "go into the project, name it with --project DIR, or start a new one here with `mkdir configs`"
    if flag is not None:
        root = Path(os.path.abspath(flag.expanduser()))
        if not (root / "configs").is_dir():
            raise ConfigError(f"--project: {root} is no project: it has no folder configs/", remedy)
        return root
    here = Path(os.path.abspath(start or Path.cwd()))
    for folder in (here, *here.parents):
        if (folder / "configs").is_dir():
            return folder
    raise ConfigError(f"no project here: neither {here} nor a folder above it holds configs/", remedy)


def site_files(project: Path) -> dict[str, Path]:
    """The sites by name: those of the project, and those of the package that it does not replace."""
    folders = (packaged_project() / "configs" / "sites", project / "configs" / "sites")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.toml"))}
