"""What is said of sites, of the written defaults, of roots and of files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_parsl.config import write_default
from dataops_parsl.errors import ConfigError
from tests.config.config_toys import STAGES, Project, said

USER = "configs/config.user.toml"


@pytest.mark.parametrize("flag", [True, False])
def test_an_unknown_site_names_those_there_are(project: Project, flag: bool) -> None:
    project.user("" if flag else "[site]\nname = 'hcp'\n")
    with pytest.raises(ConfigError) as caught:
        project.load(site="hcp" if flag else None)
    origin = "--site" if flag else f"{USER}: site.name"
    assert caught.value.message == f"{origin}: there is no site \"hcp\" (did you mean 'hpc'?)"
    assert caught.value.remedy == "the sites are hpc, laptop; a new one is a file configs/sites/<name>.toml"


def test_a_site_that_leads_outside_is_unknown(project: Project) -> None:
    project.write("outside.toml", "workers = 3\n")
    assert said(project, site="../../outside") == ['--site: there is no site "../../outside"']


def test_a_site_file_does_not_name_itself(project: Project) -> None:
    project.write("configs/sites/hpc.toml", "[site]\nname = 'laptop'\n")
    assert said(project, site="hpc") == [
        "configs/sites/hpc.toml: site.name is the name of this file: take the line out"
    ]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "max_frame_gap = 2",
            "max_frame_gap = 3",
            "stages.trackmate.max_frame_gap was changed by hand: it is 3, and 2 in the code",
        ),
        (
            "#total_frames =",
            "total_frames = 9",
            "dataset.total_frames was changed by hand: it is 9, and not set in the code",
        ),
        (
            "[site.slurm]",
            "[resources.contact]\ncores = 3\n[site.slurm]",
            "resources.contact.cores was added by hand, as 3",
        ),
        ("workers = 2", "wrokers = 2", "wrokers is not a known key (did you mean 'workers'?)"),
    ],
)
def test_defaults_that_were_edited_by_hand_are_refused(
    project: Project, old: str, new: str, words: str
) -> None:
    text = write_default(STAGES)
    assert text.count(f"\n{old}\n") == 1
    project.write("configs/config.def.toml", text.replace(f"\n{old}\n", f"\n{new}\n"))
    with pytest.raises(ConfigError) as caught:
        project.load()
    assert caught.value.message == f"configs/config.def.toml: {words}"
    assert caught.value.remedy == (
        "put it into configs/config.user.toml and run `make config`, "
        "which writes configs/config.def.toml from the code"
    )


def test_roots_that_purge_or_a_run_would_spoil_are_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data" / "datasets")
    (tmp_path / "data" / "datasets").mkdir(parents=True)
    root = project.root
    for key, value, outer, why in (
        ("scratch_root", "data", None, "purge would reach it"),
        ("scratch_root", "data/datasets/scratch", "data_root", "its folders are datasets"),
        ("output_root", "link/runs", "data_root", "its folders are datasets"),
        ("legacy_root", "data/scratch/old", "scratch_root", "purge would reach it"),
    ):
        words = said(project, sets=[f"paths.{key}={value}"])
        if outer is None:
            assert words == [
                f"--set: paths.scratch_root: data_root {root}/data/datasets must not lie in "
                f"scratch_root {root}/data: {why}"
            ]
        else:
            place = {"data_root": "data/datasets", "scratch_root": "data/scratch"}[outer]
            assert words == [
                f"--set: paths.{key}: {key} {root}/{value} must not lie in {outer} {root}/{place}: {why}"
            ]


def test_the_archive_of_an_older_tree_is_found_and_never_written(project: Project, tmp_path: Path) -> None:
    assert project.load().paths.legacy_root is None
    root, archive = project.root, tmp_path / "archive"
    (root / "distributed").mkdir()
    link = root / "distributed" / "utse_cyto"
    link.symlink_to(archive)
    assert project.load().paths.legacy_root is None, "what it leads to is not there"
    archive.mkdir()
    assert project.load().paths.legacy_root == link
    assert project.load(sets=["paths.legacy_root=elsewhere"]).paths.legacy_root == root / "elsewhere"
    for key in ("data_root", "scratch_root", "output_root"):
        for place in (link / "new", archive):
            words = f"--set: paths.{key}: {key} {place} must not lie in legacy_root {link}: "
            assert words + "nothing is written there" in said(project, sets=[f"paths.{key}={place}"])
    link.unlink()
    link.symlink_to(tmp_path)
    assert project.load().paths.legacy_root is None, "the project itself lies in it: no archive"


def test_files_that_cannot_be_read_are_named(project: Project) -> None:
    file = project.root / USER
    file.write_bytes(b"workers = 3 # \xb5m\n")
    assert said(project) == [f"{USER} is not UTF-8 text: byte 14 is wrong"]
    file.unlink()
    file.mkdir()
    assert said(project) == [f"{USER} cannot be read: Is a directory"]
