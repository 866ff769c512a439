"""The interchange dies: no thread waits for it, nothing aborts, and the words say what happened."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from dataops_parsl.bench.tasks import nap
from dataops_parsl.config import load
from dataops_parsl.engine.executors import Pool
from dataops_parsl.engine.groups import groups
from dataops_parsl.errors import PlaceError
from dataops_parsl.stages import discover
from tests.helpers import PROJECT, wait_for

NOTICED_S = 10
ROUNDS = 2


@pytest.mark.parametrize("turn", range(ROUNDS))
def test_no_wait_outlives_the_interchange(tmp_path: Path, turn: int) -> None:
    config = load(PROJECT, stage_classes=discover(), flags={"--workers": 1})
    (group,) = groups(config, config.config.stages.values())
    lease = tmp_path / "lease"
    lease.touch()
    asked: list[BaseException | int] = []
    with Pool(config, [group], "dead", tmp_path, lease, lambda *_, **__: None) as pool:
        pool.demand(group.label, 1, True)
        pool.submit(group.label, "nap", nap, {"seconds": 0}).result(60)
        (blocks,) = pool._blocks.values()
        executor = blocks.executor

        def ask() -> None:
            try:
                while True:
                    asked.append(len(executor.connected_managers()))
            except PlaceError as error:
                asked.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_for(lambda: len(asked) > turn, NOTICED_S, "it is asked while it lives")
        os.kill(executor.interchange_proc.pid, signal.SIGKILL)
        killed = time.monotonic()
        for _ in range(20):  # what is taken before the sockets are closed is never answered
            pool.submit(group.label, "nap", nap, {"seconds": 0})
        wait_for(lambda: executor.dead, NOTICED_S, "the interchange is dead")
        with pytest.raises(PlaceError, match="interchange"):
            pool.submit(group.label, "nap", nap, {"seconds": 0}).result(NOTICED_S)
        asking.join(NOTICED_S)
        with pytest.raises(PlaceError, match="interchange process of laptop died"):
            pool.check()
        ended = time.monotonic()
    assert isinstance(asked[-1], PlaceError)
    assert ended - killed < NOTICED_S
    assert time.monotonic() - ended < 2 * NOTICED_S
