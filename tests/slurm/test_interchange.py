"""The interchange dies at any moment of a fast run: it ends in words, within seconds, every time."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.helpers import wait_for
from tests.slurm.toy import toy_project

ROUNDS, ENDS_S = 20, 30
FAST = ("--workers=2", "--set=stages.nap.seconds=0.05", "--set=stages.glow.seconds=0.05")


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_run_ends_whatever_it_was_sending(small_films: Path, tmp_path: Path, seed: int) -> None:
    toy = toy_project(tmp_path, small_films)
    driver = toy.start_toy(*FAST, "--set=engine.heartbeat_s=1", "--set=engine.lost_after_s=4")
    toy.wait_until_under_way("nap", 120)
    time.sleep(random.Random(seed).uniform(0, 0.5))
    struck = time.monotonic()
    for process in psutil.Process(driver.pid).children(recursive=True):
        if "interchange" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
    assert driver.wait(ENDS_S) == 3, driver.output
    print(f"ended after {time.monotonic() - struck:.1f} s")
    assert "interchange" in driver.output
    assert "Traceback" not in driver.output
    wait_for(lambda: not psutil.pid_exists(driver.pid), ENDS_S, "the driver is gone")
    assert "verdict: accepted" in toy.toy(*FAST)
