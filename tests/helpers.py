"""What tests in several rooms need: a project of its own, its command line, its processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataops_parsl.commands import simulate
from dataops_parsl.truth.render import CHANNELS as CHANNELS

PROJECT = Path(__file__).parent.parent
DESCRIPTION = (
    simulate.DESCRIPTION.replace("{title}", "A simulated killing assay")
    .replace("{effector_um:g}", "10")
    .replace("{target_um:g}", "20")
)
"""A ``dataset.toml``, to fill in name, size, interval and pattern."""
PLATE = """\
position,well,condition,control,replicate
coculture,A1,effectors and targets,,1
targets_alone,B1,targets alone,negative,1
"""
"""A ``plate.csv`` for a co-culture and its control."""


MARK = "DATAOPS_TEST_PROJECT"
"""Names the project in the environment of its commands and of all that they start."""


KEPT = "DATAOPS_TEST_KEPT"
"""In the environment: a folder in which several sessions of tests share what is made once."""


class Driver:
    """A run in the background; what it prints goes to a file, so that it never waits for a reader."""

    def __init__(
        self, command: list[str], output: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self._output = output
        with open(output, "w") as file:
            self._process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=environment
            )
        self.pid = self._process.pid

    def wait(self, seconds: float = 300) -> int:
        """Exit code, once it has ended."""
        return self._process.wait(seconds)

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text()


class Project:
    """A project folder of its own, and the command line in it, as a user would run it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def command(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "dataops_parsl", *arguments, "--project", str(self.root)]

    @property
    def _marked(self) -> dict[str, str]:
        # SPT_NOENV: else Parsl's interchange wipes its environment when it renames itself.
        return {**os.environ, MARK: str(self.root), "SPT_NOENV": "1"}

    def run(self, *arguments: str, expect: int = 0, **options: Any) -> str:
        """Run to the end and return what was printed; the exit code must be `expect`."""
        options.setdefault("env", self._marked)
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, timeout=300, check=False, **options
        )
        output = done.stdout + done.stderr
        assert done.returncode == expect, f"exit {done.returncode}, expected {expect}:\n{output}"
        assert "Traceback" not in output, output
        return output

    def start(self, *arguments: str) -> Driver:
        """Start in the background, in a process group of its own."""
        output = self.root / f"driver-{len(list(self.root.glob('driver-*')))}.out"
        return Driver(self.command(*arguments), output, self._marked)

    def bundles(self, workflow: str = "cytotoxicity") -> list[Path]:
        """Bundles, oldest first."""
        return sorted((self.root / "output" / workflow).glob("run_*"))

    def tables(self, bundle: Path | None = None, workflow: str = "cytotoxicity") -> dict[str, Any]:
        """The workflow's tables of a bundle, the newest by default."""
        from dataops_parsl import open_run

        opened = open_run(bundle or self.bundles(workflow)[-1])
        return {name: opened.arrow(name) for name in opened.results}


def package_with_stage(library: Path, name: str, source: str) -> dict[str, str]:
    """A copy of the package with one more file of stages; returns the environment in which it is used.

    Parameters
    ----------
    library : Path
        Folder to be made.
    name : str
        Of the file in ``dataops_parsl/stages``.
    """
    shutil.copytree(
        PROJECT / "dataops_parsl", library / "dataops_parsl", ignore=shutil.ignore_patterns("__pycache__")
    )
    (library / "dataops_parsl" / "stages" / f"{name}.py").write_text(source)
    # Safe path: else the working directory's package goes first.
    return {"PYTHONPATH": str(library), "PYTHONSAFEPATH": "1"}


def same_tables(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two bundles hold equal tables, to the last bit and the last unit."""
    assert set(one) == set(other)
    for name, table in one.items():
        assert table.equals(other[name], check_metadata=True), f"{name} differs"
    return True


def processes_of(project: Path) -> list[psutil.Process]:
    """Living processes whose command line or working directory names the project, or whose driver did.

    Parsl's interchange renames itself, so that its command line says nothing: its environment does.
    """
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
        words = " ".join([*(process.info["cmdline"] or []), (process.info["environ"] or {}).get(MARK, "")])
        if (
            str(project) in words
            and process.info["status"] != psutil.STATUS_ZOMBIE
            and process.pid != os.getpid()
        ):
            found.append(process)
    return found


def wait_for(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Poll until the condition holds; fails in words after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"after {seconds} s still not: {what}")


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; returns the file that did it."""
    filler = disk / "filler"
    handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    os.write(handle, b"x" * size)
            except OSError:
                continue
    finally:
        os.close(handle)
    return filler


@contextlib.contextmanager
def mounted(place: Path, *words: str) -> Iterator[Path]:
    """A file system that ``mount WORDS`` puts at a new folder; skips the test where that cannot be done."""
    place.mkdir()
    done = subprocess.run(["mount", *words, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
