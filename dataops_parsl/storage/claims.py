"""Leases: which run is alive. Correctness rests on recipes and renames alone; a lease only tells."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from dataops_parsl.storage.atomic import write_json

HEARTBEAT_S = 10.0
SILENCE_S = 120.0


class Lease:
    """A file with host, pid, start time and heartbeat, kept fresh while the run lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")

    def take(self) -> None:
        """Write it for the first time: from now on the run is seen to live."""
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
        write_json(
            self.path,
            {
                "host": platform.node(),
                "pid": os.getpid(),
                "process_started": psutil.Process().create_time(),
                "heartbeat": time.time(),
            },
        )

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_S):
            try:
                self._write()
            except OSError:  # a full disk stops the run elsewhere, with a message; not from this thread
                continue


def is_live(path: Path) -> bool:
    """Whether the run that holds the lease is alive: on this host by its pid, elsewhere by its heartbeat."""
    try:
        lease: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, json.JSONDecodeError):
        return False
    if lease["host"] != platform.node():
        return time.time() - float(lease["heartbeat"]) < SILENCE_S
    try:
        process = psutil.Process(lease["pid"])
        return bool(
            abs(process.create_time() - lease["process_started"]) < 1.0
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.NoSuchProcess:
        return False
