"""Real processes that take more memory than their share: killed, and the log says so."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from dataops_parsl.worker.log import attempt_lines
from dataops_parsl.worker.memory import give_back
from tests.helpers import wait_for

WORKER = """\
import ctypes, os, subprocess, sys, time
from dataops_parsl.worker.log import AttemptLog
from dataops_parsl.worker.memory import watched

MB = 2**20
def fill(mb):
    held = bytearray(mb * MB)
    held[::4096] = b"x" * len(held[::4096])
    return held

def task(number, mem_gb):
    log = AttemptLog(sys.argv[1], f"cellpose.segment/P1/{number:05d}", 1, "short")
    log.write("start")
    return watched(mem_gb, log)

SHARE_GB = 200 / 1024
"""
# The share is 200 MB.
TOO_MUCH = {
    "at once": """\
with task(0, SHARE_GB):
    held = fill(400)
    time.sleep(60)
""",
    "little by little": """\
held = []
with task(0, SHARE_GB):
    while True:
        held.append(fill(5))
        time.sleep(0.02)
""",
    # As ANTs does: no other thread of Python runs until it is over.
    "under the global lock": """\
c = ctypes.PyDLL(None)
c.malloc.restype = ctypes.c_void_p
with task(0, SHARE_GB):
    c.memset(ctypes.c_void_p(c.malloc(400 * MB)), 1, 400 * MB)
    c.sleep(60)
""",
    "in a later task": """\
with task(1, SHARE_GB):
    held = fill(20)
with task(0, SHARE_GB):
    held = fill(400)
    time.sleep(60)
""",
}


def _worker(code: str, log_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", f"{WORKER}\n{code}", str(log_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", TOO_MUCH)
def test_a_process_beyond_its_share_is_killed_and_says_why(tmp_path: Path, how: str) -> None:
    with _worker(TOO_MUCH[how], tmp_path) as process:
        assert process.wait(30) == -signal.SIGKILL
    start, near, over = attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)
    assert [x["event"] for x in (start, near, over)] == ["start", "near", "oom"]
    assert over["limit_mb"] == near["limit_mb"] == 200
    assert near["rss_mb"] > 160
    assert over["rss_mb"] > 200
    assert {over["pid"], near["pid"], start["pid"]} == {process.pid}


def test_memory_of_children_counts_and_they_die_too(tmp_path: Path) -> None:
    code = (
        "held = 'import time; x = b\"x\" * (400 * 2**20); time.sleep(60)'\n"
        "with task(0, SHARE_GB):\n"
        "    child = subprocess.Popen([sys.executable, '-c', held])\n"
        "    print(child.pid, flush=True)\n"
        "    child.wait()\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        assert process.wait(30) == -signal.SIGKILL
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, 10, "it is dead")
    assert attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)[-1]["event"] == "oom"


def test_pages_that_a_child_shares_count_once(tmp_path: Path) -> None:
    code = (
        "held = fill(120)\n"
        "with task(0, SHARE_GB):\n"
        "    if not os.fork():\n"
        "        time.sleep(3)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.wait(30) == 0
    assert [x["event"] for x in attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)] == ["start"]


def test_most_of_the_share_is_said_and_allowed(tmp_path: Path) -> None:
    code = "with task(0, SHARE_GB):\n    held = fill(160)\n    time.sleep(2)\nprint('whole')"
    with _worker(code, tmp_path) as process:
        assert process.communicate(timeout=30)[0] == "whole\n"
    events = [x["event"] for x in attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)]
    assert events == ["start", "near"]


def test_between_tasks_and_without_a_share_nothing_is_watched(tmp_path: Path) -> None:
    code = (
        "with task(0, SHARE_GB):\n    pass\n"
        "held = fill(400)\n"
        "time.sleep(1)\n"
        "with task(1, 0):\n    time.sleep(1)\n"
        "print('whole')\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.communicate(timeout=30)[0] == "whole\n"


def test_the_watcher_serves_all_tasks_and_goes_with_its_worker(tmp_path: Path) -> None:
    code = (
        "for number in range(3):\n"
        "    with task(number, SHARE_GB):\n"
        "        print(*[p.pid for p in __import__('psutil').Process().children()], flush=True)\n"
        "time.sleep(60)\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.stdout is not None
        (watcher,) = {process.stdout.readline() for _ in range(3)}
        beside = psutil.Process(int(watcher))
        assert beside.is_running()
        process.kill()
    wait_for(lambda: not beside.is_running() or beside.status() == psutil.STATUS_ZOMBIE, 10, "it is gone")


def test_a_worker_whose_log_cannot_be_written_is_watched_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with _worker(TOO_MUCH["at once"], tmp_path / "logs") as process:
        assert process.wait(30) == -signal.SIGKILL


def test_a_watcher_that_was_killed_is_replaced(tmp_path: Path) -> None:
    code = (
        "with task(1, SHARE_GB):\n"
        "    (watcher,) = __import__('psutil').Process().children()\n"
        "    watcher.kill()\n"
        "    watcher.wait()\n"
        "with task(0, SHARE_GB):\n"
        "    held = fill(400)\n"
        "    time.sleep(60)\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.wait(30) == -signal.SIGKILL
    assert attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)[-1]["event"] == "oom"


def test_a_watcher_whose_worker_died_at_once_touches_nobody_else(tmp_path: Path) -> None:
    """It is handed on to another process, far beyond that share, before it has looked for the first time."""
    code = (
        "import signal\n"
        "from dataops_parsl.worker.memory import _watcher\n"
        "held = fill(400)\n"
        "beside = subprocess.Popen(['sleep', '60'])\n"
        # PR_SET_CHILD_SUBREAPER: orphans below come to this process.
        "assert ctypes.CDLL(None).prctl(36, 1) == 0\n"
        "reading, writing = os.pipe()\n"
        "if not os.fork():\n"
        "    watch = task(0, SHARE_GB)\n"
        "    watch.__enter__()\n"
        "    _watcher._process.send_signal(signal.SIGSTOP)\n"
        "    os.write(writing, str(_watcher._process.pid).encode())\n"
        "    os._exit(0)\n"
        "watcher = int(os.read(reading, 20))\n"
        "while os.waitpid(-1, 0)[0] == watcher:\n"
        "    pass\n"
        "os.kill(watcher, signal.SIGCONT)\n"
        "print(os.waitpid(watcher, 0)[1], beside.poll())\n"
        "beside.kill()\n"
    )
    with _worker(code, tmp_path) as process:
        assert process.communicate(timeout=30)[0] == "0 None\n"
        assert process.returncode == 0
    assert [x["event"] for x in attempt_lines(tmp_path, "cellpose.segment/P1/00000", 1)] == ["start"]


def test_memory_that_nothing_uses_goes_back_to_the_system() -> None:
    def resident_mb() -> float:
        return float(psutil.Process().memory_info().rss) / 2**20

    before = resident_mb()
    # Small pieces, the last of which stays: the allocators keep what lies below it.
    pieces = [np.ones(1000) for _ in range(20_000)]
    tables = [pa.array(np.ones(100_000)).take(pa.array(np.arange(100_000))) for _ in range(100)]
    last = pieces[-1]
    assert resident_mb() > before + 200
    del pieces, tables
    give_back()
    assert resident_mb() < before + 60, "most of it is back"
    assert last[0] == 1
