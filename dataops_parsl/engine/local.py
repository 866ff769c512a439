"""The provider of a single machine: one block, whose workers are processes here."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parsl.jobs.states import JobState
from parsl.launchers import SimpleLauncher
from parsl.providers import LocalProvider

from dataops_parsl.config import Loaded
from dataops_parsl.engine.slurm import Job

_WORDS = {JobState.RUNNING: "RUNNING", JobState.PENDING: "PENDING", JobState.COMPLETED: "COMPLETED"}


class LocalBlocks(LocalProvider):  # type: ignore[misc] # Parsl has no types
    """Parsl's local provider, seen as `SlurmBlocks` is.

    Parameters
    ----------
    config : Loaded
    environment : mapping
        Set in the block.
    temporary : Path
        A folder whose path has no blanks.
    """

    def __init__(self, config: Loaded, environment: dict[str, str], temporary: Path) -> None:
        exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
        super().__init__(
            init_blocks=0,
            min_blocks=0,
            max_blocks=1,
            launcher=SimpleLauncher(),
            worker_init="\n".join([*exports, config.config.site.worker_init]),
        )
        self._scripts = temporary / "scripts"
        self.jobs: dict[str, Job] = {}
        self.refused = ""
        self.silent_since: float | None = None
        self._groups: dict[str, int] = {}

    # Parsl's poller leaves this executor alone: `Blocks` asks.
    status_polling_interval = 0

    def submit(self, command: str, tasks_per_node: int, job_name: str = "") -> str:
        """Start the block; its id is a process id."""
        if not self._scripts.exists():
            # Parsl hands the path of its script to a shell unquoted, and the project's may have blanks.
            self._scripts.symlink_to(Path(self.script_dir).absolute())
            self.script_dir: str = str(self._scripts)
        job_id = str(super().submit(command, tasks_per_node, job_name))
        self.jobs[job_id] = Job("PENDING")
        # Asked for now: what a killed manager leaves behind has its group, but no leader that could be asked.
        with contextlib.suppress(ProcessLookupError):
            self._groups[job_id] = os.getpgid(int(job_id))
        return job_id

    def refresh(self, *, now: bool = False) -> None:
        """Look which blocks still run."""
        del now  # looking costs nothing, so it is never too early
        ids = list(self.resources)
        for job_id, status in zip(ids, self.status(ids), strict=True):
            self.jobs[str(job_id)] = Job(_WORDS.get(status.state, "FAILED"), status.message or "")
            if status.terminal:
                self._kill(str(job_id))

    def kill(self) -> None:
        """End every process of the blocks, whatever it is at."""
        for job_id in list(self._groups):
            self._kill(job_id)

    def _kill(self, job_id: str) -> None:
        group = self._groups.pop(job_id, os.getpgrp())
        if group != os.getpgrp():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGKILL)

    def cancel(self, job_ids: Sequence[Any]) -> Any:
        """End blocks; those that are over are left alone."""
        super().cancel([j for j in job_ids if not self.resources[j]["status"].terminal])
        return [True] * len(job_ids)
