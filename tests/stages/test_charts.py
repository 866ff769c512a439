"""The charts stage: files of a run, and strips that show the two cells of a planted kill."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dataops_parsl.film import Film
from dataops_parsl.stages.charts import Charts
from dataops_parsl.tables import Rows

_PLANTED = Path(__file__).parents[1] / "figures" / "planted.py"
_SPEC = importlib.util.spec_from_file_location("planted", _PLANTED)
assert _SPEC is not None
assert _SPEC.loader is not None
planted = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(planted)

CHANNELS = {"live": {"lost_on_death": True}, "death": {"death_marker": True}, "blue": {}}
PORTS = (
    "frames cells tracks deaths survival effectors chance chance_kills summary thresholds".split()  # noqa: SIM905
)
ALWAYS = {
    "dead_over_time",
    "contacts_over_time",
    "survival_film_start",
    "survival_first_contact",
    "kills_per_effector",
    "contact_to_death",
    "death_traces",
    "quality",
    "drift",
}


def curves(tables: dict[str, Any]) -> dict[str, bytes]:
    films = {
        row["position_id"]: Film(
            row["position_id"],
            range(12),
            "",
            {"plate": row, "pixel_size_um": [0.8, 0.8], "channels": CHANNELS},
        )
        for row in tables["positions"].to_pylist()
    }
    made = Charts().bound("curves")(films, **{port: Rows(tables[port]) for port in PORTS})
    return dict(zip(made["file"], made["data"], strict=True))


@pytest.mark.parametrize("what", [{}, {"deaths": False}, {"known": False}], ids=str)
def test_every_figure_comes_as_png_and_svg(what: dict[str, bool]) -> None:
    known = what.get("known", True)
    tables = planted.run(n_targets=6, replicates=1, n_frames=16, **what)
    if not known:  # positions without wells have no plate map
        tables["positions"] = tables["positions"].set_column(1, "well", [[None] * 2])
    made = curves(tables)
    names = ALWAYS | {"plate_map"} if known else ALWAYS
    assert set(made) == {f"{n}.{kind}" for n in names for kind in ("png", "svg")}
    assert all(data.startswith(b"\x89PNG") for name, data in made.items() if name.endswith("png"))
    if known:
        died = not what
        assert (b"by chance" in made["kills_per_effector.svg"]) is died
        assert (b"mean of live" in made["death_traces.svg"]) is died
    else:
        assert b"Not known which targets" in made["survival_film_start.svg"]


def strip(n_deaths: int, marker: bool = True) -> dict[str, Any]:
    tables = planted.run(conditions=("x",), replicates=1 + n_deaths, n_targets=4, n_frames=24)
    own = {
        n: Rows(tables[n]).where(Rows(tables[n])["position_id"] == f"p{n_deaths:02d}")
        for n in ("cells", "deaths", "death_candidates")
    }
    random = np.random.default_rng(2)
    labels = {"target": np.zeros((24, 80, 80), np.uint32), "effector": np.zeros((24, 80, 80), np.uint32)}
    for name, shift in (("target", 0), ("effector", 5)):
        for k in range(4):
            x = round((20 + 3 * k) / 0.8) + shift
            labels[name][:, 34:42, x - 2 : x + 2] = k + 1
    denoised: dict[str, Any] = {
        "live": random.normal(100, 5, (24, 80, 80)) + 200 * (labels["target"] > 0),
        "blue": random.normal(50, 5, (24, 80, 80)) + 200 * (labels["effector"] > 0),
    }
    if marker:
        denoised["death"] = random.normal(10, 2, (24, 80, 80))
        denoised["death"][11:, 34:42] += 100
    facts = {
        "pixel_size_um": [0.8, 0.8],
        "segments": {"target": ["live"], "effector": ["blue"]},
        "channels": CHANNELS,
        "time_s": {f: f * 120.0 for f in range(24)},
    }
    film = Film(f"p{n_deaths:02d}", range(24), "", facts)
    stage = Charts(strip_width_um=30.0, strip_before=2, strip_after=1)
    made: dict[str, Any] = stage.bound("strips")(film, denoised=denoised, labels=labels, **own)
    return made


@pytest.mark.parametrize("marker", [True, False])
def test_strips_of_the_attributed_deaths(marker: bool) -> None:
    made = strip(3, marker)
    assert made["file"] == ["kill_strips_p03.png", "kill_strips_p03.svg"]
    text = made["data"][1].decode()
    # Target 1's death has no credit; those of 2 and 3 have.
    assert "target 2" in text
    assert "target 3" in text
    assert "target 1" not in text
    assert "−2 min" in text
    assert ("death stain" in text) is marker


def test_no_strips_without_an_attributed_death() -> None:
    assert strip(0) == {"file": [], "data": []}
    assert strip(1)["file"] == []
