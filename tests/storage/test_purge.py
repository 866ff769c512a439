"""``purge``: what goes and what stays, by policy, by hand and by need; dry until ``--yes``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.migration.taking_in import record_results
from dataops_parsl.storage.claims import Lease
from dataops_parsl.storage.removing import TRASH
from dataops_parsl.storage.users import Use, exclusive
from tests.faults.scenario import digests
from tests.helpers import Project
from tests.storage.trees import key, make_run, make_step, protect, release, run_id, steps_of

Purge = Callable[..., str]


@pytest.fixture
def tree(bare_project: Project) -> Project:
    """Two datasets' scratch of several ages, with runs that name some of it."""
    root = bare_project.root
    scratch, output = root / "data" / "scratch", root / "output"
    one, two = scratch / "one", scratch / "two"
    old = [
        make_step(one, "cellpose.segment.target", "old", age_days=90, pixels=True),
        make_step(one, "contact.pairs", "old", age_days=90),
    ]
    last = [
        make_step(one, "cellpose.segment.target", "last", age_days=60, pixels=True),
        make_step(one, "contact.pairs", "last", age_days=60),
    ]
    make_step(one, "contact.events", "new", age_days=1)
    make_step(two, "contact.pairs", "other", age_days=45)
    make_run(output, run_id(1), old, days=88)
    make_run(output, run_id(2), last, days=58)
    return bare_project


@pytest.fixture
def purge(tree: Project, capsys: pytest.CaptureFixture[str]) -> Purge:
    """The command in the project; returns what it printed."""

    def run(*words: str, expect: int = 0) -> str:
        capsys.readouterr()
        code = cli.main(["purge", *words, "--project", str(tree.root)])
        said = capsys.readouterr()
        assert code == expect, said.out + said.err
        return said.out + said.err

    return run


def _scratch(tree: Project) -> Path:
    return tree.root / "data" / "scratch"


def _left(tree: Project) -> set[str]:
    """Steps and the words of their keys."""
    return {
        f"{p.parents[2].name}/{p.parents[1].name}.{p.parent.name.rpartition('-')[0]} "
        f"{json.loads(p.read_bytes())['word']}"
        for p in _scratch(tree).glob("*/*/*/step.json")
    }


OLD = {"one/cellpose.segment.target old", "one/contact.pairs old"}
LAST = {"one/cellpose.segment.target last", "one/contact.pairs last"}
NEW, OTHER = "one/contact.events new", "two/contact.pairs other"
ALL = OLD | LAST | {NEW, OTHER}


# --- what goes


