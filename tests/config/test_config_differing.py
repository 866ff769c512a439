"""Which values are not the defaults, and who set them."""

from __future__ import annotations

from typing import Any

from dataops_parsl.config import differing
from tests.config.config_toys import Project

USER, SITE = "configs/config.user.toml", "configs/sites/hpc.toml"
DATASET = "data/datasets/demo/dataset.toml"


def _found(project: Project, **options: Any) -> dict[str, tuple[Any, Any, str]]:
    rows = differing(project.load(**options))
    return {r["key"]: (r["value"], r["default"], r["origin"]) for r in rows}


def test_only_what_the_dataset_says_differs_at_first(project: Project) -> None:
    found = _found(project)
    assert found
    assert all(key.startswith("populations.") for key in found)
    assert {origin for *_, origin in found.values()} == {DATASET}


def test_each_value_with_its_default_and_its_origin(project: Project) -> None:
    project.write(SITE, "workers = 8\n[resources.default]\nmem_gb = 16\n")
    project.user(
        "batch_frames = 10\n[stages.trackmate]\nmax_frame_gap = 3\n"
        "[stages.trackmate.target]\nsplitting = true\n"
        "[resources.contact]\nmem_gb = 4\ncores = 2\n"
    )
    found = _found(project, site="hpc", flags={"--frames": 30})
    changed = {k: v for k, v in found.items() if not k.startswith(("populations.", "site."))}
    assert changed == {
        "workers": (8, 2, SITE),
        "resources.default.mem_gb": (16, 4, SITE),
        "stages.trackmate.max_frame_gap": (3, 2, USER),
        "stages.trackmate.target.splitting": (True, False, USER),
        "resources.contact.cores": (2, 1, USER),
        "dataset.total_frames": (30, None, "--frames"),
    }
    assert "batch_frames" not in changed, "what is set to the default does not differ"
