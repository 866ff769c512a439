from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.commands.counting import Counting
from dataops_parsl.dataset import verify as dataset_verify
from dataops_parsl.dataset.digest import file_digest
from dataops_parsl.dataset.ingest import add
from dataops_parsl.dataset.listing import find, list_datasets
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.staging import remove_tree
from dataops_parsl.dataset.verify import Finding, notes, verify
from dataops_parsl.errors import DatasetError
from tests.dataset.films import FilmMaker, describe
from tests.helpers import Project


@pytest.mark.parametrize("link", [False, True])
def test_changed_missing_and_extra_files_are_named(film: FilmMaker, tmp_path: Path, link: bool) -> None:
    source = film(("P1", "P2"))
    dataset = add(source, "d", tmp_path / "data", link=link)
    seen: list[tuple[int, int]] = []
    assert verify(dataset, lambda a, b: seen.append((a, b))) == []
    size = dataset.record["files"]["size"]
    assert seen[-1] == (size, size)
    changed, missing = dataset.data / "P1/gfp/im_00001.tif", dataset.data / "P2/pi/im_00002.tif"
    changed.chmod(0o644)
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    missing.parent.chmod(0o755)
    missing.unlink()
    (dataset.root / "P3.tif").write_text("")
    found = {(f.kind, f.path) for f in verify(dataset)}
    prefix = f"{source}/" if link else ""
    assert found == {
        ("changed", f"{prefix}P1/gfp/im_00001.tif"),
        ("missing", f"{prefix}P2/pi/im_00002.tif"),
        ("extra", "P3.tif"),
    }


def test_edited_words_are_no_finding(film: FilmMaker, tmp_path: Path) -> None:
    source = film(described=describe('plate = "plate.csv"'))
    (source / "plate.csv").write_text("position,well\nP1,A1\n")
    root = add(source, "d", tmp_path / "data").root
    (root / "plate.csv").write_text("position,well\nP1,B2\n")
    with (root / "dataset.toml").open("a") as file:
        file.write("# a remark\n")
    dataset = Dataset.open(root)
    assert dataset.position("P1").plate.well == "B2"
    assert verify(dataset) == []


@pytest.mark.parametrize("file", ["manifest/P1.json", "manifest_files.json"])
def test_a_manifest_that_was_touched(film: FilmMaker, tmp_path: Path, file: str) -> None:
    dataset = add(film(), "d", tmp_path / "data")
    (dataset.root / file).chmod(0o644)
    with (dataset.root / file).open("a") as manifest:
        manifest.write(" ")
    assert verify(Dataset.open(dataset.root)) == [Finding(file, "changed", "another content (sha256)")]


def test_a_fingerprint_that_was_touched(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(), "d", tmp_path / "data")
    path = dataset.root / "manifest.json"
    path.chmod(0o644)
    path.write_text(path.read_text().replace(dataset.fingerprint, "0" * 64))
    (finding,) = verify(Dataset.open(dataset.root))
    assert (finding.path, finding.kind) == ("manifest.json", "changed")


def test_files_of_the_system_are_no_finding(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(), "d", tmp_path / "data")
    for name in (".nfs0000000000a1b2c3", ".DS_Store", "P1/Thumbs.db", "P1/gfp/desktop.ini"):
        (dataset.root / name).write_text("")
    assert verify(dataset) == []
    assert notes(dataset) == []
    (dataset.root / "P1" / "nfs").write_text("")
    assert [finding.path for finding in verify(dataset)] == ["P1/nfs"]


@pytest.mark.parametrize("left", ["manifest_files.json", "manifest", "appended-1"])
def test_a_lost_manifest_is_found_without_a_name(
    film: FilmMaker, bare_project: Project, capsys: pytest.CaptureFixture[str], left: str
) -> None:
    data_root = bare_project.root / "data" / "datasets"
    add(film(), "d", data_root)
    (data_root / "never").mkdir()
    words = ["dataset", "verify", "--project", str(bare_project.root)]
    assert cli.main(words) == 0
    root = data_root / "d"
    (root / "appended-1").mkdir()
    for own in {"manifest.json", "manifest_files.json", "manifest", "appended-1"} - {left}:
        remove_tree(root / own) if (root / own).is_dir() else (root / own).unlink()
    assert cli.main(words) == 5
    said = capsys.readouterr()
    assert "d: its manifest.json is gone" in said.out
    assert "not all files are as they were taken in: d (1)" in said.err


