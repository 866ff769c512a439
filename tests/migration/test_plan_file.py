"""Plans that were edited: what can be meant is done, what cannot is named, and nothing is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_parsl import cli
from dataops_parsl.dataset import ingest
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.migration.plan import read_plan
from tests.helpers import Project
from tests.migration.older import film, small, state, write


@pytest.fixture
def planned(bare_project: Project, tmp_path: Path) -> Path:
    """The plan of a small tree."""
    small(tmp_path / "old")
    assert _migrate(bare_project, str(tmp_path / "old"), "--plan", str(tmp_path / "plan.toml")) == 0
    return tmp_path / "plan.toml"


def _migrate(project: Project, *words: str) -> int:
    return cli.main(["migrate", *words, "--project", str(project.root)])


def test_a_plan_is_read_as_it_was_written(
    planned: Path, bare_project: Project, tmp_path: Path, capsys
) -> None:
    plan = read_plan(planned)
    assert plan.source == str(tmp_path / "old")
    assert [i.key for i in plan.item] == [
        "exp1/{*.out}",
        "exp1/cellpose",
        "exp1/raw",
        "paper",
        "results_2023-05-12",
    ]
    assert "misc/" in planned.read_text(), "what is left alone is listed"
    before = state(tmp_path)
    assert _migrate(bare_project, "--plan", str(planned)) == 0
    assert "Nothing was done" in capsys.readouterr().out
    assert state(tmp_path) == before
    assert _migrate(bare_project, str(tmp_path / "old"), "--plan", str(planned)) == 2, "never written over"


NEW = '\n[[item]]\nsource = "{source}"\nclass = "{kind}"\naction = "{action}"\ntarget = "{target}"\n{more}\n'


def item(
    source: str,
    target: str = "data/paper_figures/x",
    kind: str = "figures",
    action: str = "move",
    more: str = "",
):
    return NEW.format(source=source, target=target, kind=kind, action=action, more=more)


@pytest.mark.parametrize(
    ("added", "words"),
    [
        (
            item("misc", action="mvoe"),
            "item misc: action is 'mvoe' (did you mean 'move'?); use move, copy",
        ),
        (item("misc", kind="figure"), "item misc: class is 'figure' (did you mean 'figures'?)"),
        (item("misc", more="targte = 1"), "item misc: targte: there is no such key (did you mean 'target'?)"),
        ("\n[[item]]\nsource = 'misc'\n", "item misc: class is missing"),
        (item("misc", target="/tmp/x"), "lies in none of"),
        (item("misc", target="data/paper_figures"), "lies in none of"),
        (item("misc", target="data/paper_figures/../../configs/x"), "lies in none of"),
        (item("misc", target=""), "lies in none of"),
        (item("misc", target="data/datasets/x"), "datasets, and only they, go to"),
        (item("misc", kind="dataset"), "datasets, and only they, go to"),
        (item("misc", kind="dataset", target="data/datasets/a/b"), "is not"),
        (item("misc", target="data/paper_figures/paper"), "items paper and misc: both go to"),
        (item("misc", target="data/paper_figures/paper/y"), "the target of one lies in that of the other"),
        (item("exp1"), "one lies in the other"),
        (item("exp1/raw"), "the same files are in both"),
        (item("exp1", more='only = ["slurm-1.out"]'), "the same files are in both"),
        (item("exp1", more='only = ["raw"]'), "one lies in the other"),
        (item("nowhere"), "is not there"),
        (item("../old/misc"), "it is a path below"),
        (item("/etc"), "it is a path below"),
        (item("loop/misc"), "reached through a symbolic link"),
        (item("exp1", more='only = ["*.err"]'), "holds nothing that is called *.err"),
        (item("exp1", more='only = ["a/b"]'), "these are names in exp1, no paths"),
        ("[[item]", "no valid TOML"),
        ("\nextra = 1", "there is no such key"),
    ],
)
def test_what_cannot_be_meant_is_named(
    planned: Path, bare_project: Project, tmp_path: Path, capsys, added: str, words: str
) -> None:
    planned.write_text(planned.read_text() + added)
    before = state(tmp_path)
    assert _migrate(bare_project, "--plan", str(planned), "--yes") == 2
    assert words in capsys.readouterr().err
    (tmp_path / "plan.journal.jsonl").unlink(missing_ok=True)
    assert state(tmp_path) == before


def test_targets_that_are_there_or_lead_out(
    planned: Path, bare_project: Project, tmp_path: Path, capsys
) -> None:
    write(bare_project.root / "data" / "paper_figures" / "paper" / "mine.svg")
    (tmp_path / "outside").mkdir()
    (bare_project.root / "data" / "scratch").mkdir()
    (bare_project.root / "data" / "scratch" / "exp1").symlink_to(tmp_path / "outside")
    assert _migrate(bare_project, "--plan", str(planned)) == 2
    said = capsys.readouterr().err
    assert "item paper: there is something at" in said
    assert "item exp1/cellpose: target 'data/scratch/exp1/legacy/cellpose' leads out of" in said


def test_a_description_beside_one_that_is_there(planned: Path, bare_project: Project, capsys) -> None:
    text = planned.read_text().replace(
        'target = "data/datasets/exp1"', 'target = "data/datasets/exp1"\ndescription = "d.toml"'
    )
    planned.write_text(text)
    assert _migrate(bare_project, "--plan", str(planned)) == 2
    assert "describes it: take the description out of the plan" in capsys.readouterr().err


def test_a_plan_that_lies_in_what_is_moved(bare_project: Project, tmp_path: Path, capsys) -> None:
    old = tmp_path / "old"
    film(old / "exp1")
    plan = old / "exp1" / "plan.toml"
    assert _migrate(bare_project, str(old), "--plan", str(plan)) == 0
    assert _migrate(bare_project, "--plan", str(plan)) == 2
    assert "keep the plan elsewhere" in capsys.readouterr().err


def test_of_another_project_or_format(planned: Path, bare_project: Project, tmp_path: Path, capsys) -> None:
    text = planned.read_text()
    planned.write_text(text.replace(str(bare_project.root), "/somewhere"))
    assert _migrate(bare_project, "--plan", str(planned)) == 2
    assert "is for the project /somewhere" in capsys.readouterr().err
    planned.write_text(text.replace("format = 1", "format = 9"))
    assert _migrate(bare_project, "--plan", str(planned)) == 2
    assert "format is 9, this version reads 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["old", "--yes"],
        ["old", "--plan", "p.toml", "--yes"],
        ["--plan", "p.toml", "--rules", "r.toml"],
        ["--undo", "j", "--plan", "p.toml"],
        ["--undo", "nowhere.journal.jsonl"],
        ["nowhere"],
        ["--plan", "nowhere.toml"],
    ],
)
def test_command_lines_that_cannot_be_meant(bare_project: Project, words: list[str], capsys) -> None:
    assert _migrate(bare_project, *words) == 2
    assert "remedy: " in capsys.readouterr().err


def test_snapshots_and_runs_keep_their_names(bare_project: Project, tmp_path: Path, capsys) -> None:
    old = tmp_path / "old"
    ingest.add(film(tmp_path / "films"), "mine", old)
    write(old / "run_1" / "run.json", "{}")
    write(old / "run_1" / "log" / "events.jsonl")
    plan = tmp_path / "plan.toml"
    assert _migrate(bare_project, str(old), "--plan", str(plan)) == 0
    text = (
        plan.read_text()
        .replace("data/datasets/mine", "data/datasets/yours")
        .replace("old/run_1", "old/run_2")
    )
    plan.write_text(text)
    assert _migrate(bare_project, "--plan", str(plan)) == 2
    said = capsys.readouterr().err
    assert "item mine: target 'data/datasets/yours': its manifest calls it mine" in said
    assert "item run_1: target 'output/old/run_2': a run keeps its name, run_1" in said


def test_a_tree_that_is_one_film(bare_project: Project, tmp_path: Path, capsys) -> None:
    before = state(film(tmp_path / "exp1", ("P1", "P2")))
    plan = tmp_path / "plan.toml"
    assert _migrate(bare_project, str(tmp_path / "exp1"), "--plan", str(plan)) == 0
    assert _migrate(bare_project, "--plan", str(plan), "--yes") == 0
    assert list(Dataset.open(bare_project.root / "data" / "datasets" / "exp1").positions) == ["P1", "P2"]
    assert not (tmp_path / "exp1").exists()
    assert _migrate(bare_project, "--undo", str(plan.with_name("plan.journal.jsonl"))) == 0
    assert f"back to {tmp_path / 'exp1'}" in capsys.readouterr().out
    assert _migrate(bare_project, "--undo", str(plan.with_name("plan.journal.jsonl")), "--yes") == 0
    assert state(tmp_path / "exp1") == before


def test_what_waits_is_listed_with_exit_code_4(bare_project: Project, tmp_path: Path, capsys) -> None:
    film(tmp_path / "old" / "exp1", ("P1", "P2"), described=False)
    plan = tmp_path / "plan.toml"
    assert _migrate(bare_project, str(tmp_path / "old"), "--plan", str(plan)) == 0
    proposal = tmp_path / "plan.descriptions" / "exp1.toml"
    assert "# pixel_size_um" in proposal.read_text()
    assert _migrate(bare_project, "--plan", str(plan), "--yes") == 4
    assert f"{proposal}: the key 'pixel_size_um' is missing" in capsys.readouterr().err
    text = proposal.read_text().replace("# pixel_size_um", "pixel_size_um")
    proposal.write_text(text.replace("# frame_interval_s", "frame_interval_s"))
    assert _migrate(bare_project, "--plan", str(plan), "--yes") == 0
    assert "exp1: moved, and a dataset now" in capsys.readouterr().out
    assert _migrate(bare_project, "--plan", str(plan), "--yes") == 0
    assert capsys.readouterr().out == "nothing to do\n"