@pytest.mark.parametrize(
    ("words", "goes"),
    [
        ((), OLD | {OTHER}),
        (("--set=retention.keep_last_runs=0",), OLD | LAST | {OTHER}),
        (("--set=retention.keep_last_runs=2",), {OTHER}),
        (("--set=retention.scratch_days=50",), OLD),
        (("--set=retention.scratch_days=0",), set()),
        (("--set=retention.scratch_days=0", "--set=retention.max_scratch_gb=0.00018"), OLD),
        (("--set=retention.max_scratch_gb=0.000001",), ALL - LAST),
        (("--dataset", "two"), {OTHER}),
        (("--dataset", "one"), ALL - {OTHER}),
        (("--stage", "contact"), {s for s in ALL if "/contact." in s}),
        (("--stage", "cellpose", "--stage", "contact", "--dataset", "two"), {OTHER}),
        (("--stage", "killing"), set()),
        (("--older-than", "80d"), OLD),
        (("--older-than", "12h"), ALL),
        (("--older-than", "7w", "--stage", "contact"), {"one/contact.pairs old", "one/contact.pairs last"}),
        (("--older-than", "52d", "--dataset", "two"), set()),
        (("--gc",), {NEW, OTHER}),
        (("--gc", "--dataset", "one"), {NEW}),
        (("--gc", "--older-than", "30d"), {OTHER}),
    ],
    ids=lambda said: " ".join(said) if isinstance(said, tuple) else f"{len(said)} go",
)
def test_what_goes(tree: Project, purge: Purge, words: tuple[str, ...], goes: set[str]) -> None:
    assert _left(tree) == ALL
    before = digests(tree.root)
    dry = purge(*words)
    assert digests(tree.root) == before, "dry until --yes, to the last file"
    assert ("nothing was deleted, --yes deletes" if goes else "Nothing is to go") in dry
    bundles = digests(tree.root / "output")
    done = purge(*words, "--yes")
    assert _left(tree) == ALL - goes
    assert digests(tree.root / "output") == bundles
    tables = [
        [line for line in said.splitlines() if line.startswith(("one ", "two "))] for said in (dry, done)
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == len(goes)
    assert "Nothing is to go" in purge(*words)


def test_the_table_says_how_much_when_and_why(tree: Project, purge: Purge) -> None:
    said = purge()
    (line,) = (line for line in said.splitlines() if line.startswith("two "))
    words = line.split()
    assert words[:3] == ["two", "contact", "pairs"]
    then = time.localtime(time.time() - 45 * 86400)
    assert time.strftime("%Y-%m-%d", then) in words
    assert line.endswith("unused for more than 30 days")
    assert "stay: made for the last run of a workflow (retention.keep_last_runs)" in said
    freed = purge("--yes").splitlines()[-1]
    files = 7 + 2 * 7 + 2
    assert f"Deleted {files} files" in freed


def test_a_run_that_only_read_keeps_what_it_names_young(tree: Project, purge: Purge) -> None:
    steps = list((_scratch(tree) / "two").glob("*/*"))
    make_run(tree.root / "output", run_id(3), steps, dataset="two", workflow="tracks", days=2)
    purge("--set=retention.keep_last_runs=0", "--yes")
    assert OTHER in _left(tree)


def test_without_a_rule_it_says_what_to_set(purge: Purge) -> None:
    assert "set retention.scratch_days or retention.max_scratch_gb" in purge("--set=retention.scratch_days=0")


def test_a_limit_that_cannot_be_reached_is_said(purge: Purge) -> None:
    assert "above retention.max_scratch_gb" in purge("--set=retention.max_scratch_gb=0.000001")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--dataset", "../../x"), "'../../x' cannot be the name of a dataset"),
        (("--dataset", ".trash"), "cannot be the name of a dataset"),
        (("--dataset", "onee"), "did you mean 'one'?"),
        (("--stage", "contcat"), "did you mean 'contact'?"),
        (("--set", "retention.scratch_day=3"), "scratch_days"),
        (("--set", "retention.scratch_days=-1"), "retention.scratch_days"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    tree: Project, purge: Purge, words: tuple[str, ...], says: str
) -> None:
    assert says in purge(*words, "--yes", expect=2)
    assert _left(tree) == ALL


@pytest.mark.parametrize("age", ["30", "d", "-3d", "0h", "3y"])
def test_an_age_needs_a_unit(purge: Purge, age: str) -> None:
    with pytest.raises(SystemExit) as end:
        purge(f"--older-than={age}")
    assert end.value.code == 2


def test_without_known_runs_gc_is_refused(tree: Project, purge: Purge) -> None:
    assert "no run is known" in purge("--gc", "--yes", "--set=paths.output_root=elsewhere", expect=2)
    assert _left(tree) == ALL


@pytest.mark.parametrize("record", ["{", "[]", '{"dataset": 3, "keys": []}', '{"keys": {}}'])
def test_a_run_whose_record_is_damaged_is_named(tree: Project, purge: Purge, record: str) -> None:
    (tree.root / "output" / "cytotoxicity" / f"run_{run_id(1)}" / "run.json").write_text(record)
    said = purge("--gc")
    assert f"run_{run_id(1)} does not say what it is made of" in said


def test_without_any_scratch_there_is_nothing_to_do(tree: Project, purge: Purge) -> None:
    assert "Nothing is to go" in purge("--set=paths.scratch_root=nowhere", "--yes")
    assert not (tree.root / "nowhere").exists()


# --- what is in use


def test_what_a_living_run_uses_stays(tree: Project, purge: Purge) -> None:
    used = next((_scratch(tree) / "one" / "contact").glob("pairs-*"))
    word = json.loads((used / "step.json").read_bytes())["word"]
    with Use(_scratch(tree) / "one", "20260320T120000Z-beef", [f"contact/{used.name}"]):
        said = purge("--dataset", "one", "--yes")
        assert "in use by run 20260320T120000Z-beef on" in said
        assert _left(tree) == {f"one/contact.pairs {word}", OTHER}
    purge("--dataset", "one", "--yes")
    assert _left(tree) == {OTHER}


def test_a_run_that_was_killed_holds_nothing(tree: Project, purge: Purge) -> None:
    scratch = _scratch(tree) / "one"
    folders = [f"{p.parent.name}/{p.name}" for p in scratch.glob("*/*")]
    code = (
        "import os; from pathlib import Path; from dataops_parsl.storage.users import Use; "
        f"Use(Path({str(scratch)!r}), 'r', {folders}).__enter__(); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert list((scratch / ".runs").iterdir())
    purge("--dataset", "one", "--yes")
    assert _left(tree) == {OTHER}


def test_a_run_on_another_host_holds_while_its_heart_beats(tree: Project, purge: Purge) -> None:
    scratch = _scratch(tree) / "two"
    (step,) = scratch.glob("*/*")
    lease = Lease(scratch / ".runs" / "r.json", {"run": "r", "folders": [f"contact/{step.name}"]})
    lease.take()
    lease.path.write_text(json.dumps({**json.loads(lease.path.read_text()), "host": "far", "pid": 1}))
    assert "in use by run r on far" in purge("--dataset", "two", "--yes")
    then = time.time() - 3600
    os.utime(lease.path, (then, then))
    purge("--dataset", "two", "--yes")
    assert OTHER not in _left(tree)


def test_a_run_whose_bundle_is_alive_holds_what_it_names(tree: Project, purge: Purge) -> None:
    steps = list((_scratch(tree) / "two").glob("*/*"))
    output = tree.root / "output"
    bundle = make_run(output, run_id(9), steps, dataset="two", workflow="benchmark/master", sealed=False)
    with Lease(bundle.lease):
        assert f"in use by run {run_id(9)}" in purge("--dataset", "two", "--yes")
    assert OTHER in _left(tree)


def test_no_run_begins_between_the_look_and_the_removal(tree: Project, purge: Purge) -> None:
    """Runs take their leases while purge goes on: what they hold is there until they let go."""
    scratch, stop = _scratch(tree) / "one", threading.Event()
    for i in range(10):
        make_step(scratch, "measure.objects", str(i), parts=1)
    broken: list[str] = []

    def run_after_run() -> None:
        while not stop.is_set():
            try:
                steps = sorted((scratch / "measure").iterdir())
            except FileNotFoundError:  # the last one went, and its stage with it
                break
            for step in [s for s in steps if not s.name.startswith(".")][:1]:
                with Use(scratch, "r", [f"measure/{step.name}"]):
                    if not step.exists():
                        continue  # taken before the lease: the run computes it again
                    time.sleep(0.003)
                    if not (step / "step.json").exists():
                        broken.append(step.name)

    thread = threading.Thread(target=run_after_run)
    thread.start()
    try:
        for _ in range(3):
            purge("--stage", "measure", "--yes")
    finally:
        stop.set()
        thread.join()
    assert not broken
    purge("--stage", "measure", "--yes")
    assert not list(scratch.glob("measure/*"))


def test_what_a_run_wrote_meanwhile_stays(tree: Project, purge: Purge) -> None:
    """A run that came and went while purge waited for its turn."""
    (step,) = (_scratch(tree) / "two" / "contact").iterdir()
    began = threading.Event()

    def come_and_go() -> None:
        with exclusive(_scratch(tree) / "two"):
            began.set()
            time.sleep(1)
            (step / "P2.rows.0123456789abcdef.parquet").write_bytes(b"new")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    assert began.wait(10)
    said = purge("--dataset", "two", "--yes")
    thread.join()
    assert "a run wrote into it meanwhile" in said
    assert OTHER in _left(tree)


# --- what is not ours, or leads outside


@pytest.fixture
def hostile(tree: Project) -> dict[str, str]:
    """Links at every level, and things that the program did not make; gives digests of what must stay."""
    root = tree.root
    for name in ("datasets/one/P1", "paper_figures"):
        folder = root / "data" / name
        folder.mkdir(parents=True)
        (folder / "figure.tif").write_bytes(name.encode())
    scratch, dataset = _scratch(tree), root / "data" / "datasets" / "one"
    figures = root / "data" / "paper_figures"
    step = next((scratch / "one" / "contact").glob("pairs-*"))
    for at, to in (
        (scratch / "linked", dataset),
        (scratch / "figures", figures),
        (scratch / "loop", scratch),
        (scratch / "one" / "stage", dataset),
        (scratch / "one" / "up", Path("../../../data/datasets")),
        (scratch / "one" / "dangling", Path("nowhere")),
        (scratch / "one" / "contact" / "pairs-0123456789ab", dataset),
        (step / "inner", dataset),
        (step / "receipts" / "up", Path("../../../../../datasets")),
        (step / "again", step),
    ):
        at.symlink_to(to)
    (scratch / "notes.txt").write_text("mine")
    (scratch / "my folder").mkdir()
    (scratch / "my folder" / "mine.csv").write_text("1")
    (scratch / "empty" / "inner").mkdir(parents=True)
    (scratch / "one" / "contact" / "kept").mkdir()
    (scratch / "one" / "contact" / "mine-0123456789ac").mkdir()
    (scratch / "one" / "contact" / "mine-0123456789ac" / "data.csv").write_text("1")
    os.mkfifo(scratch / "two" / "fifo")
    ours = ("one/cellpose", "one/contact/pairs", "one/contact/events", "two/contact/pairs")
    return {
        path: digest
        for path, digest in digests(root).items()
        if not path.removeprefix("data/scratch/").startswith(ours) or path.endswith("pairs-0123456789ab")
    }


def test_what_leads_outside_is_skipped_and_named_and_the_rest_is_done(
    tree: Project, purge: Purge, hostile: dict[str, str]
) -> None:
    said = purge("--older-than", "1m", "--yes")
    assert _left(tree) == set()
    now = digests(tree.root)
    assert {path: now.get(path) for path in hostile} == hostile
    assert [path.name for path in (_scratch(tree) / "empty").iterdir()] == ["inner"]
    assert set(now) - set(hostile) == {"data/scratch/one/.lock", "data/scratch/two/.lock"}
    for name in (
        "linked is a link to",
        "figures is a link to",
        "loop is a link to",
        "one/stage is a link to",
        "one/up is a link to ../../../data/datasets",
        "one/contact/pairs-0123456789ab is a link to",
        "notes.txt was not made by this program",
        "my folder was not made by this program",
        "one/contact/kept was not made by this program",
        "one/contact/mine-0123456789ac has no step.json that fits",
        "two/fifo was not made by this program",
    ):
        assert f"skipped: {name}" in said, name


FORGED = b"no\nDeleted 9 files \xff"
"""A name of a file that would end one line and begin another, and is not UTF-8."""
SHOWN = r"no\x0aDeleted 9 files \udcff"


def test_names_of_any_bytes_are_said_in_one_line(tree: Project, purge: Purge) -> None:
    (_scratch(tree) / os.fsdecode(FORGED)).mkdir()
    (_scratch(tree) / "one" / os.fsdecode(FORGED)).mkdir()
    log = make_run(tree.root / "output", run_id(9), [], sealed=False).root / "log"
    (log / os.fsdecode(FORGED)).write_text("")
    for path in log.rglob("*"):
        os.utime(path, (0, 0))
    said = purge()
    said.encode()
    assert f"skipped: {SHOWN} was not made by this program" in said
    assert f"log/{SHOWN}  " in said
    assert "\nDeleted 9 files" not in said
    assert SHOWN in purge("--stage", "nonesuch", expect=2)


def test_a_scratch_root_that_is_a_link_is_purged_where_it_leads(tree: Project, purge: Purge) -> None:
    scratch = _scratch(tree)
    scratch.rename(tree.root / "large disk")
    scratch.symlink_to(tree.root / "large disk")
    purge("--dataset", "one", "--yes")
    assert steps_of(tree.root / "large disk") == {"two/contact/pairs"}


@pytest.mark.parametrize("name", [".lock", ".runs"])
def test_a_lock_that_is_a_link_empties_nothing(tree: Project, purge: Purge, name: str) -> None:
    manifest = tree.root / "manifest.json"
    manifest.write_text("precious")
    (_scratch(tree) / "two" / name).symlink_to(manifest)
    said = purge("--older-than", "1m", "--yes")
    assert f"skipped: two {name} in it is not what runs write" in said
    assert manifest.read_text() == "precious"
    assert _left(tree) == {OTHER}


def test_scratch_that_holds_datasets_is_refused(tree: Project, purge: Purge) -> None:
    said = purge("--yes", "--set=paths.scratch_root=data", expect=2)
    assert "purge would reach it" in said
    assert _left(tree) == ALL


# --- what cannot be deleted


def test_what_cannot_be_deleted_is_named_and_the_rest_goes(tree: Project, purge: Purge) -> None:
    (step,) = (_scratch(tree) / "two" / "contact").iterdir()
    protect(step / "receipts")
    try:
        said = purge("--older-than", "1m", "--yes", expect=3)
    finally:
        (trash,) = (_scratch(tree) / "two" / "contact").iterdir()
        release(trash / "receipts")
    assert f"not deleted: two/contact/{trash.name}/receipts" in said
    assert "1 thing could not be deleted; the rest was" in said
    assert _left(tree) == set()
    dry = purge()
    assert "left by a purge that was stopped" in dry
    assert trash.exists()
    purge("--yes")
    assert not trash.exists()


# --- what was left behind


def test_trash_and_temporary_files_go_with_every_purge(tree: Project, purge: Purge) -> None:
    step = make_step(_scratch(tree) / "one", "measure.objects", age_days=3)
    old, new = step / ".P1.rows.parquet.12.0a1b2c3d.tmp", step / "P1.labels.zarr" / f"c.0.{'0' * 32}.partial"
    new.parent.mkdir()
    half = new.with_name(f"c.1.{'1' * 32}.partial")
    claim = step / "receipts" / "P1.00007.0123456789abcdef.claim"
    mine = _scratch(tree) / f"{TRASH}mine.00ff00ff"
    trash = step.with_name(f"{TRASH}objects-0123456789ab.00ff00ff")
    (trash / "receipts").mkdir(parents=True)
    (trash / "receipts" / "a.json").write_text("{}")
    probe = _scratch(tree) / ".probe.12.0011aabb"
    for path in (old, new, half, probe, claim, mine):
        path.write_bytes(b"half")
    for path in (old, half, probe, claim, mine):
        os.utime(path, (0, 0))
    said = purge("--set=retention.scratch_days=0")
    assert "loose files in a folder that stays" in said
    assert "left by a purge that was stopped" in said
    purge("--set=retention.scratch_days=0", "--yes")
    assert [p for p in (old, half, probe, claim, trash) if p.exists()] == []
    assert [p for p in (new, mine) if not p.exists()] == []
    assert (step / "step.json").exists()


def test_gc_drops_tables_that_no_receipt_names(tree: Project, purge: Purge) -> None:
    contact = _scratch(tree) / "one" / "contact"
    kept = contact / f"pairs-{key('last')}"
    table = next(kept.glob("P1.00001.*.parquet"))
    (kept / "receipts" / f"P1.00001.{table.name.split('.')[3]}.json").unlink()
    young = kept / "P1.00009.rows.0123456789abcdef.parquet"
    young.write_bytes(b"a worker is about to write its receipt")
    tables = len(list(kept.glob("*.parquet")))
    purge("--yes")
    assert len(list(kept.glob("*.parquet"))) == tables
    purge("--gc", "--yes")
    assert not table.exists()
    assert young.exists()
    assert len(list(kept.glob("*.parquet"))) == tables - 1


def test_cases_of_dead_benchmarks_go(tree: Project, purge: Purge) -> None:
    scratch, output = _scratch(tree), tree.root / "output"
    inputs = digests(scratch / "one")
    runs = [run_id(d) for d in (4, 5, 6, 7, 8)]
    alive, dead, _, foreign_new, foreign_alive = runs
    for run in runs:
        case = scratch / ".bench" / run / "repeat-0" / "one"
        make_step(case, "measure.objects", age_days=2 * (run != foreign_new))
        (case / "contact").symlink_to(scratch / "one" / "contact")
    bundles = {
        run: make_run(output, run, [], workflow="benchmark/master", sealed=False) for run in (alive, dead)
    }
    (scratch / ".bench" / "mine").mkdir()
    with Lease(bundles[alive].lease), Use(scratch / "one", foreign_alive, []):
        said = purge("--set=retention.scratch_days=0", "--yes")
    left = sorted(p.name for p in (scratch / ".bench").iterdir())
    assert left == sorted([alive, foreign_new, foreign_alive, "mine"])
    assert "skipped: .bench/mine was not made by this program" in said
    assert {p: d for p, d in digests(scratch / "one").items() if p != ".lock"} == inputs


# --- logs


def test_old_logs_of_runs_that_were_never_sealed_go(tree: Project, purge: Purge) -> None:
    output = tree.root / "output"
    states = (("dead", 10, "open"), ("given up", 11, "abandoned"), ("alive", 12, "open"), ("new", 13, "open"))
    made = {
        name: make_run(output, run_id(day), [], sealed=False, status=status) for name, day, status in states
    }
    for bundle in list(output.glob("*/run_*")):
        if bundle != made["new"].root:
            for path in (bundle / "log").rglob("*"):
                os.utime(path, (0, 0))
    sealed = digests(output / "cytotoxicity" / f"run_{run_id(2)}")
    (output / "cytotoxicity" / f"{TRASH}parsl.00ff00ff").mkdir()
    with Lease(made["alive"].lease):
        assert "old log of a run that was never sealed" in purge()
        purge("--set=retention.log_days=0", "--yes")
        assert (made["dead"].root / "log" / "parsl").exists()
        purge("--yes")
    logs = {name: sorted(p.name for p in (b.root / "log").iterdir()) for name, b in made.items()}
    whole = ["events.jsonl", "parsl", "workers"]
    assert logs == {"dead": ["events.jsonl"], "given up": ["events.jsonl"], "alive": whole, "new": whole}
    assert digests(output / "cytotoxicity" / f"run_{run_id(2)}") == sealed
    assert all((b.root / "tables" / "cells.parquet").exists() for b in made.values())
    assert not list((output / "cytotoxicity").glob(f"{TRASH}*"))


def test_older_results_that_were_migrated_are_nobodys_old_logs(tree: Project, purge: Purge) -> None:
    legacy = tree.root / "output" / "legacy"
    (legacy / "run_a" / "log").mkdir(parents=True)
    (legacy / "run_a" / "log" / "thesis.txt").write_text("the only one")
    record_results(legacy / "run_a", tree.root / "old", "00", lambda files: None)
    other = make_run(tree.root / "output", "b", [], workflow="legacy", sealed=False, status="finished")
    for folder in (legacy / "run_a", other.root):
        for path in (folder / "log").rglob("*"):
            os.utime(path, (0, 0))
    before = digests(legacy)
    assert "old log" not in purge("--yes")
    assert digests(legacy) == before
    assert "run_a" not in purge("--gc"), "it never said what it is made of"


def test_a_purge_by_hand_leaves_logs_alone(tree: Project, purge: Purge) -> None:
    bundle = make_run(tree.root / "output", run_id(10), [], sealed=False)
    for path in (bundle.root / "log").rglob("*"):
        os.utime(path, (0, 0))
    purge("--dataset", "one", "--yes")
    assert (bundle.root / "log" / "parsl").exists()
