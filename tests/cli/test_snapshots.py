"""Snapshots on the command line: append, verify, link, and the archive of an older tree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dataops_parsl import cli
from tests.faults.scenario import digests
from tests.faults.snapshots import write_frames
from tests.helpers import Project

Command = Callable[..., str]


@pytest.fixture
def command(bare_project: Project, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command line in this process; returns what was printed."""

    def run(*words: str, expect: int = 0) -> str:
        code = cli.main([*words, "--project", str(bare_project.root)])
        printed = "".join(capsys.readouterr())
        assert code == expect, printed
        return printed

    return run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with two positions of three frames."""
    write_frames(tmp_path / "films", {"P1": range(3), "P2": range(3)})
    return tmp_path / "films"


def test_append(command: Command, source: Path) -> None:
    words = ("dataset", "add", str(source), "--name", "mine")
    command(*words)
    assert "mine is there" in command(*words), "given again, it says so"
    assert "mine: nothing new" in command(*words, "--append")
    write_frames(source, {"P1": range(3, 5), "P3": range(2)})
    assert "already" in command(*words, expect=2)
    said = command(*words, "--append", "--exclude", "P1:4:focus")
    for line in ("  P1: 2 frames\n", "  P3: 2 frames, a new position\n", "mine: 3 positions, 10 frames now"):
        assert line in said
    assert "mine: nothing new" in command(*words, "--append", "--exclude", "P1:4:focus")
    for flag in (("--link",), ("--description", "x.toml"), ("--z-projection", "max")):
        assert f"{flag[0]} cannot be given with --append" in command(*words, "--append", *flag, expect=2)
    assert "would be computed" in command("run", "--dataset", "mine", "--dry-run")


def test_verify(command: Command, source: Path, bare_project: Project) -> None:
    root = bare_project.root / "data" / "datasets"
    for name in ("one", "two"):
        command("dataset", "add", str(source), "--name", name)
    (root / "notes").mkdir()
    assert "one: 6 files, 0.00 GB" in command("dataset", "verify", "one")
    said = command("dataset", "verify")
    assert "notes: never taken in" in said
    assert said.count(": all as taken in") == 2
    spoilt = root / "two" / "P1" / "gfp" / "im_00001.tif"
    spoilt.chmod(0o644)
    spoilt.write_bytes(b"spoilt")
    assert "changed  P1/gfp/im_00001.tif" in command("dataset", "verify", "two", expect=5)
    said = command("dataset", "verify", expect=5)
    assert "note: can be written to again: P1/gfp/im_00001.tif" in said
    assert "two (1)" in said
    (root / "two" / "manifest_files.json").unlink()
    assert "missing  manifest_files.json" in command("dataset", "verify", "two", expect=5)
    manifest = root / "two" / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text("{")
    assert "manifest.json cannot be read" in command("dataset", "verify", "two", expect=5)
    assert "no dataset 'three'" in command("dataset", "verify", "three", expect=2)


def test_the_archive_of_an_older_tree(
    command: Command, source: Path, bare_project: Project, tmp_path: Path
) -> None:
    """It is found without a setting, read with a note, marked, and nothing is written through its link."""
    command("dataset", "add", str(source), "--name", "old", "--project", str(bare_project.root))
    data, archive = bare_project.root / "data" / "datasets", tmp_path / "archive"
    archive.mkdir()
    (data / "old").rename(archive / "old")
    (bare_project.root / "distributed").mkdir()
    (bare_project.root / "distributed" / "utse_cyto").symlink_to(archive)
    before = digests(archive)

    command("dataset", "add", str(source), "--name", "new")
    lines = {line.split()[0]: line.split()[-1] for line in command("dataset", "list").splitlines()[1:]}
    assert lines["old"] == "legacy"
    assert lines["new"] != "legacy"
    for words in (("run", "--dataset", "old", "--dry-run"), ("dataset", "verify", "old")):
        said = command(*words)
        assert said.count("deprecated") == 1
        assert "python -m dataops_parsl migrate" in said
    assert "deprecated" not in command("dataset", "verify", "new")

    write_frames(source, {"P1": range(3, 5)})
    words = ("dataset", "add", str(source), "--append", "--name", "old")
    assert "nothing is written" in command(*words, expect=2)
    (bare_project.root / "configs" / "config.user.toml").write_text(
        '[paths]\ndata_root = "distributed/utse_cyto"\n'
    )
    for words in (("add", str(source), "--name", "other"), ("demo",), ("simulate", "demo", "--name", "x")):
        said = command("dataset", *words, expect=2)
        assert "data_root" in said
        assert "nothing is written there" in said
    assert digests(archive) == before
    (bare_project.root / "configs" / "config.user.toml").write_text("")
    command("dataset", "add", str(archive / "old"), "--link", "--name", "linked")
    assert "deprecated" not in command("dataset", "verify", "linked")
    assert digests(archive) == before


def test_a_linked_dataset_grows_where_it_is(command: Command, source: Path) -> None:
    words = ("dataset", "add", str(source), "--name", "mine")
    command(*words, "--link")
    write_frames(source, {"P1": range(3, 5)})
    before = digests(source)
    assert "mine: 2 positions, 8 frames now" in command(*words, "--append")
    assert "all as taken in" in command("dataset", "verify", "mine")
    assert digests(source) == before
