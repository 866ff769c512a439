"""config.def.toml as it is written, and the sites that come with the project."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import Field

from dataops_parsl.config import load, site_files, write_default
from dataops_parsl.config.layers import known_keys
from dataops_parsl.config.models import Resources, Settings
from dataops_parsl.config.words import dotted
from dataops_parsl.stage import Stage
from tests.config.config_toys import STAGES, Contact, Project

SOURCE = Path(__file__).parents[2]


def test_it_parses_and_loads_to_the_defaults(project: Project) -> None:
    text = write_default(STAGES)
    bare = project.load()
    project.write("configs/config.def.toml", text)
    assert project.load().effective() == bare.effective()
    project.user(text)
    assert project.load().effective() == bare.effective()


def test_it_lists_every_key(project: Project) -> None:
    text = write_default(STAGES)
    listed = {
        line.lstrip("#").split(" =")[0] for line in text.splitlines() if " =" in line and line[:2] != "# "
    }
    assert {key.split(".")[-1] for key in project.load().origins} <= listed


def test_docs_facts_and_what_is_not_set(project: Project) -> None:
    text = write_default(STAGES)
    assert (
        "\n# Link objects to tracks.\n[stages.trackmate]\n\n"
        '# What links. ("lap" or "fiji")\nbackend = "lap"\n' in text
    )
    assert (
        "\n# Farthest step. Not set: the population's diameter. (a number greater than 0)\n"
        "#linking_max_distance_um =\n" in text
    )
    assert "\n# Two bounds. (a list of 2 numbers)\nbins = [0.0, 1.0]\n" in text
    assert "\n# A stage without parameters.\n[stages.overlays]\n" in text
    assert "\n#[populations.<population>]\n" in text
    assert "µm" in text
    assert "linking_max_distance_um" not in tomllib.loads(text)["stages"]["trackmate"]
    assert "More that the file" not in text


def test_layout() -> None:
    text = write_default(STAGES)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert max(map(len, text.splitlines())) <= 100
    assert not any(line != line.rstrip() for line in text.splitlines())
    assert list(tomllib.loads(text)) == [
        "batch_frames",
        "workers",
        "paths",
        "dataset",
        "stages",
        "resources",
        "site",
        "engine",
        "retention",
    ]


def test_any_plain_default_survives(project: Project) -> None:
    class Odd(Stage):
        """Odd."""

        name = "odd"

        words: str = 'say "µ"\n\\ and\ttab'
        """Text."""

        small: float = 1e-12
        """Number."""

        many: tuple[str, ...] = tuple(f"a long entry, number {i}" for i in range(9))
        """List that does not fit on a line."""

        weights: Mapping[str, float] = Field(default={"a b": 1.5, "c": 2})
        """Table that is a value."""

    text = write_default([Odd])
    assert tomllib.loads(text)["stages"]["odd"] == Odd().model_dump(mode="json")
    assert max(map(len, text.splitlines())) <= 100
    project.write("configs/config.def.toml", text)
    loaded = load(project.root, stage_classes=[Odd], sets=["stages.odd.weights={c=3}"])
    assert loaded.stage(Odd).weights == {"c": 3.0}


def test_tables_within_stages_are_tables(project: Project) -> None:
    class Nested(Stage):
        """Nested."""

        name = "nested"

        inner: Contact = Contact()
        """A table of its own."""

    text = write_default([Nested])
    assert "[stages.nested.inner]\n" in text
    project.write("configs/config.def.toml", text)
    loaded = load(project.root, stage_classes=[Nested], sets=["stages.nested.inner.radius_um=3"])
    assert loaded.stage(Nested).inner == Contact(radius_um=3)


@pytest.mark.parametrize(
    ("name", "kind", "gres"),
    [
        ("laptop", "local", ""),
        ("slurm", "slurm", "gpu:a100-pcie-40gb:1"),
        ("bmrc", "slurm", "gpu:a100-pcie-40gb:1"),
    ],
)
def test_the_sites_of_the_project_load(name: str, kind: str, gres: str, project: Project) -> None:
    class Cellpose(Stage):
        name = "cellpose"

    class RegisterDenoise(Stage):
        name = "register_denoise"

    source = SOURCE / "configs" / "sites" / f"{name}.toml"
    project.write(f"configs/sites/{name}.toml", source.read_text(encoding="utf-8"))
    loaded = load(project.root, stage_classes=[Cellpose, RegisterDenoise], site=name)
    assert loaded.config.site.kind == kind
    assert loaded.resources("cellpose").gres == gres
    assert loaded.resources("register_denoise").gres == ""
    assert name in site_files(SOURCE)


@pytest.mark.parametrize("name", ["slurm", "bmrc"])
def test_a_site_knows_the_memory_of_the_cards_that_it_asks_for(name: str, project: Project) -> None:
    class Cellpose(Stage):
        name = "cellpose"

    source = SOURCE / "configs" / "sites" / f"{name}.toml"
    project.write(f"configs/sites/{name}.toml", source.read_text(encoding="utf-8"))
    site = load(project.root, stage_classes=[Cellpose], site=name).config.site
    assert site.slurm.card_mem_gb("a100-pcie-40gb") == 40
    assert site.slurm.card_mem_gb("abacus") is None
    known = {entry.split()[0] for entry in site.slurm.gpu_mem_gb}
    assert any((site.slurm.card_mem_gb(card) or 0) < site.min_gpu_mem_gb for card in known)


def test_lines_that_are_commented_out_in_a_site_are_examples_that_load(project: Project) -> None:
    class Cellpose(Stage):
        name = "cellpose"

    class RegisterDenoise(Stage):
        name = "register_denoise"

    text = (SOURCE / "configs" / "sites" / "bmrc.toml").read_text(encoding="utf-8")
    lines = [re.sub(r"^# (?=\[[a-z]|[a-z_]+ = )", "", line) for line in text.splitlines()]
    project.write("configs/sites/bmrc.toml", "\n".join(lines))
    loaded = load(project.root, stage_classes=[Cellpose, RegisterDenoise], site="bmrc")
    assert loaded.resources("register_denoise").partition == "long"
    assert loaded.resources("cellpose").cores == 4


def test_keys_that_the_page_about_slurm_names_exist() -> None:
    text = (SOURCE / "docs" / "slurm.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:site|paths|engine)\.[a-z_.]+|resources\.<stage>\.[a-z_]+)\b", text))
    assert len(named) > 10
    known = {dotted(key) for key in known_keys(Settings).leaves()}
    known |= {f"resources.<stage>.{name}" for name in Resources.model_fields}
    assert named - known == set()
