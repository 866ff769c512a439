"""Whether the files of a bundle are those that were sealed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dataops_parsl.bundle import MANIFEST, files_of, may_come_and_go
from dataops_parsl.provenance import file_sha256
from dataops_parsl.validate.checks import Check

FORMAT = 1
LATE = ("log/parsl/", "log/workers/")
"""Where blocks of a start that was killed may still write, on their own way to the end: only more lines."""
EXIT_CODE, _EXIT_CODE_BYTES = ".sh.ec", 5
"""Parsl's file of a local block's exit code is the one that is written anew when the block ends."""
GREW = "it grew since, as blocks of a start that was killed end later"


def seal_sha256(root: Path) -> str:
    """sha256 of the manifest itself: written down elsewhere, it vouches for the whole bundle."""
    try:
        return file_sha256(root / MANIFEST)
    except OSError:
        return ""


def check_seal(root: Path) -> list[Check]:
    """Compare every file of a sealed bundle with its manifest.

    Parameters
    ----------
    root : Path
        The bundle's folder, with ``provenance_manifest.json``.

    Returns
    -------
    list of Check
        One for each file that is changed, missing or extra, and one for all others.
    """
    sealed = _manifest(root)
    if isinstance(sealed, str):
        return [Check(f"seal: {MANIFEST}", "a manifest that can be read", sealed, "tampered")]
    return _compare(root, sealed, LATE, "")


def check_beside(root: Path, folders: Mapping[str, Path], late: tuple[str, ...]) -> list[Check]:
    """Compare folders elsewhere that were sealed with a bundle.

    Parameters
    ----------
    root : Path
        The bundle's folder.
    folders : mapping of the name in the manifest to the folder
    late : tuple of str
        Beginnings of paths below them to which blocks of a killed start may still write.
    """
    try:
        sealed = json.loads((root / MANIFEST).read_bytes())["beside"]
        return [c for name, at in folders.items() for c in _compare(at, sealed[name], late, f"{name}/")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"it cannot be read: {type(error).__name__}: {error}"
        return [Check(f"seal: {MANIFEST}", "the folders beside the bundle", found, "tampered")]


def _compare(root: Path, sealed: dict[str, dict[str, Any]], late: tuple[str, ...], at: str) -> list[Check]:
    # Earlier versions sealed them too.
    sealed = {name: said for name, said in sealed.items() if not may_come_and_go(name)}
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = pool.map(lambda item: _problem(root, item[0], item[1], late), sealed.items())
        problems = dict(zip(sealed, found, strict=True))
    checks = [
        Check(
            f"seal: {at}{name}", f"{said['bytes']} bytes, sha256 {said['sha256'][:16]}…", problem, "tampered"
        )
        for name, said in sealed.items()
        if (problem := problems[name]) and problem != GREW
    ]
    grown = [name for name, problem in problems.items() if problem == GREW]
    if good := len(sealed) - len(checks):
        words = f"{good} are as sealed" + (f"; of {len(grown)} logs the sealed part: {GREW}" if grown else "")
        expected = f"{len(sealed)} files with their sealed sha256"
        checks.append(Check(f"seal: {at}files" if at else "seal: files", expected, words, "ok"))
    extra = [name for name in files_of(root) if name not in sealed and not name.startswith(late)]
    checks += [
        Check(f"seal: {at}{name}", "no file that was not sealed", "was added after the seal", "tampered")
        for name in extra
    ]
    return checks


def _manifest(root: Path) -> dict[str, dict[str, Any]] | str:
    """The sealed files, or why they cannot be known."""
    try:
        said = json.loads((root / MANIFEST).read_bytes())
        files: dict[str, dict[str, Any]] = said["files"]
        if said["format"] != FORMAT:
            return f"it is of format {said['format']}, this version reads {FORMAT}"
        if any(set(entry) != {"sha256", "bytes"} for entry in files.values()):
            return "its list of files is damaged"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"it cannot be read: {type(error).__name__}: {error}"
    return files


def _problem(root: Path, name: str, said: dict[str, Any], late: tuple[str, ...]) -> str:
    path = root / name
    try:
        size = path.stat().st_size
        if size < said["bytes"] and _begins_alike(path):
            return f"was cut: it has {size} bytes"
        digest = file_sha256(path)
        if name.startswith(late) and name.endswith(EXIT_CODE) and size <= _EXIT_CODE_BYTES:
            return "" if digest == said["sha256"] else GREW
        if digest != said["sha256"] and name.startswith(late) and size > said["bytes"]:
            with open(path, "rb") as file:
                begin = hashlib.sha256(file.read(said["bytes"])).hexdigest()
            return GREW if begin == said["sha256"] else f"was changed since it was sealed: {size} bytes"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if digest == said["sha256"]:
        return ""
    return f"was changed since it was sealed: {size} bytes, sha256 {digest[:16]}…"


def _begins_alike(path: Path) -> bool:
    """Whether a shorter file was cut, as far as one can tell: a parquet file without its end."""
    if path.suffix != ".parquet":
        return False
    with open(path, "rb") as file:
        head = file.read(4)
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 4))
        return head in (b"PAR1", b"PAR1"[: len(head)]) and file.read(4) != b"PAR1"
