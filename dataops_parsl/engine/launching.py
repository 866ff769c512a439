"""How a node's workers and an interchange are started, and Parsl is left: what it does not do by itself."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from typing import Any

from parsl.executors.high_throughput.executor import DEFAULT_LAUNCH_CMD

from dataops_parsl.engine.groups import Group
from dataops_parsl.worker.packed import call


def launch_command(group: Group, prefix: str) -> str:
    """Parsl's command for a node's workers.

    One worker a node takes the device that SLURM gave the job. Of several, each takes one of those that the
    job sees there: numbering them ourselves would put every one-GPU job of a node onto device 0.
    """
    command = DEFAULT_LAUNCH_CMD
    for folder in ("{cert_dir}", "{logdir}"):  # there may be blanks in the project's path
        command = command.replace(folder, f"'{folder}'")
    if group.gres and group.workers_per_node > 1:
        command = command.replace("{accelerators}", "$(echo $CUDA_VISIBLE_DEVICES | tr , ' ')")
    return f"{prefix} {command}" if prefix else command


def named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """What Parsl is given for a function that takes packed tasks: it has this name in Parsl's log."""
    # A partial carries the name without renaming the library's function, which workers import by its name.
    app = functools.partial(call, function)
    app.__name__ = name  # type: ignore[attr-defined]
    return app


def interchange_command() -> list[str]:
    """Give the interchange a session of its own, and let it die with the driver where Linux can do that."""
    command = ["interchange.py"]
    if shutil.which("setpriv") and shutil.which("setsid"):
        return ["setsid", "setpriv", "--pdeathsig", "TERM", *command]
    return command


@contextlib.contextmanager
def closed_logs() -> Iterator[None]:
    """Close the log file that Parsl lets go of without closing it."""
    logger = logging.getLogger("parsl")
    before = list(logger.handlers)
    yield
    for handler in before:
        if handler not in logger.handlers:
            with contextlib.suppress(OSError):  # a full disk, which the run itself says
                handler.close()


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Let signals wait until the end: then the last one is delivered."""
    seen: list[int] = []
    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # not in the main thread
            kept[number] = signal.signal(number, lambda n, _: seen.append(n))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        if seen:
            os.kill(os.getpid(), seen[-1])
