"""The layers of the house: imports go down, and only the engine knows Parsl."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "dataops_parsl"
BASE = {"errors", "tables", "film", "stage", "telling"}
SCIENCE = {"algorithms", "figures", "stages"}
HOUSE = {"config", "dataset", "storage", "provenance", "events", "bundle", "worker", "trace"}
# A room may import those to the left of it, and itself.
ORDER = [
    BASE,
    SCIENCE | HOUSE,
    {"workflow", "truth", "migration"},
    {"nodes", "plan", "validate"},
    {"spec", "needs", "task"},
    {"publish", "engine", "report", "exports"},
    {"sealing", "estimate"},
    {"bench"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def _imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            if node.module == "dataops_parsl":
                found += [
                    f"dataops_parsl.{alias.name}" for alias in node.names if alias.name != "__version__"
                ]
            else:
                found.append(node.module)
    return found


FILES = sorted(p for p in PACKAGE.rglob("*.py") if "_project" not in p.parts)


def test_there_are_files() -> None:
    assert len(FILES) > 40


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_runs_up(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in _imports(path):
        top = module.split(".")[0]
        assert top != "apps", f"{path} imports apps/"
        if top == "parsl":
            assert room == "engine", f"{path} imports Parsl: only engine/ may"
        if top != "dataops_parsl" or room == "__init__":
            continue
        other = _room(module)
        if other == room:
            continue
        assert RANK[other] <= RANK[room], f"{path} imports {module}: the arrow runs up"
        if room in SCIENCE | HOUSE and other in SCIENCE | HOUSE:
            assert (room in SCIENCE) == (other in SCIENCE), f"{path} imports {module}: the columns never meet"
        if room in ("algorithms", "figures"):
            assert other == room, f"{path} imports {module}: algorithms and figures stand alone"
        if room == "worker":
            assert other in ("errors", "provenance", "storage"), f"{path} imports {module}"
        if room in ("truth", "validate", "report"):
            assert other not in ("engine", "commands")


def test_importing_the_stages_loads_nothing_heavy() -> None:
    code = (
        "import sys; from dataops_parsl.stages import discover; assert len(discover()) >= 7; "
        "print([m for m in ('ants', 'torch', 'cellpose', 'jpype', 'parsl', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
