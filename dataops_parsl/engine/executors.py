"""Parsl, at arm's length: one HighThroughputExecutor per kind of block, started and stopped cleanly."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import parsl
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors import HighThroughputExecutor

from dataops_parsl.config import Loaded
from dataops_parsl.engine.sites import executor_label, provider
from dataops_parsl.errors import PlaceError

# One numerical thread per worker: several make workers fight, and two ANTs runs with two threads differ.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
    "ANTS_RANDOM_SEED": "1",
    "PYTHONWARNINGS": "ignore",
}
MAX_RESTARTS = 2
CONNECT_S = 60
"""A local block that has not connected after so long, or whose workers are gone, is started again."""


class Pool:
    """The running executors of one run.

    Parameters
    ----------
    config : Loaded
    workers : int
        Ceiling of workers.
    run_dir : Path
        Where Parsl writes its logs.
    """

    def __init__(self, config: Loaded, workers: int, run_dir: Path) -> None:
        self.workers = workers
        self._config, self._run_dir = config, run_dir
        self._dfk: DataFlowKernel | None = None
        self._executor: HighThroughputExecutor | None = None
        self._apps: dict[str, Callable[..., Future[Any]]] = {}
        self._disconnected_since: float | None = None
        self._restarts = 0

    def __enter__(self) -> Pool:
        logging.getLogger("parsl").propagate = False
        environment = {
            **WORKER_ENVIRONMENT,
            # The pool reads it as the number of cores: else it starts no more workers than the host has.
            "PARSL_CORES": str(self.workers),
            # interchange.py and process_worker_pool.py lie beside the interpreter.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        os.environ.update(environment)
        # What killed workers leave behind goes with the run. Under the system's own folder, since paths of
        # sockets must be short.
        self._temporary = tempfile.mkdtemp(prefix="dataops-")
        self._kept_temporary = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = self._temporary
        engine = self._config.config.engine
        self._executor = HighThroughputExecutor(
            label=executor_label(self._config),
            provider=provider(self._config),
            address="127.0.0.1",
            max_workers_per_node=self.workers,
            cores_per_worker=1,
            prefetch_capacity=0,
            heartbeat_period=engine.heartbeat_s,
            heartbeat_threshold=engine.lost_after_s,
            poll_period=10,
            interchange_launch_cmd=_interchange_command(),
            block_error_handler=False,
            encrypted=False,
            worker_logdir_root=str(self._run_dir),
        )
        try:
            self._dfk = DataFlowKernel(
                Config(
                    executors=[self._executor],
                    strategy="none",
                    # Blocks are first started at this poll.
                    strategy_period=0.5,
                    retries=0,
                    run_dir=str(self._run_dir),
                    usage_tracking=0,
                    initialize_logging=True,
                )
            )
        except Exception as error:
            raise PlaceError(
                f"the workers could not be started: {error}", f"see {self._run_dir} for Parsl's own log"
            ) from error
        self._started = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._dfk is None:
            return
        # A second Ctrl-C must not leave processes behind.
        with _signals_ignored():
            processes = self._block_groups()
            self._dfk.cleanup()
            for group in processes:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
            shutil.rmtree(self._temporary, ignore_errors=True)
        os.environ.pop("TMPDIR")
        if self._kept_temporary is not None:
            os.environ["TMPDIR"] = self._kept_temporary
        self._dfk = None

    def submit(
        self, name: str, function: Callable[[dict[str, Any]], dict[str, Any]], task: dict[str, Any]
    ) -> Any:
        """Submit one task as a Parsl python_app of this name; returns its future."""
        if name not in self._apps:
            app = _named(function, name)
            self._apps[name] = parsl.python_app(
                app, data_flow_kernel=self._dfk, executors=[executor_label(self._config)], cache=False
            )
        return self._apps[name](task)

    def check(self) -> None:
        """Mend what Parsl does not notice: called about once a second.

        Raises
        ------
        PlaceError
            When the interchange is dead, or no worker connects although blocks were started again.
        """
        assert self._executor is not None
        process = getattr(self._executor, "interchange_proc", None)
        if process is not None and process.poll() is not None:
            raise PlaceError(
                "Parsl's interchange process died, so results cannot come back",
                f"run the same command again; its log is in {self._run_dir}",
            )
        now = time.monotonic()
        if not self._blocks_ended():
            if self._executor.connected_managers():
                self._disconnected_since = None
                return
            self._disconnected_since = self._disconnected_since or now
            if now - self._disconnected_since < CONNECT_S:
                return
        if self._restarts >= MAX_RESTARTS:
            raise PlaceError(
                f"no workers: the block ended or did not connect, {MAX_RESTARTS + 1} times",
                f"see the block's output in {self._run_dir}: {self._block_tail()}",
            )
        self._restarts += 1
        self._disconnected_since = now
        self._executor.scale_out_facade(1)

    def _blocks_ended(self) -> bool:
        """Whether every block is known to be over: then there is nothing to wait for."""
        assert self._executor is not None
        blocks = list(self._executor.provider.resources)
        return bool(blocks) and all(s.terminal for s in self._executor.provider.status(blocks))

    def _block_tail(self) -> str:
        files = sorted(self._run_dir.rglob("*.err"), key=lambda p: p.stat().st_mtime)
        text = files[-1].read_text(errors="replace").strip().splitlines() if files else []
        return " | ".join(text[-3:]) or "no output"

    def _block_groups(self) -> list[int]:
        assert self._executor is not None
        resources = getattr(self._executor.provider, "resources", {})
        groups = []
        for job in resources.values():
            with contextlib.suppress(ProcessLookupError, KeyError):
                groups.append(os.getpgid(job["remote_pid"]))
        return [g for g in groups if g != os.getpgrp()]


def _named(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    # A partial carries the name without renaming the library's function, which workers import by its name.
    app = functools.partial(function)
    app.__name__ = name  # type: ignore[attr-defined]
    return app


def _interchange_command() -> list[str]:
    """Give the interchange a session of its own, and let it die with the driver where Linux can do that."""
    command = ["interchange.py"]
    if shutil.which("setpriv") and shutil.which("setsid"):
        return ["setsid", "setpriv", "--pdeathsig", "TERM", *command]
    return command


@contextlib.contextmanager
def _signals_ignored() -> Any:
    kept = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError):  # not in the main thread
            kept[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
