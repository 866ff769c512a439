"""A command killed at a counted point: right before or after one of its renames, unlinks, fsyncs or the like.

The command runs in a process forked from one that has already imported the package, so that a try costs
a fraction of a second. Counted are the calls of its own process, in any thread, on files below the folders
named; what it starts in other processes is not counted.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import multiprocessing
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from multiprocessing.forkserver import set_forkserver_preload
from pathlib import Path
from typing import Any, Literal

CALLS = ("rename", "replace", "unlink", "remove", "rmdir", "link", "symlink", "mkdir", "chmod", "fsync")
"""Functions of `os` by which a file system is changed, or by which a change is made to last."""
When = Literal["before", "after"]
_NUMBERS = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{4}|[0-9a-f]{8,}|\d+|(?<=[-._])[a-z0-9_]{8}(?=$|/)")
"""Ids of runs, process ids, hexadecimal digests, and the random ends that `tempfile` gives its names."""


@dataclass(frozen=True)
class Point:
    """One call that was counted.

    Parameters
    ----------
    index : int
        Counted from 0.
    call : str
        Name of the function of `os`.
    path : str
        The file or folder; of a rename the one it had before.
    kind : str
        The same without numbers: names hold process ids and random digits.
    nth : int
        How many of its call and kind came before. Threads change the order of calls, not what is called.
    """

    index: int
    call: str
    path: str
    kind: str
    nth: int


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Parameters
    ----------
    code : int
        Exit code; -9 when it was killed.
    output : str
        What it printed, as far as it got.
    points : list of Point
        Counted up to its end.
    """

    code: int
    output: str
    points: list[Point]


def run(
    arguments: Sequence[str],
    under: Sequence[Path],
    *,
    at: Point | None = None,
    when: When = "before",
    seconds: float = 120,
    log: Path,
) -> Ended:
    """Run the command line in a process of its own and count; kill it at a point when one is given.

    Parameters
    ----------
    arguments : sequence of str
        Words after ``python -m dataops_parsl``.
    under : sequence of Path
        Folders whose files are counted.
    at : Point, optional
        At which it is killed, found again by its kind; without it, it runs to its end.
    when : "before" or "after"
        The call of that point.
    log : Path
        Folder for what it prints and what was counted.
    """
    context = multiprocessing.get_context("forkserver")
    set_forkserver_preload(["dataops_parsl.cli", "tests.faults.kill_points", "tests.faults.preload"])
    log.mkdir(parents=True, exist_ok=True)
    counted, printed = log / "points.jsonl", log / "output.txt"
    for path in (counted, printed):
        path.unlink(missing_ok=True)
    roots = [os.path.realpath(folder) for folder in under]
    process = context.Process(
        target=_child, args=(list(arguments), roots, at, when, str(counted), str(printed))
    )
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{' '.join(arguments)} did not end in {seconds} s:\n{printed.read_text()}")
    points = [Point(*json.loads(line)) for line in counted.read_text().splitlines()]
    assert process.exitcode is not None
    output = printed.read_text() if printed.exists() else ""
    assert "Traceback" not in output, output
    return Ended(process.exitcode, output, points)


def _child(
    arguments: list[str], roots: list[str], at: Point | None, when: str, counted: str, printed: str
) -> None:
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    log = os.open(counted, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    _count(roots, at, when, log)
    from dataops_parsl import cli

    with contextlib.redirect_stdout(io.TextIOWrapper(io.FileIO(1, "w", closefd=False), write_through=True)):
        try:
            code = cli.main(arguments)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    os._exit(code)


def _count(roots: list[str], at: Point | None, when: str, log: int) -> None:
    """Put a counter in front of each of `CALLS`."""
    numbers, lock = itertools.count(), threading.Lock()
    seen: Counter[tuple[str, str]] = Counter()

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, *more: Any, **options: Any) -> Any:
            path = _place(first, options.get("dir_fd", options.get("src_dir_fd")))
            ours = any(path == root or path.startswith(root + os.sep) for root in roots)
            # Threads that make the same folders fail in any number; so those that will fail do not count.
            if not ours or (name == "mkdir" and not _can_be_made(path)):
                return real(first, *more, **options)
            with lock:
                kind = _NUMBERS.sub("#", path)
                here = Point(next(numbers), name, path, kind, seen[name, kind])
                seen[name, kind] += 1
                os.write(log, (json.dumps(astuple(here)) + "\n").encode())
                hit = at is not None and (at.call, at.kind, at.nth) == (name, kind, here.nth)
                if hit and when == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
                try:
                    return real(first, *more, **options)
                finally:
                    if hit:
                        os.kill(os.getpid(), signal.SIGKILL)

        return call

    for name in CALLS:
        setattr(os, name, counting(name, getattr(os, name)))


def _can_be_made(folder: str) -> bool:
    return os.path.isdir(os.path.dirname(folder)) and not os.path.lexists(folder)


def _place(target: Any, folder: int | None) -> str:
    """Path of the argument of a call: a name, a name below an open folder, or an open file."""
    if isinstance(target, int):
        return os.readlink(f"/proc/self/fd/{target}")
    name = os.fsdecode(target)
    home = os.readlink(f"/proc/self/fd/{folder}") if folder is not None else os.getcwd()
    whole = os.path.join(home, name)
    return os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole))
