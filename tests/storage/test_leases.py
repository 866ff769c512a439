"""Which run is alive: by its process, by its heartbeat, whatever the clocks of two hosts say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.errors import PlaceError
from dataops_parsl.storage import claims, users
from dataops_parsl.storage.claims import HEARTBEAT_S, SILENCE_S, Lease, Watch, is_live
from dataops_parsl.storage.users import RUNS, Use, exclusive, live_users

HOLDER = """
import sys, time
from pathlib import Path
from dataops_parsl.storage.users import Use
with Use(Path(sys.argv[1]), sys.argv[2], ["contact/pairs-1"]):
    print("held", flush=True)
    time.sleep(60)
"""


def _holder(scratch: Path, run: str) -> subprocess.Popen[str]:
    """Another process that holds a lease, and would for a minute."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(scratch), run], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def _edit(path: Path, **facts: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def _touched(path: Path, ago_s: float) -> None:
    then = time.time() - ago_s
    os.utime(path, (then, then))


def test_a_run_is_listed_with_its_folders_while_it_lives(tmp_path: Path) -> None:
    with Use(tmp_path, "a", ["contact/pairs-1", "measure/measure-2"]) as use:
        (user,) = live_users(tmp_path)
        assert (user.run, user.folders) == ("a", frozenset({"contact/pairs-1", "measure/measure-2"}))
        assert user.host == os.uname().nodename
        assert use.others() == []
        use.called("b")
        assert [u.run for u in live_users(tmp_path)] == ["b"]
    assert live_users(tmp_path) == []
    assert not list((tmp_path / RUNS).iterdir())


def test_a_killed_run_is_no_user_and_its_lease_is_cleared_by_the_next(tmp_path: Path) -> None:
    other = _holder(tmp_path, "other")
    try:
        with Use(tmp_path, "mine", []) as use:
            assert [u.run for u in use.elders] == ["other"]
            assert [u.run for u in use.others()] == ["other"]
            _end(other)
            assert use.others() == []
            assert len(list((tmp_path / RUNS).iterdir())) == 2
        with Use(tmp_path, "later", []) as use:
            assert use.elders == ()
            assert [p.stem for p in (tmp_path / RUNS).iterdir()] == ["later"]
    finally:
        _end(other)


def test_no_run_begins_while_the_lock_is_held(tmp_path: Path) -> None:
    begun = threading.Event()

    def begin() -> None:
        with Use(tmp_path, "waits", []):
            begun.set()

    thread = threading.Thread(target=begin)
    with exclusive(tmp_path):
        thread.start()
        assert not begun.wait(0.2)
        assert live_users(tmp_path) == []
    assert begun.wait(10)
    thread.join()


def test_a_lock_that_is_never_let_go_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "PATIENCE_S", 0.1)
    with exclusive(tmp_path), pytest.raises(PlaceError, match="has been locked") as error:
        Use(tmp_path, "waits", []).__enter__()
    assert str(tmp_path / ".lock") in error.value.message
    assert live_users(tmp_path) == []


def test_a_lock_that_was_cleared_away_is_not_taken_for_the_lock(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with exclusive(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(tmp_path):
        thread.start()
        time.sleep(0.2)  # it waits for the file that goes now
        (tmp_path / ".lock").unlink()
        with_new = threading.Thread(target=second)
        with_new.start()
        with_new.join(10)
        assert order == ["second"]
    thread.join(10)
    assert order == ["second", "second"]
    with exclusive(tmp_path):
        pass


def test_elsewhere_the_heartbeat_decides_by_the_file_systems_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease(tmp_path / "lease.json")
    lease.take()
    _edit(lease.path, host="another", pid=1)
    # Clocks that are hours apart change nothing: only times that the file system gave are compared.
    for wrong_s in (0.0, 7200.0, -7200.0):
        monkeypatch.setattr(time, "time", lambda w=wrong_s, real=time.time_ns: real() / 1e9 + w)
        assert is_live(lease.path)
    monkeypatch.undo()
    _touched(lease.path, SILENCE_S + 1)
    assert not is_live(lease.path)
    assert [p.name for p in tmp_path.iterdir()] == ["lease.json"]


@pytest.mark.parametrize("key", ["boot", "pids"])
def test_a_process_number_of_another_kernel_or_container_says_nothing(tmp_path: Path, key: str) -> None:
    lease = Lease(tmp_path / "lease.json")
    lease.take()
    _edit(lease.path, **{key: "another"}, pid=2**22 + 1)  # no such process here
    assert is_live(lease.path)
    _touched(lease.path, SILENCE_S + 1)
    assert not is_live(lease.path)


def test_a_number_that_another_process_has_by_now_is_stale(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease.json")
    lease.take()
    _touched(lease.path, 10 * SILENCE_S)
    assert is_live(lease.path)  # here the process decides: it may have been stopped for long
    _edit(lease.path, pid=os.getppid())
    assert not is_live(lease.path)
    _edit(lease.path, pid=os.getpid(), process_ticks=1)
    assert not is_live(lease.path)


def test_a_lease_of_the_future_is_stale_once_it_stood_still_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease, watch, now = Lease(tmp_path / "lease.json"), Watch(), [1000.0]
    lease.take()
    _edit(lease.path, host="another")
    _touched(lease.path, -3600)  # its clock is an hour ahead
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert watch.is_live(lease.path)
    now[0] += SILENCE_S - 1
    assert watch.is_live(lease.path)
    _touched(lease.path, -3600 - HEARTBEAT_S)
    now[0] += SILENCE_S - 1
    assert watch.is_live(lease.path)
    now[0] += SILENCE_S
    assert not watch.is_live(lease.path)


def test_a_cleared_lease_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT_S", 0.05)
    with Lease(tmp_path / "runs" / "lease.json", {"run": "a"}) as lease:
        lease.path.unlink()
        lease.path.parent.rmdir()
        end = time.monotonic() + 10
        while not lease.path.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert json.loads(lease.path.read_text())["run"] == "a"
        _touched(lease.path, 1000)
        while lease.path.stat().st_mtime < time.time() - 100 and time.monotonic() < end:
            time.sleep(0.02)
        assert lease.path.stat().st_mtime > time.time() - 100
    assert not lease.path.exists()


def test_leases_of_an_earlier_version_are_understood(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "lease.json")
    lease.take()
    value = json.loads(lease.path.read_text())
    for key in ("boot", "pids", "process_ticks"):
        del value[key]
    lease.path.write_text(json.dumps(value))
    assert is_live(lease.path)
    _edit(lease.path, process_started=value["process_started"] - 5)
    assert not is_live(lease.path)
