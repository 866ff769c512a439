"""Layers, origins, per-population parameters, resources, paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dataops_parsl.config import FLAGS, Config, load
from dataops_parsl.config import project as project_module
from dataops_parsl.errors import UsageError
from dataops_parsl.stage import Stage
from tests.config.config_toys import STAGES, Contact, Overlays, Project, Trackmate

DEF, USER, SITE = "configs/config.def.toml", "configs/config.user.toml", "configs/sites/hpc.toml"
DATASET = "data/datasets/demo/dataset.toml"


def leaves(table: dict[str, Any], at: tuple[str, ...] = ()) -> set[str]:
    out: set[str] = set()
    for name, value in table.items():
        out |= leaves(value, (*at, name)) if isinstance(value, dict) else {".".join((*at, name))}
    return out


def test_defaults_without_any_file_but_the_site(project: Project) -> None:
    config = project.load().config
    assert (config.batch_frames, config.workers, config.dataset.name, config.site.name) == (
        10,
        2,
        "demo",
        "laptop",
    )
    assert config.dataset.total_frames is None
    assert (config.engine.max_attempts, config.engine.on_failure) == (3, "finish")
    assert config.stages == {"trackmate": Trackmate(), "contact": Contact(), "overlays": Overlays()}
    assert config.populations["target"].segment == ("gfp", "pi")
    assert config.populations["target"].mask == "cell"


def test_each_layer_wins_over_the_ones_before(project: Project) -> None:
    project.write(
        SITE,
        "workers = 3\nbatch_frames = 3\n[populations.effector]\ndiameter_um = 3\n"
        '[paths]\nscratch_root = "s"\n',
    )
    project.user("batch_frames = 5\nworkers = 5\n[populations.target]\ndiameter_um = 5\n")
    key = "populations.effector.exclude"
    loaded = project.load(
        site="hpc", flags={"--workers": 7, "--frames": 30, "--dataset": None}, sets=[f"{key}=['pi']"]
    )
    found = {
        "paths.scratch_root": ("s", SITE),
        "batch_frames": (5, USER),
        "workers": (7, "--workers"),
        "dataset.total_frames": (30, "--frames"),
        "dataset.name": ("demo", DEF),
        "site.name": ("hpc", "--site"),
        "populations.effector.diameter_um": (10.0, DATASET),
        "populations.target.diameter_um": (5.0, USER),
        "populations.target.mask": ("cell", "default"),
        key: (["pi"], "--set"),
    }
    for dotted, (value, origin) in found.items():
        got: Any = loaded.effective()
        for part in dotted.split("."):
            got = got[part]
        assert (dotted, got, loaded.origins[dotted]) == (dotted, value, origin)


def test_set_wins_over_a_flag_and_the_last_set_wins(project: Project) -> None:
    loaded = project.load(flags={"--workers": 7}, sets=["workers=8", "workers = 9"])
    assert loaded.config.workers == 9
    assert loaded.origins["workers"] == "--set"


def test_every_effective_value_has_an_origin_and_is_json(project: Project) -> None:
    project.user("[stages.trackmate.target]\nlinking_max_distance_um = 12\n[resources.contact]\ncores = 2\n")
    loaded = project.load()
    assert leaves(loaded.effective()) == set(loaded.origins)
    assert json.loads(json.dumps(loaded.effective())) == loaded.effective()
    assert loaded.effective()["stages"]["contact"]["radius_um"] == 2.0
    assert loaded.effective()["stages"]["trackmate"]["target"] == {"linking_max_distance_um": 12.0}
    loaded.effective()["paths"]["data_root"] = "elsewhere"
    assert loaded.effective()["paths"]["data_root"] == "data/datasets"


def test_a_population_differs_in_the_parameters_that_it_names(project: Project) -> None:
    project.user(
        "[stages.trackmate]\nmax_frame_gap = 4\n[stages.trackmate.target]\nlinking_max_distance_um = 12\n"
    )
    loaded = project.load()
    assert loaded.stage(Trackmate) == Trackmate(max_frame_gap=4)
    assert loaded.stage(Trackmate, "effector") == Trackmate(max_frame_gap=4)
    assert loaded.stage(Trackmate, "target") == Trackmate(max_frame_gap=4, linking_max_distance_um=12)
    assert loaded.stage(Contact, "target") == Contact()


def test_a_population_keeps_its_parameter_when_a_later_layer_sets_the_stage(project: Project) -> None:
    project.write("configs/sites/laptop.toml", "[stages.trackmate.target]\nmax_frame_gap = 1\n")
    loaded = project.load(sets=["stages.trackmate.max_frame_gap=9"])
    assert loaded.stage(Trackmate).max_frame_gap == 9
    assert loaded.stage(Trackmate, "target").max_frame_gap == 1


def test_stage_and_resources_name_what_there_is(project: Project) -> None:
    class Cellpose(Stage):
        name = "cellpose"

    class OtherContact(Stage):
        name = "contact"

    loaded = project.load()
    with pytest.raises(
        UsageError, match=r"no population 'targets' \(did you mean 'target'\?\)\n.*effector, target$"
    ):
        loaded.stage(Trackmate, "targets")
    with pytest.raises(UsageError, match=r"no stage 'cellpose'\n.*trackmate, contact, overlays$"):
        loaded.stage(Cellpose)
    with pytest.raises(TypeError, match="was loaded as"):
        loaded.stage(OtherContact)
    with pytest.raises(UsageError, match=r"no resources for 'contacts' \(did you mean 'contact'\?\)"):
        loaded.resources("contacts")


def test_a_stage_s_resources_go_before_the_default_s_whatever_the_layer(project: Project) -> None:
    project.user('[resources.default]\nmem_gb = 6\ncores = 2\n[resources.contact]\ngres = "gpu:a100:1"\n')
    loaded = project.load(site="hpc")
    tracking, contact, overlays = (loaded.resources(s.name) for s in STAGES)
    assert (tracking.mem_gb, tracking.cores, tracking.gres) == (8, 2, "")
    assert (contact.mem_gb, contact.cores, contact.gres) == (6, 2, "gpu:a100:1")
    assert overlays == loaded.resources("default") == loaded.config.resources["default"]
    assert overlays.walltime_min == 240
    assert loaded.origins["resources.trackmate.mem_gb"] == SITE
    assert "resources.trackmate.cores" not in loaded.origins


def test_first_pass_without_the_dataset_gives_its_name_and_paths(project: Project) -> None:
    project.user(
        '[dataset]\nname = "film1"\n[populations.t_cells]\ndiameter_um = 9\n'
        "[stages.trackmate.t_cells]\nmax_frame_gap = 0\n"
    )
    first = project.load(None)
    assert first.config.dataset.name == "film1"
    assert first.config.populations == {}
    assert leaves(first.effective()) == set(first.origins)
    with pytest.raises(UsageError, match="with the populations of a dataset"):
        first.stage(Trackmate, "t_cells")
    second = project.load({"t_cells": {"segment": ["red"], "diameter_um": 12}})
    assert second.config.populations["t_cells"].diameter_um == 9
    assert second.stage(Trackmate, "t_cells").max_frame_gap == 0


def test_a_dataset_without_populations_is_loaded(project: Project) -> None:
    assert project.load({}).config.populations == {}


def test_names_with_spaces_and_dots_are_quoted(project: Project) -> None:
    project.user('[populations."T. cell"]\ndiameter_um = 9\n')
    loaded = project.load({"T. cell": {"segment": ["red"], "diameter_um": 12}})
    assert loaded.origins['populations."T. cell".diameter_um'] == USER


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ("dataset.name=x", "x"),
        ("dataset.name = x ", "x"),
        ("dataset.name='x'", "x"),
        ('dataset.name="123"', "123"),
        ("dataset.name=2024-01-31", "2024-01-31"),
        ("paths.output_root=/my runs/a=b", "/my runs/a=b"),
        ("paths.legacy_root=", ""),
        ("stages.contact.channels=['a', 'b']", ["a", "b"]),
        ("stages.contact.radius_um=3", 3.0),
        ("stages.trackmate.target.splitting=true", True),
        ("stages.contact={radius_um=3, store_um=4}", {"radius_um": 3.0, "store_um": 4.0}),
        ("populations.effector.diameter_um=9 # small ones", 9.0),
    ],
)
def test_set_takes_toml_and_bare_words(project: Project, given: str, value: object) -> None:
    loaded = project.load(sets=[given])
    got: Any = loaded.effective()
    for part in given.partition("=")[0].strip().split("."):
        got = got[part]
    assert got == value or value.items() <= got.items()  # type: ignore[attr-defined]


def test_site_comes_from_the_flag_else_set_else_the_user_file(project: Project) -> None:
    project.user('[site]\nname = "hpc"\n[site.slurm]\naccount = "me"\n')
    assert project.load().config.site.kind == "slurm"
    assert project.load().origins["site.name"] == USER
    assert project.load(sets=["site.name=laptop"]).config.site.kind == "local"
    loaded = project.load(site="laptop")
    assert (loaded.config.site.name, loaded.config.site.kind) == ("laptop", "local")
    assert loaded.origins["site.name"] == "--site"


def test_sites_of_the_package_are_found_and_the_project_s_go_first(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = tmp_path / "installed" / "configs" / "sites"
    packaged.mkdir(parents=True)
    for name in ("laptop", "cloud"):
        (packaged / f"{name}.toml").write_text("workers = 77\n")
    monkeypatch.setattr(project_module, "packaged_project", lambda: tmp_path / "installed")
    assert project.load().config.workers == 2
    assert project.load(site="cloud").config.workers == 77
    elsewhere = tmp_path / "bare"
    loaded = load(elsewhere, stage_classes=STAGES)
    assert loaded.origins["workers"] == str(packaged / "laptop.toml")


def test_paths_start_at_the_project_root(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    project.user('[paths]\nscratch_root = "/scratch/me"\noutput_root = "~/runs"\ndata_root = "../films"\n')
    roots = project.load().paths
    assert roots.scratch_root == Path("/scratch/me")
    assert roots.output_root == Path("/home/me/runs")
    assert roots.data_root == project.root.parent / "films"
    assert roots.legacy_root is None


def test_the_configuration_is_frozen(project: Project) -> None:
    config: Config = project.load().config
    with pytest.raises(ValidationError):
        config.workers = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.stages["contact"].radius_um = 3  # type: ignore[attr-defined]


def test_stage_names_must_differ(tmp_path: Path) -> None:
    class Nameless(Stage):
        pass

    for classes in ((Contact, Contact), (Nameless,)):
        with pytest.raises(ValueError, match="need different names"):
            load(tmp_path, stage_classes=classes)


def test_all_flags_are_keys(project: Project) -> None:
    assert {".".join(key) for key in FLAGS.values()} <= set(project.load().origins)
