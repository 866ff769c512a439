"""Frames on an assembly line: in order, at once, each failing alone; and a task that uses it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from dataops_parsl.errors import PlaceError
from dataops_parsl.film import Film
from dataops_parsl.provenance import worker_versions
from dataops_parsl.stage import Stage, Together, step
from dataops_parsl.storage.parts import PartPlace, read_receipt, read_tables
from dataops_parsl.tables import Column, Schema
from dataops_parsl.task import execute
from dataops_parsl.telling import tell
from dataops_parsl.worker.assembly import AHEAD, BEHIND, assembled


def in_threes(items: Iterable[int]) -> Iterator[int]:
    """Doubles, taking three items before it gives the first of them."""
    taken = []
    for item in items:
        taken.append(item)
        if len(taken) == 3:
            yield from (2 * x for x in taken)
            taken = []
    yield from (2 * x for x in taken)


def test_frames_come_in_order_with_what_was_read_and_computed() -> None:
    found = list(assembled(range(8), lambda f: f + 100, in_threes, lambda f, item, r: (f, item, r)))
    assert found == [(f, (f, f + 100, 2 * (f + 100))) for f in range(8)]


def test_reading_and_finishing_go_on_while_a_frame_is_computed() -> None:
    read_next, finished = threading.Event(), threading.Event()

    def read(frame: int) -> int:
        if frame == 2:
            read_next.set()
        return frame

    def compute(items: Iterable[int]) -> Iterator[int]:
        for item in items:
            if item == 1:
                # Only other threads can set them while this one is here.
                assert read_next.wait(20)
                assert finished.wait(20)
            yield item

    def finish(frame: int, item: int, result: int) -> str:
        finished.set()
        return threading.current_thread().name

    names = {name for _, name in assembled(range(4), read, compute, finish)}
    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_no_more_is_read_ahead_than_said() -> None:
    begun: list[int] = []
    done = threading.Semaphore(0)

    def read(frame: int) -> int:
        begun.append(frame)
        done.release()
        return frame

    def compute(items: Iterable[int]) -> Iterator[int]:
        yield from items

    for frame, _ in assembled(range(40), read, compute, lambda f, i, r: r):
        assert len(begun) <= frame + 1 + BEHIND + AHEAD + 1


@pytest.mark.parametrize("bad", [0, 3, 7])
@pytest.mark.parametrize("where", ["read", "compute", "finish"])
def test_a_frame_fails_alone(bad: int, where: str) -> None:
    def fail(here: str, frame: int) -> None:
        if here == where and frame == bad:
            raise ValueError(f"{here} {frame}")

    def read(frame: int) -> int:
        fail("read", frame)
        return frame

    def compute(items: Iterable[int]) -> Iterator[int]:
        taken: list[int] = []
        for item in items:
            taken.append(item)
            if len(taken) == 3:
                for one in taken:
                    fail("compute", one)
                yield from taken
                taken = []
        for one in taken:
            fail("compute", one)
        yield from taken

    def finish(frame: int, item: int, result: int) -> int:
        fail("finish", frame)
        return result

    found = list(assembled(range(8), read, compute, finish))
    assert [frame for frame, _ in found] == list(range(8))
    failed = {frame: str(given) for frame, given in found if isinstance(given, Exception)}
    assert failed == {bad: f"{where} {bad}"}
    assert [given for _, given in found if not isinstance(given, Exception)] == [
        f for f in range(8) if f != bad
    ]


@pytest.mark.parametrize("where", ["read", "compute", "finish"])
def test_what_is_no_frames_error_ends_all(where: str) -> None:
    def fail(here: str, frame: int) -> int:
        if here == where and frame == 2:
            raise PlaceError("no card")
        return frame

    with pytest.raises(PlaceError, match="no card"):
        list(
            assembled(
                range(5),
                lambda f: fail("read", f),
                lambda items: (fail("compute", item) for item in items),
                lambda f, item, r: fail("finish", f),
                (PlaceError,),
            )
        )


def test_frames_for_which_nothing_is_given_fail() -> None:
    found = dict(assembled(range(3), lambda f: f, lambda items: iter(list(items)[:0]), lambda f, i, r: r))
    assert {str(given) for given in found.values()} == {"nothing was given for the frame"}
    assert [*found] == [0, 1, 2]


ROWS = Schema(
    "rows",
    "a frame",
    (
        Column("frame", "int64", "0-based frame", key=True, low=0),
        Column("value", "int64", "a number"),
    ),
)


class Grouped(Stage):
    """Computes frames together, and says how many came at once."""

    name: ClassVar[str] = "grouped"
    version: ClassVar[int] = 1
    factor: int = 2
    at_once: int = 3
    bad: int = -1

    @step(
        scope="batch",
        gives={"rows": ROWS},
        parameters=("factor", "bad"),
        unkeyed=("at_once",),
        together=Together(read="look", compute="many", finish="row"),
    )
    def one(self, film: Film, frame: int) -> dict[str, Any]:
        item = self.look(film, frame)
        (result,) = self.many([item])
        return self.row(film, frame, item, result)

    def look(self, film: Film, frame: int) -> int:
        return frame

    def many(self, items: Iterable[int]) -> Iterator[int]:
        taken: list[int] = []
        for item in [*items, None]:
            if item is not None:
                taken.append(item)
            if len(taken) == self.at_once or (item is None and taken):
                tell("used", device=f"{len(taken)} at once")
                yield from (self.factor * one for one in taken)
                taken = []

    def row(self, film: Film, frame: int, item: int, result: int) -> dict[str, Any]:
        if frame == self.bad:
            raise ValueError("as told")
        return {"value": [result]}


def task(tmp_path: Path, **changed: Any) -> dict[str, Any]:
    """A task of it for seven frames."""
    return {
        "id": "grouped.one/p/0",
        "stage": f"{Grouped.__module__}:{Grouped.__qualname__}",
        "step": "one",
        "parameters": {"bad": 4},
        "population": "",
        "position": "",
        "index": 0,
        "frames": list(range(7)),
        "n_frames": 7,
        "mem_gb": 1.0,
        "excluded": {},
        "facts": {},
        "raw": [],
        "raw_frames": [],
        "reads": {},
        "by_population": {},
        "previous": None,
        "scratch": str(tmp_path),
        "folder": str(tmp_path / "grouped"),
        "stem": "p.0",
        "recipe": "0" * 32,
        "schemas": {"rows": []},
        "arrays": {},
        "versions": worker_versions(),
        "attempt": 1,
        "deadly": [],
        **changed,
    }


@pytest.mark.parametrize(("attempt", "many"), [(1, 7), (2, 1)])
def test_a_task_gives_the_same_frame_by_frame_and_together(tmp_path: Path, attempt: int, many: int) -> None:
    made = task(tmp_path, attempt=attempt, parameters={"bad": 4, "at_once": 7})
    outcome = execute(made)
    assert outcome["status"] == "partial", outcome
    assert outcome["failed"] == {4: "ValueError: as told"}
    # A second attempt notes which frame it is at, and so goes one by one.
    assert outcome["device"] == f"{many} at once"
    place = PartPlace(Path(made["folder"]), made["stem"], made["recipe"])
    receipt = read_receipt(place.receipt)
    assert receipt is not None
    rows = read_tables([(place, receipt)], "rows").to_pydict()
    assert rows == {"frame": [0, 1, 2, 3, 5, 6], "value": [0, 2, 4, 6, 10, 12]}
    assert receipt.figures["device"] == f"{many} at once"


def test_what_changes_no_result_is_in_no_key_and_can_be_read() -> None:
    assert set(Grouped(at_once=5).keyed("one")) == {"factor", "bad"}
    assert list(Grouped(at_once=5).bound("one", "many")([1, 2])) == [2, 4]


def test_a_worker_that_identifies_itself_otherwise_refuses(tmp_path: Path) -> None:
    outcome = execute(task(tmp_path, identity={"weights_sha256": "abc"}))
    assert outcome["status"] == "unfit"
    assert "weights_sha256 none for grouped; the run was planned with abc" in outcome["reason"]
    assert "the nodes must see" in outcome["remedy"]
