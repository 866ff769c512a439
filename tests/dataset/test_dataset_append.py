"""Frames that were acquired since are taken in, and what was there before stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dataops_parsl.dataset.append import append
from dataops_parsl.dataset.ingest import add
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.verify import verify
from dataops_parsl.dataset.writers import Format, write
from tests.dataset.films import describe, frame
from tests.faults.scenario import digests

FORMATS = get_args(Format)


def _source(folder: Path, format: str, n_frames: dict[str, int], said: str = "") -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    write(format, folder, n_frames, ["gfp", "pi"], frame, (0.65, 0.5), 60.0)
    (folder / "dataset.toml").write_text(said or describe())
    return folder


def _is_as_planted(dataset: Dataset) -> None:
    for name, film in dataset.positions.items():
        for channel in dataset.channels:
            for t in range(film.n_frames):
                if t not in film.excluded:
                    np.testing.assert_array_equal(film.read(channel, t), frame(name, channel, t))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("link", [False, True])
def test_a_grown_folder_gives_what_it_would_have_given_whole(tmp_path: Path, format: str, link: bool) -> None:
    source = _source(tmp_path / "s", format, {"P1": 9, "P2": 4})
    before = add(source, "d", tmp_path / "data", link=link)
    old = before.position("P1")
    sample = old.sample_frames
    _source(source, format, {"P1": 12, "P2": 4, "P3": 3})
    made = append(source, "d", tmp_path / "data")
    assert (made.frames, made.new) == ({"P1": 3, "P3": 3}, ("P3",))
    whole = add(source, "whole", tmp_path / "data")
    assert made.dataset.fingerprint == whole.fingerprint
    assert made.dataset.position("P1").sample_frames == sample
    assert {n: p.n_frames for n, p in made.dataset.positions.items()} == {"P1": 12, "P2": 4, "P3": 3}
    _is_as_planted(made.dataset)
    assert verify(made.dataset) == []
    if not link:
        # who opened it before goes on to read what was there
        np.testing.assert_array_equal(old.read("gfp", 8), frame("P1", "gfp", 8))
        assert len(old.times) == old.n_frames == 9
    again = digests(tmp_path / "data")
    assert append(source, "d", tmp_path / "data").frames == {}
    assert digests(tmp_path / "data") == again
