"""Whether the folders of storage can be used: tried, not believed. Nothing is left in them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dataops_parsl.config import Loaded
from dataops_parsl.engine.finding import Finding
from dataops_parsl.report.words import number
from dataops_parsl.storage import probe
from dataops_parsl.storage.mounts import Mount, concerns, mounted

GB = 1e9
LITTLE_GB = 5.0
CLOCK_S = 5.0
"""Clocks may differ by so much before it is told."""


def roots(config: Loaded) -> list[Finding]:
    """Whether the roots can be used, and whether their file systems do what storage relies on."""
    paths, elsewhere = config.paths, config.config.site.kind != "local"
    found = [_readable("data_root", paths.data_root)]
    for key, folder in (("scratch_root", paths.scratch_root), ("output_root", paths.output_root)):
        writable = _writable(key, folder)
        found.append(writable)
        if writable.ok:
            found += _file_system(key, folder, shared=elsewhere)
    if elsewhere:
        found.append(
            Finding(
                "shared folders",
                True,
                "the workers must see these three and their environment under the same paths, which cannot "
                "be told from here: the first worker will",
            )
        )
    return found


def nearest(folder: Path) -> Path:
    """The folder, or the nearest above it that is there: where it would be made."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def _readable(key: str, folder: Path) -> Finding:
    if not folder.is_dir():
        return Finding(key, True, f"{folder} is not there yet; the first dataset makes it")
    if os.access(folder, os.R_OK | os.X_OK):
        return Finding(key, True, f"{folder} is readable")
    return Finding(
        key,
        False,
        f"{folder} cannot be read",
        f"ask its owner for access, or set paths.{key} to another folder",
    )


def _writable(key: str, folder: Path) -> Finding:
    """Try it in the folder, or where it would be made."""
    try:
        place = nearest(folder)
        # Has no name on Linux, so that it is gone whatever happens.
        with tempfile.TemporaryFile(dir=place) as trial:
            trial.write(b"x" * 4096)
            trial.flush()
            os.fsync(trial.fileno())
        free_gb = shutil.disk_usage(place).free / GB
    except OSError as error:
        return Finding(
            key,
            False,
            f"{folder} cannot be written: {error.strerror}",
            f"free some space there or make it writable, or set paths.{key} to another folder",
        )
    there = "" if place == folder else " (made by the first run)"
    found = f"{folder} is writable{there}, {_size(free_gb)} free"
    if free_gb < LITTLE_GB:
        return Finding(key, True, found, f"that is little: set paths.{key} to a larger disk")
    return Finding(key, True, found)


def _size(gb: float) -> str:
    return f"{gb / 1000:.1f} TB" if gb >= 1000 else f"{gb:.0f} GB" if gb >= 10 else f"{gb:.1f} GB"


def _file_system(key: str, folder: Path, *, shared: bool) -> Iterator[Finding]:
    """One line of what works, one for each thing that does not or is known to go wrong."""
    subject, mount = f"{key.removesuffix('_root')} files", mounted(folder)
    kind = mount.kind if mount else "a file system"
    try:
        with probe.workshop(nearest(folder)) as inside:
            tried = probe.trials(inside)
            keeps_case, links = probe.keeps_case(inside), probe.has_symlinks(inside)
            ahead_s = probe.clock_ahead_s(inside)
            free = os.statvfs(inside)
    except OSError as error:  # it went full or away since it was found writable
        yield Finding(subject, False, f"{kind}: {error.strerror}", f"set paths.{key} to another folder")
        return
    works = [trial.what for trial in tried if not trial.problem]
    # A file system that makes room for files as it goes tells of none.
    room = number(int(float(f"{free.f_favail:.2g}")))
    files = f", room for {room} files" if free.f_files else ""
    if works:
        where = mount.point if mount else folder
        yield Finding(subject, True, f"{kind} on {where}: {', '.join(works)} work{files}")
    for trial in tried:
        if trial.problem:
            yield Finding(
                subject,
                False,
                f"{kind}: {trial.what}: {trial.problem}",
                "storage relies on it, so that a kill at any moment loses nothing: "
                f"set paths.{key} to a folder on another file system",
            )
    if not keeps_case:
        yield Finding(
            subject,
            True,
            "names that differ in case alone are one name here",
            "give positions and channels names that differ in more",
        )
    if not links:
        yield Finding(
            subject,
            True,
            "no links can be made here",
            "nothing but `bench` needs them: run it on another disk",
        )
    yield from _clock(subject, ahead_s)
    if mount is not None:
        yield from _known(subject, key, mount, shared=shared)


def _clock(subject: str, ahead_s: float) -> Iterator[Finding]:
    if abs(ahead_s) > CLOCK_S:
        yield Finding(
            subject,
            True,
            f"this host's clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} "
            "the clock that stamps files here",
            "times in logs and traces will not fit together: ask for the hosts' clocks to be set (NTP)",
        )


def _known(subject: str, key: str, mount: Mount, *, shared: bool) -> Iterator[Finding]:
    for concern in concerns(mount):
        yield Finding(subject, True, f"{mount.kind}: {concern.what}", concern.remedy)
    if shared and not mount.network:
        yield Finding(
            subject,
            True,
            f"{mount.kind} is a file system of this host: those of the workers see it only if they mount it",
            f"set paths.{key} to a folder on the file system that they share",
        )
