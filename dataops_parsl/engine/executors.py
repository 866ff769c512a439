"""Parsl, at arm's length: one HighThroughputExecutor per kind of block, started and stopped cleanly."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import parsl
from parsl.addresses import address_by_interface
from parsl.config import Config
from parsl.dataflow.dflow import DataFlowKernel
from parsl.executors.base import ParslExecutor

from dataops_parsl.config import Loaded
from dataops_parsl.engine.blocks import Blocks, Demand
from dataops_parsl.engine.fitness import shortage
from dataops_parsl.engine.groups import Group
from dataops_parsl.engine.htex import Executor
from dataops_parsl.engine.launching import (
    closed_logs,
    interchange_command,
    launch_command,
    named,
    signals_held_back,
)
from dataops_parsl.engine.local import LocalBlocks
from dataops_parsl.engine.slurm import SlurmBlocks, cancel_leftovers, cause
from dataops_parsl.errors import DataopsError, PlaceError
from dataops_parsl.stage import Stage
from dataops_parsl.worker.packed import pack

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
LOCAL_CONNECT_S = 60.0
"""A local block that has not connected after so long, or whose workers are gone, is started again."""
STEP_S = 0.5
KEEPER_S = 120.0
"""More than the commands of SLURM of one step may take when its controller does not answer."""
GONE_AFTER_S = 45.0
"""How long the end of a run waits for its jobs to be over; SLURM itself kills them after its KillWait."""


class Pool:
    """The running executors of one run.

    Parameters
    ----------
    config : Loaded
    groups : sequence of Group
        The executors that the run needs; see `groups.groups`.
    run_id : str
        Names the jobs.
    run_dir : Path
        Where Parsl, the blocks and the workers write their logs: ``parsl/``, ``blocks/``, ``workers/``.
    lease : Path
        The run's sign of life.
    report : callable
        Told what becomes of blocks: (executor, block, job id, state, facts).
    fixed : bool
        Hold all blocks of these groups from start to end, whatever there is to do: for a benchmark.
    """

    def __init__(
        self,
        config: Loaded,
        groups: Sequence[Group],
        run_id: str,
        run_dir: Path,
        lease: Path,
        report: Callable[..., None],
        *,
        fixed: bool = False,
    ) -> None:
        self._held = {g.label for g in groups} if fixed else set[str]()
        self._config, self._groups = config, {g.label: g for g in groups}
        self._run_id, self._run_dir, self._lease, self._report = run_id, run_dir, lease, report
        self._dfk: DataFlowKernel | None = None
        self._blocks: dict[str, Blocks] = {}
        self._apps: dict[tuple[str, str], Callable[..., Future[Any]]] = {}
        self._said: queue.SimpleQueue[tuple[tuple[Any, ...], dict[str, Any]]] = queue.SimpleQueue()
        self._problem: DataopsError | None = None
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True, name="blocks")

    @property
    def is_local(self) -> bool:
        """Whether the workers are processes of this machine."""
        return self._config.config.site.kind == "local"

    @property
    def has_jobs(self) -> bool:
        """Whether the workers are in SLURM jobs of this run."""
        return self._config.config.site.kind == "slurm"

    start_remedy = "set site.worker_init so that the workers have the driver's environment"
    """What to do where a task could not even start."""

    # --- start and stop

    def __enter__(self) -> Pool:
        logging.getLogger("parsl").propagate = False
        # On a full disk Parsl's log would drown our words in tracebacks.
        logging.raiseExceptions = False
        # interchange.py and process_worker_pool.py lie beside the interpreter.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        os.environ.update({**WORKER_ENVIRONMENT, "PATH": path})
        # What killed workers leave behind goes with the run. Under the system's own folder, since paths of
        # sockets must be short.
        self._temporary = tempfile.mkdtemp(prefix="dataops-")
        self._kept_temporary = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = self._temporary
        if self.has_jobs:
            cancel_leftovers(self._job_prefix)
        try:
            executors = [self._executor(group) for group in self._groups.values()]
            self._dfk = DataFlowKernel(
                Config(
                    executors=executors,
                    strategy="none",
                    retries=0,
                    run_dir=str(self._run_dir / "parsl"),
                    usage_tracking=0,
                    initialize_logging=True,
                )
            )
        except Exception as error:
            raise PlaceError(
                f"the workers could not be started: {error}", f"see {self._run_dir} for Parsl's own log"
            ) from error
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._dfk is None:
            return
        # A second Ctrl-C must not leave processes behind.
        with signals_held_back():
            self._stopping.set()
            # An sbatch may be under way: its job must be known before all are cancelled.
            self._keeper.join(KEEPER_S)
            for blocks in self._blocks.values():
                blocks.stop()
            with closed_logs():
                self._dfk.cleanup()
            self._wait_until_gone()
            if self.has_jobs:
                cancel_leftovers(self._job_prefix)
            with contextlib.suppress(PlaceError):  # a full disk has been said, or is met at the next write
                self._drain_reports()
            shutil.rmtree(self._temporary, ignore_errors=True)
            for keys in (self._run_dir / "parsl").glob("*/*/certificates"):
                shutil.rmtree(keys, ignore_errors=True)
        os.environ.pop("TMPDIR")
        if self._kept_temporary is not None:
            os.environ["TMPDIR"] = self._kept_temporary
        self._dfk = None

    def _wait_until_gone(self) -> None:
        """Until no job of the run is left; a few questions to squeue, ever farther apart."""
        end, pause = time.monotonic() + GONE_AFTER_S, 0.2
        for blocks in self._blocks.values():
            if isinstance(blocks.provider, LocalBlocks):
                blocks.provider.kill()
            while not blocks.gone() and time.monotonic() < end:
                time.sleep(pause)
                pause = min(2 * pause, 10.0)
                blocks.stop()
            blocks.report_left()

    @property
    def _job_prefix(self) -> str:
        return f"dataops-{self._run_id}-"

    def _executor(self, group: Group) -> ParslExecutor:
        engine, site = self._config.config.engine, self._config.config.site
        environment = {
            **WORKER_ENVIRONMENT,
            # The pool reads it as the number of cores: else it starts no more workers than the host has.
            "PARSL_CORES": str(group.workers_per_node),
        }
        drain_s: int | None = None
        if self.is_local:
            provider: SlurmBlocks | LocalBlocks = LocalBlocks(
                self._config, environment, Path(self._temporary)
            )
            address: str | None = "127.0.0.1"
            connect_s, idle_s = LOCAL_CONNECT_S, float("inf")
        else:
            folder = self._run_dir / "blocks" / group.label
            name = self._job_prefix + group.label
            provider = SlurmBlocks(self._config, group, name, folder, environment, self._lease)
            address = address_by_interface(site.slurm.interface) if site.slurm.interface else None
            connect_s, idle_s = site.slurm.connect_s, site.slurm.idle_s
            walltime_s = group.walltime_min * 60
            drain_s = int(walltime_s - min(site.slurm.drain_min * 60, walltime_s / 2))
        executor = Executor(
            label=group.label,
            provider=provider,
            address=address,
            launch_cmd=launch_command(group, site.worker_prefix),
            max_workers_per_node=group.workers_per_node,
            cores_per_worker=1,
            prefetch_capacity=0,
            heartbeat_period=engine.heartbeat_s,
            heartbeat_threshold=engine.lost_after_s,
            drain_period=drain_s,
            poll_period=10,
            interchange_launch_cmd=interchange_command(),
            block_error_handler=False,
            # The network of a cluster has other users.
            encrypted=not self.is_local,
            worker_logdir_root=str(self._run_dir / "parsl"),
        )
        blocks = Blocks(group, executor, provider, connect_s, idle_s, self._queue_report)
        if group.label in self._held:
            blocks.demand = Demand(group.workers, True)
        self._blocks[group.label] = blocks
        return executor

    # --- work

    def label(self, stage: str, on_gpu: bool) -> str:
        """The executor of a stage; empty where the pool serves it not."""
        return next((g.label for g in self._groups.values() if (stage, on_gpu) in g.serves), "")

    @property
    def workers(self) -> dict[str, int]:
        """Ceiling of workers of each executor."""
        return {label: group.workers for label, group in self._groups.items()}

    def submit(
        self,
        label: str,
        name: str,
        function: Callable[[dict[str, Any]], dict[str, Any]],
        task: dict[str, Any],
    ) -> Any:
        """Submit one task as a Parsl python_app of this name to an executor; returns its future."""
        if (label, name) not in self._apps:
            app = named(function, name)
            self._apps[label, name] = parsl.python_app(
                app, data_flow_kernel=self._dfk, executors=[label], cache=False
            )
        return self._apps[label, name](pack(task))

    def terms(self, label: str, stage: Stage) -> dict[str, Any]:
        """What a worker of an executor has to keep to for a stage, and where it says what it does."""
        group, site = self._groups[label], self._config.config.site
        return {
            "log_dir": str(self._run_dir / "workers"),
            "executor": label,
            "mem_gb": group.mem_gb,
            "check_gpu": stage.on_gpu and not self.is_local,
            "min_gpu_mem_gb": site.min_gpu_mem_gb,
            "allow_small_gpu": site.allow_small_gpu,
            "needs_bf16": stage.needs_bf16,
        }

    @property
    def worker_logs(self) -> Path:
        """Where the workers say what they do."""
        return self._run_dir / "workers"

    def demand(self, label: str, now: int, later: bool) -> None:
        """Say how many tasks could run on an executor, and whether more may come."""
        if label not in self._held:
            self._blocks[label].demand = Demand(now, later)

    def connected(self, label: str) -> int:
        """How many workers of an executor are there."""
        return self._blocks[label].n_workers

    def with_more_memory(self, label: str) -> str:
        """The executor for a task that needed more than a worker of this one may have: twice as much.

        It is started when there is none yet.

        Raises
        ------
        PlaceError
            When no node has so much.
        """
        group = self._groups[label]
        larger = group.with_memory(2 * group.mem_gb)
        for known in self._groups.values():
            if known.share == larger.share:
                return known.label
        if words := shortage(self._config, larger):
            raise PlaceError(f"{larger.mem_gb:g} GB a worker cannot be had: {words}")
        assert self._dfk is not None
        self._groups[larger.label] = larger
        self._dfk.add_executors([self._executor(larger)])
        return larger.label

    def cause(self, job_id: str) -> str:
        """Why a block ended or what it is at, in SLURM's words; empty on a single machine."""
        return cause(job_id) if self.has_jobs and job_id else ""

    # --- watching

    def check(self) -> None:
        """Pass on what became of blocks, and raise what stops the run: called about once a second.

        Raises
        ------
        PlaceError
            When an interchange is dead, or no worker connects although blocks were started again.
        """
        self._drain_reports()
        if self._problem is not None:
            raise self._problem
        for blocks in list(self._blocks.values()):
            if blocks.executor.started:
                blocks.executor.require_alive()

    def _keep(self) -> None:
        """In a thread of its own: commands of SLURM may take seconds, and results must not wait for them."""
        while not self._stopping.wait(STEP_S):
            for blocks in list(self._blocks.values()):
                if self._stopping.is_set() or not blocks.executor.started:
                    continue
                try:
                    blocks.step()
                except DataopsError as error:
                    self._problem = self._problem or error
                except Exception as error:  # a bug here must end the run, not leave it waiting
                    self._problem = self._problem or DataopsError(f"keeping blocks failed: {error!r}")

    def _queue_report(self, *words: Any, **facts: Any) -> None:
        self._said.put((words, facts))

    def _drain_reports(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                words, facts = self._said.get_nowait()
                self._report(*words, **facts)
