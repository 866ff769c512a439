"""Leases: which run is alive. Correctness rests on recipes and renames alone; a lease only tells.

A lease is a file that its run touches every `HEARTBEAT_S`. On the same kernel a run is alive while its
process is; elsewhere, and in another container, while the file was touched in the last `SILENCE_S`. That
age is the difference between two times that the file system itself gave, so that clocks of hosts may differ.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from dataops_parsl.storage.atomic import write_json

HEARTBEAT_S = 10.0
SILENCE_S = 120.0


class Lease:
    """A file with host, pid and start of the process, kept fresh while the run lives.

    Parameters
    ----------
    path : Path
    facts : mapping, optional
        What else it says.
    """

    def __init__(self, path: Path, facts: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._facts = dict(facts or {})
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")

    def take(self) -> None:
        """Write it for the first time: from now on the run is seen to live."""
        self._write()

    def say(self, **facts: Any) -> None:
        """Change what else it says."""
        with self._writing:
            self._facts |= facts
            self._write()

    def __enter__(self) -> Lease:
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        write_json(self.path, {**_here(), **_me(), "taken": time.time(), **self._facts})

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                with self._writing:
                    self._touch()
            except OSError:  # a full disk stops the run elsewhere, with a message; not from this thread
                continue

    def _touch(self) -> None:
        try:
            os.utime(self.path)  # the time of the file's server
        except FileNotFoundError:  # someone cleared the folder; the run goes on
            self._write()


class Watch:
    """Tells which leases are alive, and learns from looking again.

    A lease that was seen untouched for `SILENCE_S` of our own clock is stale whatever its file's time says:
    it may have been written where the clock is ahead.
    """

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[int, float]] = {}

    def is_live(self, path: Path) -> bool:
        """Whether the run that holds the lease is alive."""
        try:
            # Of the open file: a network file system looks anew when a file is opened, not before.
            with open(path, "rb") as file:
                touched_ns = os.fstat(file.fileno()).st_mtime_ns
                lease: dict[str, Any] = json.load(file)
        except (OSError, ValueError):
            return False
        if _same_kernel(lease) and (alive := _process_lives(lease)) is not None:
            return alive
        if _age_s(path, touched_ns) >= SILENCE_S:
            return False
        now = time.monotonic()
        seen_ns, since = self._seen.get(path, (0, now))
        if seen_ns != touched_ns:
            self._seen[path] = (touched_ns, now)
            return True
        return now - since < SILENCE_S


def is_live(path: Path) -> bool:
    """Whether the run that holds the lease is alive: here by its process, elsewhere by its heartbeat."""
    return Watch().is_live(path)


def age_s(path: Path) -> float:
    """Seconds since a file was written, by the clock that its file system goes by; 0 when it is gone."""
    try:
        return _age_s(path, path.stat().st_mtime_ns)
    except OSError:
        return 0.0


def _age_s(path: Path, written_ns: int) -> float:
    probe = path.with_name(f".now.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        probe.touch()
        now_ns = probe.stat().st_mtime_ns
    except OSError:  # a tree that may only be read
        now_ns = time.time_ns()
    finally:
        _forget(probe)
    return (now_ns - written_ns) / 1e9


def _forget(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def _here() -> dict[str, str]:
    """What a number of a process belongs to: host, start of its kernel, space of process numbers."""
    return {"host": platform.node(), "boot": _boot(), "pids": _space()}


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _me() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "pid": process.pid,
        "process_started": process.create_time(),
        "process_ticks": _ticks(process.pid),
    }


def _ticks(pid: int) -> int:
    """Start of a process since its kernel started, which no setting of the clock moves; 0 where unknown."""
    try:
        # Behind the name, which may hold anything.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def _same_kernel(lease: Mapping[str, Any]) -> bool:
    """Whether its process number means here what it meant there."""
    return all(lease.get(key, value) == value for key, value in _here().items())


def _process_lives(lease: Mapping[str, Any]) -> bool | None:
    """Whether its process lives; None where that cannot be seen."""
    try:
        process = psutil.Process(lease["pid"])
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if lease.get("process_ticks"):
            return bool(_ticks(process.pid) == lease["process_ticks"])
        return bool(abs(process.create_time() - lease["process_started"]) < 1.0)
    except psutil.AccessDenied:
        return None
    except psutil.NoSuchProcess:
        return None if _hidden(lease["pid"]) else False
    except (KeyError, TypeError, ValueError):
        return False


def _hidden(pid: int) -> bool:
    """Whether a process is there that another user's may not see (``hidepid``)."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False
