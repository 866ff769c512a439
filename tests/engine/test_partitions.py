"""Answers of sinfo as clusters give them."""

from __future__ import annotations

import math

import pytest

from dataops_parsl.engine.partitions import Nodes, gres_of, limit_min, parse


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("30:00", 30),
        ("4:00:00", 240),
        ("1-06:00:00", 1800),
        ("10-00:00:00", 14400),
        ("0:30", 0.5),
        ("infinite", math.inf),
        ("n/a", math.inf),
    ],
)
def test_time_limits(text: str, minutes: float) -> None:
    assert limit_min(text) == minutes


@pytest.mark.parametrize(
    ("text", "gres"),
    [
        ("(null)", {}),
        ("gpu:8", {("gpu", ""): 8}),
        ("gpu:a100-pcie-40gb:4(S:0-1)", {("gpu", "a100-pcie-40gb"): 4}),
        (
            "gpu:a100:2(S:0,3),gpu:v100:1,lustre:no_consume:1",
            {("gpu", "a100"): 2, ("gpu", "v100"): 1, ("lustre", ""): 1},
        ),
        ("gpu", {("gpu", ""): 1}),
    ],
)
def test_generic_resources(text: str, gres: dict[tuple[str, str], int]) -> None:
    assert gres_of(text) == gres


def test_devices_of_any_type_count_where_none_is_named() -> None:
    nodes = Nodes(1, 16, 65536, {("gpu", "a100"): 2, ("gpu", "v100"): 1, ("lustre", ""): 9})
    assert (nodes.has("gpu", ""), nodes.has("gpu", "v100"), nodes.has("gpu", "h100")) == (3, 1, 0)
    assert nodes.titles == ["gpu:a100", "gpu:v100", "lustre"]


def test_partitions_with_several_kinds_of_nodes() -> None:
    found = parse(
        "short*|up|1-06:00:00|(null)|48|750000|10|idle\n"
        "short*|up|1-06:00:00|(null)|24|380000|3|drained*\n"
        "gpu_short|up|4:00:00|gpu:a100:4(S:0-1)|48|380000+|2|mixed\n"
        "old|inact|infinite|(null)|16|64000|0|n/a\n"
        "a line of another kind\n"
    )
    assert list(found) == ["short", "gpu_short", "old"]
    short = found["short"]
    assert (short.default, short.available, short.limit_min) == (True, "up", 1800)
    assert [(n.count, n.cores, n.mem_mb, n.at_work) for n in short.nodes] == [
        (10, 48, 750000, True),
        (3, 24, 380000, False),
    ]
    assert found["gpu_short"].nodes[0].mem_mb == 380000
    assert not found["gpu_short"].default
    assert (found["old"].available, found["old"].nodes) == ("inact", ())


@pytest.mark.parametrize(
    ("state", "at_work"),
    [
        ("idle", True),
        ("idle~", True),  # switched off to save power: SLURM starts it
        ("mixed", True),
        ("allocated+", True),
        ("draining", False),
        ("down*", False),
        ("idle*", False),  # does not answer
        ("maint", False),
    ],
)
def test_nodes_that_take_jobs(state: str, at_work: bool) -> None:
    assert Nodes(1, 1, 1, {}, state).at_work == at_work
