"""Plan, carry out, go back: whatever the tree, it is as it was."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dataops_parsl.migration.execute import execute, undo
from dataops_parsl.migration.journal import journal_path, open_journal
from dataops_parsl.migration.plan import read_plan
from dataops_parsl.migration.plan_text import plan_text
from dataops_parsl.migration.proposing import propose
from dataops_parsl.migration.rules import load_rules
from tests.migration.older import places, sha256s, state, write


def _frame() -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, np.arange(12, dtype=np.uint16).reshape(3, 4))
    return file.getvalue()


FRAME = _frame()
FOLDERS = st.sampled_from(
    ["exp1", "exp2", "raw", "P1", "gfp", "cellpose", "paper", "results", "run_1", "data", "a b", "[x]", "µ"]
)
FILES = st.sampled_from(
    [
        "im_0.tif",
        "im_1.tif",
        "a.csv",
        "b.csv",
        "fig.svg",
        "slurm-1.out",
        "x*.out",
        "slurm-2.out",
        ".hidden",
        "n.txt",
    ]
)
PLACES = st.lists(FOLDERS, max_size=3)
TREES = st.lists(st.tuples(PLACES, FILES, st.binary(max_size=8)), min_size=1, max_size=12)
LINKS = st.lists(
    st.tuples(PLACES, st.sampled_from(["l1", "l2", "slurm-9.out"]), PLACES, st.booleans(), st.booleans()),
    max_size=4,
)


def _grow(root: Path, files, links) -> None:
    for folders, name, data in files:
        write(root.joinpath(*folders, name), FRAME if name.endswith(".tif") else data)
    for folders, name, leads, absolute, modest in links:
        link = root.joinpath(*folders, name)
        if os.path.lexists(link):
            continue
        link.parent.mkdir(parents=True, exist_ok=True)
        target = root.joinpath(*leads)
        link.symlink_to(target if absolute else os.path.relpath(target, link.parent if modest else root))


@settings(
    max_examples=int(os.environ.get("EX", "20")),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(
    files=TREES, links=LINKS, action=st.sampled_from(["move", "move", "copy", "link"]), modes=st.booleans()
)
def test_there_and_back_is_identity(files, links, action: str, modes: bool) -> None:
    home = Path(tempfile.mkdtemp(prefix="dataops-identity-"))
    try:
        old, project = home / "old", home / "project"
        project.mkdir()
        _grow(old, files, links)
        for n, file in enumerate(sorted(p for p in old.rglob("*") if p.is_file() and not p.is_symlink())):
            file.chmod(0o444 if modes and n % 2 else 0o640)
        before, held = state(old), sha256s(old)
        proposed = propose(old, places(project), load_rules(), action)
        path = write(home / "plan.toml", plan_text(proposed, "plan.toml", "j", {}))
        plan = read_plan(path)
        assert plan == proposed.plan
        with open_journal(journal_path(path)) as journal:
            execute(plan, path, places(project), journal, lambda item, said: None)
            assert not held - sha256s(home)
            assert undo(journal, lambda item, said: None).failed == []
        assert state(old) == before
        assert os.listdir(project) == []
    finally:
        for folder, _, _ in os.walk(home):
            os.chmod(folder, 0o700)
        shutil.rmtree(home)
