"""SLURM's commands, and the provider of a group's blocks: each is one SLURM job.

The provider is Parsl's, with what a cluster needs changed: squeue is asked at our own interval and also about
jobs that are over, a block is never requeued (the engine owns retries), and a controller that does not answer
for a while is not an error.
"""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import SlurmProvider

from dataops_parsl.config import Loaded
from dataops_parsl.engine.groups import Group

# States of squeue that end a job, and Parsl's word for each.
TERMINAL = {
    "BOOT_FAIL": JobState.FAILED,
    "CANCELLED": JobState.CANCELLED,
    "COMPLETED": JobState.COMPLETED,
    "DEADLINE": JobState.TIMEOUT,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.TIMEOUT,
    "REVOKED": JobState.FAILED,
    "SPECIAL_EXIT": JobState.FAILED,
    "TIMEOUT": JobState.TIMEOUT,
}
RUNNING = ("RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "SUSPENDED", "STOPPED")
UNREACHABLE = ("Unable to contact slurm controller", "Connection refused", "timed out", "Socket timed out")
SUBMIT_EVERY_S = 1.0
# A manager that is killed leaves processes behind that keep its job, and outlive it where SLURM does not
# use cgroups: they share its process group.
_START_WORKERS = """\
set -m
{command} &
pool=$!
trap 'kill -TERM -- -$pool' TERM
wait $pool
code=$?
kill -KILL -- -$pool 2>/dev/null
exit $code
"""


@dataclass(frozen=True)
class Answer:
    """What a command of SLURM said."""

    code: int
    out: str
    err: str

    @property
    def unreachable(self) -> bool:
        """Whether the controller did not answer: it may be back soon."""
        return self.code != 0 and any(words in self.err for words in UNREACHABLE)

    @property
    def forgotten(self) -> bool:
        """Whether SLURM does not know the job any more."""
        return "Invalid job id" in self.err

    @property
    def words(self) -> str:
        """What it complained of, in one line."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return " | ".join(line.removeprefix("sbatch: ").removeprefix("error: ") for line in lines)


def command(words: Sequence[str], timeout_s: float = 20.0) -> Answer:
    """Run one command of SLURM; one that is missing or hangs is an answer too.

    What SLURM told this process about a job that it may itself run in is kept from it: sbatch takes
    ``SLURM_*`` and ``SBATCH_*`` for options.
    """
    kept = {
        k: v
        for k, v in os.environ.items()
        if k == "SLURM_CONF" or not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))
    }
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=kept,
            errors="replace",
        )
    except FileNotFoundError:
        return Answer(127, "", f"{words[0]} was not found on the PATH")
    except subprocess.TimeoutExpired as error:
        said = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-1:]
        return Answer(124, "", ": ".join([f"{words[0]} timed out after {timeout_s:g} s", *said]))
    return Answer(done.returncode, done.stdout.strip(), done.stderr.strip())


def options(config: Loaded, group: Group) -> list[str]:
    """The options of sbatch for a block of this group, but for its name and its output."""
    slurm = config.config.site.slurm
    per_node = group.workers_per_node
    given = {
        "--partition": group.partition,
        "--account": slurm.account,
        "--qos": slurm.qos,
        "--constraint": slurm.gpu_constraint if group.gres else slurm.constraint,
        "--gres": group.node_gres,
        "--nodes": str(group.nodes_per_block),
        "--ntasks-per-node": "1",
        "--cpus-per-task": str(group.cores * per_node),
        "--mem": f"{max(1, round(group.mem_gb * per_node * 1024))}M",
        "--time": str(group.walltime_min),
    }
    return [f"{name}={value}" for name, value in given.items() if value] + ["--no-requeue", *slurm.extra]


@dataclass
class Job:
    """What squeue last said of a job."""

    state: str
    reason: str = ""
    node: str = ""


class SlurmBlocks(SlurmProvider):  # type: ignore[misc] # Parsl has no types
    """The provider of one group.

    Parameters
    ----------
    config : Loaded
    group : Group
    job_name : str
        Says the run.
    folder : Path
        For the job scripts and what the jobs print.
    environment : mapping
        Set in every block.
    alive : Path
        The run's lease: a job that starts when it is long gone ends at once.
    """

    def __init__(
        self,
        config: Loaded,
        group: Group,
        job_name: str,
        folder: Path,
        environment: dict[str, str],
        alive: Path,
    ) -> None:
        super().__init__(
            nodes_per_block=group.nodes_per_block,
            init_blocks=0,
            min_blocks=0,
            max_blocks=group.max_blocks,
            walltime=f"{group.walltime_min // 60:02d}:{group.walltime_min % 60:02d}:00",
            exclusive=False,
            worker_init=_worker_init(config, environment, alive),
        )
        self._srun = config.config.site.slurm.launcher == "srun"
        self.jobs: dict[str, Job] = {}
        self.refused = ""
        self.silent_since: float | None = None
        self._options = options(config, group)
        self._job_name, self._folder = job_name, folder
        self._poll_s = config.config.site.slurm.poll_s
        self._asked = 0.0

    # Parsl's poller leaves this executor alone: `Blocks` asks.
    status_polling_interval = 0

    def submit(self, command_line: str, tasks_per_node: int, job_name: str = "") -> str:
        """Submit one block; returns its job id.

        Raises
        ------
        RuntimeError
            With sbatch's words; `refused` keeps them, unless the controller just does not answer.
        """
        _wait_for_turn()
        self._folder.mkdir(parents=True, exist_ok=True)
        block = job_name.rpartition("-")[2]
        # A continued run counts its blocks from 0 again.
        script = self._folder / f"block-{block}-{int(time.time())}.sh"
        workers = script.with_suffix(".workers.sh")
        # In a file of its own, so that every node of the block expands its own devices.
        workers.write_text(_START_WORKERS.format(command=command_line))
        start = f"bash {shlex.quote(str(workers))}"
        if self._srun:
            start = f"srun --ntasks={self.nodes_per_block} --ntasks-per-node={tasks_per_node} {start}"
        head = ["#!/bin/bash", *(f"#SBATCH {option}" for option in self._options)]
        script.write_text("\n".join([*head, self.worker_init, start]) + "\n")
        out, err = script.with_suffix(".out"), script.with_suffix(".err")
        name = f"--job-name={self._job_name}-{block}"
        answer = command(["sbatch", "--parsable", name, f"--output={out}", f"--error={err}", str(script)])
        job_id = answer.out.partition(";")[0]
        if answer.code or not job_id.isdigit():
            if answer.unreachable:
                self.silent_since = self.silent_since or time.monotonic()
            else:
                self.refused = answer.words
            raise RuntimeError(answer.words)
        self.refused, self.silent_since = "", None
        self.jobs[job_id] = Job("PENDING")
        self.resources[job_id] = {
            "job_id": job_id,
            "status": JobStatus(JobState.PENDING),
            "job_stdout_path": str(out),
            "job_stderr_path": str(err),
        }
        return job_id

    def status(self, job_ids: Sequence[Any]) -> list[JobStatus]:
        """Parsl's view of the jobs; squeue is asked no more often than every ``poll_s``."""
        self.refresh()
        return [self.resources[j]["status"] for j in job_ids]

    def refresh(self, *, now: bool = False) -> None:
        """Ask squeue about the jobs that are not over, if it is time."""
        open_jobs = [j for j, r in self.resources.items() if not r["status"].terminal]
        if not open_jobs or (not now and time.monotonic() - self._asked < self._poll_s):
            return
        self._asked = time.monotonic()
        answer = command(
            ["squeue", "--noheader", "--states=all", "--format=%i|%T|%r|%N", f"--jobs={','.join(open_jobs)}"]
        )
        # With one job that is no longer known squeue fails as a whole: ask for each then.
        if answer.code and answer.forgotten and len(open_jobs) > 1:
            for job in open_jobs:
                self._take(
                    [job],
                    command(
                        ["squeue", "--noheader", "--states=all", "--format=%i|%T|%r|%N", f"--jobs={job}"]
                    ),
                )
            return
        self._take(open_jobs, answer)

    def _take(self, asked: list[str], answer: Answer) -> None:
        if answer.code and not answer.forgotten:
            # Whatever ails squeue, it says nothing about the jobs.
            self.silent_since = self.silent_since or time.monotonic()
            return
        self.silent_since = None
        said = {}
        for line in answer.out.splitlines():
            job, state, reason, node = [*line.split("|"), "", "", ""][:4]
            said[job] = Job(state, "" if reason == "None" else reason, node)
        for job in asked:
            # A job that squeue has forgotten is over, long since.
            now = said.get(job, Job("COMPLETED", "no longer known to SLURM"))
            self.jobs[job] = now
            resource = self.resources[job]
            state = TERMINAL.get(now.state, JobState.RUNNING if now.state in RUNNING else JobState.PENDING)
            resource["status"] = JobStatus(
                state, stdout_path=resource["job_stdout_path"], stderr_path=resource["job_stderr_path"]
            )

    def cancel(self, job_ids: Sequence[Any]) -> list[bool]:
        """Tell SLURM to end jobs; squeue says when they are over."""
        wanted = [j for j in job_ids if not self.resources[j]["status"].terminal]
        done = not wanted or command(["scancel", *wanted]).code == 0
        return [done] * len(job_ids)


_turn = threading.Lock()
_last_submit = 0.0


def _wait_for_turn() -> None:
    """At most one sbatch a second, over all groups."""
    global _last_submit
    with _turn:
        wait = _last_submit + SUBMIT_EVERY_S - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        _last_submit = time.monotonic()


def _worker_init(config: Loaded, environment: dict[str, str], alive: Path) -> str:
    """The lines of a block before its workers start."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lease = shlex.quote(str(alive))
    return "\n".join(
        [
            # Waited in the queue until its run was over: it must not hold a node to find that out.
            f'if [ ! -e {lease} ] || [ -n "$(find {lease} -mmin +3)" ]; then',
            "  echo 'the run that asked for this block is over' >&2; exit 0",
            "fi",
            # The driver's own: it need not exist on a node.
            "unset TMPDIR",
            # srun does not take it from sbatch, and would give a whole node's workers one core.
            "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK",
            f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            *exports,
            config.config.site.worker_init,
        ]
    )


def cause(job_id: str) -> str:
    """Why a job ended or what it is at, in SLURM's words, with or without accounting."""
    answer = command(["scontrol", "--oneliner", "show", "job", job_id], 10)
    facts = dict(w.split("=", 1) for w in answer.out.split() if "=" in w)
    if "JobState" in facts:
        words = [facts["JobState"]]
        if facts.get("Reason", "None") != "None":
            words.append(f"reason {facts['Reason']}")
        if facts.get("ExitCode", "0:0") != "0:0":
            words.append(f"exit code {facts['ExitCode']}")
        return ", ".join(words)
    answer = command(["sacct", "-n", "-X", "-P", "-o", "State,Reason,ExitCode", "-j", job_id], 10)
    if answer.code == 0 and answer.out:
        state, reason, code = [*answer.out.splitlines()[0].split("|"), "", "", ""][:3]
        return f"{state}, reason {reason}, exit code {code}"
    return "no longer known to SLURM"


def cancel_leftovers(job_prefix: str) -> list[str]:
    """Cancel what a killed driver of this very run left in the queue; returns the job ids."""
    answer = command(["squeue", "--noheader", "--format=%i|%j", f"--user={getpass.getuser()}"])
    jobs = [
        job
        for job, _, name in (x.partition("|") for x in answer.out.splitlines())
        if name.startswith(job_prefix)
    ]
    if jobs:
        command(["scancel", *jobs])
    return jobs
