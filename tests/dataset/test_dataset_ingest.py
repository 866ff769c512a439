from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile

import dataops_parsl
from dataops_parsl import cli
from dataops_parsl.dataset import staging
from dataops_parsl.dataset.digest import pixels_digest
from dataops_parsl.dataset.ingest import add, propose
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import verify
from dataops_parsl.errors import DatasetError, PlaceError
from dataops_parsl.storage.atomic import sync_folder
from tests.dataset.films import FilmMaker, describe, frame
from tests.faults.snapshots import writable
from tests.helpers import Project


def test_pixels_and_records_are_those_planted(film: FilmMaker, tmp_path: Path) -> None:
    source = film(("P1", "P2"), 6)
    (source / "dataset.toml").write_text(describe('plate = "plate.csv"'))
    (source / "plate.csv").write_text(
        "position,well,condition,control,replicate,e_to_t\nP2,B1,CAR-T,no,2,5\n"
    )
    seen: list[tuple[int, int]] = []
    dataset = add(
        source, "coculture", tmp_path / "data", progress=lambda a, b: seen.append((a, b)), workers=2
    )
    assert dataset == Dataset.open(tmp_path / "data" / "coculture")
    assert list(dataset.positions) == ["P1", "P2"]
    for name, position in dataset.positions.items():
        assert (position.n_frames, position.shape_px) == (6, (12, 17))
        assert position.times == (0, 60, 120, 180, 240, 300)
        for channel in ("gfp", "pi"):
            assert position.dtype(channel) == np.uint16
            for t in range(6):
                np.testing.assert_array_equal(position.read(channel, t), frame(name, channel, t))
                assert position.raw_digest(channel, t) == pixels_digest(frame(name, channel, t))
    assert dataset.position("P2").plate.condition == "CAR-T"
    assert dataset.position("P2").plate.e_to_t == 5.0
    assert dataset.position("P1").plate.well is None
    assert seen == [(i, 48) for i in range(1, 49)]
    assert dataset.record["positions"][0]["shape_px"] == [12, 17]


