"""Costs of a replay: given, published, and what is wrong with a file of them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataops_parsl.bench.costs import measured_costs, read_costs
from dataops_parsl.bench.pycyto import FILE
from dataops_parsl.errors import ConfigError


def test_pycytos_fixed_part_is_taken_off() -> None:
    costs = read_costs(FILE)
    assert costs.frames == 80
    estimate, apply = (costs.a_frame[f"register_denoise.{s}"] for s in ("estimate", "apply"))
    assert estimate == apply
    # About 115 s a frame on 8 CPUs.
    assert 110 < estimate + apply < 121
    whole = (estimate + apply) * 80 + costs.fixed["register_denoise"]
    assert whole == pytest.approx(9703, rel=0.03)
    assert costs.a_frame["trackmate.link[effector]"] == costs.a_frame["trackmate.link[target]"]


def test_given_costs(tmp_path: Path) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(
        'frames = 6\n[seconds_a_frame]\n"contact.pairs" = 2\n[seconds_a_film]\n"contact.events" = 0.5\n'
    )
    costs = read_costs(path)
    assert (costs.frames, costs.a_frame, costs.a_film) == (6, {"contact.pairs": 2.0}, {"contact.events": 0.5})
    assert not costs.fixed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frames = ", "is not TOML"),
        ("frames = 0", "frames must be"),
        ("frame = 3", "'frame' is no key of costs"),
        ('frames = 3\n[seconds_a_frame]\n"contact.pairs" = "x"', "ValueError"),
        ('frames = 3\n[seconds_a_frame]\n"contact.pairs" = nan', "0 or more"),
        ('frames = 3\n[seconds_a_frame]\n"contact.pairs" = -1', "0 or more"),
        ("frames = 3\nseconds_a_frame = 3", "must be a table"),
        ("frames = 3\npublished = 5", "must be tables"),
        ("frames = 3\nworkers = [1]\n[published]\na = [3]\n[steps]\n", "two numbers of workers"),
        (
            'frames = 3\nworkers = [1, 2]\n[published]\na = [3, 2]\n[steps]\n"x.y" = { line = "b" }',
            "KeyError",
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "costs.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_costs(path)
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_costs_are_measured_in_a_run(tmp_path: Path) -> None:
    bundle = tmp_path / "run_a"
    (bundle / "tables").mkdir(parents=True)
    write = {"config": {"batch_frames": 4}, "n_frames": {"p": 6}}
    (bundle / "run.json").write_text(json.dumps(write))
    lines = [
        # A batch of four frames and a short one of two, each frame 2 s; a film; an attempt that was lost.
        ("contact", "pairs", None, 0, 0.0, 8.0, "done"),
        ("contact", "pairs", None, 1, 8.0, 12.0, "done"),
        ("cellpose", "segment", "target", 0, 0.0, 2.0, "done"),
        ("contact", "events", None, None, 12.0, 15.0, "done"),
        ("contact", "pairs", None, 0, 0.0, 99.0, "lost"),
    ]
    keys = ("stage", "step", "population", "batch", "started", "ended", "outcome")
    rows = [{**dict(zip(keys, line, strict=True)), "position_id": "p"} for line in lines]
    pq.write_table(pa.Table.from_pylist(rows), bundle / "tables" / "trace.parquet")
    costs = measured_costs(bundle)
    assert costs.frames == 6
    assert costs.a_frame == {"contact.pairs": 2.0, "cellpose.segment[target]": 0.5}
    assert costs.a_film == {"contact.events": 3.0}


def test_no_file_and_no_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_costs(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"has no trace\.parquet"):
        measured_costs(tmp_path)