def test_names_of_any_bytes_are_said_in_one_line(
    film: FilmMaker, bare_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = add(film(), "d", bare_project.root / "data" / "datasets").root
    (root / os.fsdecode(b"no\nd: all as taken in \xff")).write_text("")
    assert cli.main(["dataset", "verify", "d", "--project", str(bare_project.root)]) == 5
    said = capsys.readouterr().out
    said.encode()
    shown = r"no\x0ad: all as taken in \udcff"
    assert f"  extra    {shown}: was not taken in\n" in said
    assert f"  note: can be written to again: {shown};" in said
    assert "\nd: all" not in said


def test_what_became_writable_is_a_note(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(), "d", tmp_path / "data")
    assert notes(dataset) == []
    (dataset.root / "P1/gfp/im_00001.tif").chmod(0o644)
    (dataset.root / "P1/pi").chmod(0o755)
    (dataset.root / "appended-1/P1").mkdir(parents=True)
    (dataset.root / "appended-1/P1/im.tif").write_text("not yet taken in when the command was killed")
    assert verify(dataset) == []
    open_, left = notes(dataset)
    assert "P1/gfp/im_00001.tif, P1/pi;" in open_
    assert "appended-1" in left
    assert "appended-1" not in open_


def test_files_are_read_side_by_side(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of two files is read to its end only when both are being read."""
    dataset = add(film(n_frames={"gfp": 1, "pi": 1}), "d", tmp_path / "data")
    both = threading.Barrier(2, timeout=30)
    digest = dataset_verify.file_digest

    def meet(path: str | Path, read: Callable[[int], None] | None = None) -> str:
        if Path(path).suffix == ".tif":
            both.wait()
        return digest(path, read)

    monkeypatch.setattr(dataset_verify, "file_digest", meet)
    assert verify(dataset, workers=2) == []


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_checksums_are_made_by_several_cores(tmp_path: Path) -> None:
    """Hashing lets other threads go on: while it lasts, this one counts."""
    large = tmp_path / "large"
    large.write_bytes(bytes(1 << 27))
    n, done = 0, threading.Event()

    def digest() -> None:
        file_digest(large)
        done.set()

    thread = threading.Thread(target=digest)
    thread.start()
    while not done.is_set():
        n += 1
    thread.join()
    assert n > 1000


def test_progress_is_told_while_a_file_is_read(film: FilmMaker, tmp_path: Path) -> None:
    told = io.StringIO()
    counting = Counting("bytes", told, plain_every_s=0.0)
    dataset = add(film(), "d", tmp_path / "data")
    verify(dataset, counting)
    lines = told.getvalue().splitlines()
    assert lines[-1] == "  0.00 of 0.00 GB, 100%"
    told.truncate(0)
    Counting("files", told)(1, 2)
    assert told.getvalue() == "", "what ends soon says nothing"


def test_listing(film: FilmMaker, tmp_path: Path) -> None:
    data_root, legacy = tmp_path / "data", tmp_path / "legacy"
    assert list_datasets(data_root, legacy) == []
    dataset = add(film(("P1", "P2"), 3), "one", data_root)
    add(film(folder="other"), "two", data_root, link=True)
    (data_root / "broken").mkdir()
    (data_root / ".gone.incoming-1").mkdir()
    (legacy / "old").mkdir(parents=True)
    (legacy / "one").mkdir()
    rows = list_datasets(data_root, legacy)
    assert [row.name for row in rows] == ["broken", "one", "two", "old"]
    one = rows[1]
    assert (one.positions, one.frames, one.channels) == (2, 6, ("gfp", "pi"))
    assert one.fingerprint == dataset.fingerprint[:12]
    assert one.size_bytes == sum(path.stat().st_size for path in dataset.root.rglob("*.tif"))
    assert (one.linked, rows[2].linked, one.problem) == (False, True, "")
    assert [row.name for row in rows if row.legacy] == ["old"]
    assert "dataset add" in rows[0].problem
    assert find("one", data_root, legacy) == data_root / "one"
    assert find("old", data_root, legacy) == legacy / "old"


@pytest.mark.parametrize("name", ["ones", "../one", ""])
def test_an_unknown_name(film: FilmMaker, tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="there are none yet"):
        find(name, tmp_path / "data")
    add(film(), "one", tmp_path / "data")
    with pytest.raises(DatasetError) as caught:
        find(name, tmp_path / "data")
    for words in ("there are one", "dataset demo", "dataset add"):
        assert words in str(caught.value)
    if name == "ones":
        assert "did you mean 'one'" in str(caught.value)
