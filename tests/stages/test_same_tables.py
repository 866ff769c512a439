"""The same tables, to the last bit, for any batch size, any number of workers and any order of work.

By all stages, from pixels to outcome, through the shell that workers run: parts are taken in a drawn order,
each by one of several processes. Workers at the same time, and their deaths, are in tests/engine.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl import publish
from dataops_parsl.spec import Specs
from dataops_parsl.task import execute
from tests.helpers import same_tables
from tests.in_process import in_turn, planned
from tests.stages.films import GIVEN, project, stained
from tests.stages.test_edge_cases import disc

N_FRAMES, SIDE_PX, EXAMPLES = 7, 40, 8
Worker = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that drifts, in which cells come, go and touch."""
    masks: dict[str, list[Any]] = {"effector": [], "target": []}
    for frame in range(N_FRAMES):
        effectors, targets = (np.zeros((SIDE_PX, SIDE_PX), np.uint32) for _ in range(2))
        for label, start in enumerate(((8, 4), (30, 30), (20, 12))[: 3 - (frame == 3)], start=1):
            disc(effectors, start[0] + 2 * frame * (-1) ** label, start[1] + frame, 2, label)
        for label, place in enumerate(((12, 14), (24, 28), (31, 10)), start=1):
            disc(targets, *place, 4, label)
        drift = (frame, -frame // 2)
        masks["effector"].append(np.roll(effectors, drift, (0, 1)))
        masks["target"].append(np.roll(targets, drift, (0, 1)))
    return project(tmp_path_factory.mktemp("same") / "project", masks, stained(masks))


@pytest.fixture(scope="module")
def workers() -> Iterator[list[Worker]]:
    """This process and two others."""
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
            for _ in range(2)
        ]
        yield [execute, *(lambda task, pool=pool: pool.submit(execute, task).result() for pool in pools)]


def computed(
    root: Path, workers: list[Worker], draw: random.Random, batch: int, run: int
) -> dict[str, pa.Table]:
    """Tables of a run on a scratch of its own."""
    flags = (
        "--dataset=film",
        f"--set=batch_frames={batch}",
        f"--set=paths.scratch_root=scratch-{run}",
        GIVEN[-1],
    )
    plan = planned(root, *flags, until="outcome")
    for part in in_turn(plan, lambda ready: draw.randrange(len(ready))):
        outcome = draw.choice(workers)(Specs(plan).of(part))
        assert outcome["status"] == "done", (part.id, outcome)
    return publish.tables(plan)


RUNS = itertools.count()


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    batch=st.integers(1, N_FRAMES + 1), n_workers=st.integers(1, 3), draw=st.randoms(use_true_random=False)
)
def test_no_table_depends_on_batches_workers_or_order(
    root: Path,
    workers: list[Worker],
    expected: dict[str, pa.Table],
    batch: int,
    n_workers: int,
    draw: random.Random,
) -> None:
    assert same_tables(computed(root, workers[:n_workers], draw, batch, next(RUNS)), expected)


@pytest.fixture(scope="module")
def expected(root: Path) -> dict[str, pa.Table]:
    """Tables of one process that takes the film in one batch, in order."""
    tables = computed(root, [execute], random.Random(0), N_FRAMES, next(RUNS))
    rows = {name: table.num_rows for name, table in tables.items()}
    assert min(rows[name] for name in ("cells", "edges", "tracks", "contacts", "contact_events")) > 0, rows
    return tables
