"""Whether Python and the packages are those that this version asks for, here and for the workers."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dataops_parsl import __version__
from dataops_parsl.config import Loaded
from dataops_parsl.engine.finding import Finding
from dataops_parsl.provenance import version_of, worker_versions

PROJECT = "dataops_parsl"
SHOWN = ("parsl", "numpy", "zarr", "antspyx", "cellpose", "torch")
"""Named with their versions, where they are installed."""
WORKER_S = 60.0
"""Modules may load slowly."""


def packages() -> list[Finding]:
    """Python and the packages of this environment against the ranges of the installed package."""
    try:
        metadata = importlib.metadata.metadata(PROJECT)
        wanted = [Requirement(line) for line in importlib.metadata.requires(PROJECT) or ()]
    except importlib.metadata.PackageNotFoundError:
        return [
            Finding(
                "packages",
                True,
                f"{PROJECT} {__version__} is run from its source, without the ranges of what it needs",
                "pip install . in its folder",
            )
        ]
    return [_python(metadata["Requires-Python"] or ""), *against(wanted)]


def _python(asked: str) -> Finding:
    version = platform.python_version()
    if SpecifierSet(asked).contains(version, prereleases=True):
        return Finding("Python", True, f"{version} in {sys.prefix}")
    return Finding(
        "Python", False, f"{version}, but {asked} is needed", "make the environment with another Python"
    )


def against(wanted: list[Requirement]) -> list[Finding]:
    """The installed versions against what is asked for; of extras only what is installed.

    One that is missing is a failure, one out of its range a note: it may work, but was not tried.
    """
    missing, outside, fine = list[Requirement](), list[tuple[Requirement, str]](), dict[str, str]()
    for need in wanted:
        extra = need.marker is not None and "extra" in str(need.marker)
        if need.marker is not None and not extra and not need.marker.evaluate():
            continue
        version = version_of(need.name)
        if not version:
            missing += [] if extra else [need]
        elif not need.specifier.contains(version, prereleases=True):
            outside.append((need, version))
        else:
            fine[need.name] = version
    return list(_told(missing, outside, fine))


def _told(
    missing: list[Requirement], outside: list[tuple[Requirement, str]], fine: dict[str, str]
) -> Iterator[Finding]:
    named = ", ".join(f"{name} {fine[name]}" for name in SHOWN if name in fine)
    yield Finding("packages", True, f"{len(fine)} as asked for{': ' * bool(named)}{named}")
    if missing:
        names = ", ".join(need.name for need in missing)
        yield Finding(
            "packages", False, f"missing: {names}", f"pip install {' '.join(_pip(n) for n in missing)}"
        )
    for need, version in outside:
        yield Finding(
            "packages",
            True,
            f"{need.name} {version} is not of {need.specifier}, which this version was tried with",
            f"pip install {_pip(need)}",
        )


def _pip(need: Requirement) -> str:
    return shlex.quote(f"{need.name}{need.specifier}")


def workers(config: Loaded) -> list[Finding]:
    """Whether workers of a single machine get this environment; on a cluster only a node can tell."""
    site = config.config.site
    if site.kind != "local":
        return [
            Finding(
                "workers' packages",
                True,
                "only a node can tell; a worker with other versions than this environment refuses to work",
            )
        ]
    if not (site.worker_init or site.worker_prefix):
        return [Finding("workers' packages", True, "workers are started from this environment")]
    return [_asked(site.worker_init, site.worker_prefix)]


def _asked(init: str, prefix: str) -> Finding:
    """Start Python as a worker is started, and let it say its versions."""
    code = f"from {PROJECT}.provenance import worker_versions as v; print(v())"
    # The Python of the command that Parsl starts workers with, wherever prefix and init lead.
    python = '"$(dirname "$(command -v process_worker_pool.py)")/python3"'
    inside = f"{python} -c {shlex.quote(code)}"
    script = "\n".join([init, f"{prefix} sh -c {shlex.quote(inside)}"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    remedy = "correct site.worker_init or site.worker_prefix: workers must get this version of the package"
    try:
        done = subprocess.run(
            ["bash", "-c", script],
            capture_output=True,
            text=True,
            timeout=WORKER_S,
            check=False,
            env={**os.environ, "PATH": path},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("workers' packages", False, f"cannot be asked: {error}", remedy)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        return Finding("workers' packages", False, f"cannot be started: {last or done.returncode}", remedy)
    if done.stdout.strip().rpartition("\n")[2] == str(worker_versions()):
        return Finding("workers' packages", True, "started as site.worker_init says, with these versions")
    return Finding("workers' packages", False, "workers would get other versions and refuse to work", remedy)
