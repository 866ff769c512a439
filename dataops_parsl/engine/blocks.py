"""The blocks of one executor: asked for when there is work, replaced when lost, given back when idle.

Parsl's own scaling is off. It knows neither which tasks will come nor why a block ended, and it hangs when
sbatch refuses a block after another one has run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataops_parsl.engine.groups import Group
from dataops_parsl.engine.htex import Executor
from dataops_parsl.engine.local import LocalBlocks
from dataops_parsl.engine.slurm import RUNNING, TERMINAL, SlurmBlocks, cause
from dataops_parsl.errors import PlaceError

MAX_FAILURES = 3
"""Blocks in a row of which no worker ever connected: then it is not chance."""
MAX_SILENT = 2
"""So many are enough (one, where there is one at a time) if they ran without a word and none before them
connected: each takes a minute or more to find out."""
REFUSED_AGAIN_S = 30.0
"""After sbatch refused a block while others work, it is asked again so much later."""
SILENT_S = 900.0
"""So long the controller of SLURM may be away while no worker is connected."""
TAIL_LINES = 6


@dataclass
class Demand:
    """What the dispatcher wants of an executor.

    Parameters
    ----------
    now : int
        Tasks that could run at this moment, or do.
    later : bool
        Whether more may come.
    """

    now: int = 0
    later: bool = True


@dataclass
class Block:
    """One block, as far as it has come; times are of `time.monotonic`, 0 for not yet."""

    id: str
    job_id: str
    asked: float
    running: float = 0.0
    seen: float = 0.0
    ended: float = 0.0
    draining: bool = False
    returned: bool = False
    cancelled: bool = False
    said: str = ""

    @property
    def connected(self) -> bool:
        """Whether a worker of it ever reported."""
        return bool(self.seen)


Report = Callable[..., None]
Managers = dict[str, list[dict[str, Any]]]


class Blocks:
    """Keeps as many blocks of a group as its work needs; `step` is called about twice a second.

    Parameters
    ----------
    group : Group
    executor : Executor
    provider : SlurmBlocks or LocalBlocks
    connect_s, idle_s : float
    report : callable
        Told what becomes of blocks: (executor label, block, job id, state, facts).
    """

    def __init__(
        self,
        group: Group,
        executor: Executor,
        provider: SlurmBlocks | LocalBlocks,
        connect_s: float,
        idle_s: float,
        report: Report,
    ) -> None:
        self.group, self.executor, self.provider = group, executor, provider
        self.demand = Demand()
        self.n_workers = 0
        self.blocks: dict[str, Block] = {}
        self._connect_s, self._idle_s, self._report = connect_s, idle_s, report
        self._failures: list[str] = []
        self._n_silent = 0
        self._not_before = 0.0
        self._told_silent: float | None = None

    @property
    def open(self) -> list[Block]:
        """The blocks that wait or run."""
        return [b for b in self.blocks.values() if not b.ended]

    def step(self) -> None:
        """Look, then act: one round.

        Raises
        ------
        PlaceError
            When this executor cannot be had: blocks end without a worker, or are refused.
        """
        self.provider.refresh()
        managers: Managers = {}
        for manager in self.executor.connected_managers():
            managers.setdefault(str(manager["block_id"]), []).append(manager)
        self.n_workers = sum(int(m["worker_count"]) for many in managers.values() for m in many)
        now = time.monotonic()
        for block in self.open:
            self._look(block, managers.get(block.id, []), now)
        if self._is_hopeless():
            raise self._never_connected()
        self._check_silence(now)
        self._finish(managers)
        self._scale(managers, now)

    # --- what became of them

    def _look(self, block: Block, managers: list[dict[str, Any]], now: float) -> None:
        job = self.provider.jobs[block.job_id]
        if managers:
            if not block.connected:
                self._failures.clear()
                block.running = block.running or now
                self._say(block, "connected", waited_s=round(now - block.asked, 1))
            block.seen = now
            block.draining = all(m["draining"] for m in managers)
            return
        if job.state in TERMINAL:
            self._ended(block, job.state, job.reason, now)
        elif job.state in RUNNING:
            if not block.running:
                block.running = now
                self._say(block, "running", waited_s=round(now - block.asked, 1), node=job.node)
            if now - max(block.running, block.seen) > self._connect_s:
                self.provider.cancel([block.job_id])
                self._n_silent += not block.connected
                self._ended(block, "SILENT", f"it ran for {self._connect_s:g} s without its workers", now)
        elif job.reason != block.said:
            block.said = job.reason
            self._say(block, "waiting", reason=job.reason)

    def _ended(self, block: Block, state: str, reason: str, now: float) -> None:
        block.ended = now
        words = "given back" if block.returned else ", ".join(filter(None, (state, reason)))
        if not block.returned and state in TERMINAL and isinstance(self.provider, SlurmBlocks):
            words = cause(block.job_id)
        if not block.connected and not block.returned:
            self._failures.append(f"block {block.id} (job {block.job_id}): {words}")
        self._say(block, "ended", reason=words, log=str(self.log(block.id, ".err")))

    def _say(self, block: Block, state: str, **facts: Any) -> None:
        self._report(self.group.label, block.id, block.job_id, state, **facts)

    def log(self, block_id: str, suffix: str) -> Path:
        """Where a block's output lies."""
        resource = self.provider.resources.get(self.executor.blocks_to_job_id.get(block_id, ""), {})
        if "job_stderr_path" in resource:
            return Path(resource["job_stderr_path"]).with_suffix(suffix)
        # Resolved: on a laptop it lies behind a link that goes with the run.
        return Path(str(resource.get("script_path", "")) + suffix).resolve()

    def _is_hopeless(self) -> bool:
        if len(self._failures) >= MAX_FAILURES:
            return True
        # A laptop may just be busy: there is nothing to set up that could be wrong.
        never = isinstance(self.provider, SlurmBlocks) and not any(b.connected for b in self.blocks.values())
        return never and self._n_silent >= min(MAX_SILENT, self.group.max_blocks)

    def _never_connected(self) -> PlaceError:
        failed = [b for b in self.blocks.values() if b.ended and not b.connected]
        last = max(failed, key=lambda b: b.ended)
        path = self.log(last.id, ".err")
        try:
            lines = [x for x in path.read_text(errors="replace").splitlines() if x.strip()]
        except OSError:
            lines = []
        tail = "\n    ".join(lines[-TAIL_LINES:]) or "(empty)"
        return PlaceError(
            f"no worker of {self.group.label} connected; {'; '.join(self._failures)}\n"
            f"  the end of {path}:\n    {tail}",
            "correct site.worker_init (environment, modules), or site.slurm.interface where the nodes cannot "
            "reach this host",
        )

    def _check_silence(self, now: float) -> None:
        since = self.provider.silent_since
        if since != self._told_silent:
            self._told_silent = since
            self._report(self.group.label, "", "", "answering" if since is None else "unreachable")
        if since is not None and now - since > SILENT_S and not any(b.seen == now for b in self.open):
            raise PlaceError(
                f"SLURM's controller has not answered for {SILENT_S / 60:.0f} min and no worker is connected",
                "run the same command again when it is back: what was computed is kept",
            )

    # --- how many there should be

    def _scale(self, managers: Managers, now: float) -> None:
        usable = [b for b in self.open if not b.draining and not b.returned]
        wanted = min(self.group.max_blocks, math.ceil(self.demand.now / self.group.workers_per_block))
        if len(usable) < wanted:
            self._ask(now)
        elif len(usable) > wanted:
            self._give_back(usable, len(usable) - wanted, managers)

    def _ask(self, now: float) -> None:
        if now < self._not_before:
            return
        ids = self.executor.scale_out_facade(1)
        if ids:
            (block_id,) = ids
            job_id = str(self.executor.blocks_to_job_id[block_id])
            self.blocks[block_id] = Block(block_id, job_id, now)
            self._say(self.blocks[block_id], "submitted", workers=self.group.workers_per_block)
            return
        if not self.provider.refused:  # the controller is away for now
            self._not_before = now + 2.0
            return
        if not self.open:
            raise PlaceError(
                f"sbatch refuses a block of {self.group.label}: {self.provider.refused}",
                "python -m dataops_parsl check --site <site> says what the cluster accepts",
            )
        # A limit of jobs, say: go on with the blocks that are there.
        self._report(self.group.label, "", "", "refused", reason=self.provider.refused)
        self._not_before = now + REFUSED_AGAIN_S

    def _give_back(self, usable: list[Block], n: int, managers: Managers) -> None:
        """Give up to `n` idle blocks back: those still waiting first, then the longest idle."""
        # With nothing more to come there is nothing to keep them for.
        patience = self._idle_s if self.demand.later else 0.0
        idle = {b.id: _idle_s(managers.get(b.id, [])) for b in usable}
        # One whose workers are about to connect may still be needed.
        found = [b for b in usable if b.connected or not b.running or not self.demand.later]
        found = [b for b in found if idle[b.id] >= patience]
        for block in sorted(found, key=lambda b: idle[b.id], reverse=True)[:n]:
            block.returned = True
            # It takes no new task from now on; `_finish` ends it once it has none.
            self.executor._hold_block(block.id)

    def _finish(self, managers: Managers) -> None:
        """End the blocks that are given back and have no task any more."""
        done = [
            b
            for b in self.open
            if b.returned and not b.cancelled and not any(m["tasks"] for m in managers.get(b.id, []))
        ]
        for block in done:
            block.cancelled = True
        if done:
            self.provider.cancel([b.job_id for b in done])

    def stop(self) -> None:
        """Cancel every block that is left."""
        for block in self.open:
            block.returned = block.cancelled = True
        self.provider.cancel([b.job_id for b in self.open])

    def gone(self) -> bool:
        """After `stop`: whether every job is known to be over."""
        self.provider.refresh(now=True)
        now = time.monotonic()
        for block in self.open:
            job = self.provider.jobs[block.job_id]
            if job.state in TERMINAL:
                self._ended(block, job.state, job.reason, now)
        return not self.open

    def report_left(self) -> None:
        """Say which jobs are not known to be over, although the run is."""
        for block in self.open:
            self._say(block, "left", reason="SLURM did not confirm its end")


def _idle_s(managers: list[dict[str, Any]]) -> float:
    """How long a block has been idle: -1 with a task, for ever without a worker."""
    if any(m["tasks"] for m in managers):
        return -1.0
    return min((float(m["idle_duration"]) for m in managers), default=math.inf)
