"""Tries on a file system what storage relies on: rename, fsync, locks, exclusive creation.

Everything happens in a folder made for it, which is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PREFIX = ".dataops-check-"
ANSWER_S = 10.0
"""Another process that says nothing for so long hangs: so do locks of a server that is away."""
_TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(7)
"""
_HELD = 7


@dataclass(frozen=True)
class Trial:
    """What came out of one.

    Parameters
    ----------
    what : str
        Such as ``rename``.
    problem : str
        What went wrong; empty where nothing did.
    """

    what: str
    problem: str = ""


@contextlib.contextmanager
def workshop(place: Path) -> Iterator[Path]:
    """A folder to try things in; it and all in it are gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def trials(folder: Path) -> list[Trial]:
    """Try all of it in a folder that may be spoilt; what raises is a problem in the system's words."""
    found = []
    for what, attempt in _TRIALS.items():
        try:
            problem = attempt(folder)
        except OSError as error:
            problem = error.strerror or str(error)
        found.append(Trial(what, problem))
    return found


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _rename(folder: Path) -> str:
    """A file takes the place of another at once, and who has the old one open goes on reading it."""
    old, new = folder / "final", folder / ".final.tmp"
    _write(old, b"old")
    with open(old, "rb") as reader:
        _write(new, b"new content")
        os.replace(new, old)
        seen, still = old.read_bytes(), reader.read()
    if seen != b"new content" or new.exists():
        return f"after a rename over a file its name shows {seen!r}"
    return "" if still == b"old" else "a file that was replaced changes under its reader"


def _fsync(folder: Path) -> str:
    """A file, and the folder that has its name, can be brought to the disk."""
    _write(folder / "synced", b"x")
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return ""


def _locks(folder: Path) -> str:
    """A lock that this process holds is refused to another, and given once it is free."""
    path = folder / "lock"
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _other_process(path) != _HELD:
            return "another process gets a lock that is held"
        fcntl.flock(file, fcntl.LOCK_UN)
        return "a lock that was given back is not free" if _other_process(path) else ""


def _other_process(lock: Path) -> int:
    command = [sys.executable, "-S", "-E", "-c", _TRY_LOCK, str(lock)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise OSError(None, f"no answer in {ANSWER_S:g} s") from error
    if done.returncode not in (0, _HELD):
        raise OSError(None, done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}")
    return done.returncode


def _exclusive(folder: Path) -> str:
    """Of two that make one file, one is told so."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(folder / "once", flags))
    try:
        os.close(os.open(folder / "once", flags))
    except FileExistsError:
        return ""
    return "two can make the same file"


_TRIALS: Mapping[str, Callable[[Path], str]] = {
    "rename": _rename,
    "fsync": _fsync,
    "locks": _locks,
    "exclusive creation": _exclusive,
}


def keeps_case(folder: Path) -> bool:
    """Whether names that differ in case are two names."""
    (folder / "case").write_bytes(b"")
    return not (folder / "CASE").exists()


def has_symlinks(folder: Path) -> bool:
    """Whether links to folders can be made: a benchmark's cases are links."""
    try:
        (folder / "link").symlink_to(folder, target_is_directory=True)
    except OSError:
        return False
    return True


def clock_ahead_s(folder: Path) -> float:
    """How far this host's clock is ahead of the one that stamps files there, s."""
    path = folder / "clock"
    before = time.time()
    path.write_bytes(b"x")
    stamped, after = path.stat().st_mtime, time.time()
    return before - stamped if stamped < before else min(0.0, after - stamped)
