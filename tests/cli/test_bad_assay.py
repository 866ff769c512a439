"""Assays that lack something: what they cannot say is null and said; what cannot be meant is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest

from dataops_parsl.bundle import Bundle
from dataops_parsl.dataset import ingest
from tests.helpers import PROJECT, Project

PLATE = "plate.csv"
HEAD = "position,well,condition,control,replicate\n"
COCULTURE = "coculture,A1,effectors and targets,,1\n"
CONTROL = "targets_alone,B1,targets alone,negative,1\n"
DYE, STAIN = ", lost_on_death = true", ", death_marker = true"
EFFECTORS = r"\[populations\.effector\][^\[]*(?:\[(?!populations)[^\[]*)*"
"""The population's table: up to the next population."""
UNKNOWN = "Not known which targets are alive"
OF_DEATH = (
    "n_deaths",
    "n_attributed",
    "n_dead_at_entry",
    "dead_frac",
    "kills_per_contact_h",
    "delay_median_s",
)
FRAMES = ("--frames=8", "--set=batch_frames=8")


def _without_death_marker(folder: Path) -> None:
    _mend(folder, STAIN, "")


def _one_position_without_control(folder: Path) -> None:
    shutil.rmtree(folder / "targets_alone")
    (folder / PLATE).write_text(HEAD + COCULTURE)


def _targets_only(folder: Path) -> None:
    shutil.rmtree(folder / "coculture")
    (folder / PLATE).write_text(HEAD + CONTROL)
    _mend(folder, EFFECTORS, "")


def _mend(folder: Path, pattern: str, new: str) -> None:
    """Replace in dataset.toml; what is replaced must be there."""
    text = (folder / "dataset.toml").read_text()
    mended, n = re.subn(pattern, new, text)
    assert n == 1, f"{pattern!r} is there {n} times"
    (folder / "dataset.toml").write_text(mended)


ASSAYS = {
    "blind": _without_death_marker,
    "lone": _one_position_without_control,
    "targets": _targets_only,
}
RUNS = {
    "blind": ("--dataset=blind",),
    "lone": ("--dataset=lone",),
    "targets": ("--dataset=targets",),
    "too_high": ("--dataset=lone", "--set=stages.killing.threshold_count=100000"),
    "too_low": ("--dataset=lone", "--set=stages.killing.threshold_count=-100000"),
}
AT_ONCE = (("blind", "lone", "targets"), ("too_high", "too_low"))
"""The second runs take the pixels of `lone` as they are."""


class Outcome:
    """What a run printed and left."""

    def __init__(self, project: Project, name: str, output: str) -> None:
        (self.bundle,) = (project.root / "output" / name).glob("cytotoxicity/run_*")
        self.output, self.tables = output, project.tables(self.bundle)
        self.notes: list[str] = Bundle(self.bundle).facts["notes"]

    def rows(self, table: str, **equal: str) -> list[dict[str, Any]]:
        """Rows in which these columns have these values."""
        found = self.tables[table]
        for column, value in equal.items():
            found = found.filter(pc.equal(found[column], value))
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    def values(self, table: str, column: str, **equal: str) -> set[Any]:
        """The different values of a column in these rows."""
        return {row[column] for row in self.rows(table, **equal)}

    def words(self, figure: str) -> str:
        """All that a figure says, in one line."""
        (file,) = self.bundle.rglob(f"{figure}.svg")
        assert file.with_suffix(".png").stat().st_size > 1000
        return " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", file.read_text()))

    def says(self, *words: str) -> None:
        """One note holds these words, and was printed."""
        (note,) = (n for n in self.notes if words[0] in n)
        for word in words:
            assert word in note
        assert f"note: {note}" in self.output


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, small_films: Path) -> dict[str, Outcome]:
    """Each assay, run to its end with exit code 0."""
    folder = tmp_path_factory.mktemp("bad")
    project = Project(folder / "project")
    shutil.copytree(PROJECT / "configs" / "sites", project.root / "configs" / "sites")
    shutil.copytree(PROJECT / "apps", project.root / "apps")
    for name, spoil in ASSAYS.items():
        shutil.copytree(small_films, folder / name)
        spoil(folder / name)
        ingest.add(folder / name, name, project.root / "data" / "datasets")
    found = {}
    for names in AT_ONCE:
        drivers = {
            name: project.start(
                "run", "--workers=1", *FRAMES, f"--set=paths.output_root=output/{name}", *RUNS[name]
            )
            for name in names
        }
        for name, driver in drivers.items():
            assert driver.wait() == 0, driver.output
            assert "Traceback" not in driver.output
            found[name] = Outcome(project, name, driver.output)
    return found


