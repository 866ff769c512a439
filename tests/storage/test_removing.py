"""Taking folders away: one rename, then file by file, never through a link."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from dataops_parsl.storage.folders import MAX_DEPTH, OutsideError, Root, walk
from dataops_parsl.storage.removing import TRASH, ChangedError, delete, take_away
from tests.faults.scenario import digests
from tests.storage.trees import make_step, protect, release


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A folder outside of the root, that nothing may touch."""
    folder = tmp_path / "precious"
    (folder / "P1").mkdir(parents=True)
    (folder / "P1" / "frame.tif").write_bytes(b"acquired once")
    (folder / "manifest.json").write_text("{}")
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def _take(root: Root, *names: str) -> str:
    inode = (root.path.joinpath(*names)).lstat().st_ino
    return take_away(root, names[:-1], names[-1], inode)


def test_a_folder_is_taken_away_and_deleted_with_all_that_is_in_it(scratch: Path) -> None:
    step = make_step(scratch / "one", "contact.pairs", pixels=True)
    files = [p for p in step.rglob("*") if p.is_file()]
    taken = sum(p.lstat().st_blocks * 512 for p in (step, *step.rglob("*")))
    with Root(scratch) as root:
        name = _take(root, "one", "contact", step.name)
        assert name.startswith(TRASH)
        assert not step.exists()
        removed = delete(root, ("one", "contact"), name)
    assert (removed.files, removed.bytes, removed.problems) == (len(files), taken, {})
    assert list((scratch / "one" / "contact").iterdir()) == []


def test_links_are_unlinked_and_not_followed(scratch: Path, precious: Path) -> None:
    step = make_step(scratch / "one", "contact.pairs")
    before = digests(precious)
    for name, to in (
        ("dataset", precious),
        ("file", precious / "manifest.json"),
        ("dangling", precious / "none"),
        ("loop", step),
        ("up", Path("..")),
        ("self", Path("self")),
    ):
        (step / name).symlink_to(to)
    os.link(precious / "P1" / "frame.tif", step / "hard.tif")
    with Root(scratch) as root:
        removed = delete(root, ("one", "contact"), _take(root, "one", "contact", step.name))
    assert not removed.problems
    assert digests(precious) == before
    assert list((scratch / "one" / "contact").iterdir()) == []


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_link_on_the_way_is_no_way(scratch: Path, precious: Path, level: int) -> None:
    names = ["one", "contact", "pairs-0123456789ab"]
    (scratch.joinpath(*names[: level - 1])).mkdir(parents=True, exist_ok=True)
    scratch.joinpath(*names[:level]).symlink_to(precious)
    before = digests(precious)
    with (
        Root(scratch) as root,
        pytest.raises(OutsideError, match=r"is a link to .*precious"),
        root.open(*names),
    ):
        pass
    assert digests(precious) == before


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc"])
def test_only_names_lead_down(scratch: Path, name: str) -> None:
    with Root(scratch) as root, pytest.raises(OutsideError, match="no name of a folder"), root.open(name):
        pass


