"""A private SLURM cluster for the tests of this room; none of them sees any other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import wait_for
from tests.slurm.cluster import Cluster
from tests.slurm.toy import toy_project

GONE_S = 15


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Eight CPU nodes, one with eight A100 and one with two V100, as far as SLURM knows."""
    if why := Cluster.missing():
        pytest.skip(why)
    # Not pytest's own folder: the paths of sockets must be short.
    folder = Path(tempfile.mkdtemp(prefix="dataops-slurm-"))
    cluster = Cluster(folder / "root")
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, small_films: Path) -> dict[str, Any]:
    """Tables of the toy workflow from one machine and without a fault: with one they must be the same."""
    toy = toy_project(tmp_path_factory.mktemp("undisturbed"), small_films)
    toy.toy("--site", "laptop", "--workers", "2")
    return toy.toy_tables()


@pytest.fixture
def leaves_no_jobs(cluster: Cluster) -> Iterator[None]:
    """After the test no job is left in the cluster, and no process of one."""
    yield
    try:
        wait_for(lambda: not cluster.jobs(), GONE_S, "no job is left in the cluster")
        wait_for(lambda: not cluster.leftover_pids(), GONE_S, "no process of a job is left")
    finally:
        # The next test must not suffer from it.
        cluster.reset()
