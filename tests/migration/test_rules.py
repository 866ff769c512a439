"""What the rules say of made-up trees."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import zarr

from dataops_parsl import cli
from dataops_parsl.dataset import ingest
from dataops_parsl.errors import UsageError
from dataops_parsl.migration.plan import Item
from dataops_parsl.migration.proposing import Proposed, propose
from dataops_parsl.migration.rules import load_rules
from tests.migration.older import film, hyperstack, places, small, write


def look(tree: Path, project: Path, **options) -> Proposed:
    return propose(tree, places(project), load_rules(options.pop("rules", None)), **options)


def found(proposed: Proposed) -> dict[str, tuple[str, str, str, str]]:
    """Class, action, target and rule of each item."""
    return {i.key: (i.kind, i.action, i.target, i.rule) for i in proposed.plan.item}


def test_a_small_tree(tmp_path: Path) -> None:
    proposed = look(small(tmp_path / "old"), tmp_path / "project")
    items = found(proposed)
    run = items["results_2023-05-12"][2]
    assert run.startswith("output/legacy/run_20230512T000000Z-")
    assert items == {
        "exp1/raw": ("dataset", "move", "data/datasets/exp1", "film"),
        "exp1/cellpose": ("intermediate", "move", "data/scratch/exp1/legacy/cellpose", "intermediates"),
        "exp1/{*.out}": ("intermediate", "move", "data/scratch/exp1/legacy/slurm_logs", "slurm logs"),
        "paper": ("figures", "move", "data/paper_figures/paper", "paper"),
        "results_2023-05-12": ("output", "move", run, "results"),
    }
    assert [path for path, _, _ in proposed.alone] == ["loop (a link)", "misc/"]


@pytest.mark.parametrize(
    ("files", "items"),
    [
        (["exp1/P1/gfp/3", "exp1/P2/gfp/3", "exp2/P1/gfp/3"], ["exp1", "exp2"]),
        (["wt/gfp/3", "wt/pi/3", "ko/gfp/3", "ko/pi/3"], ["ko", "wt"]),
        (["20230501_a/3", "20230502_b/3"], ["20230501_a", "20230502_b"]),
        (["exp1/raw/gfp/3", "exp1/raw/pi/3"], ["exp1/raw"]),
        (["exp1/P1/3", "exp1/P2/3"], ["exp1"]),
        (["exp1/P1/gfp/3", "exp1/P2/gfp/3", "exp1/cellpose/3"], ["exp1/cellpose", "exp1/{P1,P2}"]),
        (["stills/gfp/1", "stills/pi/1"], []),
    ],
)
def test_where_a_film_ends(tmp_path: Path, files: list[str], items: list[str]) -> None:
    for each in files:
        folder, _, n = each.rpartition("/")
        name = folder.replace("/", "_")
        source = film(tmp_path / "made" / name, n_frames=int(n), described=False) / "P1" / "gfp"
        (tmp_path / "old" / folder).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, tmp_path / "old" / folder, dirs_exist_ok=True)
    assert sorted(found(look(tmp_path / "old", tmp_path / "project"))) == items


def test_stacks_beside_other_things(tmp_path: Path) -> None:
    old = tmp_path / "old"
    hyperstack(old / "day1" / "P1.tif", seed=1)
    hyperstack(old / "day1" / "P2.tif", seed=2)
    write(old / "day1" / "slurm-7.out")
    write(old / "day1" / "P1_cp_masks.tif", "masks")
    items = found(look(old, tmp_path / "project"))
    assert items["day1/{P1.tif,P2.tif}"][:3] == ("dataset", "move", "data/datasets/day1")
    assert items["day1/{P1_cp_masks.tif}"][0] == "intermediate"


def test_ome_zarr(tmp_path: Path) -> None:
    from dataops_parsl.dataset import writers
    from tests.dataset.films import frame

    old = tmp_path / "old" / "exp1"
    old.mkdir(parents=True)
    writers.write("ome-zarr", old, {"P1": 2}, ["gfp"], frame, (0.65, 0.65), 60.0)
    (image,) = old.iterdir()
    write(old / "trackmate" / "tracks.xml", "<x/>")
    items = found(look(tmp_path / "old", tmp_path / "project"))
    assert items[f"exp1/{{{image.name}}}"][:3] == ("dataset", "move", "data/datasets/exp1")
    zarr.open_array(old / "cellpose" / "labels.zarr", mode="w", shape=(4, 4), dtype="u2")
    assert found(look(tmp_path / "old", tmp_path / "project"))["exp1/cellpose"][0] == "intermediate"


def test_guesses_and_names_that_are_taken(tmp_path: Path) -> None:
    old, project = tmp_path / "old", tmp_path / "project"
    film(old / "a" / "exp1")
    film(old / "b" / "exp1")
    write(old / "b" / "figures" / "x.svg")
    write(old / "figures" / "y.svg")
    write(old / "table.csv")
    (project / "data" / "datasets" / "exp1").mkdir(parents=True)
    items = found(look(old, project))
    assert items["a/exp1"][2] == "data/datasets/a_exp1"
    assert items["b/exp1"][2] == "data/datasets/b_exp1"
    assert {items["b/figures"][2], items["figures"][2]} == {
        f"data/paper_figures/{n}" for n in ("figures", "figures_2")
    }
    assert items["./{table.csv}"][1] == "leave"


def test_what_this_program_laid_out_keeps_its_name(tmp_path: Path) -> None:
    old, project = tmp_path / "old", tmp_path / "project"
    ingest.add(film(tmp_path / "films"), "mine", old / "data" / "datasets")
    ingest.add(film(old / "raw_films"), "linked", old / "data" / "datasets", link=True)
    bundle = old / "output" / "tracks" / "run_20260317T114224Z-1a2b"
    write(bundle / "run.json", json.dumps({"workflow": "tracks", "status": "sealed"}))
    write(bundle / "log" / "events.jsonl")
    write(bundle / "tables" / "cells.parquet")
    write(old / "scratch" / "mine" / "cellpose" / "labels-0a1b" / "receipts" / "x.json", "{}")
    proposed = look(old, project)
    items = found(proposed)
    assert items["data/datasets/mine"] == ("dataset", "move", "data/datasets/mine", "snapshot")
    assert items["output/tracks/run_20260317T114224Z-1a2b"][2] == "output/tracks/run_20260317T114224Z-1a2b"
    assert items["scratch/mine"][2] == "data/scratch/mine"
    assert items["raw_films"][1] == "leave", "a dataset reads it there"
    (project / "data" / "datasets" / "mine").mkdir(parents=True)
    proposed = look(old, project)
    assert found(proposed)["data/datasets/mine"][:3] == ("dataset", "leave", "data/datasets/mine")
    assert any("there is something at" in question for question in proposed.questions)


def test_odd_things_are_named_and_left_alone(tmp_path: Path) -> None:
    old = small(tmp_path / "old")
    os.mkfifo(old / "paper" / "pipe")
    os.link(old / "exp1" / "cellpose" / "masks" / "a.csv", tmp_path / "elsewhere.csv")
    name = os.fsencode(old) + b"/figures\xff"
    os.mkdir(name)
    Path(os.fsdecode(name), "a.svg").write_text("x")
    proposed = look(old, tmp_path / "project")
    assert found(proposed)["paper"][1] == "leave"
    said = "\n".join(proposed.questions)
    assert "paper: pipe is a named pipe; left alone" in said
    assert "exp1/cellpose holds 1 files with a second name (hard links), such as a.csv" in said
    assert "no UTF-8" in said
    assert not any("figures" in key for key in found(proposed))


def test_the_project_in_the_tree_is_not_looked_into(tmp_path: Path) -> None:
    project = tmp_path / "old"
    film(project / "films" / "exp1")
    write(project / "output" / "results" / "a.csv")
    proposed = look(project, project)
    assert list(found(proposed)) == ["films/exp1"]
    with pytest.raises(UsageError, match="what is there is in its place"):
        look(project / "output", project)


def test_a_labs_own_rules_come_first(tmp_path: Path) -> None:
    old = small(tmp_path / "old")
    write(old / "koloc" / "a.csv")
    rules = write(
        tmp_path / "rules.toml",
        '[[rule]]\nname = "ours"\nclass = "output"\nfolder = ["koloc", "cellpose"]\nwhy = "we say so"\n',
    )
    items = found(look(old, tmp_path / "project", rules=rules))
    assert items["koloc"][::3] == ("output", "ours")
    assert items["exp1/cellpose"][::3] == ("output", "ours")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[rule]]", "rule.0.name: Field required"),
        ('[[rule]]\nname = "a"\nclass = "output"\nfolders = ["a"]', "did you mean 'folder'"),
        ('[[rule]]\nname = "a"\nclass = "output"\nfolder = ["a"]\nfiles = ["b"]', "one of the three"),
        ('[[rule]]\nname = "a"\nclass = "output"\nfilm = true', 'gives class = "dataset"'),
        ("[[rule]", "cannot be read"),
    ],
)
def test_rules_that_cannot_be_meant(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("(", r"\(")):
        load_rules(write(tmp_path / "rules.toml", text))


def test_looking_writes_nothing_and_follows_no_link(bare_project, tmp_path: Path, capsys) -> None:
    old = small(tmp_path / "old")
    outside = film(tmp_path / "outside" / "exp9")
    (old / "exp9").symlink_to(outside)
    link = tmp_path / "utse_cyto"
    link.symlink_to(old)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["migrate", str(link), "--project", str(bare_project.root)]) == 0
    printed = capsys.readouterr().out
    assert sorted(tmp_path.rglob("*")) == before
    assert "exp1/raw" in printed
    assert "exp9 (a link)" in printed
    assert "Nothing was written" in printed


def test_items_say_how_much_they_hold(tmp_path: Path) -> None:
    proposed = look(small(tmp_path / "old"), tmp_path / "project")
    items: dict[str, Item] = {i.key: i for i in proposed.plan.item}
    assert (items["exp1/{*.out}"].files, items["exp1/{*.out}"].size) == (2, 10)
    assert items["exp1/cellpose"].files == 3, "links count"


def test_a_film_that_is_damaged_is_asked_about_once(tmp_path: Path) -> None:
    hyperstack(tmp_path / "old" / "day1" / "P1.tif")
    cut = hyperstack(tmp_path / "old" / "day1" / "P2.tif")
    cut.write_bytes(cut.read_bytes()[:900])
    write(tmp_path / "old" / "day1" / "notes.txt")
    proposed = look(tmp_path / "old", tmp_path / "project")
    assert found(proposed) == {}
    assert len([q for q in proposed.questions if q.startswith("day1 looks like a film, but: …/P2.tif")]) == 1
    assert [path for path, _, _ in proposed.alone] == ["day1/"]
