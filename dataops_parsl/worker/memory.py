"""The memory of a worker: its peak during one task, and a watch that it keeps to its share."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dataops_parsl.worker import watcher
from dataops_parsl.worker.log import AttemptLog


def reset_peak() -> None:
    """Begin to measure the peak anew: a worker lives for many tasks."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float | None:
    """Largest resident memory of this process since `reset_peak`, MB (2**20 bytes); None where unknown."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return None


def give_back() -> None:
    """Return memory that nothing uses to the system: after a film's tables a worker would keep their size."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with contextlib.suppress(OSError, AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)


class _Watcher:
    """The process that watches this one: started with the first task that has a limit, kept for the next."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._path: Path | None = None

    def begin(self, limit_mb: float, log: AttemptLog) -> None:
        """Watch from now on.

        Raises
        ------
        OSError
            When there is no way to watch.
        """
        if self._process is None or self._process.poll() is not None or self._path != log.path:
            self.close()
            self._start(log)
        self._tell({"limit_mb": limit_mb, "facts": log.facts})

    def end(self) -> None:
        """Watch no more."""
        with contextlib.suppress(OSError):
            self._tell(None)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
            self._process = None

    def _start(self, log: AttemptLog) -> None:
        if not Path("/proc/self/statm").exists():
            raise OSError("this system has no /proc")
        try:
            output = log.open() if log.path else os.open(os.devnull, os.O_WRONLY)
        except OSError:
            # Killed without a line, a worker still spares the others of its block.
            output = os.open(os.devnull, os.O_WRONLY)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(watcher.__file__), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=output,
                bufsize=0,
            )
        finally:
            os.close(output)
        self._path = log.path

    def _tell(self, order: dict[str, Any] | None) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order).encode() + b"\n")


_watcher = _Watcher()
atexit.register(_watcher.close)


@contextlib.contextmanager
def watched(mem_gb: float, log: AttemptLog) -> Iterator[None]:
    """Watch the memory of this process and its children meanwhile.

    Passing 80 % of the share leaves a ``near`` line in the log; passing the share an ``oom`` line, and this
    process and its children are killed: an attempt with more memory is the driver's business.

    Parameters
    ----------
    mem_gb : float
        The share, GB (2**30 bytes, as SLURM counts); 0 for none.
    """
    if not mem_gb:
        yield
        return
    try:
        _watcher.begin(mem_gb * 1024, log)
    except OSError as error:
        log.write("unwatched", reason=str(error))
    try:
        yield
    finally:
        _watcher.end()
