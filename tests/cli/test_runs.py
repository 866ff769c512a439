"""``runs list``, ``runs show``, ``runs diff``: what is there, what one run is, what differs between two."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from dataops_parsl.bundle import MANIFEST, Bundle
from dataops_parsl.cli import main
from dataops_parsl.report import difference
from dataops_parsl.report.costs import charged_hours, in_all, stage_costs
from dataops_parsl.report.overview import Overview, size, size_bytes
from dataops_parsl.report.table_difference import key_of, table_difference
from dataops_parsl.report.view import RunView
from dataops_parsl.storage.atomic import write_json
from dataops_parsl.storage.parts import parquet_bytes
from tests.helpers import Project

Said = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Run an action of ``runs`` in a project and return what it prints; the exit code must be 0."""

    def run(project: Project, *arguments: str) -> str:
        assert main(["runs", *arguments, "--project", str(project.root)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def copied(sealed_project: Project, tmp_path: Path) -> Project:
    """A project with copies of the sealed runs, to be changed; without their dataset and scratch."""
    root = tmp_path / "copied"
    for name in ("configs", "apps", "output"):
        shutil.copytree(sealed_project.root / name, root / name)
    return Project(root)


def _second(project: Project, change: Callable[[Path], Any] | None = None) -> Bundle:
    """A copy of the sealed run of another id; what `change` does to it is sealed."""
    root = project.bundles()[-1]
    other = root.with_name("run_20290101T000000Z-ffff")
    shutil.copytree(root, other)
    if change is not None:
        (other / MANIFEST).unlink()
        change(other)
        Bundle(other).seal()
    return Bundle(other)


def test_a_list_says_state_time_cost_and_size(sealed_project: Project, said: Said) -> None:
    lines = said(sealed_project, "list").splitlines()
    assert lines[0].split() == ["run", "workflow", "dataset", "state", "wall", "time", "CPU-h", "size"]
    assert max(map(len, lines[:3])) <= 110
    assert [line.split()[1:4] for line in lines[1:3]] == [
        ["stills", "torn", "partial"],
        ["cytotoxicity", "small", "accepted"],
    ]
    assert said(sealed_project) == "\n".join(lines) + "\n"
    found = json.loads(said(sealed_project, "list", "--json", "--dataset", "small"))
    (run,) = found
    bundle = Bundle(sealed_project.bundles()[-1])
    files = json.loads((bundle.root / MANIFEST).read_bytes())["files"]
    assert run["size_bytes"] == sum(f["bytes"] for f in files.values())
    assert run["size_bytes"] == sum((bundle.root / name).stat().st_size for name in files)
    assert (run["id"], run["sealed"], run["root"]) == (bundle.id, True, str(bundle.root))
    assert run["wall_s"] == bundle.facts["wall_s"]
    total = in_all(stage_costs(RunView.of(bundle)))
    assert run["cpu_h"] == pytest.approx(total.core_h)
    assert run["gpu_h"] == total.gpu_h == 0
    assert said(sealed_project, "list", "--workflow", "stills").count("\n") == 4
    assert "none of the 2 runs" in said(sealed_project, "list", "--dataset", "other")


def test_cores_and_cards_are_charged_as_the_report_does(sealed_project: Project, tmp_path: Path) -> None:
    root = tmp_path / "run_x"
    shutil.copytree(sealed_project.bundles()[-1], root)
    bundle = Bundle(root)
    resources = {**bundle.facts["resources"], "cellpose": {"cores": 4}}
    bundle.update(resources=resources, executor_gres={"laptop": "gpu:a100:2"})
    total = in_all(stage_costs(RunView.of(bundle)))
    hours = charged_hours(bundle.facts, pq.read_table(root / "tables" / "trace.parquet"))
    assert hours == pytest.approx((total.core_h, total.gpu_h))
    assert total.gpu_h == pytest.approx(2 * total.wall_s / 3600)
    assert total.core_h > total.wall_s / 3600


def test_damaged_and_open_runs_do_not_break_the_list(copied: Project, said: Said) -> None:
    folder = copied.root / "output" / "cytotoxicity"
    damaged = _second(copied).root
    (damaged / MANIFEST).write_text("{")
    (damaged / "tables" / "trace.parquet").write_bytes(b"PAR1")
    for name, text in (("a", None), ("b", "{"), ("c", "[1]"), ("d", '{"dataset": 3, "wall_s": "x"}')):
        root = folder / f"run_20270101T000000Z-{name}"
        root.mkdir()
        if text is not None:
            (root / "run.json").write_text(text)
    opened = folder / "run_20280101T000000Z-open"
    opened.mkdir()
    (opened / "run.json").write_text('{"status": "open", "workflow": "cytotoxicity"}')
    found = {run["id"]: run for run in json.loads(said(copied, "list", "--json"))}
    assert [found[f"20270101T000000Z-{name}"]["state"] for name in "abcd"] == ["damaged"] * 4
    assert found["20280101T000000Z-open"]["state"] == "open"
    assert found["20280101T000000Z-open"]["size_bytes"] > 0
    assert found["20290101T000000Z-ffff"]["size_bytes"] is None
    assert found["20290101T000000Z-ffff"]["cpu_h"] is None
    assert len(said(copied, "list").splitlines()) == 1 + 8 + 2
    for run in found:
        said(copied, "show", run)


def test_long_names_stay_readable(copied: Project, said: Said) -> None:
    second = _second(copied)
    name = "a_dataset_of_a_very_long_name_indeed"
    second.update(dataset={"name": name}, executor_gres={"laptop": "gpu"}, wall_s=360_000)
    lines = said(copied, "list").splitlines()
    assert "GPU-h" in lines[0]
    assert max(map(len, lines[:4])) <= 110
    assert "a_dataset_of_a_ve…" in lines[1]
    assert json.loads(said(copied, "list", "--json"))[0]["dataset"] == name


def test_sizes_of_open_runs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle(tmp_path / "cytotoxicity" / "run_x")
    bundle.write_file("a/b", b"x" * 100)
    bundle.write_file("c", b"x" * 11)
    assert size_bytes(bundle) == 111
    assert Overview.of(bundle, tmp_path).workflow == "cytotoxicity"
    monkeypatch.setattr("dataops_parsl.report.overview.MOST_FILES", 1)
    assert size_bytes(bundle) is None
    assert [size(n) for n in (None, 0, 999, 1000, 99_999, 12_345_678, 5 * 10**12)] == [
        "–",
        "0 B",
        "999 B",
        "1.0 kB",
        "100 kB",
        "12 MB",
        "5.0 TB",
    ]


def test_one_run_on_a_screen(sealed_project: Project, said: Said) -> None:
    bundle = Bundle(sealed_project.bundles()[-1])
    words = said(sealed_project, "show", bundle.id[:-1])
    facts = bundle.facts
    for part in (
        bundle.id,
        str(bundle.root),
        "accepted",
        "not validated since",
        facts["dataset"]["fingerprint"],
        "24 frames of 2 positions",
        "python -m dataops_parsl run --workers 2",
        facts["starts"][-1]["versions"]["numpy"],
        "batch_frames",
        "configs/config.user.toml",
        f"runs export {bundle.id} --csv",
        f"runs napari {bundle.id}",
        f"validate {bundle.id}",
    ):
        assert part in words
    lines = words.splitlines()
    (all_stages,) = [line.split() for line in lines if line.startswith("all ")]
    trace = pq.read_table(bundle.root / "tables" / "trace.parquet")
    assert all_stages[1] == str(len(trace["task"].unique()))
    (row,) = [line for line in lines if line.startswith("position   coculture")]
    summary = pq.read_table(bundle.root / "tables" / "summary.parquet")
    (known,) = summary.filter(pc.equal(summary["name"], "coculture")).to_pylist()
    assert row.split()[2:6] == [
        str(known[n]) for n in ("n_targets", "n_effectors", "n_contact_events", "n_at_risk")
    ]
    assert len(lines) < 70


def test_a_partial_run_names_what_failed(sealed_project: Project, said: Said) -> None:
    words = said(sealed_project, "show", "latest")
    assert "partial" in words
    assert "coculture, frame 2, register_denoise.estimate: " in words
    assert "tables: frames 8" in words


def test_an_open_run_says_what_goes_on_with_it(copied: Project, said: Said) -> None:
    root = copied.bundles()[-1]
    (root / MANIFEST).unlink()
    Bundle(root).update(status="open")
    words = said(copied, "show", str(root))
    assert "open: it was not finished" in words
    assert words.splitlines()[-1].startswith("next: python -m dataops_parsl run --workers 2")


def test_a_validated_run_says_so(copied: Project, said: Said, capsys: pytest.CaptureFixture[str]) -> None:
    root = copied.bundles()[-1]
    main(["validate", str(root), "--project", str(copied.root)])
    capsys.readouterr()
    assert "validated as accepted (" in said(copied, "show", str(root))


def test_equal_runs_are_said_to_be_equal(copied: Project, said: Said) -> None:
    second = _second(copied)
    words = said(copied, "diff", copied.bundles()[0].name, second.id)
    assert "The runs are equal" in words
    assert "16 tables row by row" in words
    assert "settings\n" not in words


def test_rows_that_were_written_otherwise_are_equal(copied: Project, said: Said) -> None:
    def rewrite(root: Path) -> None:
        table = pq.read_table(root / "tables" / "cells.parquet")
        pq.write_table(table, root / "tables" / "cells.parquet", compression="snappy")

    second = _second(copied, rewrite)
    words = said(copied, "diff", copied.bundles()[0].name, second.id)
    assert "The runs are equal" in words


def _edit(root: Path) -> None:
    """Another radius and version, frames that were read otherwise, and tables to match."""
    bundle = Bundle(root)
    facts = bundle.facts
    facts["config"]["stages"]["contact"]["radius_um"] = 3.5
    facts["origins"]["stages.contact.radius_um"] = "--set"
    facts["starts"][-1]["versions"]["numpy"] = "9.9.9"
    order = [step["id"] for step in facts["graph"]]
    events = order.index("contact.events")
    facts["keys"] |= dict.fromkeys(("contact.events", *order[events + 1 :]), "0" * 12)
    facts["dataset"]["fingerprint"] = "f" * 64
    bundle.update(**{k: facts[k] for k in ("config", "origins", "starts", "keys", "dataset")})
    inputs = json.loads((root / "record" / "inputs.json").read_bytes())
    frames = inputs["positions"]["coculture"]["frames"]
    frames["3"], frames["12"] = "0" * 16, "1" * 16
    write_json(root / "record" / "inputs.json", inputs)
    for name, change in (("summary", {"n_deaths": 5}), ("cells", {"n_contacts": 9})):
        table = pq.read_table(root / "tables" / f"{name}.parquet")
        rows = table.to_pylist()
        rows[0] |= change
        bundle.write_table(name, parquet_bytes(pa.Table.from_pylist(rows[:-1], table.schema)))
    (root / "tables" / "msd.parquet").unlink()


def test_what_differs_is_said(copied: Project, said: Said) -> None:
    second = _second(copied, _edit)
    words = said(copied, "diff", copied.bundles()[0].name, second.id)
    lines = [" ".join(line.split()) for line in words.splitlines()]
    assert "stages.contact.radius_um 2 (configs/config.def.toml) 3.5 (--set)" in lines
    assert any(line.startswith("numpy ") and line.endswith(" 9.9.9") for line in lines)
    assert any(line.startswith("fingerprint ") and line.endswith("f" * 64) for line in lines)
    assert "frames of coculture read only there none 12" in lines
    assert "frames of coculture with other pixels or times 3 3" in lines
    assert "contact.events: stages.contact.radius_um" in lines
    assert any(line.startswith("and ") and line.endswith("steps that read from them") for line in lines)
    assert "condition effectors and targets n_deaths 0 5 +5" in lines
    assert any(line.startswith("position targets_alone n_targets 11 –") for line in lines)
    assert "cells 1 row only in A; 1 row of 374 with other n_contacts" in lines
    assert "msd not in B" in lines
    assert "table how it differs (13 are equal)" in lines
    assert "the same:" not in words


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ("cellpose.segment[target]", "stages.cellpose.min_area_frac"),
        ("cellpose.limits[target]", "another version of the stage, or something else known of the dataset"),
        ("trackmate.close[target]", "other libraries or weights, see its identity in run.json"),
    ],
)
def test_only_what_a_step_depends_on_is_a_reason(sealed_project: Project, step: str, reason: str) -> None:
    a, b = (Bundle(sealed_project.bundles()[-1]).facts for _ in range(2))
    b["config"]["stages"]["cellpose"] |= {"device": "cpu", "tiles_at_once": 4, "min_area_frac": 0.2}
    b["config"]["stages"]["trackmate"] |= {"fiji_dir": "/opt/Fiji.app", "java_home": "/opt/jdk"}
    b["identities"]["trackmate.close[target]"] = {"trackmate": "7.14.0"}
    b["keys"][step] = "0" * 12
    assert difference.steps(a, b) == [f"{step}: {reason}"]
    for facts in (a, b):  # as older runs are: any key of the stage may be the reason
        del facts["steps"]
    (line,) = difference.steps(a, b)
    assert ("java_home" in line) == step.startswith("trackmate")


