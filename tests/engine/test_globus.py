"""Site globus with a stand-in for the service; the SDK and the process of a worker are real."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from dataops_parsl.engine.executors import WORKER_ENVIRONMENT
from dataops_parsl.engine.globus import endpoint_options
from dataops_parsl.engine.lost import explain, is_loss
from tests.helpers import PROJECT, Driver, Project, package_with_stage, same_tables, wait_for

ENDPOINT = "4b116d3c-1703-4f8f-9f6f-39921e5864df"
STAND_IN = Path(__file__).parent / "globus_stand_in"
SDK = Path(os.environ.get("DATAOPS_PARSL_GLOBUS_SDK", PROJECT / ".venv" / "globus"))
"""Apart from the other packages, as it adds a third of a second to every start of Python beside it."""


@dataclasses.dataclass
class Endpoint:
    """A driver beside a stand-in of the service."""

    project: Project
    home: Path
    service: dict[str, Any]

    def run(self, *words: str, expect: int = 0) -> str:
        """A command of the driver."""
        return self.project.run(*words, "--site", "globus", expect=expect, env=self._environment())

    def start(self, *words: str) -> Driver:
        """The same in the background."""
        command = self.project.command(*words, "--site", "globus")
        return Driver(command, self.home / "driver.out", self._environment())

    def _environment(self) -> dict[str, str]:
        (self.home / "service.json").write_text(json.dumps(self.service))
        path = os.pathsep.join([str(STAND_IN), str(PROJECT), str(SDK)])
        return {**os.environ, "PYTHONPATH": path, "GLOBUS_STAND_IN": str(self.home)}

    @property
    def crossed(self) -> list[int]:
        """Bytes of each task that was sent."""
        path = self.home / "crossed.txt"
        return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.fixture
def endpoint(project: Project, tmp_path: Path) -> Endpoint:
    """An endpoint that is fit."""
    if not SDK.is_dir():
        pytest.skip(f"no Globus Compute SDK: pip install --target {SDK} globus-compute-sdk")
    home = tmp_path / "service"
    home.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(PROJECT), str(SDK)]),
        **WORKER_ENVIRONMENT,
    }
    worker = [sys.executable, str(STAND_IN / "worker.py")]
    service = {"login": True, "state": "online", "worker": worker, "environment": environment}
    return Endpoint(project, home, service)


STILLS = ("run", "stills", "--frames", "4", "--endpoint", ENDPOINT)


def test_a_run_at_an_endpoint_that_loses_workers_gives_the_tables_of_a_laptop(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    assert "fit: cytotoxicity can run on globus" in endpoint.run("check", "--endpoint", ENDPOINT)
    driver = endpoint.start(*STILLS)
    wait_for(lambda: len(endpoint.crossed) > 4, 60, "tasks are sent")
    for worker in psutil.Process(driver.pid).children():
        if str(STAND_IN / "worker.py") in worker.cmdline():
            worker.kill()
    assert driver.wait() == 0, driver.output
    there = endpoint.project.tables(workflow="stills")
    bundle = endpoint.project.bundles("stills")[-1]
    assert '"event": "lost"' in (bundle / "log" / "events.jsonl").read_text()
    texts = [path.read_text() for path in (bundle / "log" / "workers").iterdir()]
    logs = [json.loads(line) for text in texts for line in text.splitlines()]
    assert {line["executor"] for line in logs} == {"globus"}
    assert max(endpoint.crossed) < 20_000, "keys and paths cross, never arrays"
    scratch = endpoint.project.root / "data" / "scratch"
    assert not [p for p in scratch.iterdir() if p.name.startswith(".seen")], "what was asked leaves nothing"
    shutil.rmtree(scratch)
    shutil.rmtree(bundle)
    endpoint.project.run("run", "stills", "--frames", "4", "--workers", "2")
    assert same_tables(there, endpoint.project.tables(workflow="stills"))


def _no_login(endpoint: Endpoint, _: Path) -> None:
    endpoint.service["login"] = False


def _offline(endpoint: Endpoint, _: Path) -> None:
    endpoint.service["state"] = "offline"


def _bare_environment(endpoint: Endpoint, _: Path) -> None:
    for name in WORKER_ENVIRONMENT:
        endpoint.service["environment"].pop(name)


def _other_code(endpoint: Endpoint, tmp_path: Path) -> None:
    path = package_with_stage(tmp_path / "library", "other", '"""Another version."""\n')["PYTHONPATH"]
    endpoint.service["environment"]["PYTHONPATH"] = os.pathsep.join([path, str(SDK)])


def _no_package(endpoint: Endpoint, _: Path) -> None:
    endpoint.service["worker"] = [sys.executable, "-S", str(STAND_IN / "worker.py")]
    endpoint.service["environment"]["PYTHONPATH"] = str(SDK)


def _other_disk(endpoint: Endpoint, _: Path) -> None:
    scratch = endpoint.project.root / "data" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a file system of its own cannot be given to a worker here")
    _beneath(endpoint, 'mount -t tmpfs tmpfs "$0"', scratch)


def _one_way(endpoint: Endpoint, tmp_path: Path) -> None:
    """The driver's files arrive there, but what is written there stays there."""
    layer = tmp_path / "layer"
    layer.mkdir()
    over = f"mount -t tmpfs tmpfs {layer} && mkdir {layer}/up {layer}/work && "
    over += f'mount -t overlay overlay -o "lowerdir=$0,upperdir={layer}/up,workdir={layer}/work" "$0"'
    scratch = endpoint.project.root / "data" / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    if subprocess.run(
        ["unshare", "-m", "sh", "-c", over, scratch], capture_output=True, check=False
    ).returncode:
        pytest.skip("a layer over a folder cannot be mounted here")
    _beneath(endpoint, over, scratch)