def test_the_root_may_be_a_link_and_stays_where_it_led(tmp_path: Path, scratch: Path, precious: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(scratch)
    step = make_step(scratch / "one", "contact.pairs")
    with Root(link) as root:
        link.unlink()
        link.symlink_to(precious)
        assert root.path == scratch
        delete(root, ("one", "contact"), _take(root, "one", "contact", step.name))
    assert not step.exists()
    assert len(digests(precious)) == 2


def test_what_was_replaced_stays(scratch: Path, precious: Path) -> None:
    step = make_step(scratch / "one", "contact.pairs")
    inode = step.stat().st_ino
    step.rename(step.with_name("aside"))
    step.symlink_to(precious)
    with Root(scratch) as root, pytest.raises(ChangedError):
        take_away(root, ("one", "contact"), step.name, inode)
    assert step.is_symlink()
    assert len(digests(precious)) == 2


def test_swapped_again_and_again_for_a_link_nothing_outside_is_touched(scratch: Path, precious: Path) -> None:
    assert swap(scratch, precious, folders=40)["gone"] == 40


@pytest.mark.faults
def test_swapped_thousands_of_times_for_a_link(scratch: Path, precious: Path) -> None:
    assert swap(scratch, precious, folders=800)["refused"] > 50


def swap(scratch: Path, precious: Path, folders: int) -> Counter[str]:
    """Remove folders while a thread replaces them, their stage and their dataset by a link and back again."""
    before, stop = digests(precious), threading.Event()
    home = scratch / "one"
    steps = [make_step(home, "contact.pairs", str(i), parts=1) for i in range(folders)]
    (precious / "contact").mkdir()
    for step in steps:  # so that the link leads to something of every name
        (precious / step.name).mkdir()
        (precious / "contact" / step.name).mkdir()
    kept = {str(p) for p in precious.rglob("*")}
    inodes = {step: step.stat().st_ino for step in steps}

    def swapping() -> None:
        rng, aside = random.Random(0), scratch / "aside"
        while not stop.is_set():
            at = rng.choice([home, home / "contact", *steps[-1:]])
            with contextlib.suppress(OSError):
                at.rename(aside)
                at.symlink_to(precious)
                time.sleep(rng.random() * 1e-4)
            with contextlib.suppress(OSError):
                at.unlink()
            with contextlib.suppress(OSError):
                aside.rename(at)
            time.sleep(rng.random() * 1e-3)

    thread = threading.Thread(target=swapping)
    thread.start()
    outcomes: Counter[str] = Counter()
    try:
        with Root(scratch) as root:
            while steps:
                step = steps[-1]
                try:
                    name = take_away(root, ("one", "contact"), step.name, inodes[step])
                    while delete(root, ("one", "contact"), name).problems:
                        outcomes["refused"] += 1
                    outcomes["gone"] += 1
                    steps.pop()
                except OSError:
                    outcomes["refused"] += 1
    finally:
        stop.set()
        thread.join()
    assert digests(precious) == before
    assert {str(p) for p in precious.rglob("*")} == kept
    return outcomes


def test_two_purges_share_a_folder_without_harm(scratch: Path) -> None:
    step = make_step(scratch / "one", "contact.pairs", parts=200)
    with Root(scratch) as root:
        name = _take(root, "one", "contact", step.name)
        trash = step.with_name(name)
        handle = os.open(trash, os.O_RDONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert delete(root, ("one", "contact"), name).files == 0, "another purge is at it"
        os.close(handle)
        results = []

        def one() -> None:
            results.append(delete(root, ("one", "contact"), name))

        threads = [threading.Thread(target=one) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(r.files for r in results) == 401
        assert [r.problems for r in results] == [{}, {}]
        assert delete(root, ("one", "contact"), name).files == 0
    assert not trash.exists()


def test_what_cannot_be_deleted_is_named_and_the_rest_goes(scratch: Path) -> None:
    step = make_step(scratch / "one", "contact.pairs", parts=5)
    with Root(scratch) as root:
        name = _take(root, "one", "contact", step.name)
        kept = step.with_name(name) / "receipts"
        protect(kept)
        try:
            removed = delete(root, ("one", "contact"), name)
        finally:
            release(kept)
        ((where, why),) = removed.problems.items()
        assert where == f"one/contact/{name}/receipts"
        assert why.endswith("and 4 more"), why
        assert "not permitted" in why or "denied" in why
        assert [p.name for p in step.with_name(name).iterdir()] == ["receipts"]
        assert delete(root, ("one", "contact"), name).problems == {}


def test_what_is_deeper_than_any_run_makes_is_refused(scratch: Path) -> None:
    deep = scratch / "one" / "contact" / "pairs-0123456789ab"
    for _ in range(MAX_DEPTH + 3):
        deep /= "d"
    deep.mkdir(parents=True)
    with Root(scratch) as root:
        with root.open("one") as folder, pytest.raises(OutsideError, match="deeper"):
            list(walk(folder, root.mount))
        removed = delete(root, ("one",), "contact")
    assert any("deeper" in why for why in removed.problems.values())
