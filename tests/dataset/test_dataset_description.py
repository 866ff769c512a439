from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from dataops_parsl.dataset.description import (
    ChannelDescription,
    DatasetDescription,
    PopulationConfig,
    load_description,
)
from dataops_parsl.dataset.names import check_name, safe_name
from dataops_parsl.dataset.plate import read_plate, read_times
from dataops_parsl.dataset.proposal import write_description
from dataops_parsl.errors import DatasetError

WHOLE = """
axes = "TCYX"
pixel_size_um = [0.65, 0.65]
frame_interval_s = 60
pattern = "{position}/{channel}/im_{frame:05d}.tif"
plate = "plate.csv"
[channels]
ctdr = { stain = "CTDR" }
gfp = { stain = "GFP", lost_on_death = true }
pi = { stain = "PI", death_marker = true }
[populations.effector]
segment = ["ctdr"]
mask = "cell"
diameter_um = 10
[populations.target]
segment = ["gfp", "pi"]
diameter_um = 20
"""


def _load(tmp_path: Path, text: str) -> DatasetDescription:
    (tmp_path / "dataset.toml").write_text(text)
    return load_description(tmp_path / "dataset.toml")


def test_the_documented_example(tmp_path: Path) -> None:
    said = _load(tmp_path, WHOLE)
    assert said.pixel_size_um == (0.65, 0.65)
    assert said.channels["pi"].death_marker
    assert said.channels["gfp"].every == 1
    assert said.populations["target"].segment == ("gfp", "pi")
    assert said.populations["target"].mask == "cell"


def test_every_field_is_documented() -> None:
    for model in (DatasetDescription, ChannelDescription, PopulationConfig):
        assert all(field.description for field in model.model_fields.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("pixel_size_um =", "pixel_size ="), ["'pixel_size'", "'pixel_size_um'"]),
        (("death_marker", "death_maker"), ["channels.pi.death_maker", "'death_marker'"]),
        (("diameter_um = 10", "diameter = 10"), ["populations.effector.diameter", "'diameter_um'"]),
        (('["ctdr"]', '["cdtr"]'), ["populations.effector", "'cdtr'", "'ctdr'"]),
        (("[0.65, 0.65]", "[0.65, 0]"), ["pixel_size_um.1", "greater than 0"]),
        (("[0.65, 0.65]", "0.65"), ["pixel_size_um"]),
        (("= 60", "= nan"), ["frame_interval_s"]),
        (("= 60", '= 60\ntimes = "times.csv"'), ["frame_interval_s and times"]),
        (('"TCYX"', '"TCXY"'), ["axes"]),
        (("diameter_um = 10", "diameter_um = 10\n[populatoins]"), ["'populatoins'", "'populations'"]),
        (("ctdr = {", '"a b" = {'), ["'a b'"]),
        (('"CTDR" }', '"CTDR", labels = "efector" }'), ["carries masks"]),
        (('"PI",', '"PI", found_as = "gfp",'), ["found_as"]),
        (("[channels]", "[channels"), ["TOML"]),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest(
    tmp_path: Path, change: tuple[str, str], words: list[str]
) -> None:
    assert change[0] in WHOLE
    with pytest.raises(DatasetError) as caught:
        _load(tmp_path, WHOLE.replace(*change, 1))
    for word in ["dataset.toml", *words]:
        assert word in str(caught.value)


def test_a_missing_file_and_other_encodings(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"dataset\.toml cannot be read"):
        load_description(tmp_path / "dataset.toml")
    (tmp_path / "dataset.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="cannot be read"):
        load_description(tmp_path / "dataset.toml")
    (tmp_path / "dataset.toml").write_text(WHOLE, encoding="utf-8-sig")
    assert load_description(tmp_path / "dataset.toml").frame_interval_s == 60


def test_a_proposal_is_complete_once_filled_in() -> None:
    text = write_description({"gfp": "gfp", "Cy5_far.red": 'Cy5 "far" red'}, z_stack=True)
    filled = "\n".join(
        line[2:] if line.startswith("# ") and ("TO FILL IN:" in line and "=" in line) else line
        for line in text.splitlines()
    )
    said = DatasetDescription.model_validate(tomllib.loads(filled))
    assert said.channels["Cy5_far.red"].found_as == 'Cy5 "far" red'
    assert said.z_projection == "max"
    with pytest.raises(ValueError, match="pixel_size_um"):
        DatasetDescription.model_validate(tomllib.loads(text))


@pytest.mark.parametrize(
    ("raw", "safe"),
    [
        ("GFP 488", "GFP_488"),
        ("P1", "P1"),
        ("a/b", "a_b"),
        ("..", "unnamed"),
        (".hid", "hid"),
        ("µ", "u"),
        ("", "unnamed"),
    ],
)
def test_names(raw: str, safe: str) -> None:
    assert safe_name(raw) == safe
    assert check_name(safe, "position") == safe
    if raw != safe:
        with pytest.raises(DatasetError, match="position"):
            check_name(raw, "position")


def test_plate(tmp_path: Path) -> None:
    path = tmp_path / "plate.csv"
    path.write_text(
        "\ufeffposition;well;condition;e_to_t\nPos 1;A1;CAR-T;0,5\n\nP2;;;5:1\nP3;;;\n", encoding="utf-8"
    )
    plate = read_plate(path, ["Pos_1", "P2", "P3"])
    assert (plate["Pos_1"].well, plate["Pos_1"].condition, plate["Pos_1"].e_to_t) == ("A1", "CAR-T", 0.5)
    assert plate["Pos_1"].control is None
    assert plate["P2"].e_to_t == 5.0
    assert plate["P3"].e_to_t is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("position,wel\nP1,A1\n", "'wel'"),
        ("well\nA1\n", "'position'"),
        ("position\nP9\n", "'P9'"),
        ("position\nP1\nP1\n", "twice"),
        ("position,e_to_t\nP1,many\n", "'many'"),
        ("position,e_to_t\nP1,5:0\n", "'5:0'"),
        ("position,well\nP1,A1,x\n", "line 2"),
        ("", "'position'"),
    ],
)
def test_plate_faults(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "plate.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_plate(tmp_path / "plate.csv", ["P1"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("frame,time_s\n0,0\n1,0\n", "not later"),
        ("frame,time_s\n0,0\n", "frame 1"),
        ("frame,time_s\n0,0\n0,5\n", "repeated"),
        ("frame,time_s\n0,x\n", "could not convert"),
        ("frame,time_s\n0,nan\n", "cannot be"),
        ("frame,time_s,pi\n0,0,yes\n", "'yes'"),
        ("frame,time\n0,0\n", "'time_s'"),
    ],
)
def test_times_faults(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "times.csv").write_text(text)
    with pytest.raises(DatasetError, match=words):
        read_times(tmp_path / "times.csv", ["pi"]).of("P1", 2, "times.csv")
