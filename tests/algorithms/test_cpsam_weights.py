"""Files of weights: found, named, and refused before anything is loaded. No torch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from dataops_parsl.algorithms import cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import PUBLISHED, WeightsError, find, hash_now


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "models"
    place.mkdir()
    monkeypatch.setenv(cpsam_weights.FOLDER_VARIABLE, str(place))
    return place


def archive(path: Path, keys: tuple[bytes, ...] = cpsam_weights._KEYS) -> Path:
    """What a quick look takes for a checkpoint: the layout of torch.save with the names of some tensors."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("archive/data.pkl", b"\x80\x02" + b" ".join(keys))
        made.writestr("archive/data/0", bytes(5000))
    return path


def imported(path: Path) -> Path:
    """With the record that an import leaves."""
    stat = path.stat()
    facts = {"sha256": hash_now(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    cpsam_weights.record_path(path).write_text(json.dumps(facts))
    return path


def refused(model: str, sha256: str = "") -> WeightsError:
    with pytest.raises(WeightsError) as caught:
        find(model, sha256)
    return caught.value


def test_by_path_and_by_name(folder: Path, tmp_path: Path) -> None:
    own = archive(tmp_path / "own.pth")
    assert find(str(own)).sha256 == hash_now(own)
    named = imported(archive(folder / "mine"))
    assert find("mine") == cpsam_weights.Weights("mine", named, hash_now(named))
    assert [p.name for p in cpsam_weights.listed()] == ["mine"]
    assert find("mine", hash_now(named).upper())


def test_published_weights_that_are_missing_name_both_remedies(folder: Path) -> None:
    error = refused("cpsam_v2")
    assert f"'cpsam_v2' are not in {folder}" in error.message
    assert "weights fetch cpsam_v2" in error.remedy
    assert "weights import FILE --name cpsam_v2" in error.remedy


def test_a_mistyped_name_and_a_mistyped_path_are_errors(folder: Path, tmp_path: Path) -> None:
    assert "cpsam_v2, cpsam" in refused("cpsamv2").remedy
    archive(tmp_path / "own.pth")
    error = refused(str(tmp_path / "onw.pth"))
    assert "there are no weights at" in error.message
    assert "nothing is downloaded in its place" in error.remedy
    assert "own.pth" in error.remedy
    assert "which is a folder" in refused(str(tmp_path)).message
    assert "relative path" in refused("./own.pth").message


def test_bytes_of_a_published_name_are_pinned(folder: Path) -> None:
    archive(folder / "cpsam")
    error = refused("cpsam")
    assert f"cpsam has {PUBLISHED['cpsam'].sha256}" in error.message


def test_weights_that_lie_there_without_a_record_are_not_taken_by_name(folder: Path) -> None:
    archive(folder / "mine")
    assert "nothing says which they are" in refused("mine").message


def test_another_sha256_than_asked_for(folder: Path, tmp_path: Path) -> None:
    own = archive(tmp_path / "own.pth")
    assert f"{'a' * 64} was asked for" in refused(str(own), "A" * 64).message


def test_imported_weights_that_changed_are_found_out(folder: Path) -> None:
    named = imported(archive(folder / "mine"))
    data = bytearray(named.read_bytes())
    data[-3000] ^= 1
    named.write_bytes(bytes(data))
    assert refused("mine").message


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_file_that_is_cut_short(folder: Path, tmp_path: Path, kept: int) -> None:
    own = archive(tmp_path / "own.pth")
    own.write_bytes(own.read_bytes()[:kept])
    assert "cut short" in refused(str(own)).message


def test_weights_of_another_net(folder: Path, tmp_path: Path) -> None:
    own = archive(tmp_path / "unet.pth", keys=(b"downsample.down.res_down_0.weight",))
    error = refused(str(own))
    assert "are none of cpsam" in error.message
    assert "cellpose 4" in error.remedy
