"""Claims of parts: one run at a time, taken over from the dead, and who waits for whom."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import pytest

from dataops_parsl.storage import part_claims
from dataops_parsl.storage.claims import SILENCE_S
from dataops_parsl.storage.part_claims import Holder, PartClaims
from dataops_parsl.storage.parts import PartPlace, overwriting
from dataops_parsl.storage.users import RUNS, Use

TAKES = """
import sys, time
from pathlib import Path
from dataops_parsl.storage.part_claims import PartClaims
from dataops_parsl.storage.parts import PartPlace
from dataops_parsl.storage.users import Use

scratch, run, n, keep = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "keep"
with Use(scratch, run, []) as use, PartClaims(use) as claims:
    print("ready", flush=True)
    begin = float(sys.stdin.readline())
    while time.time() < begin:
        pass
    for i in range(n):
        place = PartPlace(scratch / "stage" / "step-1", f"P.{i:05d}", f"{i:032x}")
        if claims.take(place) is None:
            print(i, flush=True)
    print("done", flush=True)
    if keep:
        time.sleep(60)
    sys.stdin.readline()
"""


@pytest.fixture
def place(tmp_path: Path) -> PartPlace:
    """A batch."""
    return PartPlace(tmp_path / "stage" / "step-1", "P.00000", f"{0:032x}")


@pytest.fixture(autouse=True)
def always_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the leases each time."""
    monkeypatch.setattr(part_claims, "LOOK_EVERY_S", 0.0)


class _Taker:
    """A process that takes claims."""

    def __init__(self, scratch: Path, run: str, n: int, keep: str = "") -> None:
        words = [sys.executable, "-c", TAKES, str(scratch), run, str(n), keep]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        assert self._out.readline() == "ready\n"

    def go(self, at: float) -> None:
        """Begin at that moment."""
        self._in.write(f"{at}\n")
        self._in.flush()

    def taken(self) -> list[str]:
        """What it has taken, once it has tried all."""
        return list(iter(lambda: self._out.readline().strip(), "done"))

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._in.close()
        self._out.close()


@contextmanager
def _takers(scratch: Path, runs: str, n: int, keep: str = "") -> Iterator[list[_Taker]]:
    started: list[_Taker] = []
    try:
        started += [_Taker(scratch, run, n, keep) for run in runs]
        yield started
    finally:
        for taker in started:
            taker.end()


def test_of_many_processes_one_takes_each_part(tmp_path: Path) -> None:
    with _takers(tmp_path, "abc", 400) as takers:
        at = time.time() + 0.3
        for taker in takers:
            taker.go(at)
        taken = [taker.taken() for taker in takers]
    assert sorted(chain(*taken), key=int) == [str(i) for i in range(400)]


def test_of_many_processes_one_takes_each_part_over_from_a_killed_run(tmp_path: Path) -> None:
    with _takers(tmp_path, "d", 300, "keep") as (dead,):
        dead.go(0)
        assert len(dead.taken()) == 300
    with _takers(tmp_path, "abc", 300) as takers:
        at = time.time() + 0.3
        for taker in takers:
            taker.go(at)
        taken = [taker.taken() for taker in takers]
    assert sorted(chain(*taken), key=int) == [str(i) for i in range(300)]


@pytest.mark.parametrize("links", [True, False], ids=["", "no links"])
def test_a_part_is_free_again_when_it_is_dropped_and_when_the_run_ends(
    tmp_path: Path, place: PartPlace, links: bool
) -> None:
    with Use(tmp_path, "a", []) as one, Use(tmp_path, "b", []) as other:
        with PartClaims(one) as mine, PartClaims(other) as theirs:
            mine._links = links  # as on a file system without links between folders
            assert mine.take(place) is None
            assert theirs.take(place) == Holder("a")
            assert theirs.held(place) == Holder("a")
            theirs.drop(place)  # not its own
            assert Path(place.claim).exists()
            mine.drop(place)
            assert theirs.held(place) is None
            assert theirs.take(place) is None
            assert mine.take(place) == Holder("b")
        assert not Path(place.claim).exists()
    assert not list((tmp_path / RUNS).iterdir())