def _beneath(endpoint: Endpoint, mount: str, folder: Path) -> None:
    """Let workers see the folder with something mounted on it."""
    words = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$@"', str(folder)]
    endpoint.service["worker"] = [*words, *endpoint.service["worker"]]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_no_login, ("there is no login to Globus", "log in once: python -c")),
        (_offline, (f"{ENDPOINT} is offline", "globus-compute-endpoint start")),
        (_bare_environment, ("lacks settings", "export ANTS_RANDOM_SEED=1", "worker_init")),
        pytest.param(
            _other_code, ("has code ", "instead of", "install this version"), marks=pytest.mark.slow
        ),
        pytest.param(
            _no_package, ("No module named 'dataops_parsl'", "install this version"), marks=pytest.mark.slow
        ),
        (_other_disk, ("does not see the folders of this run", "No such file", "under the same path")),
        pytest.param(
            _one_way,
            ("does not see the folders of this run", "what is written there does not arrive here"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_not_fit_is_refused_before_any_task(
    endpoint: Endpoint, tmp_path: Path, spoil: Callable[[Endpoint, Path], None], words: tuple[str, ...]
) -> None:
    spoil(endpoint, tmp_path)
    output = endpoint.run(*STILLS, expect=3)
    assert all(word in output for word in words), output
    assert not list((endpoint.project.root / "data" / "scratch").rglob("*.parquet"))


def test_no_endpoint_and_a_wrong_one_are_refused(endpoint: Endpoint) -> None:
    assert "no endpoint is named" in endpoint.run("run", "stills", expect=3)
    assert "site.globus.endpoint" in endpoint.run("run", "--endpoint", "my-laptop", expect=2)


def test_what_the_sdk_needs_is_said_without_it(project: Project) -> None:
    output = project.run(*STILLS, "--site", "globus", expect=3)
    assert "globus-compute-sdk is not installed" in output
    assert "pip install 'dataops_parsl[globus]'" in output


def test_what_an_endpoint_lost_is_a_loss() -> None:
    class Remote(Exception):
        remote_data = "Traceback ...\nparsl.executors.high_throughput.errors.ManagerLost: Task failure"

    assert is_loss(Remote())
    lost = explain(Remote(), Path("/nowhere"), "part", 1, 0.0, lambda _: "")
    assert not lost.blames_frame
    assert not is_loss(ValueError("parsl.x.WorkerLost is only mentioned"))


def test_options_of_an_endpoint_are_toml_or_text() -> None:
    words = ["partition=short", "walltime=04:00:00", "cores=4", 'q="4"', "on=true", "most=inf"]
    assert endpoint_options(words) == {
        "partition": "short",
        "walltime": "04:00:00",
        "most": "inf",
        "cores": 4,
        "q": "4",
        "on": True,
    }
