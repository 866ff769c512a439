"""Plans carried out: what stands where afterwards, what is refused, and the way back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import notes, verify
from dataops_parsl.errors import InterruptedRunError, UsageError
from dataops_parsl.migration import copies, transfer
from dataops_parsl.migration.copying import remove
from dataops_parsl.migration.journal import journal_path, open_journal
from dataops_parsl.migration.plan import Action, Item
from dataops_parsl.migration.ways import token
from dataops_parsl.storage.users import Use
from tests.migration.older import DESCRIPTION, Lab, film, hyperstack, sha256s, small, state, write


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    (tmp_path / "project").mkdir()
    return Lab(tmp_path, small(tmp_path / "old"))


@pytest.fixture
def across(tmp_path: Path, other_disk: Path) -> Lab:
    """The older tree lies on another disk."""
    (tmp_path / "project").mkdir()
    return Lab(tmp_path, small(other_disk / "old"))


def test_moved_on_one_disk_and_back(lab: Lab) -> None:
    before, inodes = state(lab.old), _inode(lab.old / "exp1" / "raw" / "notes.txt")
    lab.look()
    assert (lab.go().failed, len(lab.said)) == ([], 5)
    dataset = Dataset.open(lab.data / "datasets" / "exp1")
    assert verify(dataset) == []
    assert dataset.record["source"] == str(lab.old / "exp1" / "raw")
    assert _inode(dataset.root / "notes.txt") == inodes, "renamed, not copied"
    assert not os.access(dataset.root / "P1/gfp/im_00000.tif", os.W_OK) or os.geteuid() == 0
    assert dataset.root.joinpath("P1/gfp/im_00000.tif").stat().st_mode & 0o222 == 0
    (run,) = (lab.project / "output" / "legacy").iterdir()
    assert Bundle(run).facts["status"] == "migrated"
    assert lab.go().done == 0, "nothing to do"
    assert lab.back().failed == []
    assert state(lab.old) == before
    assert os.listdir(lab.project) == []
    assert lab.back().done == 0
    assert (lab.go().failed, lab.back().failed) == ([], []), "and all again"
    assert state(lab.old) == before


def _inode(path: Path) -> int:
    return path.stat().st_ino


def test_by_default_nothing_is_taken_from_another_disk(across: Lab) -> None:
    plan = across.look()
    assert {i.kind: i.action for i in plan.item} == {
        "dataset": "link",
        "intermediate": "copy",
        "figures": "copy",
        "output": "copy",
    }


def test_moved_across_disks_and_back(across: Lab) -> None:
    lab = across
    before = state(lab.old)
    lab.look("move")
    assert lab.go().failed == []
    assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
    assert sorted(p.name for p in lab.old.iterdir()) == ["exp1", "loop", "misc"]
    assert not lab.hidden()
    assert lab.back().failed == []
    assert state(lab.old) == before
    assert os.listdir(lab.project) == []


def test_copied_and_back(lab: Lab) -> None:
    before = state(lab.old)
    lab.look("copy")
    assert lab.go().failed == []
    assert state(lab.old) == before
    assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
    assert sha256s(lab.old / "exp1") <= sha256s(lab.project)
    assert lab.back().failed == []
    assert state(lab.old) == before
    assert os.listdir(lab.project) == []


def test_linked_and_back(lab: Lab) -> None:
    before = state(lab.old)
    lab.look("link")
    assert lab.go().failed == []
    dataset = Dataset.open(lab.data / "datasets" / "exp1")
    assert (dataset.link, verify(dataset)) == (lab.old / "exp1" / "raw", [])
    assert os.readlink(lab.data / "paper_figures" / "paper") == str(lab.old / "paper")
    assert (lab.data / "scratch/exp1/legacy/slurm_logs/slurm-2.out").read_text() == "job 2"
    assert lab.back().failed == []
    assert state(lab.old) == before
    assert os.listdir(lab.project) == []


def test_links_lead_where_they_led(lab: Lab) -> None:
    lab.look()
    lab.go()
    cellpose, paper = lab.data / "scratch/exp1/legacy/cellpose", lab.data / "paper_figures/paper"
    assert os.readlink(cellpose / "inside") == "masks"
    assert os.readlink(cellpose / "up") == str(lab.old / "exp1")
    assert os.readlink(paper / "films") == str(lab.data / "datasets" / "exp1"), "it follows what moves"
    assert os.readlink(paper / "dangling") == "nowhere"
    assert os.readlink(paper / "loop") == "loop"


@pytest.mark.parametrize("action", ["move", "copy"])
def test_links_in_a_films_folder_are_not_followed(lab: Lab, tmp_path: Path, action: Action) -> None:
    raw, analysis = lab.old / "exp1" / "raw", tmp_path / "home" / "analysis"
    table, _ = write(tmp_path / "home" / "b.csv"), write(analysis / "a.csv")
    frame = Path("P1", "gfp", "im_00002.tif")
    (raw / frame).symlink_to(film(tmp_path / "home" / "raw", n_frames=3) / frame)
    for name, leads in (("analysis", analysis), ("b.csv", table), ("again.txt", "notes.txt")):
        (raw / name).symlink_to(leads)
    (raw / "gone").symlink_to("nowhere")
    before, home = state(lab.old), state(tmp_path / "home")
    lab.look(action)
    assert lab.go().failed == []
    dataset = Dataset.open(lab.data / "datasets" / "exp1")
    assert set(dataset.files) == {"notes.txt", "again.txt", *(f"P1/gfp/im_0000{t}.tif" for t in range(3))}
    assert verify(dataset) == []
    assert [n.partition(";")[0] for n in notes(dataset)] == ["can be written to again: P1, P1/gfp, manifest"]
    assert (dataset.root / "notes.txt").stat().st_mode & 0o222 == 0
    assert (dataset.root / "gone").is_symlink()
    assert state(tmp_path / "home") == home, "nothing elsewhere was made read-only"
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_a_file_that_is_called_like_a_link_on_its_way_stays(lab: Lab) -> None:
    mine = write(lab.old / "paper" / ".films.link", "mine")
    before = state(lab.old)
    lab.look("move")
    needed = lab.old / "paper" / f".films.{token('paper', lab.file)}.link"
    write(needed, "mine too")
    lab.change("paper", files=None, size=None)
    (outcome,) = lab.go().failed
    assert "has a name that the program needs" in str(outcome[1])
    assert (needed.read_text(), mine.read_text()) == ("mine too", "mine")
    needed.unlink()
    assert lab.go().failed == []
    assert (lab.data / "paper_figures" / "paper" / ".films.link").read_text() == "mine"
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_a_dataset_that_waits_for_its_description(lab: Lab, tmp_path: Path) -> None:
    (lab.old / "exp1" / "raw" / "dataset.toml").unlink()
    for action in ("move", "link"):
        lab.look(action)
        lab.change("exp1/raw", description="exp1.toml")
        write(tmp_path / "exp1.toml", DESCRIPTION.replace("pixel", "# pixel"))
        outcome = lab.go()
        assert [key for key, _ in outcome.failed] == ["exp1/raw"]
        assert "'pixel_size_um' is missing" in str(outcome.failed[0][1])
        assert lab.go().done == 0, "it goes on waiting"
        write(tmp_path / "exp1.toml", DESCRIPTION)
        assert lab.go().failed == []
        assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
        assert lab.back().failed == []
        assert not (lab.old / "exp1" / "raw" / "dataset.toml").exists()


def test_a_film_that_is_none_after_all_stays_whole(lab: Lab) -> None:
    bad = lab.old / "exp1" / "raw" / "P1" / "gfp" / "im_00001.tif"
    bad.write_bytes(bad.read_bytes()[:-40])
    before = state(lab.old)
    lab.look()
    outcome = lab.go()
    assert "are no dataset yet" in str(outcome.failed[0][1])
    assert "frame 1" in str(outcome.failed[0][1])
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_stacks_as_one_dataset(tmp_path: Path) -> None:
    lab = Lab(tmp_path, tmp_path / "old")
    hyperstack(lab.old / "day1" / "P1.tif", seed=1)
    hyperstack(lab.old / "day1" / "P2.tif", seed=2)
    write(lab.old / "day1" / "slurm-7.out")
    write(
        lab.old / "day1" / "dataset.toml", DESCRIPTION.replace("gfp =", "ch0 =") + 'ch1 = { stain = "PI" }\n'
    )
    before = state(lab.old)
    lab.look()
    assert lab.go().failed == []
    assert list(Dataset.open(lab.data / "datasets" / "day1").positions) == ["P1", "P2"]
    assert (lab.old / "day1" / "dataset.toml").is_file(), "not of the item"
    assert lab.back().failed == []
    assert state(lab.old) == before


@pytest.mark.parametrize("action", ["move", "copy", "link"])
def test_snapshots_and_bundles_keep_what_they_are(tmp_path: Path, action: str) -> None:
    lab = Lab(tmp_path, tmp_path / "old")
    made = ingest.add(film(tmp_path / "films"), "mine", lab.old / "datasets")
    for folder, _, _ in os.walk(made.root, topdown=False):
        os.chmod(folder, 0o555)
    bundle = lab.old / "output" / "tracks" / "run_20260317T114224Z-1a2b"
    write(bundle / "run.json", json.dumps({"workflow": "tracks"}))
    write(bundle / "log" / "events.jsonl")
    (bundle / "tables").mkdir()
    before = state(lab.old)
    lab.look(action)
    assert lab.go().failed == []
    there = Dataset.open(lab.data / "datasets" / "mine")
    assert (there.fingerprint, verify(there)) == (made.fingerprint, [])
    assert Bundle(lab.project / "output/tracks/run_20260317T114224Z-1a2b").facts == {"workflow": "tracks"}
    assert lab.back().failed == []
    assert state(lab.old) == before
    for folder, _, _ in os.walk(made.root):
        os.chmod(folder, 0o755)


@pytest.mark.parametrize("home", ["data/scratch", "elsewhere"])
def test_what_a_living_run_works_on_stays_until_it_ends(tmp_path: Path, home: str) -> None:
    lab = Lab(tmp_path, tmp_path / "old")
    ingest.add(film(tmp_path / "films"), "mine", lab.old / "data" / "datasets")
    ingest.add(film(tmp_path / "other films"), "other", lab.old / "data" / "datasets")
    scratch = lab.old / home / "mine"
    write(scratch / "contact" / "pairs-0a1b" / "receipts" / "x.json", "{}")
    mine = {"data/datasets/mine", f"{home}/mine"}
    with Use(scratch, "r1", ["contact/pairs-0a1b"]):
        left = {item.source for item in lab.look("move").item if item.action == "leave"}
        assert left == mine
        alone = Lab(tmp_path, lab.old / "data" / "datasets").look("move").item
        assert [item.source for item in alone if item.action == "leave"] == ["mine"] * (home != "elsewhere")
    shutil.rmtree(scratch / ".runs")
    (scratch / ".lock").unlink()
    assert {item.source for item in lab.look("move").active} == {*mine, "data/datasets/other"}
    for key in mine:
        lab.change(key, files=None, size=None)
    with Use(scratch, "r2", ["contact/pairs-0a1b"]):
        outcome = lab.go()
        assert {key for key, _ in outcome.failed} == mine
        assert all("the living run r2" in str(error) for _, error in outcome.failed)
        assert verify(Dataset.open(lab.old / "data" / "datasets" / "mine")) == []
        assert (scratch / "contact" / "pairs-0a1b" / "receipts" / "x.json").is_file()
    assert lab.go().failed == []
    assert verify(Dataset.open(lab.data / "datasets" / "mine")) == []


def test_hard_links_stay_one_file(lab: Lab) -> None:
    os.link(lab.old / "paper" / "fig1.svg", lab.old / "paper" / "fig1_again.svg")
    before = state(lab.old)
    lab.look("copy")
    assert lab.go().failed == []
    paper = lab.data / "paper_figures" / "paper"
    assert (paper / "fig1.svg").samefile(paper / "fig1_again.svg")
    assert not (paper / "fig1.svg").samefile(lab.old / "paper" / "fig1.svg")
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_what_can_be_neither_moved_nor_copied_is_refused_alone(lab: Lab) -> None:
    lab.look()
    os.mkfifo(lab.old / "paper" / "pipe")
    before = state(lab.old / "paper")
    outcome = lab.go()
    assert [key for key, _ in outcome.failed] == ["paper"]
    assert "pipe is a named pipe" in str(outcome.failed[0][1])
    assert (outcome.done, state(lab.old / "paper")) == (4, before)


def test_an_item_that_grew_since_the_plan_is_refused(lab: Lab) -> None:
    lab.look()
    write(lab.old / "paper" / "fig2.svg")
    outcome = lab.go()
    assert "was changed since the plan was made: 5 files" in str(outcome.failed[0][1])
    assert (lab.old / "paper" / "fig2.svg").is_file()
    lab.change("paper", files=None, size=None)
    assert lab.go().failed == []
    assert (lab.data / "paper_figures" / "paper" / "fig2.svg").is_file()


def test_something_that_came_to_stand_at_the_target_is_kept(lab: Lab) -> None:
    lab.look()
    mine = write(lab.data / "paper_figures" / "paper", "mine")
    outcome = lab.go()
    assert "never overwritten" in str(outcome.failed[0][1])
    assert mine.read_text() == "mine"
    assert (lab.old / "paper" / "fig1.svg").is_file()


def test_a_source_that_changes_while_it_is_copied_is_kept(across: Lab) -> None:
    across.look("move")
    figure = across.old / "paper" / "fig1.svg"

    def drawn_meanwhile(size: int) -> None:
        if size == len("<svg/>"):
            write(figure, "<svg>drawn anew</svg>")

    outcome = across.go(drawn_meanwhile)
    assert [key for key, _ in outcome.failed] == ["paper"]
    assert "was changed while it was copied: fig1.svg was changed" in str(outcome.failed[0][1])
    assert not (across.data / "paper_figures" / "paper").exists()
    assert not across.hidden()
    assert figure.read_text() == "<svg>drawn anew</svg>"


def test_a_source_that_changes_before_it_is_removed_is_kept(
    across: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = across
    lab.look("move")
    figure = lab.old / "paper" / "fig1.svg"
    _before_removal(monkeypatch, lab.old / "paper", lambda: write(figure, "<svg>drawn anew</svg>"))
    assert lab.go().failed == []
    assert "the source stays: it was changed since it was copied: fig1.svg" in lab.said["paper"]
    assert figure.read_text() == "<svg>drawn anew</svg>"
    outcome = lab.back()
    assert [key for key, _ in outcome.failed] == ["paper"], "which of the two is right?"
    assert (lab.data / "paper_figures" / "paper" / "fig1.svg").read_text() == "<svg/>"
    assert figure.read_text() == "<svg>drawn anew</svg>"


def test_a_source_that_changed_and_was_half_taken_away_is_kept_on_the_way_back(
    across: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = across
    before = state(lab.old)
    for item in lab.look("move").item:
        lab.change(item.key, action="move" if item.key == "paper" else "leave")
    leaving = lab.old / f".paper.{token('paper', lab.file)}.leaving"

    def killed(place: Path) -> None:
        raise InterruptedRunError("as by Ctrl-C")

    monkeypatch.setattr(copies, "remove", killed)
    with pytest.raises(InterruptedRunError):
        lab.go()
    monkeypatch.undo()
    figure = leaving / "fig1.svg"
    times = figure.stat().st_atime_ns, figure.stat().st_mtime_ns
    write(figure, "<svg>drawn anew</svg>")
    ((_, error),) = lab.back().failed
    assert f"{leaving} was changed since it was copied: fig1.svg was changed" in str(error)
    assert figure.read_text() == "<svg>drawn anew</svg>"
    write(figure, "<svg/>")
    os.utime(figure, ns=times)
    assert lab.back().failed == []
    assert state(lab.old) == before


def _before_removal(monkeypatch: pytest.MonkeyPatch, place: Path, change: Callable[[], object]) -> None:
    real = copies.remove_start

    def remove_start(way, digests, **options):
        if way.start == place:
            change()
        return real(way, digests, **options)

    monkeypatch.setattr(copies, "remove_start", remove_start)


@pytest.mark.skipif(
    os.geteuid() == 0, reason="root may write anywhere; tests/faults/test_migrate_disks.py mounts read-only"
)
def test_a_source_that_cannot_be_removed_stays(lab: Lab) -> None:
    before = state(lab.old)
    lab.look("move")
    lab.old.chmod(0o555)
    try:
        assert lab.go().failed == []
        assert lab.said["paper"] == f"copied; the source stays: {lab.old} is read-only"
    finally:
        lab.old.chmod(0o755)
    assert (lab.old / "paper" / "fig1.svg").is_file()
    assert lab.back().failed == []
    assert state(lab.old) == before


def test_what_was_changed_at_the_target_is_left_on_the_way_back(lab: Lab) -> None:
    lab.look()
    lab.go()
    paper = lab.data / "paper_figures" / "paper"
    write(paper / "fig2.svg", "new")
    dataset = lab.data / "datasets" / "exp1" / "dataset.toml"
    (lab.data / "datasets" / "exp1" / "manifest.json").chmod(0o644)
    write(lab.data / "datasets" / "exp1" / "manifest.json", "{}")
    outcome = lab.back()
    said = {key: str(error) for key, error in outcome.failed}
    assert "fig2.svg is new" in said["paper"]
    assert "manifest.json was changed since" in said["exp1/raw"]
    assert (paper / "fig1.svg").is_file()
    assert dataset.is_file()
    (paper / "fig2.svg").unlink()
    assert [key for key, _ in lab.back().failed] == ["exp1/raw"]
    assert (lab.old / "paper" / "fig1.svg").is_file()


def test_something_else_at_the_source_is_kept_on_the_way_back(lab: Lab) -> None:
    lab.look()
    lab.go()
    other = write(lab.old / "paper", "another paper")
    assert [key for key, _ in lab.back().failed] == ["paper"]
    assert other.read_text() == "another paper"
    assert (lab.data / "paper_figures" / "paper" / "fig1.svg").is_file()


def test_a_copy_whose_source_is_gone_comes_back(lab: Lab) -> None:
    before = state(lab.old)
    lab.look("copy")
    lab.go()
    remove(lab.old / "paper")
    assert lab.back().failed == []
    assert lab.said["paper"] == "copied back"
    assert state(lab.old) == before


def test_two_at_once(lab: Lab) -> None:
    lab.look()
    with open_journal(journal_path(lab.file)), pytest.raises(UsageError, match="another migrate works"):
        lab.go()


def test_a_journal_with_a_torn_end_goes_on(lab: Lab) -> None:
    lab.look()
    lab.go()
    journal = journal_path(lab.file)
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"item":"paper","st')
    assert lab.go().done == 0
    assert journal.read_bytes() == whole
    journal.write_bytes(b"something else\n")
    with pytest.raises(UsageError, match="is no journal"):
        lab.go()


def test_an_item_is_not_redirected_once_it_was_begun(lab: Lab, tmp_path: Path) -> None:
    from dataops_parsl.migration.checking import refuse_faults
    from dataops_parsl.migration.journal import read

    lab.look()
    lab.go()
    lab.change("paper", target="data/paper_figures/other")
    assert lab.plan is not None
    with pytest.raises(UsageError, match=r"item paper: was begun as move to .*/paper_figures/paper"):
        refuse_faults(lab.plan, lab.file, lab.places, read(journal_path(lab.file)))


def test_empty_folders_and_single_files(tmp_path: Path) -> None:
    lab = Lab(tmp_path, tmp_path / "old")
    write(lab.old / "paper" / "a.svg")
    (lab.old / "paper" / "empty").mkdir()
    (lab.old / "paper" / "empty").chmod(0o700)
    write(lab.old / "notes.md", "single")
    before = state(lab.old)
    plan = lab.look()
    single = Item(source="notes.md", kind="figures", action="move", target="data/paper_figures/notes.md")
    lab.plan = plan.model_copy(update={"item": (*plan.item, single)})
    assert lab.go().failed == []
    assert (lab.data / "paper_figures/notes.md").read_text() == "single"
    assert lab.data.joinpath("paper_figures/paper/empty").stat().st_mode & 0o777 == 0o700
    assert lab.back().failed == []
    assert state(lab.old) == before


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "old"
    shutil.rmtree(tmp_path / "old", ignore_errors=True)


def test_many_single_files_move_as_one_item(crowded: Path, tmp_path: Path) -> None:
    lab = Lab(tmp_path, crowded)
    for n in range(300):
        write(crowded / f"slurm-{n}.out", str(n))
    before = state(crowded)
    assert [i.key for i in lab.look().item] == ["./{*.out}"]
    assert lab.go().failed == []
    assert len(list((lab.data / "scratch/old/legacy/slurm_logs").iterdir())) == 300
    assert lab.back().failed == []
    assert state(crowded) == before


def test_pairs_know_their_part_of_the_listing() -> None:
    from dataops_parsl.migration.listing import Entry

    file = Entry("file", 1, 2, 3)
    said = {"a": Entry("folder", 0, 0, 0), "a/b": file, "a/c": Entry("file", 1, 2, 3, same="a/b"), "d": file}
    way = transfer.Transfer(Path("/s"), Path("/t"), ("a", "d"), said, {"a/b": "x"}, "0")
    first, second = way.pairs
    assert list(way.below(first)) == [".", "b", "c"]
    assert way.below(first)["c"].same == "b"
    assert way.texts_below(first) == {"b": "x"}
    assert list(way.below(second)) == ["."]


def test_an_item_that_grew_after_a_kill_is_begun_anew(across: Lab) -> None:
    lab = across
    lab.look("copy")
    lab.change("paper", files=None, size=None)

    def killed(size: int) -> None:
        if size == len("<svg/>"):
            raise InterruptedRunError("as by Ctrl-C")

    with pytest.raises(InterruptedRunError):
        lab.go(killed)
    assert [p.name for p in lab.hidden()], "what was copied is kept"
    write(lab.old / "paper" / "fig2.svg")
    before = state(lab.old)
    assert lab.go().failed == []
    assert (lab.data / "paper_figures" / "paper" / "fig2.svg").is_file()
    assert not lab.hidden()
    assert lab.back().failed == []
    assert state(lab.old) == before
    assert os.listdir(lab.project) == []


@pytest.mark.parametrize("action", ["move", "copy", "link"])
def test_what_was_added_to_a_dataset_since_is_kept_on_the_way_back(lab: Lab, action: Action) -> None:
    lab.look(action)
    lab.go()
    root = lab.data / "datasets" / "exp1"
    plate = write(root / "plate.csv", "position,well\nP1,A1\n")
    outcome = lab.back()
    assert [key for key, _ in outcome.failed] == ["exp1/raw"]
    assert "plate.csv is new" in str(outcome.failed[0][1])
    assert plate.is_file()
    assert Dataset.open(root).name == "exp1", "it is a dataset still"


def test_another_dataset_that_came_to_have_the_name_is_not_ours(lab: Lab, tmp_path: Path) -> None:
    lab.look("link")
    ingest.add(film(tmp_path / "films"), "exp1", lab.data / "datasets")
    outcome = lab.go()
    assert [key for key, _ in outcome.failed] == ["exp1/raw"]
    lab.back()
    assert verify(Dataset.open(lab.data / "datasets" / "exp1")) == []
