"""What workers write of themselves can be read, whatever happened to them and to the disk."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dataops_parsl.worker.log import AttemptLog, attempt_lines, read_all

TASK = "trackmate.link[target]/P1/00003"
WRITES = """\
import sys
from dataops_parsl.worker.log import AttemptLog
for number in range(200):
    AttemptLog(sys.argv[1], f"a.b/{sys.argv[2]}/{number:05d}", 1, "laptop").write("start", words="w" * number)
"""


def _log(folder: Path, task: str = TASK, attempt: int = 1) -> AttemptLog:
    return AttemptLog(str(folder), task, attempt, "short")


def test_a_line_says_who_did_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSL_WORKER_BLOCK_ID", "7")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    before = time.time()
    _log(tmp_path / "workers").write("end", status="done", cpu_s=1.5)
    (path,) = (tmp_path / "workers").iterdir()
    assert path.name == f"{platform.node()}-{os.getpid()}.jsonl"
    (line,) = read_all(tmp_path / "workers")
    assert before - 0.01 < line.pop("time") < time.time() + 0.01
    assert line == {
        "event": "end",
        "task": TASK,
        "attempt": 1,
        "executor": "short",
        "block": "7",
        "job_id": "4711",
        "host": platform.node(),
        "pid": os.getpid(),
        "gpus": "2",
        "status": "done",
        "cpu_s": 1.5,
    }


def test_lines_of_one_attempt(tmp_path: Path) -> None:
    for attempt in (1, 2):
        for task in (TASK, TASK + "0", "contact.pairs/P1/00003"):
            for event in ("start", "end"):
                _log(tmp_path, task, attempt).write(event)
    found = attempt_lines(tmp_path, TASK, 2)
    assert [(x["task"], x["attempt"], x["event"]) for x in found] == [(TASK, 2, "start"), (TASK, 2, "end")]
    assert attempt_lines(tmp_path, TASK, 3) == []
    assert attempt_lines(tmp_path / "nowhere", TASK, 1) == read_all(tmp_path / "nowhere") == []


def test_many_workers_write_while_the_driver_reads(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITES, str(tmp_path), f"P{i}"]) for i in range(4)]
    seen = [0]
    while any(w.poll() is None for w in writers):
        lines = read_all(tmp_path)
        assert len(lines) >= seen[-1]
        assert all(line["event"] == "start" for line in lines)
        seen.append(len(lines))
    assert [w.returncode for w in writers] == [0] * 4
    lines = read_all(tmp_path)
    assert len({line["task"] for line in lines}) == len(lines) == 800
    assert [x["time"] for x in lines] == sorted(x["time"] for x in lines)


def test_a_line_that_was_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    """A limit on the size of files cuts a line as a full disk does."""
    code = (
        "import resource, signal, sys\n"
        "from dataops_parsl.worker.log import AttemptLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "log = AttemptLog(sys.argv[1], 'a.b/P1/00000', 1, 'short')\n"
        "log.write('start')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 50, hard))\n"
        "log.write('near')\n"
        "log.write('oom')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "log.write('end')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert [line["event"] for line in read_all(tmp_path)] == ["start", "end"]
    (path,) = tmp_path.iterdir()
    assert '"near"' in path.read_text(), "part of it was written"


def test_a_folder_that_cannot_be_made_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file where the folder should be")
    _log(tmp_path / "workers").write("start")
    assert read_all(tmp_path / "workers") == []
    AttemptLog("", TASK, 1, "").write("start")