def test_other_datasets_and_workflows_can_be_compared(sealed_project: Project, said: Said) -> None:
    runs = [str(sealed_project.bundles(w)[-1]) for w in ("cytotoxicity", "stills")]
    words = said(sealed_project, "diff", *runs)
    assert "is not in B" in words or "another dataset" in words
    assert "coculture, effector" in words
    assert "edges" in words


def test_what_is_no_run_of_a_workflow_is_refused(copied: Project, capsys: pytest.CaptureFixture[str]) -> None:
    root = copied.bundles()[-1]
    (root / "run.json").write_text("{")
    arguments = ["runs", "diff", str(root), "latest", "--project", str(copied.root)]
    assert main(arguments) == 2
    assert "nothing can be compared" in capsys.readouterr().err


KEYED = pa.schema(
    [
        pa.field("k", pa.int64(), metadata={"key": "yes"}),
        pa.field("v", pa.float64()),
        pa.field("w", pa.string()),
    ]
)


def _rows(*rows: tuple[int, float | None, str | None], schema: pa.Schema = KEYED) -> pa.Table:
    return pa.Table.from_pylist([dict(zip("kvw", row, strict=True)) for row in rows], schema)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (_rows((1, 0.5, None), (2, None, "x")), _rows((2, None, "x"), (1, 0.5, None)), ""),
        (_rows((1, 0.5, "x")), _rows((1, None, "x")), "1 row of 1 with other v"),
        (_rows((1, 0.5, "x")), _rows((1, 0.75, "y")), "1 row of 1 with other v, w"),
        (_rows((1, 0.5, "x"), (3, 1, "")), _rows((1, 0.5, "x")), "1 row only in A"),
        (_rows(), _rows((1, 0.5, "x")), "1 row only in B"),
        (_rows(), _rows(), ""),
        (_rows((1, 0.5, "x")), _rows((1, 0.5, "x")).drop_columns(["w"]), "columns only in A: w"),
        (
            _rows((1, 2.0, "x")),
            _rows((1, 2.0, "x")).set_column(1, "v", [pa.array([2.0], pa.float32())]),
            "",
        ),
    ],
)
def test_tables_are_compared_by_their_keys(a: pa.Table, b: pa.Table, words: str) -> None:
    assert table_difference(a, b, key_of(a)) == words


def test_tables_without_keys_are_counted() -> None:
    bare = pa.schema([("k", pa.int64()), ("v", pa.float64()), ("w", pa.string())])
    one, other = _rows((1, 0.5, "x"), schema=bare), _rows((1, 0.5, "y"), schema=bare)
    assert key_of(one) == []
    assert table_difference(one, one, []) == ""
    assert table_difference(one, other, []) == "rows differ"
    assert table_difference(one, one.slice(0, 0), []) == "1 rows in A, 0 in B"
