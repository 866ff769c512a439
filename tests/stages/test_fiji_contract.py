"""The backend fiji against TrackMate itself, link for link with the backend lap: where a real Fiji is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from dataops_parsl.algorithms import fiji
from dataops_parsl.stages.fiji_place import check_java, find_java, find_trackmate
from tests.algorithms import trackmate
from tests.helpers import PROJECT

FIJI = os.environ.get("DATAOPS_PARSL_FIJI_DIR", "")
TIMEOUT_S = 1800
"""TrackMate needs minutes where cells are dense."""

pytestmark = pytest.mark.skipif(
    not FIJI, reason="DATAOPS_PARSL_FIJI_DIR names no folder of a Fiji with TrackMate"
)


def test_trackmate_links_as_lap_does() -> None:
    found, java = find_trackmate(FIJI, ""), find_java("", FIJI)
    check_java(java, found)
    cases = [trackmate.read_golden(name) for name in trackmate.golden()]
    cases = [replace(c, settings={**c.settings, "merging_max_distance": None}) for c in cases]
    films = []
    for case in cases:
        closing, splitting = (case.settings[f"{n}_max_distance"] for n in ("gap_closing", "splitting"))
        settings = fiji.tracker_settings(
            linking_max_distance=case.linking,
            gap_closing_max_distance=closing or case.linking,
            max_frame_gap=case.settings["max_frame_gap"] if closing else 0,
            splitting=bool(splitting),
            splitting_max_distance=splitting or case.linking,
        )
        frames = list(range(int(case.frame.max()) + 1))
        films.append(
            {
                "frames": frames,
                "frame": case.frame.tolist(),
                "yx": case.yx.tolist(),
                "radius": 2.5,
                "settings": settings,
            }
        )
    done = subprocess.run(
        [sys.executable, "-m", "tests.stages.fiji_in_jvm"],
        input=json.dumps({"source": FIJI, "java_home": java.home, "films": films}),
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["jvm"]["trackmate"] == found.version
    for case, film in zip(cases, said["films"], strict=True):
        assert "error" not in film, film
        edges = np.array(film["edges"])
        source, target = edges[:, 0].astype(int), edges[:, 1].astype(int)
        moved = ((case.yx[source] - case.yx[target]) ** 2).sum(axis=1)
        np.testing.assert_allclose(edges[:, 2], moved, err_msg=f"costs of {case.name}")
        pairs = zip(case.spot[source].tolist(), case.spot[target].tolist(), strict=True)
        theirs = replace(case, edges=set(pairs))
        ours = trackmate.track(case.frame, case.yx, case.linking, **case.settings)
        only_ours, only_theirs, tie = trackmate.differing(theirs, *ours[:2])
        assert tie, f"{case.name}: only lap: {only_ours}; only TrackMate: {only_theirs}"
