"""``report``: one page that needs nothing else, says what the run was, and breaks no seal."""

from __future__ import annotations

import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dataops_parsl import open_run
from dataops_parsl.bundle import MANIFEST, Bundle
from dataops_parsl.cli import main
from dataops_parsl.figures.base import png_bytes
from dataops_parsl.report.figures import Album
from dataops_parsl.report.page import report
from dataops_parsl.validate.seal import seal_sha256
from tests.helpers import Project
from tests.report.reading import Page


@pytest.fixture(scope="module")
def text(page_file: Path) -> str:
    return page_file.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_loads_nothing_and_runs_nothing(text: str, page: Page) -> None:
    assert len(text.encode()) < 5e6
    assert not page.named("script", "link", "iframe", "object", "embed")
    addresses = [v for _, said, _ in page.elements for k, v in said.items() if k in ("src", "href")]
    assert addresses
    assert [a for a in addresses if not a.startswith(("#", "data:image/"))] == []
    assert not re.search(r"url\((?!#)|@import", re.sub(r"data:image/[^\"]+", "", text))
    (policy,) = [s["content"] for s, _ in page.named("meta") if "http-equiv" in s]
    assert policy.startswith("default-src 'none'")


def test_headings_are_in_order_and_links_lead_somewhere(page: Page) -> None:
    levels = [int(name[1]) for name, _, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels)), "no level is skipped"
    ids = [s["id"] for _, s, _ in page.elements if "id" in s]
    assert len(ids) == len(set(ids))
    for said, words in page.named("a"):
        assert said["href"][1:] in ids
        assert words
    for name in ("aria-labelledby", "aria-describedby"):
        for _, said, _ in page.elements:
            assert set(said.get(name, "").split()) <= set(ids)
    assert next(s for n, s, _ in page.elements if n == "html")["lang"] == "en"
    assert {n for n, _, _ in page.elements} >= {"main", "header", "nav", "footer", "section"}


def test_tables_and_pictures_say_what_they_are(page: Page) -> None:
    captions = [words for _, words in page.named("caption")]
    assert len(captions) == len(page.named("table"))
    assert all(captions)
    assert all(said.get("scope") in ("row", "col") for said, _ in page.named("th"))
    images = page.named("img")
    assert len(images) >= 10
    assert all(len(said["alt"]) > 10 for said, _ in images)
    drawings = [s for n, s, above in page.elements if n == "svg" and "svg" not in above]
    assert all(s.get("role") == "img" or s.get("aria-hidden") == "true" for s in drawings)
    assert len([s for s in drawings if "aria-labelledby" in s]) == 2, "the graph and the timeline"


def test_it_has_what_was_asked_for(page: Page, sealed_project: Project) -> None:
    titles = [words for _, words in page.named("h2")]
    assert titles == [
        "Results",
        "What was seen",
        "Stages",
        "Timeline",
        "Cost and efficiency",
        "Asked for and used",
        "Failures",
        "Configuration",
        "Provenance",
        "Checks",
    ]
    run = open_run(sealed_project.bundles()[0])
    summary = {r["name"]: r for r in run.arrow("summary").to_pylist() if r["level"] == "condition"}
    rows = _rows(page, "Deaths by condition")
    assert set(rows) == set(summary)
    for name, row in rows.items():
        assert row["died"] == str(summary[name]["n_deaths"])
        assert row["beside a live effector"] == str(summary[name]["n_attributed"])
        # No number of kills without the chance level and the controls beside it.
        assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", row["by chance (95 %)"])
        assert row["in controls"]
    costs = _rows(page, "Cost of each stage")
    assert set(costs) == {"all", *json.loads((run.bundle.root / "run.json").read_text())["stages"]}
    assert int(costs["all"]["tasks"]) == run.trace.shape[0]
    settings = _rows(page, "Values that are not the defaults")
    assert settings["batch_frames"] == {"value": "4", "default": "10", "set by": "configs/config.user.toml"}
    assert settings["dataset.name"]["value"] == '"small"'
    assert not [key for key in settings if key.startswith("paths.")]
    assert re.search(r"<title>register_denoise\.\w+/\w+[/\d]*: [\d.]+ s, done</title>", report(run.bundle))


