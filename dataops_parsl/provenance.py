"""Collects facts: versions, host, git commit, hashes. Writes nothing."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

LIBRARIES = (
    "numpy",
    "scipy",
    "scikit-image",
    "antspyx",
    "pyarrow",
    "zarr",
    "tifffile",
    "imagecodecs",
    "parsl",
)
ALSO = (
    "pandas",
    "matplotlib",
    "lifelines",
    "pydantic",
    "psutil",
    "numcodecs",
    "cellpose",
    "torch",
    "pyimagej",
    "scyjava",
    "jpype1",
)
"""Recorded where they are installed: a worker may do without them, or have another version."""
_PACKAGE = Path(__file__).parent


def version_of(distribution: str) -> str:
    """Installed version, or ``""``."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


@functools.cache
def code_hash() -> str:
    """Hash of all source files of this package."""
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(str(path.relative_to(_PACKAGE)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def worker_versions() -> dict[str, str]:
    """What a worker must share with its driver: package, code, libraries, Python."""
    from dataops_parsl import __version__

    return {
        "dataops_parsl": __version__,
        "code": code_hash(),
        "python": platform.python_version(),
        **{name: version_of(name) for name in LIBRARIES},
    }


def host_facts() -> dict[str, Any]:
    """Where this process runs."""
    return {"host": platform.node(), "pid": os.getpid()}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where it fails, is not there or takes too long."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def git_facts(folder: Path) -> dict[str, Any]:
    """Commit of a folder's checkout, and whether there are changes that were not committed.

    Returns
    -------
    dict
        ``commit, dirty``; `dirty` is None where git could not say. Empty outside of a checkout, and where the
        folder merely lies in one that knows nothing of it, as an installed copy does in a project's
        environment: that commit is of something else.
    """
    if _git(folder, "ls-files", "--error-unmatch", "--", ".") is None:
        return {}
    if not (commit := _git(folder, "rev-parse", "HEAD")):
        return {}
    changes = _git(folder, "status", "--porcelain")
    return {"commit": commit, "dirty": None if changes is None else bool(changes)}


def cpu_model() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def gpus() -> list[str]:
    """The cards of this host, as ``nvidia-smi -L`` names them; none where there is no such tool."""
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def run_facts(project: Path) -> dict[str, Any]:
    """Everything about the place and the versions that a reviewer could ask for.

    ``git`` is of the project with its workflows and configuration, ``package_git`` of the code itself, which
    may be another checkout, or an installed copy that has none.
    """
    return {
        "versions": {**worker_versions(), **{name: v for name in ALSO if (v := version_of(name))}},
        "git": git_facts(project),
        "package_git": git_facts(_PACKAGE),
        "project": str(project),
        "gpus": gpus(),
        "slurm_job": os.environ.get("SLURM_JOB_ID", ""),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "command": sys.argv,
    }


def file_sha256(path: Path) -> str:
    """sha256 of a file, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