def _deaths_are_unknown(run: Outcome) -> None:
    """Null wherever life or death is said, and all that does not need them is there."""
    assert run.values("thresholds", "threshold") == {None}
    assert run.values("cells", "alive") == {None}
    assert run.values("tracks", "dead") == {None}
    for name in ("deaths", "death_candidates", "survival", "chance", "chance_kills"):
        assert not run.rows(name), name
    for row in run.rows("summary"):
        assert {row[name] for name in OF_DEATH} == {None}, row["name"]
        assert row["n_targets"] > 0
    for name in ("contacts", "contact_events", "edges", "msd"):
        assert run.rows(name), name
    (row,) = run.rows("summary", level="position", name="coculture")
    assert row["n_contact_events"] > 0
    for figure in ("dead_over_time", "survival_film_start", "survival_first_contact", "death_traces"):
        assert UNKNOWN in run.words(figure), figure
    for figure in ("kills_per_effector", "contact_to_death"):
        assert UNKNOWN in run.words(figure), figure
    assert UNKNOWN not in run.words("contacts_over_time")


def test_no_death_channel(ran: dict[str, Outcome]) -> None:
    run = ran["blind"]
    run.says("no channel is marked death_marker", "deaths are unknown", "dataset.toml")
    assert run.values("cells", "death_score") == {None}
    assert run.values("positions", "position_id") == {"coculture", "targets_alone"}
    _deaths_are_unknown(run)


def test_no_control_no_threshold_and_one_position_only(ran: dict[str, Outcome]) -> None:
    run = ran["lone"]
    run.says("no negative control and no threshold", "plate.csv", "stages.killing.threshold_count")
    assert run.values("positions", "position_id") == {"coculture"}
    scores = [row["death_score"] for row in run.rows("cells", population="target")]
    assert np.isfinite(np.array(scores, float)).all(), "the score is known, what it means is not"
    _deaths_are_unknown(run)


def test_a_condition_without_replicates_has_no_standard_error(ran: dict[str, Outcome]) -> None:
    for name in ("lone", "too_high"):
        run = ran[name]
        run.says("one replicate of 'effectors and targets'", "no standard error")
        (row,) = run.rows("summary", level="condition")
        assert row["n_replicates"] == 1
        for column in ("dead_frac_sem", "dead_frac_minus_control_sem", "kills_per_contact_h_sem"):
            assert row[column] is None
    (row,) = ran["too_high"].rows("summary", level="condition")
    assert row["dead_frac"] == 0
    assert row["dead_frac_minus_control"] is None, "there is no control"


def test_a_threshold_above_all_scores(ran: dict[str, Outcome]) -> None:
    run = ran["too_high"]
    run.says("100000", "lies above every death score seen", "none can die")
    assert not run.rows("deaths")
    assert run.values("cells", "alive", population="target") <= {True, None}
    assert True in run.values("cells", "alive", population="target")
    assert "no target died" in run.words("kills_per_effector")
    assert "control death rate: no negative control" in run.words("kills_per_effector")
    assert "No target was seen to die" in run.words("death_traces")


