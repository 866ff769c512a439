"""Contact events of films whose contacts, gaps and ends are known."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataops_parsl.algorithms.contact_events import ContactEvents, Tracks, find

N_FRAMES = 12


def tracks(observed: dict[int, list[int]], **facts: list[int]) -> Tracks:
    """Tracks from the frames each was observed in; ``divides=[id]`` and so on set the named fact."""
    ids = sorted(observed)

    def flag(name: str) -> list[bool]:
        return [track in facts.get(name, []) for track in ids]

    return Tracks(
        track_id=ids,
        first_frame=[min(observed[track]) for track in ids],
        last_frame=[max(observed[track]) for track in ids],
        starts_by_division=flag("daughter"),
        ends_by_division=flag("divides"),
        first_touches_edge=flag("enters"),
        last_touches_edge=flag("leaves"),
        observed_track_id=[track for track in ids for _ in observed[track]],
        observed_frame=[frame for track in ids for frame in observed[track]],
    )


WHOLE = tracks({1: list(range(N_FRAMES))})


def events(
    contact: list[int],
    *,
    a: Tracks = WHOLE,
    b: Tracks = WHOLE,
    valid: list[int] | range = range(N_FRAMES),
    bridge_frames: int = 1,
    min_frames: int = 1,
) -> list[tuple[int, int, int, str, str]]:
    """(start, end, n_frames, start reason, end reason) of each event of track 1 with track 1."""
    ones = np.ones(len(contact), int)
    found = find(
        ones,
        ones,
        contact,
        ones * 0.5,
        tracks_a=a,
        tracks_b=b,
        valid_frames=valid,
        bridge_frames=bridge_frames,
        min_frames=min_frames,
    )
    names = ("start_frame", "end_frame", "n_frames", "start_reason", "end_reason")
    return list(zip(*(getattr(found, name).tolist() for name in names), strict=True))


def test_a_contact_seen_to_begin_and_to_end() -> None:
    assert events([4, 5, 6]) == [(4, 6, 3, "contact", "separated")]


def test_a_contact_as_long_as_the_film() -> None:
    assert events(list(range(N_FRAMES))) == [(0, 11, 12, "film", "film")]


@pytest.mark.parametrize(
    ("bridge_frames", "expected"),
    [
        (0, [(3, 4, 2, "contact", "separated"), (6, 7, 2, "contact", "separated")]),
        (1, [(3, 7, 4, "contact", "separated")]),
    ],
)
def test_bridging(bridge_frames: int, expected: list) -> None:
    assert events([3, 4, 6, 7], bridge_frames=bridge_frames) == expected


def test_two_missing_frames_are_not_bridged_by_one() -> None:
    assert [e[:3] for e in events([3, 6], bridge_frames=1)] == [(3, 3, 1), (6, 6, 1)]
    assert [e[:3] for e in events([3, 6], bridge_frames=2)] == [(3, 6, 2)]


def test_a_frame_without_observation_is_bridged_too() -> None:
    gap = tracks({1: [0, 1, 2, 3, 5, 6, 7]})
    assert events([2, 3, 5, 6], a=gap) == [(2, 6, 4, "contact", "separated")]


def test_short_events_are_left_out_and_bridged_frames_do_not_count() -> None:
    assert events([1, 5, 6, 9, 11], min_frames=2) == [
        (5, 6, 2, "contact", "separated"),
        (9, 11, 2, "contact", "film"),
    ]
    assert events([9, 11], min_frames=3) == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, "lost"),
        ({"divides": [1]}, "division"),
        ({"leaves": [1]}, "edge"),
        ({"divides": [1], "leaves": [1]}, "division"),
    ],
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_the_end_of_a_track(facts: dict, reason: str, side: str) -> None:
    ended = tracks({1: list(range(7))}, **facts)
    assert events([4, 5, 6], **{side: ended}) == [(4, 6, 3, "contact", reason)]


@pytest.mark.parametrize(
    ("facts", "reason"), [({}, "lost"), ({"daughter": [1]}, "division"), ({"enters": [1]}, "edge")]
)
@pytest.mark.parametrize("side", ["a", "b"])
def test_the_start_of_a_track(facts: dict, reason: str, side: str) -> None:
    begun = tracks({1: list(range(5, N_FRAMES))}, **facts)
    assert events([5, 6], **{side: begun}) == [(5, 6, 2, reason, "separated")]


def test_how_a_track_ends_says_nothing_of_a_contact_that_ended_before() -> None:
    ended = tracks({1: list(range(9))}, divides=[1], leaves=[1])
    assert events([4, 5], a=ended) == [(4, 5, 2, "contact", "separated")]


def test_of_two_tracks_that_end_the_known_reason_counts() -> None:
    a, b = tracks({1: list(range(7))}), tracks({1: list(range(7))}, leaves=[1])
    assert events([5, 6], a=a, b=b)[0][4] == "edge"


def test_a_gap_beside_the_event_is_looked_past() -> None:
    gap = tracks({1: [0, 1, 2, 3, 4, 6, 7, 8]})
    assert events([3, 4], a=gap, bridge_frames=1) == [(3, 4, 2, "contact", "separated")]
    assert events([3, 4], a=gap, bridge_frames=0) == [(3, 4, 2, "contact", "lost")]
    assert events([6, 7], a=gap, bridge_frames=0) == [(6, 7, 2, "lost", "separated")]


def test_a_longer_gap_censors() -> None:
    gap = tracks({1: [0, 1, 2, 3, 4, 8, 9]})
    assert events([3, 4, 8, 9], a=gap) == [(3, 4, 2, "contact", "lost"), (8, 9, 2, "lost", "lost")]


def test_excluded_frames() -> None:
    valid = [f for f in range(N_FRAMES) if f not in (5, 6)]
    seen = tracks({1: valid})
    assert events([3, 4], a=seen, b=seen, valid=valid) == [(3, 4, 2, "contact", "film")]
    assert events([3, 4], a=seen, b=seen, valid=valid, bridge_frames=2) == [(3, 4, 2, "contact", "separated")]
    assert events([3, 4, 7], a=seen, b=seen, valid=valid, bridge_frames=2) == [
        (3, 7, 3, "contact", "separated")
    ]


def test_the_film_ends_where_valid_frames_end() -> None:
    seen = tracks({1: list(range(2, 8))}, leaves=[1], enters=[1])
    assert events(list(range(2, 8)), a=seen, b=seen, valid=range(2, 8)) == [(2, 7, 6, "film", "film")]


def test_several_pairs_in_any_order_of_rows() -> None:
    observed = {track: list(range(N_FRAMES)) for track in (1, 2, 900_000)}
    a = tracks(observed)
    contact = np.array([[2, 900_000, 3], [1, 2, 4], [2, 900_000, 4], [1, 2, 5], [1, 1, 0]])
    gap_um = np.array([1.5, 0.5, 0.25, 2.0, 1.0])
    for p in (np.arange(5), np.arange(5)[::-1], np.array([2, 0, 4, 3, 1])):
        found = find(
            *contact[p].T, gap_um[p], tracks_a=a, tracks_b=a, valid_frames=range(N_FRAMES), min_frames=2
        )
        assert found.track_a.tolist() == [1, 2]
        assert found.track_b.tolist() == [2, 900_000]
        assert found.start_frame.tolist() == [4, 3]
        assert found.min_gap_um.tolist() == [0.5, 0.25]


def by_hand(contact: set[int], bridge_frames: int, min_frames: int) -> list[tuple[int, int, int]]:
    runs: list[list[int]] = []
    for frame in sorted(contact):
        if runs and frame - runs[-1][-1] <= bridge_frames + 1:
            runs[-1].append(frame)
        else:
            runs.append([frame])
    return [(run[0], run[-1], len(run)) for run in runs if len(run) >= min_frames]


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, N_FRAMES - 1)), st.integers(0, 3), st.integers(1, 4))
def test_events_are_maximal_runs(contact: set[int], bridge_frames: int, min_frames: int) -> None:
    found = events(list(contact), bridge_frames=bridge_frames, min_frames=min_frames)
    assert [e[:3] for e in found] == by_hand(contact, bridge_frames, min_frames)
    for start, end, _, start_reason, end_reason in found:
        assert start_reason == ("film" if start == 0 else "contact")
        assert end_reason == ("film" if end == N_FRAMES - 1 else "separated")


def test_no_contact() -> None:
    assert events([]) == []


def test_no_track_at_all() -> None:
    none = tracks({})
    found = find([], [], [], [], tracks_a=none, tracks_b=none, valid_frames=[])
    assert isinstance(found, ContactEvents)
    assert len(found.start_reason) == 0


def test_a_million_contacts_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n_tracks, n_frames = 4000, 250
    ids = np.arange(1, n_tracks + 1)
    whole = Tracks(
        ids,
        np.zeros(n_tracks),
        np.full(n_tracks, n_frames - 1),
        *[np.zeros(n_tracks, bool)] * 4,
        np.repeat(ids, n_frames),
        np.tile(np.arange(n_frames), n_tracks),
    )
    pair = np.unique(rng.integers(1, n_tracks + 1, (8000, 2)), axis=0)
    keep = rng.random((len(pair), n_frames)) < 0.5
    at, frame = np.nonzero(keep)
    began = time.perf_counter()
    found = find(
        pair[at, 0],
        pair[at, 1],
        frame,
        np.ones(len(at)),
        tracks_a=whole,
        tracks_b=whole,
        valid_frames=range(250),
    )
    assert time.perf_counter() - began < 20
    assert len(at) > 900_000
    assert found.n_frames.min() == 2
    assert set(found.start_reason) == {"contact", "film"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"frame": [3, 3], "track_a": [1, 1], "track_b": [1, 1], "gap_um": [0, 0]},
            "more than once in frame 3",
        ),
        ({"track_b": [2]}, "track 2 is in contact but not in tracks_b"),
        ({"track_a": [0]}, "track 0 is in contact but not in tracks_a"),
        ({"gap_um": []}, "1, 1, 1 and 0 rows"),
        ({"bridge_frames": -1}, "bridge_frames"),
        ({"min_frames": 0}, "min_frames"),
        ({"tracks_a": replace(WHOLE, last_touches_edge=[])}, "tracks_a.last_touches_edge has 0 values for 1"),
        ({"tracks_b": replace(WHOLE, observed_frame=[1])}, "12 track ids and 1 frames"),
    ],
)
def test_misuse(change: dict, complaint: str) -> None:
    arguments = {
        "track_a": [1],
        "track_b": [1],
        "frame": [3],
        "gap_um": [0.0],
        "tracks_a": WHOLE,
        "tracks_b": WHOLE,
        "valid_frames": range(N_FRAMES),
        "min_frames": 1,
    } | change
    with pytest.raises(ValueError, match=complaint):
        find(**arguments)
