"""Runs that share a scratch, and lean runs: computed as the command does, without worker processes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl import publish
from dataops_parsl.engine import lean, parked
from dataops_parsl.engine.sharing import use_of
from dataops_parsl.needs import Assessor
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.storage import part_claims
from dataops_parsl.storage.parts import files_whole, read_receipt
from tests.engine.one_film import LAST, ONE, one_film, some_films, take_in
from tests.helpers import Project, same_tables, wait_for
from tests.in_process import InProcess, parts, planned, run

FRAMES_BEFORE = 6


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask often, and delete at once."""
    monkeypatch.setattr(parked, "FIRST_S", 0.02)
    monkeypatch.setattr(parked, "MOST_S", 0.05)
    monkeypatch.setattr(part_claims, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(lean, "EVERY_S", 0.0)


@pytest.fixture
def film(tmp_path: Path, small_films: Path) -> Project:
    """A project of its own."""
    return one_film(tmp_path / "project", small_films)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, small_films: Path) -> Plan:
    """The plan of an undisturbed run that deletes nothing, computed."""
    root = tmp_path_factory.mktemp("undisturbed")
    plan = planned(one_film(root / "project", small_films).root, until=LAST)
    with InProcess() as pool:
        assert run(plan, root / "log", pool) == {}
    return plan


def _as_undisturbed(plan: Plan, done: Plan) -> bool:
    expected = publish.tables(done)
    made = publish.tables(plan)
    return same_tables(made, {name: expected[name] for name in made})


class _Run:
    """A run in a thread of its own."""

    def __init__(
        self, plan: Plan, log: Path, before: Callable[[dict[str, Any]], None] = lambda _: None
    ) -> None:
        self._plan, self.log = plan, log
        self.pool = InProcess(before)
        self.given_up: Any = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with self.pool:
            self.given_up = run(self._plan, self.log, self.pool)

    def join(self) -> _Run:
        self._thread.join(60)
        assert self.given_up == {}
        return self

    def waited(self) -> Counter[str]:
        """How many parts it waited for, by what the other run had."""
        lines = (self.log / "events.jsonl").read_text().splitlines()
        return Counter(e["what"] for e in map(json.loads, lines) if e["event"] == "waits")


def _keys(plan: Plan) -> set[str]:
    return {f"{p.id} {p.recipe}" for p in parts(plan)}


def test_two_runs_compute_each_part_once(film: Project, done: Plan, tmp_path: Path) -> None:
    wider = ("--set", "stages.contact.radius_um=3")
    plans = [planned(film.root, until=LAST), planned(film.root, *wider, until=LAST)]
    one, other = (_Run(plan, tmp_path / str(i)) for i, plan in enumerate(plans))
    computed = one.join().pool.computed + other.join().pool.computed
    assert len(computed) == len(_keys(plans[0]) | _keys(plans[1]))
    assert one.pool.computed, "both worked"
    assert other.pool.computed
    assert one.waited() + other.waited(), "they were at the same parts"
    assert _as_undisturbed(plans[0], done)
    assert not list(plans[0].scratch.rglob("*.claim")), "all are dropped"


def _digests(of: Iterable[Part]) -> dict[Part, str]:
    """Of those that are there."""
    return {p: r.digest for p in of if (r := read_receipt(p.place.receipt))}


def test_runs_that_need_other_pixels_in_one_place_come_one_after_the_other(
    film: Project, done: Plan, small_films: Path, tmp_path: Path
) -> None:
    take_in(film, some_films(small_films, film.root / "before", FRAMES_BEFORE))
    before = planned(film.root, until="measure")
    take_in(film, film.root / "films")
    after = planned(film.root, until="measure")
    shared = {p.node.folder for p in parts(before)} & {p.node.folder for p in parts(after)}
    assert shared, "the same steps"
    at_work, go_on = threading.Event(), threading.Event()

    def held_up(task: dict[str, Any]) -> None:
        if task["id"].startswith("measure"):
            at_work.set()
            assert go_on.wait(30)

    elder = _Run(before, tmp_path / "elder", held_up)
    assert at_work.wait(30)
    pixels = _digests(parts(before))
    younger = _Run(after, tmp_path / "younger")
    wait_for(lambda: younger.pool.computed and younger.waited()["place"], 30, "it waits for the first")
    # What the first reads is left as it is, however long it takes.
    assert _digests(pixels) == pixels
    go_on.set()
    elder.join()
    earlier = publish.tables(before)
    younger.join()
    assert _as_undisturbed(after, done)
    # And back: what was overwritten is computed again, and only that.
    with InProcess() as pool:
        assert run(before, tmp_path / "again", pool) == {}
    assert same_tables(publish.tables(before), earlier)


def test_what_fails_in_one_of_two_runs_is_tried_once(film: Project, tmp_path: Path) -> None:
    plan = planned(film.root, until="register_denoise")
    damaged = sorted((film.root / "data" / "datasets" / ONE).rglob("coculture/gfp/*.tif"))[5]
    damaged.chmod(0o644)
    damaged.write_bytes(b"no TIFF")
    one, other = (_Run(plan, tmp_path / str(i)) for i in range(2))
    tried = Counter(one.join().pool.computed + other.join().pool.computed)
    assert max(tried.values()) == 1, tried.most_common(3)
    with InProcess() as pool:
        run(plan, tmp_path / "again", pool)
    assert pool.computed, "the next run tries it once more"


# --- lean


def _whole(plan: Plan) -> set[str]:
    """Ids of the parts whose files are on scratch."""
    found = ((p, read_receipt(p.place.receipt)) for p in parts(plan))
    return {p.id for p, receipt in found if receipt and files_whole(p.place.folder, receipt)}


