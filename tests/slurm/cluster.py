"""A real SLURM of its own: munged, slurmctld and a slurmd for each node, all on this host, without systemd.

By hand, for as long as one wants::

    python -m tests.slurm.cluster start [--root DIR]     # prints the line that clients need
    python -m tests.slurm.cluster status
    python -m tests.slurm.cluster stop

Whatever a cluster starts has its ``SLURM_CONF`` in its environment; that tells the processes of one
cluster from those of any other on the host, which are never touched.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from tests.slurm import processes
from tests.slurm.shape import ONE_GPU_NODE, Partition, node_names, write

DEFAULT_ROOT = Path("/tmp/dataops-slurm")
PROJECT = Path(__file__).parents[2]
DAEMONS = ("munged", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd")
COMMANDS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun")
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
START_S, STOP_S = 60.0, 20.0
LOG_TAIL_LINES = 8
SOCKET_PATH_LENGTH = 107


class ClusterError(RuntimeError):
    """The cluster, or a command given to it, failed; in SLURM's words."""


class Cluster:
    """A private cluster.

    Parameters
    ----------
    root : Path
        Folder of the cluster, made by `start`, removed by `stop`; a short path, since it holds a socket.
    shape : sequence of Partition
        The first partition is the default one.
    guarded : bool
        End the cluster and its jobs when this process dies, even if it is killed.
    """

    def __init__(
        self, root: Path, shape: Sequence[Partition] = ONE_GPU_NODE, *, guarded: bool = True
    ) -> None:
        self.root, self.shape = root, tuple(shape)
        self._conf = root / "slurm.conf"
        self._guarded = guarded
        self._guard: subprocess.Popen[bytes] | None = None

    @staticmethod
    def missing() -> str:
        """Why no cluster can run here, in words; empty where it can."""
        if not sys.platform.startswith("linux"):
            return "a private SLURM cluster needs Linux"
        if os.geteuid() != 0:
            return "a private SLURM cluster needs root"
        absent = [name for name in COMMANDS if not shutil.which(name, path=PATH)]
        if absent:
            return (
                f"{', '.join(absent)} not found: apt-get install slurmctld slurmd slurm-client munge "
                "(Debian's names; no service of them has to run)"
            )
        return ""

    # --- start and stop

    def start(self) -> None:
        """Start all daemons and wait until every node can take jobs.

        Raises
        ------
        ClusterError
            With the ends of the logs; nothing is left running.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if any(self.root.iterdir()):
            raise ClusterError(f"{self.root} is not empty: stop its cluster, or name another folder")
        if len(str(self.root / "munge" / "sock")) > SOCKET_PATH_LENGTH:
            raise ClusterError(f"{self.root} is too long for the path of a socket: name a shorter folder")
        try:
            write(self.root, self.shape)
            if self._guarded:
                self._guard = self._start_guard()
            munge = self.root / "munge"
            (munge / "key").write_bytes(os.urandom(1024))
            (munge / "key").chmod(0o600)
            files = {"key-file": "key", "socket": "sock", "pid-file": "pid", "seed-file": "seed"}
            options = [f"--{option}={munge / name}" for option, name in files.items()]
            self.command("munged", "--force", *options, f"--log-file={self.root}/log/munged.log")
            self.start_controller()
            for node in node_names(self.shape):
                (self.root / "spool" / node).mkdir()
                self.command("slurmd", "-N", node)
            _until(self._all_idle, START_S, "all nodes are idle")
        except BaseException as error:
            logs = self._log_tails()
            self.stop()
            if isinstance(error, ClusterError | OSError):
                raise ClusterError(f"the cluster did not start: {error}\n{logs}") from error
            raise

    def stop(self) -> None:
        """Cancel all jobs, end all daemons, remove the folder.

        Raises
        ------
        ClusterError
            When a process of the cluster survives even SIGKILL.
        """
        if self.daemons("slurmctld"):
            with contextlib.suppress(ClusterError):
                self.cancel_all()
        # Nodes first, so that the controller's log ends with them; what is left of jobs last.
        for names in (("slurmd",), ("slurmctld", "slurmscriptd"), ("munged",)):
            processes.end(self.daemons(*names))
        processes.end([*self.daemons(), *self._job_processes()])
        if left := [*self.daemons(), *self._job_processes()]:
            raise ClusterError(f"processes of {self.root} cannot be ended: {left}")
        if self._conf.exists():
            shutil.rmtree(self.root)
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            self._guard.wait(STOP_S)
            self._guard = None

    def _start_guard(self) -> subprocess.Popen[bytes]:
        """A process that stops the cluster once the pipe from this process breaks."""
        words = [sys.executable, "-m", "tests.slurm.cluster", "guard", "--root", str(self.root)]
        return subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.PIPE, start_new_session=True)

    def stop_controller(self, *, crash: bool = False) -> None:
        """End slurmctld alone, with SIGKILL for a crash; jobs go on."""
        processes.end(self.daemons("slurmctld"), signal.SIGKILL if crash else signal.SIGTERM)
        # Its helper ends with it, and holds its port until then.
        _until(lambda: not self.daemons("slurmscriptd"), STOP_S, "slurmctld is gone")

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers; jobs that it knew, it knows again."""
        self.command("slurmctld")
        _until(lambda: "is UP" in self._said("scontrol", "ping"), START_S, "slurmctld answers")

    def restart_controller(self, *, crash: bool = False) -> None:
        """`stop_controller`, `start_controller`: its jobs are kept."""
        self.stop_controller(crash=crash)
        self.start_controller()

    # --- use

    @property
    def environment(self) -> dict[str, str]:
        """What clients of this cluster need in their environment.

        A process that gives itself a title, as Parsl's interchange does, wipes out its environment as far
        as others see it, and so could not be told from strangers; ``SPT_NOENV`` keeps it from that.
        """
        return {"SLURM_CONF": str(self._conf), "SPT_NOENV": "1"}

    def command(self, *words: str, timeout_s: float = 30.0) -> str:
        """Run a command for this cluster; returns what it printed.

        Raises
        ------
        ClusterError
            When it fails, with what it said.
        """
        # A job's own variables would be taken for options by sbatch.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        log = self.root / "log" / "started.log"
        try:
            # Daemons keep what they were given as error output: a pipe would never end.
            with open(log, "a+") as errors:
                start = errors.tell()
                done = subprocess.run(
                    words,
                    env={**kept, **self.environment, "PATH": PATH},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    timeout=timeout_s,
                    check=False,
                )
                errors.seek(start)
                said = errors.read().strip()
        except subprocess.TimeoutExpired as error:
            raise ClusterError(f"{' '.join(words)}: no answer after {timeout_s:g} s") from error
        if done.returncode:
            raise ClusterError(f"{' '.join(words)}: exit code {done.returncode}: {said}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit a shell line with options of sbatch; returns the job id."""
        output = f"--output={self.root}/log/job-%j.out"
        return self.command("sbatch", "--parsable", output, *options, f"--wrap={script}").strip()

    def job_output(self, job_id: str) -> str:
        """What a job of `submit` has printed."""
        return (self.root / "log" / f"job-{job_id}.out").read_text()

    def jobs(self, states: str = "") -> list[dict[str, str]]:
        """Jobs with ``id, name, state, partition, nodes, reason``; by default those that are not over.

        Parameters
        ----------
        states : str
            ``"all"``, or SLURM's words with commas between: ``"PENDING,RUNNING"``.
        """
        fields = {"id": "%i", "name": "%j", "state": "%T", "partition": "%P", "nodes": "%N", "reason": "%r"}
        words = ["squeue", "--noheader", f"--format={'|'.join(fields.values())}"]
        lines = self.command(*words, *([f"--states={states}"] if states else [])).splitlines()
        return [dict(zip(fields, line.strip().split("|"), strict=True)) for line in lines]

    def job(self, job_id: str) -> dict[str, str]:
        """One job, also when it is over; see `jobs`."""
        return next(job for job in self.jobs("all") if job["id"] == job_id)

    def node_pids(self, job_id: str) -> list[int]:
        """Processes of a job, SLURM's own left out, in the order in which they were started."""
        return [
            p.pid for p in self._job_processes() if processes.environment(p).get("SLURM_JOB_ID") == job_id
        ]

    def leftover_pids(self) -> list[int]:
        """Processes that some job has started, whether it runs or is over."""
        return [p.pid for p in self._job_processes()]

    def set_node(self, name: str, state: str) -> None:
        """Set the state of a node: ``down`` kills its jobs, ``drain`` lets them end; ``resume``."""
        self.command("scontrol", "update", f"NodeName={name}", f"State={state}", "Reason=test")

    def cancel_all(self) -> None:
        """Cancel all jobs, and wait until they are over and their processes gone."""
        if jobs := self.jobs():
            self.command("scancel", *(job["id"] for job in jobs))
        _until(lambda: not self.jobs(), STOP_S, "no job is left")

    def reset(self) -> None:
        """Undo what was done to it: controller running, nodes up, no job, no process of one."""
        if not self.daemons("slurmctld"):
            self.start_controller()
        self.cancel_all()
        processes.end(self._job_processes())
        _until(self._all_idle_again, START_S, "all nodes are idle")

    # --- processes

    def _processes(self) -> list[tuple[psutil.Process, dict[str, str]]]:
        """Living processes with this cluster's ``SLURM_CONF``, and their environments."""
        found = []
        for process in psutil.process_iter():
            environment = processes.environment(process)
            if environment.get("SLURM_CONF") == str(self._conf):
                found.append((process, environment))
        return found

    def daemons(self, *names: str) -> list[psutil.Process]:
        """Its living daemons of these names, by default of all `DAEMONS`."""
        return [p for p, _ in self._processes() if processes.name(p) in (names or DAEMONS)]

    def _job_processes(self) -> list[psutil.Process]:
        found = [p for p, e in self._processes() if "SLURM_JOB_ID" in e and processes.name(p) not in DAEMONS]
        return sorted((p for p in found if p.pid != os.getpid()), key=lambda p: (p.create_time(), p.pid))

    def _said(self, *words: str) -> str:
        with contextlib.suppress(ClusterError):
            return self.command(*words)
        return ""

    def _node_states(self) -> dict[str, str]:
        """State of each node, as sinfo shortens it; ``*`` follows where the node does not answer."""
        lines = self._said("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return dict(line.split()[:2] for line in lines)

    def _all_idle(self) -> bool:
        return set(self._node_states().values()) == {"idle"}

    def _all_idle_again(self) -> bool:
        for node, state in self._node_states().items():
            if state.startswith(("down", "dr")):  # drained, draining
                # Refused for a while after the controller has started.
                with contextlib.suppress(ClusterError):
                    self.set_node(node, "resume")
        return self._all_idle()

    def _log_tails(self) -> str:
        tails = [
            f"== {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            for log in sorted((self.root / "log").glob("*.log"))
        ]
        return "\n".join(tails)


def _until(condition: Callable[[], object], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise ClusterError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Start, stop or show a cluster by hand."""
    parser = argparse.ArgumentParser(prog="python -m tests.slurm.cluster", description=main.__doc__)
    parser.add_argument("action", choices=("start", "stop", "status", "guard"))
    parser.add_argument("--root", type=Path, default=DEFAULT_ROOT)
    given = parser.parse_args(arguments)
    cluster = Cluster(given.root.absolute(), guarded=False)
    if given.action != "guard" and (why := cluster.missing()):
        print(why, file=sys.stderr)
        return 3
    if given.action in ("stop", "status") and not (given.root / "slurm.conf").exists():
        print(f"there is no cluster in {given.root}", file=sys.stderr)
        return 3
    try:
        if given.action == "start":
            cluster.start()
            print(f"export SLURM_CONF={cluster.environment['SLURM_CONF']}")
        elif given.action == "status":
            print(cluster.command("sinfo", "--Node", "--long"), cluster.command("squeue"), sep="\n", end="")
        elif given.action == "guard":
            sys.stdin.read()  # until the process that holds the other end is gone
            cluster.stop()
        else:
            cluster.stop()
    except (ClusterError, OSError) as error:
        print(error, file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