def test_only_words_stay_writable(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    source.joinpath("notes.txt").write_text("not part of the film")
    root = add(source, "d", tmp_path / "data").root
    assert writable(root) == {"dataset.toml"}
    assert root.stat().st_mode & stat.S_IWUSR, "editors write beside dataset.toml and rename"
    edited = root / ".dataset.toml.edited"
    edited.write_text((root / "dataset.toml").read_text() + "# edited\n")
    edited.rename(root / "dataset.toml")
    assert Dataset.open(root).positions
    if os.geteuid():
        for spoil in (lambda: (root / "P1/gfp/im_00000.tif").unlink(), lambda: (root / "P1/new").mkdir()):
            with pytest.raises(PermissionError):
                spoil()
    assert not (root / "notes.txt").exists()
    assert sorted(p.name for p in (tmp_path / "data").iterdir()) == ["d"]


def test_one_position_does_not_load_the_others(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(("P1", "P2")), "d", tmp_path / "data")
    (dataset.root / "manifest" / "P2.json").chmod(0o644)
    (dataset.root / "manifest" / "P2.json").write_text("{")
    again = Dataset.open(dataset.root)
    assert again.position("P1").read("gfp", 0) is not None
    with pytest.raises(DatasetError, match=r"P2\.json"):
        again.position("P2").read("gfp", 0)


@pytest.mark.parametrize("n_frames", [1, 2, 8, 9, 50])
def test_sample_frames_span_the_film(film: FilmMaker, tmp_path: Path, n_frames: int) -> None:
    dataset = add(film(n_frames={"gfp": n_frames, "pi": n_frames}), "d", tmp_path / "data")
    frames = dataset.position("P1").sample_frames
    assert len(frames) == min(8, n_frames)
    assert (frames[0], frames[-1]) == (0, n_frames - 1)
    assert len(set(frames)) == len(frames)


def test_excluded_frames_are_null_even_when_damaged(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    (source / "P1" / "pi" / "im_00000.tif").unlink()
    (source / "P1" / "gfp" / "im_00002.tif").write_bytes(b"II")
    reasons = {("P1", 0): "shutter closed", ("P1", 2): "damaged"}
    dataset = add(source, "d", tmp_path / "data", exclude=reasons)
    position = dataset.position("P1")
    assert position.excluded == {0: "shutter closed", 2: "damaged"}
    assert position.n_frames == 6
    for t in (0, 2):
        assert position.raw_digest("gfp", t) is None
        assert position.read("pi", t) is None
    assert not set(position.sample_frames) & {0, 2}
    whole = add(film(folder="whole"), "whole", tmp_path / "data")
    assert whole.fingerprint != dataset.fingerprint


@pytest.mark.parametrize(
    ("key", "words"), [(("P9", 0), "P9:0"), (("P1", 6), "0 to 5"), (("P1", -1), "0 to 5")]
)
def test_an_exclusion_that_cannot_be_meant(
    film: FilmMaker, tmp_path: Path, key: tuple[str, int], words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        add(film(), "d", tmp_path / "data", exclude={key: "why"})


@pytest.mark.parametrize("numbered_by", ["film", "itself"])
def test_a_sparse_channel(film: FilmMaker, tmp_path: Path, numbered_by: str) -> None:
    source = film(n_frames={"gfp": 11, "pi": 3}, described=describe(pi=", every = 5"))
    if numbered_by == "film":
        for i in (2, 1):
            (source / "P1/pi" / f"im_{i:05d}.tif").rename(source / "P1/pi" / f"im_{5 * i:05d}.tif")
    position = add(source, "d", tmp_path / "data").position("P1")
    assert position.n_frames == 11
    assert [t for t in range(11) if position.raw_digest("pi", t)] == [0, 5, 10]
    np.testing.assert_array_equal(position.read("pi", 10), frame("P1", "pi", 2))
    assert position.read("pi", 4) is None
    assert set(position.sample_frames) == {0, 5, 10}


def test_times_and_a_times_column(film: FilmMaker, tmp_path: Path) -> None:
    said = describe('times = "times.csv"').replace("frame_interval_s = 60", "")
    source = film(("P1", "P2"), {"gfp": 3, "pi": 2}, described=said)
    rows = [f"{p},{t},{10 * t**2 + k},{int(t != 1)}" for k, p in enumerate(("P1", "P2")) for t in range(3)]
    (source / "times.csv").write_text("position,frame,time_s,pi\n" + "\n".join(rows))
    dataset = add(source, "d", tmp_path / "data")
    assert dataset.position("P2").times == (1, 11, 41)
    assert [bool(dataset.position("P1").raw_digest("pi", t)) for t in range(3)] == [True, False, True]


def test_the_fingerprint_is_of_what_was_acquired(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    one = add(source, "one", tmp_path / "data")
    (source / "dataset.toml").write_text(describe().replace("diameter_um = 20", "diameter_um = 15"))
    assert add(source, "words", tmp_path / "data").fingerprint == one.fingerprint
    for change in (("[0.65, 0.5]", "[0.65, 0.6]"), ("= 60", "= 61")):
        (source / "dataset.toml").write_text(describe().replace(*change))
        assert add(source, f"x{len(change[0])}", tmp_path / "data").fingerprint != one.fingerprint


def test_words_may_be_edited_but_not_what_was_acquired(film: FilmMaker, tmp_path: Path) -> None:
    root = add(film(), "d", tmp_path / "data").root
    (root / "dataset.toml").write_text(describe().replace("diameter_um = 20", "diameter_um = 15"))
    assert Dataset.open(root).description.populations["target"].diameter_um == 15
    (root / "dataset.toml").write_text(describe().replace("[0.65, 0.5]", "[0.325, 0.25]"))
    with pytest.raises(DatasetError, match="pixel_size_um"):
        Dataset.open(root)


def test_link_leaves_the_files_alone(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    before = _as_they_lie(source)
    dataset = add(source, "d", tmp_path / "data", link=True)
    assert dataset.link == source
    assert _as_they_lie(source) == before
    assert not list(dataset.root.rglob("*.tif"))
    np.testing.assert_array_equal(dataset.position("P1").read("pi", 3), frame("P1", "pi", 3))
    copied = add(source, "copied", tmp_path / "data")
    assert copied.fingerprint == dataset.fingerprint


def _as_they_lie(folder: Path) -> dict[Path, tuple[int, ...]]:
    """What writing, moving or changing modes would change; reading changes the access time alone."""
    stats = {path: path.stat() for path in folder.rglob("*")}
    return {
        p: (s.st_ino, s.st_nlink, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
        for p, s in stats.items()
    }


def test_symlinks_in_the_source_are_followed(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    elsewhere = tmp_path / "elsewhere"
    (source / "P1" / "pi").rename(elsewhere)
    (source / "P1" / "pi").symlink_to(elsewhere)
    (source / "P1" / "loop").symlink_to(source)
    linked = tmp_path / "by_link"
    linked.symlink_to(source)
    dataset = add(linked, "d", tmp_path / "data")
    assert (dataset.root / "P1/pi/im_00000.tif").is_file()
    assert not (dataset.root / "P1/pi").is_symlink()
    assert elsewhere.joinpath("im_00000.tif").stat().st_mode & stat.S_IWUSR


def test_a_changed_file_is_refused_at_reading(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(), "d", tmp_path / "data")
    path = dataset.root / "P1/gfp/im_00003.tif"
    path.chmod(0o644)
    tifffile.imwrite(path, frame("P1", "gfp", 4))
    with pytest.raises(DatasetError, match=r"P1.*gfp.*frame 3.*im_00003\.tif.*was changed"):
        dataset.position("P1").read("gfp", 3)
    path.parent.chmod(0o755)
    path.unlink()
    with pytest.raises(DatasetError, match=r"P1.*gfp.*frame 3.*im_00003\.tif.*missing"):
        dataset.position("P1").read("gfp", 3)
    assert dataset.position("P1").read("gfp", 4) is not None


def test_questions_instead_of_guesses(film: FilmMaker, tmp_path: Path) -> None:
    source = film(described=None)
    proposal = propose(source)
    assert 'pattern = "{position}/{channel}/im_{frame:05d}.tif"' in proposal.text
    with pytest.raises(DatasetError) as caught:
        add(source, "d", tmp_path / "data")
    for words in ("pixel_size_um", "frame_interval_s", "populations", "--description", proposal.text):
        assert words in str(caught.value)
    assert not (tmp_path / "data").exists()
    (tmp_path / "said.toml").write_text(describe())
    assert add(source, "d", tmp_path / "data", description=tmp_path / "said.toml").description.populations


def test_names_are_made_safe_and_recorded(film: FilmMaker, tmp_path: Path) -> None:
    source = film(
        ("Pos 1",), described=describe().replace("gfp =", "GFP_488 =").replace('"gfp"', '"GFP_488"')
    )
    (source / "Pos 1" / "gfp").rename(source / "Pos 1" / "GFP 488")
    dataset = add(source, "d", tmp_path / "data")
    assert list(dataset.positions) == ["Pos_1"]
    assert dataset.record["renamed"] == {"Pos 1": "Pos_1", "GFP 488": "GFP_488"}
    assert dataset.position("Pos_1").read("GFP_488", 0) is not None


def test_an_undeclared_channel_is_left_out_and_said(film: FilmMaker, tmp_path: Path) -> None:
    dataset = add(film(n_frames={"gfp": 3, "pi": 3, "bf": 2}), "d", tmp_path / "data")
    assert dataset.channels == ("gfp", "pi")
    assert any("'bf'" in note for note in dataset.notes)
    assert not (dataset.root / "P1" / "bf").exists()


def test_a_name_is_taken_once(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    add(source, "d", tmp_path / "data")
    with pytest.raises(DatasetError, match="already"):
        add(source, "d", tmp_path / "data")
    for name in ("a b", "../d", ".d", ""):
        with pytest.raises(DatasetError, match="name of a dataset"):
            add(source, name, tmp_path / "data")


def test_a_place_that_cannot_be_written(film: FilmMaker, tmp_path: Path) -> None:
    source = film()
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match=r"paths\.data_root"):
        add(source, "d", tmp_path / "file" / "data")
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    if not os.access(locked, os.W_OK):
        with pytest.raises(PlaceError, match="cannot be written"):
            add(source, "d", locked)


KILLED = """
import sys, time
from pathlib import Path
from dataops_parsl.dataset.ingest import add
def slow(done, total):
    print(done, flush=True)
    time.sleep(0.02)
add(Path(sys.argv[1]), "d", Path(sys.argv[2]), progress=slow, workers=1)
"""


def test_sigkill_leaves_nothing_under_the_name(film: FilmMaker, tmp_path: Path) -> None:
    source, data_root = film(n_frames=40), tmp_path / "data"
    here = {**os.environ, "PYTHONPATH": str(Path(dataops_parsl.__file__).parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, source, data_root], stdout=subprocess.PIPE, text=True, env=here
    )
    assert child.stdout is not None
    for line in child.stdout:
        if int(line) >= 60:
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    (left,) = data_root.iterdir()
    assert re.fullmatch(rf"\.d\.incoming-[0-9a-f]{{8}}-{child.pid}", left.name)
    other = data_root / f".d.incoming-{os.getppid()}"
    other.mkdir()
    dataset = add(source, "d", data_root)
    assert sorted(path.name for path in data_root.iterdir()) == [other.name, "d"]
    assert dataset.position("P1").read("pi", 39) is not None


def test_a_second_command_leaves_what_is_staged_alone_to_the_end(
    film: FilmMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on another host, where the process is not to be seen and the lease alone says that it lives."""
    seen = []

    def sync(folder: Path) -> None:
        sync_folder(folder)
        with staging.staging(tmp_path / "data", "d") as other:
            seen.append(other)

    monkeypatch.setattr(staging, "_runs", lambda pid: False)
    monkeypatch.setattr(staging, "sync_folder", sync)
    assert verify(add(film(), "d", tmp_path / "data")) == []
    assert len({place.parent for place in seen}) > 3, "names differ, though the process is the same"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["d"]


def test_what_a_kill_after_the_rename_left_goes_with_the_next_command(
    film: FilmMaker, bare_project: Project
) -> None:
    words = ["dataset", "add", str(film()), "--name", "d", "--project", str(bare_project.root)]
    assert cli.main(words) == 0
    left = bare_project.root / "data" / "datasets" / ".d.incoming-0123abcd-4194305"
    left.mkdir()
    assert cli.main(words) == 0
    assert not left.exists()


def test_another_z_projection_is_another_dataset(
    film: FilmMaker, bare_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    source = film(n_frames=1, pixels=lambda *of: np.stack([frame(*of), frame(*of) + 1]))

    def added(*words: str) -> int:
        capsys.readouterr()
        where = ["--name", "d", "--project", str(bare_project.root)]
        return cli.main(["dataset", "add", str(source), *where, *words])

    assert added("--z-projection", "max") == 0
    for words in ((), ("--z-projection", "max")):
        assert added(*words) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert added("--z-projection", "mean") == 2
    assert "there is a dataset 'd' already" in capsys.readouterr().err


def test_a_failure_midway_leaves_nothing(film: FilmMaker, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(film(), "d", tmp_path / "data", progress=stop)
    assert list((tmp_path / "data").iterdir()) == []


def test_open_says_what_is_wrong(film: FilmMaker, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no dataset at"):
        Dataset.open(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="dataset add"):
        Dataset.open(film(described=None))
    dataset = add(film(folder="other"), "d", tmp_path / "data")
    with pytest.raises(DatasetError, match="did you mean 'P1'"):
        dataset.position("p1")
    with pytest.raises(DatasetError, match="did you mean 'gfp'"):
        dataset.position("P1").read("gpf", 0)
    with pytest.raises(DatasetError, match="0 to 5"):
        dataset.position("P1").read("gfp", 6)
    manifest = dataset.root / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_text(json.dumps({**dataset.record, "format": 3}))
    with pytest.raises(DatasetError, match="format 3"):
        Dataset.open(dataset.root)
    manifest.write_text("{")
    with pytest.raises(DatasetError, match=r"manifest\.json cannot be read"):
        Dataset.open(dataset.root)


def test_reading_a_frame_is_cheap(film: FilmMaker, tmp_path: Path) -> None:
    position = add(film(n_frames=30), "d", tmp_path / "data").position("P1")
    start = time.perf_counter()
    for _ in range(4):
        for t in range(30):
            position.read("gfp", t)
    assert (time.perf_counter() - start) / 120 < 0.05
