"""True masks and tracks given: contact events are exact; lengths and denoising change nothing but units."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray

from dataops_parsl.commands import simulate as simulating
from dataops_parsl.dataset import ingest, writers
from dataops_parsl.truth import kit, scores
from dataops_parsl.truth.film import POPULATIONS, Film, labels
from dataops_parsl.truth.render import CHANNELS, render
from dataops_parsl.truth.scene import Scene
from dataops_parsl.truth.simulate import simulate
from tests.cli.planted import new_project, rows_of, truth_scores
from tests.helpers import Project, same_tables

pytestmark = pytest.mark.slow
Tables = dict[str, pa.Table]

CROWD = Scene(
    height_px=128,
    width_px=128,
    n_frames=12,
    n_effectors=12,
    n_targets=6,
    drift_px=0,
    kill_probability=0.8,
    kill_delay_min=(4, 8),
    dwell_min=(4, 8),
)
SEEDS = {"crowd": 3, "alone": 4}
PLATE = "position,well,condition,control\ncrowd,A1,both,\nalone,B1,targets alone,negative\n"
MASKS = "".join(f'{p}_masks = {{ labels = "{p}" }}\n' for p in POPULATIONS)
RADIUS_UM = 2.0
UNREGISTERED = "--set=stages.register_denoise.register_frames=false"
GIVEN = ("--set=stages.cellpose.backend=labels", "--set=stages.trackmate.backend=labels", UNREGISTERED)
COMMON = ("--workers=1", "--set=batch_frames=12", "--until=outcome")
POWERS = {"µm": 1, "µm²": 2, "µm/min": 1}
"""Power of length in each unit that has one."""


@pytest.fixture(scope="module")
def films() -> dict[str, Film]:
    """A co-culture in which targets die, and targets alone; neither drifts."""
    alone = CROWD.model_copy(update={"n_effectors": 0})
    return {"crowd": simulate(CROWD, SEEDS["crowd"]), "alone": simulate(alone, SEEDS["alone"])}


def _image(film: Film, channel: str, frame: int) -> NDArray[Any]:
    population = channel.removesuffix("_masks")
    return render(film, frame)[channel] if population == channel else labels(film, frame)[population]


def _add(root: Path, name: str, films: Mapping[str, Film], scale: float) -> None:
    """Take the films in with their true masks, all lengths said to be `scale` times as long."""
    source, data = root / "films" / name, root / "data" / "datasets"
    size = CROWD.pixel_size_um * scale
    writers.write(
        "tiff-frames",
        source,
        {position: film.scene.n_frames for position, film in films.items()},
        (*CHANNELS, *(f"{p}_masks" for p in POPULATIONS)),
        lambda position, channel, frame: _image(films[position], channel, frame),
        (size, size),
        CROWD.frame_interval_s,
    )
    text = simulating.DESCRIPTION.format(
        title="Masks given",
        name=name,
        size=size,
        interval=CROWD.frame_interval_s,
        pattern=f'pattern = "{writers.PATTERN}"\n',
        effector_um=CROWD.effector_diameter_um * scale,
        target_um=CROWD.target_diameter_um * scale,
    )
    (source / "dataset.toml").write_text(text.replace("[channels]\n", f"[channels]\n{MASKS}"))
    (source / "plate.csv").write_text(PLATE)
    ingest.add(source, name, data)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, films: dict[str, Film]) -> dict[str, Path]:
    """Bundles of runs on the same pixels: masks and tracks given or found, all lengths doubled or not."""
    project = new_project(tmp_path_factory.mktemp("given") / "project")
    for name, scale in (("single", 1.0), ("double", 2.0)):
        _add(project.root, name, films, scale)
    for position, film in films.items():
        kit.write_truth(kit.truth_folder(project.root / "data" / "datasets", "single"), position, film)
    doubled = _doubled(project.run("config", "--dataset=single"))
    runs: dict[str, tuple[str, ...]] = {
        "given": ("single", *GIVEN),
        "given_double": ("double", *GIVEN, *doubled),
        "given_undenoised": ("single", *GIVEN, "--set=stages.register_denoise.denoise=off"),
        "found": ("single",),
        "found_double": ("double", *doubled),
    }
    waiting = [
        ("run", f"--set=paths.output_root=output/{name}", "--dataset", dataset, *COMMON, *more)
        for name, (dataset, *more) in runs.items()
    ]
    _two_at_a_time(project, waiting)
    return {name: next(project.root.glob(f"output/{name}/cytotoxicity/run_*")) for name in runs}


def _doubled(config: str) -> list[str]:
    """Flags that double every parameter in µm; `config` is what the command of that name prints."""
    known = re.findall(r"^(stages\.\S+_um) = ([\d.]+)  #", config, flags=re.MULTILINE)
    assert {"stages.contact.radius_um", "stages.measure.background_tile_um"} <= {name for name, _ in known}
    return [f"--set={name}={2 * float(value)}" for name, value in known]


def _two_at_a_time(project: Project, commands: Sequence[tuple[str, ...]]) -> None:
    for i in range(0, len(commands), 2):
        drivers = [project.start(*command) for command in commands[i : i + 2]]
        for driver in drivers:
            assert driver.wait() == 0, driver.output


def _cell_of_track(tables: Tables, position: str) -> dict[tuple[str, int], int]:
    """The one label that each track has in all its frames."""
    found: dict[tuple[str, int], set[int]] = {}
    for cell in rows_of(tables["cells"], position_id=position):
        found.setdefault((cell["population"], cell["track_id"]), set()).add(cell["label"])
    assert all(len(own) == 1 for own in found.values()), "a track has two labels"
    return {track: own.pop() for track, own in found.items()}


def _tables(bundles: Mapping[str, Path], name: str) -> Tables:
    return Project(bundles[name]).tables(bundles[name])


def test_given_tracks_are_the_cells(bundles: dict[str, Path], films: dict[str, Film]) -> None:
    tables = _tables(bundles, "given")
    n_unseen = 0
    for position, film in films.items():
        truth = film.objects()
        seen = truth["visible"].astype(bool)
        columns = (truth[c][seen].tolist() for c in ("population", "cell_id", "frame"))
        expected: dict[tuple[str, int], list[int]] = {}
        for population, cell, frame in zip(*columns, strict=True):
            expected.setdefault((population, cell), []).append(frame)
        cell_of = _cell_of_track(tables, position)
        tracks = rows_of(tables["tracks"], position_id=position)
        own = {(t["population"], cell_of[t["population"], t["track_id"]]): t for t in tracks}
        assert len(own) == len(tracks), "a cell has two tracks"
        assert {who: t["n_objects"] for who, t in own.items()} == {w: len(f) for w, f in expected.items()}
        assert {t["parent_track_id"] for t in tracks} == {None}
        edges = rows_of(tables["edges"], position_id=position)
        assert all(edge["source_label"] == edge["target_label"] for edge in edges)
        n_unseen += sum(edge["target_frame"] - edge["source_frame"] > 1 for edge in edges)
    assert n_unseen, "none was hidden for a while: choose another seed"


def test_given_masks_and_tracks_give_the_true_contact_events(
    bundles: dict[str, Path], films: dict[str, Film]
) -> None:
    tables = _tables(bundles, "given")
    for position, film in films.items():
        near = film.contacts(RADIUS_UM)
        true = scores.contact_runs(near["frame"], near["effector_id"], near["target_id"])
        cell_of = _cell_of_track(tables, position)
        found = {
            (
                cell_of[e["population_a"], e["track_id_a"]],
                cell_of[e["population_b"], e["track_id_b"]],
                e["start_frame"],
                e["end_frame"] + 1,
            )
            for e in rows_of(tables["contact_events"], position_id=position)
        }
        assert found == set(map(tuple, true.tolist()))
        assert bool(found) == (position == "crowd")
    scored = truth_scores(bundles["given"])
    assert scored["crowd", "contact_event_f1"] == 1
    assert scored["alone", "contact_event_f1"] is None


def test_given_masks_and_tracks_show_each_death_when_it_happens(
    bundles: dict[str, Path], films: dict[str, Film]
) -> None:
    tables = _tables(bundles, "given")
    cell_of = _cell_of_track(tables, "crowd")
    found = {
        cell_of["target", d["track_id"]]: d["death_frame"]
        for d in rows_of(tables["deaths"], position_id="crowd")
    }
    truth = films["crowd"].deaths()
    whole = truth["whole"].astype(bool) & (truth["death_frame"].astype(int) <= CROWD.n_frames - 4)
    columns = (truth[c][whole].tolist() for c in ("target_id", "death_frame"))
    expected = dict(zip(*columns, strict=True))
    assert len(expected) >= 3
    for cell, frame in expected.items():
        assert abs(found[cell] - frame) <= 1, f"target {cell} died in frame {frame}"
    assert not rows_of(tables["deaths"], position_id="alone")
    scored = truth_scores(bundles["given"])
    for score in ("death_precision", "death_recall", "top1_frac"):
        assert scored["crowd", score] == 1, score


def test_with_masks_given_denoising_changes_no_table(bundles: dict[str, Path]) -> None:
    assert same_tables(_tables(bundles, "given"), _tables(bundles, "given_undenoised"))


@pytest.mark.parametrize("how", ["given", "found"])
def test_lengths_twice_as_long_give_the_same_tables_in_other_units(
    bundles: dict[str, Path], how: str
) -> None:
    single, double = _tables(bundles, how), _tables(bundles, f"{how}_double")
    assert set(single) == set(double)
    n_lengths = 0
    for name, table in single.items():
        for i, field in enumerate(table.schema):
            unit = (field.metadata or {}).get(b"unit", b"").decode()
            assert ("µm" in unit) == (unit in POWERS), f"{name}.{field.name} has the unit {unit}"
            assert unit in POWERS or "_um" not in field.name, f"{name}.{field.name} has the unit {unit!r}"
            column = table.column(i)
            if unit in POWERS:
                # A power of two changes the exponent alone, so that nothing may differ by a bit.
                column = pc.multiply(column, 2.0 ** POWERS[unit])
                n_lengths += len(column) - column.null_count
            assert double[name].column(i).equals(column), f"{name}.{field.name} is not of the same scale"
    assert n_lengths > 1000
    assert single["contact_events"].num_rows
    assert single["deaths"].num_rows
