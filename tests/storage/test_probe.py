"""What is tried on a file system: on this one, on real ones that cannot do it, and with a wrong clock."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataops_parsl.storage import probe
from tests.helpers import mounted


@pytest.fixture
def other(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Another file system, mounted for the test by the words of its parameter."""
    with mounted(tmp_path / "mounted", *request.param) as place:
        yield place


def test_this_file_system_does_all_that_storage_relies_on_and_keeps_nothing(tmp_path: Path) -> None:
    with probe.workshop(tmp_path) as inside:
        tried = probe.trials(inside)
        assert probe.has_symlinks(inside)
        assert abs(probe.clock_ahead_s(inside)) < 1
        assert probe.keeps_case(inside)
    assert tried == [probe.Trial(what) for what in ("rename", "fsync", "locks", "exclusive creation")]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("other", [["-t", "tmpfs", "-o", "size=1m", "tmpfs"]], indirect=True)
def test_memory_does_all_of_it_too(other: Path) -> None:
    with probe.workshop(other) as inside:
        assert [t.problem for t in probe.trials(inside)] == [""] * 4


@pytest.mark.parametrize("other", [["-t", "hugetlbfs", "none"]], indirect=True)
def test_a_file_system_that_takes_no_writes_is_told_in_its_own_words(other: Path) -> None:
    with probe.workshop(other) as inside:
        problems = {t.what: t.problem for t in probe.trials(inside)}
    assert problems["rename"] == problems["fsync"] == "Invalid argument"
    assert problems["exclusive creation"] == ""
    assert list(other.iterdir()) == []


@pytest.mark.parametrize("other", [["-t", "tmpfs", "-o", "ro", "tmpfs"]], indirect=True)
def test_one_that_cannot_be_written_raises_at_once(other: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"), probe.workshop(other):
        pass


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 0", "another process gets a lock that is held"),
        ("exit 7", "a lock that was given back is not free"),
        (
            "echo 'OSError: [Errno 37] No locks available' >&2; exit 1",
            "OSError: [Errno 37] No locks available",
        ),
        ("exec sleep 100", "no answer in 0.2 s"),
    ],
)
def test_locks_that_do_not_hold_between_processes_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    """The other process is on a host that sees no locks of this one, or all as held, has none, or hangs."""
    elsewhere = tmp_path / "python"
    elsewhere.write_text(f"#!/bin/sh\n{script}\n")
    elsewhere.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(elsewhere))
    monkeypatch.setattr(probe, "ANSWER_S", 0.2 if "sleep" in script else 10.0)
    with probe.workshop(tmp_path) as inside:
        (locks,) = (t for t in probe.trials(inside) if t.what == "locks")
    assert locks.problem == problem


@pytest.mark.parametrize("ahead_s", [100.0, -100.0])
def test_a_clock_that_differs_from_the_file_systems_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead_s: float
) -> None:
    true = time.time
    monkeypatch.setattr(probe.time, "time", lambda: true() + ahead_s)
    assert probe.clock_ahead_s(tmp_path) == pytest.approx(ahead_s, abs=1)
