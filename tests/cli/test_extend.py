"""docs/extend.md, done word for word in a copy of the package."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers import PROJECT, Project


def test_a_new_stage_in_three_places(project: Project, tmp_path: Path) -> None:
    project.run("run", "--workers", "2", "--until", "register_denoise")
    page = (PROJECT / "docs" / "extend.md").read_text()
    stage, wiring, notebook = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    library = tmp_path / "library"
    shutil.copytree(
        PROJECT / "dataops_parsl", library / "dataops_parsl", ignore=shutil.ignore_patterns("__pycache__")
    )
    (library / "dataops_parsl" / "stages" / "brightness.py").write_text(stage)
    with open(project.root / "apps" / "cytotoxicity.py", "a") as app:
        app.write(wiring)
    environment = {**os.environ, "PYTHONPATH": str(library)}
    project.run("config", "--write-default", env=environment, cwd=project.root)
    assert "[stages.brightness]" in (project.root / "configs" / "config.def.toml").read_text()
    plan = project.run("run", "--until", "brightness", "--dry-run", env=environment, cwd=project.root)
    assert "brightness.mean" in plan
    assert "register_denoise" not in plan
    project.run("run", "--workers", "2", "--until", "brightness", env=environment, cwd=project.root)
    table = project.tables()["brightness"]
    assert table.num_rows == 24
    assert table.schema.field("mean_count").metadata[b"unit"] == b"count"
    code = f"{stage}\nimport numpy as np\nfilm = np.ones((2, 3, 4))\nprint({notebook.split('#')[0].strip()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "1.0" in done.stdout