def test_a_part_is_waited_for_under_the_name_that_a_run_goes_by(tmp_path: Path, place: PartPlace) -> None:
    with Use(tmp_path, "a", []) as one, Use(tmp_path, "b", []) as other, PartClaims(one) as mine:
        one.called("continued")
        mine.take(place)
        with PartClaims(other) as theirs:
            assert theirs.take(place) == Holder("continued")


def test_claims_go_on_where_scratch_was_cleared_away(tmp_path: Path, place: PartPlace) -> None:
    scratch = tmp_path / "scratch"
    with Use(scratch, "a", []) as use, PartClaims(use) as claims:
        shutil.rmtree(scratch)
        place = PartPlace(scratch / "stage" / "step-1", place.stem, place.recipe)
        assert claims.take(place) is None
        assert Path(place.claim).read_text() == "a"


def test_a_claim_without_a_name_is_of_one_who_lives_for_a_while(tmp_path: Path, place: PartPlace) -> None:
    Path(place.claim).parent.mkdir(parents=True)
    Path(place.claim).touch()
    with Use(tmp_path, "a", []) as use, PartClaims(use) as claims:
        assert claims.take(place) == Holder("another")
        then = Path(place.claim).stat().st_mtime - SILENCE_S - 1
        os.utime(place.claim, (then, then))
        assert claims.take(place) is None
        assert Path(place.claim).read_text() == "a"


def test_the_later_run_leaves_other_pixels_where_they_are_until_the_earlier_ends(
    tmp_path: Path, place: PartPlace
) -> None:
    folder, mine, theirs = "stage/step-1", place.recipe[:16], "f" * 16
    with Use(tmp_path, "later", [folder], {folder: {place.stem: mine}}) as use:
        assert PartClaims(use).take(place) is None
    with ExitStack() as until_elder_ends:
        elder = until_elder_ends.enter_context(
            Use(tmp_path, "elder", [folder], {folder: {place.stem: theirs}})
        )
        with Use(tmp_path, "later", [folder], {folder: {place.stem: mine}}) as use:
            claims = PartClaims(use)
            assert claims.take(place) == claims.held(place) == Holder("elder", "place")
            assert claims.take(PartPlace(place.folder, "P.00001", place.recipe)) is None
            # The earlier one waits for nobody, else both would.
            assert PartClaims(elder).take(PartPlace(place.folder, place.stem, theirs * 2)) is None
            until_elder_ends.close()
            assert claims.take(place) is None
    with (
        Use(tmp_path, "elder", [folder], {folder: {place.stem: mine}}),
        Use(tmp_path, "again", [folder], {folder: {place.stem: mine}}) as use,
    ):
        assert PartClaims(use).held(place) is None, "the same pixels"


WRITES = """
import sys, time
from pathlib import Path
from dataops_parsl.storage.parts import PartPlace, overwriting
place = PartPlace(Path(sys.argv[1]), sys.argv[2], "0" * 32)
with overwriting(place):
    print("in", flush=True)
    sys.stdin.readline()
print("out", flush=True)
"""


def test_two_workers_write_one_batch_one_after_the_other_and_others_meanwhile(tmp_path: Path) -> None:
    def start(stem: str) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", WRITES, str(tmp_path), stem]
        return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    first, second = start("P.00000"), start("P.00000")
    try:
        outputs = {process.stdout: process for process in (first, second)}
        (inside,), _, _ = select.select(list(outputs), [], [], 20)
        with overwriting(PartPlace(tmp_path, "P.00001", "0" * 32)):
            pass  # another batch
        (waiting,) = set(outputs) - {inside}
        assert not select.select([waiting], [], [], 1.0)[0], "one after the other"
        outputs[inside].kill()  # and so never says that it is out
        assert select.select([waiting], [], [], 20)[0]
        assert waiting.readline() == "in\n"
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()
