from __future__ import annotations

from pathlib import Path

import pytest

from dataops_parsl.dataset.ingest import add
from dataops_parsl.dataset.listing import find, list_datasets
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import Finding, verify
from dataops_parsl.errors import DatasetError
from tests.dataset.films import FilmMaker, describe


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
