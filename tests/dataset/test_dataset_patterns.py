from __future__ import annotations

import pytest

from dataops_parsl.dataset.readers.patterns import Pattern, propose_pattern
from dataops_parsl.errors import DatasetError


@pytest.mark.parametrize(
    ("made_by", "positions", "channels", "proposal"),
    [
        ("{p}/{c}/im_{t:05d}.tif", ["P1", "P2"], ["gfp", "pi"], "{position}/{channel}/im_{frame:05d}.tif"),
        ("{p}/{c}/im_{t:05d}.tif", ["P1"], ["gfp", "pi"], "{position}/{channel}/im_{frame:05d}.tif"),
        ("{p}/{c}/im_{t:05d}.tif", ["P1"], ["gfp"], "P1/{channel}/im_{frame:05d}.tif"),
        ("{p}/{c}/im_{t:05d}.tif", ["Pos 1"], ["GFP 488", "pi"], "{position}/{channel}/im_{frame:05d}.tif"),
        ("{c}_t{t:03d}.tif", [""], ["gfp", "pi"], "{channel}_t{frame:03d}.tif"),
        ("t{t:03d}_{c}.tif", [""], ["gfp", "pi"], "t{frame:03d}_{channel}.tif"),
        ("{p}_t{t}_{c}.tif", ["A1", "B2"], ["gfp", "pi"], "{position}_t{frame}_{channel}.tif"),
        ("{c}_{p}_t{t}.tif", ["A1", "B2"], ["gfp", "pi"], "{channel}_{position}_t{frame}.tif"),
        ("img_{t:09d}_{c}_000.tif", [""], ["GFP", "Cy5"], "img_{frame:09d}_{channel}_000.tif"),
        (
            "{p}/img_{t:09d}_{c}_000.tif",
            ["Pos0", "Pos1"],
            ["GFP", "Cy5"],
            "{position}/img_{frame:09d}_{channel}_000.tif",
        ),
        ("{p}/img_{t:09d}_{c}_000.tif", ["Pos0"], ["GFP"], "Pos0/img_{frame:09d}_{channel}_000.tif"),
    ],
)
def test_proposals(made_by: str, positions: list[str], channels: list[str], proposal: str) -> None:
    files = [made_by.format(p=p, c=c, t=t) for p in positions for c in channels for t in range(12)]
    assert propose_pattern(files) == proposal
    pattern = Pattern(proposal)
    read = [pattern.match(file) for file in files]
    assert {m.frame for m in read if m} == set(range(12))
    assert {m.channel for m in read if m} == set(channels)


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["a.tif"],
        ["a.tif", "b_c.tif"],
        [f"img_{t:03d}_GFP_{z:03d}.tif" for t in range(3) for z in range(2)],
    ],
    ids=["none", "no number", "unlike", "planes in files"],
)
def test_no_guess(files: list[str]) -> None:
    assert propose_pattern(files) is None


def test_known_channels_settle_what_is_ambiguous() -> None:
    pattern = Pattern("{position}_{channel}_{frame}.tif", ["GFP_488", "pi"])
    for position, channel in (("a_1", "GFP_488"), ("a", "pi"), ("a_1", "bf")):
        match = pattern.match(f"{position}_{channel}_007.tif")
        assert match is not None
        assert (match.position, match.channel, match.frame) == (position, channel, 7)
    assert pattern.match("x/a_pi_7.tif") is None
    assert pattern.for_channel("a_1", "pi").format(frame=7) == "a_1_pi_7.tif"


def test_a_star_is_any_text() -> None:
    pattern = Pattern("*/{channel}_{frame:03d}*.tif")
    match = pattern.match("day 1/gfp_012_ORG.tif")
    assert match is not None
    assert (match.channel, match.frame, match.position) == ("gfp", 12, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [("{chanel}", "'channel'"), ("{frame}{frame}", "twice"), ("{frame:x}", "no format"), ("{frame", "brace")],
)
def test_patterns_that_cannot_be(text: str, words: str) -> None:
    with pytest.raises(DatasetError, match=words):
        Pattern(text)