def test_a_threshold_below_all_scores(ran: dict[str, Outcome]) -> None:
    run = ran["too_low"]
    run.says("-100000", "lies below every death score seen", "all targets count as dead")
    assert not run.rows("deaths"), "dead at first sight is no event"
    targets = run.rows("tracks", population="target")
    judged = [t for t in targets if t["dead"] is not None]
    assert judged
    assert all(t["dead"] and t["dead_at_entry"] and t["death_time_s"] is None for t in judged)
    assert True not in run.values("cells", "alive", population="target")
    assert not run.rows("survival"), "none was ever at risk"
    assert "No target could be followed" in run.words("survival_film_start")


def test_no_effectors_in_the_dataset(ran: dict[str, Outcome]) -> None:
    run = ran["targets"]
    assert run.values("cells", "population") == {"target"}
    assert run.values("thresholds", "source") == {"controls: targets_alone"}
    assert True in run.values("cells", "alive")
    for name in ("contacts", "contact_events", "deaths", "death_candidates", "effectors"):
        assert not run.rows(name), name
    (row,) = run.rows("summary", level="position")
    assert (row["n_effectors"], row["n_deaths"], row["dead_frac"]) == (0, 0, 0)
    assert row["n_at_risk"] > 0
    assert row["kills_per_contact_h"] is None, "no hour of contact, no rate"
    assert row["kills_per_effector"] is None
    assert "no position with effectors" in run.words("kills_per_effector")
    # All there is may be a control in which nothing died; that there is nobody to kill is no fault.
    assert run.notes == []


@pytest.mark.parametrize(
    ("plate", "words"),
    [
        (
            HEAD + COCULTURE + CONTROL.replace("_alone", "_alon"),
            ["line 3", "'targets_alon'", "mend the name"],
        ),
        (HEAD + COCULTURE + CONTROL + COCULTURE, ["line 4", "'coculture' is there twice", "keep one row"]),
    ],
    ids=["unknown", "doubled"],
)
def test_a_plate_that_cannot_be_meant(
    bare_project: Project, small_films: Path, tmp_path: Path, plate: str, words: list[str]
) -> None:
    folder = tmp_path / "films"
    shutil.copytree(small_films, folder)
    (folder / PLATE).write_text(plate)
    output = bare_project.run("dataset", "add", str(folder), "--name", "films", expect=2)
    for word in (str(folder / PLATE), *words):
        assert word in output
    assert not (bare_project.root / "data" / "datasets" / "films").exists(), "nothing may be taken in"


@pytest.mark.parametrize(
    ("mark", "arguments", "words"),
    [
        (("gfp", DYE, ""), ["--set=stages.killing.death_rule=cdi"], ["'cdi'", "live dye", "lost_on_death"]),
        (("gfp", DYE, ""), ["--set=stages.killing.death_rule=target_loss"], ["'target_loss'", "live dye"]),
        (("pi", STAIN, ""), ["--set=stages.killing.death_rule=cdi"], ["'cdi'", "death stain", "target_loss"]),
        (("gfp", DYE, STAIN), [], ["gfp, pi are all marked death_marker", "stages.killing.death_channel"]),
    ],
    ids=["cdi without live dye", "target_loss without dye", "cdi without death stain", "two death markers"],
)
def test_stains_that_cannot_tell(
    bare_project: Project,
    small_films: Path,
    tmp_path: Path,
    mark: tuple[str, str, str],
    arguments: list[str],
    words: list[str],
) -> None:
    channel, old, new = mark
    folder = tmp_path / "films"
    shutil.copytree(small_films, folder)
    _mend(folder, rf"(?m)^({channel} = .*){old}", rf"\g<1>{new}")
    ingest.add(folder, "films", bare_project.root / "data" / "datasets")
    output = bare_project.run("run", "--dataset=films", *arguments, expect=2)
    for word in words:
        assert word in output
    assert not bare_project.bundles(), "nothing may be started"
