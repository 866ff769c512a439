"""``weights``: fetched from a real server, imported, refused; nothing is fetched from elsewhere."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.algorithms import cpsam_place, cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import hash_now


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """As usual, but one file ends early and one does not begin."""
        if self.path == "/torn.pth":
            data = (Path(self.directory) / "known.pth").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
            return
        super().do_GET()


@pytest.fixture
def server(known_weights: Path) -> Iterator[str]:
    """Address of a web server that has the known weights."""
    handler = partial(_Quiet, directory=str(known_weights.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "a folder" / "models"
    monkeypatch.setenv(cpsam_weights.FOLDER_VARIABLE, str(place))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return place


def nothing_in(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_list_says_what_is_not_here(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["weights"]) == 0
    assert "weights fetch cpsam_v2" in capsys.readouterr().out
    assert nothing_in(folder)


def test_fetch(folder: Path, server: str, known_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["weights", "fetch", "own", "--url", f"{server}/known.pth"]
    assert cli.main([*words, "--sha256", hash_now(known_weights)]) == 0
    printed = capsys.readouterr().out
    assert "non-commercial" in printed
    assert hash_now(known_weights) in printed
    assert (folder / "own").read_bytes() == known_weights.read_bytes()
    record = json.loads((folder / "own.weights.json").read_text())
    assert record["from"] == f"{server}/known.pth"
    assert cpsam_weights.find("own").sha256 == record["sha256"] == hash_now(known_weights)
    assert cli.main(words) == 0
    assert "here already" in capsys.readouterr().out
    assert cli.main(["weights", "list"]) == 0
    assert "imported" in capsys.readouterr().out


def test_what_is_fetched_under_a_published_name_must_have_its_sha256(
    folder: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights", "fetch", "cpsam", "--url", f"{server}/known.pth"]) == 3
    assert "nothing was kept" in capsys.readouterr().err
    assert nothing_in(folder)


def test_fetch_takes_no_other_weights_of_the_same_name_for_those_that_were_asked_for(
    folder: Path, server: str, known_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.mkdir(parents=True)
    (folder / "own").write_bytes(known_weights.read_bytes())
    fetch = ["weights", "fetch", "own", "--url", f"{server}/known.pth"]
    # Put there by hand: nothing says which they are, until the user does.
    assert cli.main(fetch) == 2
    assert "nothing says that http" in capsys.readouterr().err
    assert not cpsam_weights.record(folder / "own")
    assert cli.main([*fetch, "--sha256", hash_now(known_weights)]) == 0
    assert cpsam_weights.find("own").sha256 == hash_now(known_weights)
    # Now they are known: another place or other bytes are no reason to overwrite or to pass them over.
    for words in (["--url", f"{server}/other.pth"], ["--sha256", "0" * 64]):
        assert cli.main([*fetch, *words]) == 2, words
        assert "choose another name" in capsys.readouterr().err
    assert hash_now(folder / "own") == hash_now(known_weights)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("{server}/torn.pth", "the connection ended after"),
        ("{server}/nothing.pth", "HTTP 404"),
        ("http://127.0.0.1:9/known.pth", "Connection refused"),
        ("http://weights.invalid/known.pth", "could not be fetched"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_both_ways(
    folder: Path, server: str, where: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights", "fetch", "own", "--url", where.format(server=server)]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert "where there is a network" in said
    assert "weights import FILE --name own" in said
    assert nothing_in(folder)


def test_a_mistyped_model_is_not_fetched(folder: Path, known_weights: Path) -> None:
    assert cli.main(["weights", "fetch", "cpsamv2"]) == 2
    assert nothing_in(folder)


def test_import(folder: Path, known_weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["weights", "import", str(known_weights)]
    folder.mkdir(parents=True)
    left, others = folder / ".known.pth.123.abc.tmp", folder / ".known.pth.124.abc.tmp"
    left.write_bytes(b"left by a kill")
    os.utime(left, (1, 1))
    others.write_bytes(b"another import, under way")
    assert cli.main(words) == 0
    assert (left.exists(), others.exists()) == (False, True)
    assert "cpsam_model=known.pth" in capsys.readouterr().out
    assert cpsam_weights.find("known.pth").sha256 == hash_now(known_weights)
    # A kill between the two leaves the file without its record: the same command goes on.
    cpsam_weights.record_path(folder / "known.pth").unlink()
    assert cli.main(words) == 0
    assert cpsam_weights.find("known.pth")


def test_import_refuses_what_is_not_whole_or_not_what_it_is_called(
    folder: Path, known_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(known_weights.read_bytes()[:100_000])
    for words, code, said in (
        ([str(cut)], 3, "cut short"),
        ([str(tmp_path / "nothing")], 2, "there is no file"),
        ([str(known_weights), "--name", "cpsam_v2"], 3, "nothing was kept"),
        ([str(known_weights), "--name", "a/b"], 2, "cannot be the name"),
        ([str(known_weights), "--sha256", "0" * 64], 3, "expected is 0000"),
    ):
        assert cli.main(["weights", "import", *words]) == code, words
        assert said in capsys.readouterr().err
    assert nothing_in(folder)


def test_other_weights_of_the_same_name_are_not_overwritten(
    folder: Path, known_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.stages import known_answer

    assert cli.main(["weights", "import", str(known_weights), "--name", "mine"]) == 0
    other = known_answer.write(tmp_path / "other.pth", flow_px=5.0)
    assert cli.main(["weights", "import", str(other), "--name", "mine"]) == 2
    assert "choose another --name" in capsys.readouterr().err
    assert hash_now(folder / "mine") == hash_now(known_weights)


def test_the_place_of_the_published_weights_is_cellposes_own(known_weights: Path) -> None:
    assert cpsam_place.url("cpsam_v2").startswith("https://")
    assert cpsam_place.url("cpsam_v2").endswith("/cpsam_v2")