def _files(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if p.is_file()}


def _lean(plan: Plan, log: Path, **more: Any) -> list[str]:
    with InProcess(**more) as pool:
        assert run(plan, log, pool, lean=True) == {}
    return pool.computed


def test_a_lean_run_keeps_what_its_tables_are_read_from_and_no_pixels(
    film: Project, done: Plan, tmp_path: Path
) -> None:
    plan = planned(film.root, until=LAST)
    shards: dict[str, int] = {}

    def count(task: dict[str, Any]) -> None:
        shards[task["id"]] = len(list(plan.scratch.rglob("c.*")))

    computed = _lean(plan, tmp_path / "lean", before=count)
    assert len(computed) == len(parts(plan)), "nothing twice"
    assert _as_undisturbed(plan, done)
    assert _whole(plan) == {p.id for p in plan.wanted()}
    assert max(shards.values()) > 0
    assert shards[f"{LAST}.events/coculture"] == 0, "they went while it ran"
    assert list(done.scratch.rglob("c.*")), "without it they stay"
    assert all(read_receipt(p.place.receipt) for p in parts(plan)), "receipts stay"
    assert _lean(plan, tmp_path / "again") == []


def test_what_a_lean_run_deleted_is_made_again_where_something_reads_it(
    film: Project, done: Plan, tmp_path: Path
) -> None:
    plan = planned(film.root, until="measure")
    _lean(plan, tmp_path / "lean")
    (victim,) = [p for p in parts(plan) if p.id == "measure.objects/coculture/00001"]
    victim.place.receipt.unlink()
    above = {p.id for p, why in Assessor(plan).assess().todo.items() if "computed anew" not in why}
    assert victim.id in above
    # Of the batch before only the receipt is read: neither its files nor what they need are made again.
    assert not any("chain" in task and task.endswith("00000") for task in above)
    assert "register_denoise.chain/coculture/00001" in above
    assert sorted(_lean(plan, tmp_path / "again")) == sorted(above), "what is missing, and what that needs"
    assert _as_undisturbed(plan, done)


def test_an_input_that_is_damaged_after_its_own_were_deleted(
    film: Project, done: Plan, tmp_path: Path
) -> None:
    plan = planned(film.root, until="trackmate")
    hit: list[str] = []

    def damage(task: dict[str, Any]) -> None:
        if task["id"].startswith("trackmate.close") and not hit:
            table = next(plan.scratch.glob("measure/objects-*/*.00001.*.parquet"))
            table.write_bytes(table.read_bytes()[:-7] + b"garbage")
            assert not list(plan.scratch.glob("register_denoise/apply-*/*/c.1.0.0")), "pixels are gone"
            hit.append(task["id"])

    computed = _lean(plan, tmp_path / "lean", before=damage)
    again = Counter(computed)
    assert hit
    assert again["measure.objects/coculture/00001"] == 2
    assert again["register_denoise.apply/coculture/00001"] == 2
    assert again["register_denoise.apply/coculture/00000"] == 1
    assert _as_undisturbed(plan, done)


def test_a_lean_run_leaves_the_folders_of_a_living_run(film: Project, tmp_path: Path) -> None:
    plan = planned(film.root, until="measure")
    with use_of(planned(film.root, until="register_denoise"), "other"):
        _lean(plan, tmp_path / "lean")
        shards = {p.relative_to(plan.scratch).parts[0] for p in plan.scratch.rglob("c.*")}
        assert shards == {"register_denoise"}
    _lean(plan, tmp_path / "after")
    assert not list(plan.scratch.rglob("c.*"))


def test_a_lean_run_deletes_nothing_through_a_link_and_nothing_elsewhere(
    film: Project, tmp_path: Path
) -> None:
    plan = planned(film.root, until="measure")
    with InProcess() as pool:
        run(plan, tmp_path / "first", pool)
    elsewhere, precious = tmp_path / "elsewhere", film.root / "precious"
    (plan.scratch / "cellpose").rename(elsewhere)
    (plan.scratch / "cellpose").symlink_to(elsewhere, target_is_directory=True)
    there = _files(elsewhere)
    precious.write_text("here")
    (part,) = [p for p in parts(plan) if p.id == "register_denoise.apply/coculture/00000"]
    receipt = json.loads(part.place.receipt.read_text())
    for output in receipt["outputs"].values():
        output["files"] = {"../../../../../precious": 4, str(precious): 4}
    part.place.receipt.write_text(json.dumps(receipt))
    with use_of(plan, "lean") as use:
        deleting = lean.Lean(plan, use)
        deleting.finish(())
    assert _files(elsewhere) == there
    assert precious.read_text() == "here"
    assert deleting.freed > 0, "of the others"
    assert {folder.partition("/")[0] for folder in deleting.left} == {"cellpose", "register_denoise"}


def test_a_failed_frame_is_tried_again_from_what_it_reads(film: Project, done: Plan, tmp_path: Path) -> None:
    plan = planned(film.root, until=LAST)
    damaged = sorted((film.root / "data" / "datasets" / ONE).rglob("coculture/gfp/*.tif"))[5]
    whole = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(b"no TIFF")
    _lean(plan, tmp_path / "lean")
    assert publish.roots(plan)
    # Nothing has changed: the failed frame is tried, and what had been deleted is left where it is.
    failed = {p.id for p in parts(plan) if (r := read_receipt(p.place.receipt)) and (r.failed or r.halo)}
    assert set(_lean(plan, tmp_path / "again")) == failed
    assert len(failed) < 4
    damaged.write_bytes(whole)
    _lean(plan, tmp_path / "mended")
    assert not publish.roots(plan)
    assert _as_undisturbed(plan, done)
