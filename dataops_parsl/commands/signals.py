"""Ctrl-C and its like."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dataops_parsl.errors import InterruptedRunError


@contextmanager
def stop_signals() -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into an orderly end."""

    def stop(number: int, _: Any) -> None:
        raise InterruptedRunError(
            f"stopped by {signal.Signals(number).name}; what was computed is kept",
            f"the same command goes on from there: python -m dataops_parsl {' '.join(sys.argv[1:])}",
        )

    kept = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