def _rows(page: Page, caption: str) -> dict[str, dict[str, str]]:
    """Cells of a table by the first cell of the row and the head of the column."""
    (at,) = [
        i
        for i, (e, t) in enumerate(zip(page.elements, page.texts, strict=True))
        if e[0] == "caption" and t.startswith(caption)
    ]
    cells: list[list[str]] = []
    for (name, _, _), words in zip(page.elements[at:], page.texts[at:], strict=True):
        if name in ("table", "section"):
            break
        if name == "tr":
            cells.append([])
        elif name in ("th", "td"):
            cells[-1].append(words.strip())
    head, *rows = cells
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def test_the_command_writes_it_beside_the_seal_and_breaks_nothing(
    bundle: Path, sealed_project: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    project = ("--project", str(sealed_project.root))
    before = {p for p in bundle.rglob("*") if p.is_file()}
    assert main(["report", str(bundle), *project]) == 0
    assert {p for p in bundle.rglob("*") if p.is_file()} - before == {bundle / "report.html"}
    assert str(bundle / "report.html") in capsys.readouterr().out
    first = (bundle / "report.html").read_text()
    assert "As the run itself found before it was sealed" in first
    assert main(["validate", str(bundle), *project]) == 0
    assert main(["report", str(bundle), *project, "-o", str(tmp_path / "elsewhere")]) == 0
    validated = (tmp_path / "elsewhere" / "report.html").read_text()
    assert re.search(r"Validated \d+ \w+ 20\d\d, \d\d:\d\d UTC\. \d+ checks: \d+ ok\.", validated)
    assert (bundle / "report.html").read_text() == first
    assert main(["report", "nothing", *project]) == 2


def test_it_opens_in_the_browser(bundle: Path, sealed_project: Project, tmp_path: Path) -> None:
    browser = tmp_path / "browser.sh"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/shown\n')
    browser.chmod(0o755)
    out = tmp_path / "a folder"
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    sealed_project.run("report", str(bundle), "--open", "-o", str(out), env=environment)
    assert (tmp_path / "shown").read_text().strip() == (out / "report.html").as_uri()


def test_a_tampered_run_says_so_whatever_was_found_before(bundle: Path, sealed_project: Project) -> None:
    assert main(["validate", str(bundle), "--project", str(sealed_project.root)]) == 0
    table = bundle / "tables" / "tracks.parquet"
    table.write_bytes(table.read_bytes()[:-100])
    text = report(Bundle(bundle))
    assert '<div class="verdict tampered"' in text
    assert "seal: tables/tracks.parquet: was cut" in text
    (bundle / "run.json").write_text('{"workflow": "x", "starts": 3}')
    assert main(["report", str(bundle), "--project", str(sealed_project.root)]) == 2
    (bundle / "run.json").write_text("{")
    assert main(["report", str(bundle), "--project", str(sealed_project.root)]) == 2


def _acceptance(bundle: Path, **changed: object) -> str:
    """The page with an acceptance report of this seal, that says something else than validate did."""
    ok = {"what": "seal: files", "expected": "as sealed", "found": "all", "verdict": "ok"}
    said = {
        "format": 1,
        "verdict": "accepted",
        "validated_at": "2026-01-01T00:00:00+00:00",
        "seal_sha256": seal_sha256(bundle),
        "checks": [ok],
    }
    (bundle / "acceptance_report.json").write_text(json.dumps(said | changed))
    return report(Bundle(bundle))


@pytest.mark.parametrize(
    "changed",
    [
        {"format": 2},
        {"checks": 3},
        {"checks": [{"what": "x"}]},
        {"checks": [{"what": "x", "expected": "y", "found": "z", "verdict": "certified"}]},
        {"checks": [{"what": "x", "expected": "y", "found": 5, "verdict": "ok"}]},
        {"checks": []},
        {"validated_at": None, "seal_sha256": "of another"},
    ],
)
def test_a_validation_that_cannot_be_read_is_none(bundle: Path, changed: dict[str, object]) -> None:
    assert "Validated 1 Jan 2026" in _acceptance(bundle)
    text = _acceptance(bundle, **changed)
    assert "As the run itself found before it was sealed" in text
    assert '<div class="verdict accepted"' in text


def test_a_verdict_is_not_taken_at_its_word(bundle: Path, sealed_project: Project) -> None:
    failed = {"what": "input: bytes", "expected": "as read", "found": "torn", "verdict": "failed"}
    assert '<div class="verdict rejected"' in _acceptance(bundle, checks=[failed])
    partial = bundle.parent / "partial"
    shutil.copytree(sealed_project.bundles("stills")[0], partial)
    text = _acceptance(partial)
    assert '<div class="verdict partial"' in text, "no better than the run's own, which lists failures"
    assert "listed below" in text


def test_a_partial_run_tells_what_failed_first(sealed_project: Project) -> None:
    page = Page(report(Bundle(sealed_project.bundles("stills")[0])))
    assert page.named("h2")[0][1] == "Failures"
    rows = _rows(page, "Missing from the results")
    assert rows["coculture"]["frames"] == "2"
    assert "cannot be read" in rows["coculture"]["why"]
    assert any(s.get("class") == "verdict partial" for _, s, _ in page.elements)
    assert "Deaths by condition" not in [words for _, words in page.named("caption")]
    assert any(words.startswith("Objects in all frames: ") for _, words in page.named("p"))


def test_old_runs_that_recorded_less_have_a_page_too(bundle: Path) -> None:
    facts = json.loads((bundle / "run.json").read_text())
    for name in ("graph", "differing", "resources", "identities", "executors", "checks", "starts"):
        del facts[name]
    (bundle / "run.json").write_text(json.dumps(facts))
    (bundle / MANIFEST).unlink()
    Bundle(bundle).seal()
    shutil.rmtree(bundle / "figures")
    page = Page(report(Bundle(bundle)))
    assert "Stages" in [words for _, words in page.named("h2")]
    assert any("did not record its graph" in words for _, words in page.named("p"))


def test_photographs_are_not_read_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one did not fit; a small picture that fits is shown all the same."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    noise = noise.repeat(3, 0).repeat(3, 1)
    for i in range(20):
        Image.fromarray(noise).save(tmp_path / f"outlines_P{i:02d}.png")
    Image.fromarray(noise[:20, :20]).save(tmp_path / "outlines_P99.png")
    opened = []
    real = Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path.name) or real(path))
    made = Album(tmp_path, left_bytes=10_000).overlays()
    assert opened == ["outlines_P00.png", "outlines_P99.png"]
    assert made.count("<img") == 1
    assert "20 pictures left out" in made
    assert "figures/outlines_P11 and others" in made


def test_of_many_notes_the_first_are_shown(bundle: Path) -> None:
    facts = json.loads((bundle / "run.json").read_text())
    (bundle / "run.json").write_text(json.dumps(facts | {"notes": [f"note {i}" for i in range(1000)]}))
    (bundle / MANIFEST).unlink()
    Bundle(bundle).seal()
    text = report(Bundle(bundle))
    assert text.count("<li>note ") == 12
    assert "and 988 more; all are in run.json" in text


def test_pictures_beyond_the_budget_are_named_and_left_out(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3, 2))
    figure.subplots().plot([0, 1])
    for name in ("drift", "quality", "outlines_P1"):
        (tmp_path / f"{name}.png").write_bytes(png_bytes(figure))
    size = (tmp_path / "drift.png").stat().st_size
    album = Album(tmp_path, left_bytes=size + 10)
    made = album.curves()
    assert made.count("<img") == 1
    assert "1 picture left out, to keep this page light: figures/drift" in made
    assert "figures/outlines_P1" in album.overlays()
