"""Processes, as far as a private cluster has to tell them apart and end them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

GRACE_S = 10.0


def environment(process: psutil.Process) -> dict[str, str]:
    """What a living process was started with; empty for one that is over."""
    try:
        block = Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    # Not psutil's: it stops at the gap that slurmstepd's title leaves in front.
    return dict(item.split("=", 1) for item in block.split("\0") if "=" in item)


def name(process: psutil.Process) -> str:
    """The name of a process, empty for one that is over."""
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def lives(process: psutil.Process) -> bool:
    """Whether a process is not over; a zombie is, though it may take PID 1 long to reap it."""
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(processes: Iterable[psutil.Process], number: int = signal.SIGTERM) -> None:
    """Send a signal, wait until they are over, and send SIGKILL to those that are not."""
    left = list(processes)
    for number_now in (number, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number_now)
        give_up = time.monotonic() + GRACE_S
        while (left := [p for p in left if lives(p)]) and time.monotonic() < give_up:
            time.sleep(0.05)
