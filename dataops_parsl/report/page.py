"""One self-contained page on a run: no script, nothing that is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dataops_parsl import __version__
from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import UsageError
from dataops_parsl.report.advice import advice
from dataops_parsl.report.costs import costs
from dataops_parsl.report.figures import Album
from dataops_parsl.report.graph import graph
from dataops_parsl.report.html import Html, join, pairs, section, tag
from dataops_parsl.report.results import results
from dataops_parsl.report.settings import checks, provenance, settings
from dataops_parsl.report.timeline import timeline
from dataops_parsl.report.trouble import trouble, troubled
from dataops_parsl.report.view import RunView
from dataops_parsl.report.words import UNKNOWN, duration, many, moment, number, percent
from dataops_parsl.validate.acceptance import MEANINGS, tally

_STYLE = Path(__file__).with_name("style.css")
_MARKS = {"accepted": "✓", "partial": "◐", "rejected": "✗", "tampered": "⚠"}
_MOST_AGAINST, _MOST_NOTES = 8, 12
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report(bundle: Bundle) -> str:
    """The page of a sealed run.

    Raises
    ------
    UsageError
        The bundle does not say what it is, or was meddled with so that it cannot be read.
    """
    view = RunView.of(bundle)
    try:
        return _page(view)
    except Exception as error:
        if not view.seal:
            raise
        raise UsageError(
            f"{bundle.root} is not as it was sealed and cannot be reported: {type(error).__name__}: {error}",
            f"python -m dataops_parsl validate {bundle.root} says what is wrong with it",
        ) from error


def _page(view: RunView) -> str:
    bundle = view.bundle
    sections = dict(_sections(view))
    title = f"Run {bundle.id}: {view.verdict}"
    links = (tag("li", tag("a", name, href=f"#{key}")) for key, (name, _) in sections.items())
    body = tag(
        "body",
        tag("a", "Skip to the results", href="#results", class_="skip"),
        tag("header", *_header(view)),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag("main", *(section(key, name, made) for key, (name, made) in sections.items())),
        tag("footer", tag("p", f"Written by dataops_parsl {__version__} from {bundle.root}.")),
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        # Nothing may be loaded, wherever the page is opened.
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", Html(_STYLE.read_text(encoding="utf-8"))),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _sections(view: RunView) -> Iterator[tuple[str, tuple[str, Html]]]:
    album = Album(view.bundle.root / "figures")
    failed = ("failures", ("Failures", trouble(view)))
    if troubled(view):
        yield failed
    curves = album.curves()
    yield "results", ("Results", join([results(view), tag("h3", "Figures"), curves]))
    yield "overlays", ("What was seen", album.overlays())
    yield "graph", ("Stages", graph(view))
    yield "timeline", ("Timeline", timeline(view))
    yield "costs", ("Cost and efficiency", costs(view))
    yield "advice", ("Asked for and used", advice(view))
    if not troubled(view):
        yield failed
    yield "settings", ("Configuration", settings(view))
    yield "provenance", ("Provenance", provenance(view))
    yield "checks", ("Checks", checks(view))


def _header(view: RunView) -> Iterator[Html]:
    facts, n_frames = view.facts, view.facts.get("n_frames", {})
    dataset = facts.get("dataset", {}).get("name", UNKNOWN)
    yield tag("p", f"{facts['workflow']} on {dataset}", class_="over")
    yield tag("h1", f"Run {view.bundle.id}")
    yield _verdict(view)
    workers = facts.get("config", {}).get("workers", UNKNOWN)
    items = [
        ("Input", f"{many(len(n_frames), 'position')}, {many(sum(n_frames.values()), 'frame')}"),
        ("Started", moment(facts.get("opened_at", ""))),
        ("Took", f"{duration(facts.get('wall_s', 0))} with {workers} workers"),
        ("Site", str(facts.get("config", {}).get("site", {}).get("name", UNKNOWN))),
    ]
    if paid := sum(row["worker_s"] for row in facts.get("executors", [])):
        busy = sum(row["busy_s"] for row in facts["executors"])
        items.append(("Worker time", f"{duration(paid)}, {percent(min(1.0, busy / paid))} computing"))
    if facts.get("gpu_idle_frac") is not None:
        items.append(("GPU workers idle", percent(facts["gpu_idle_frac"])))
    yield pairs(items, "key")
    if notes := _first(facts.get("notes", []), _MOST_NOTES, "; all are in run.json"):
        yield tag("ul", *(tag("li", note) for note in notes), class_="notes", aria_label="Notes")


def _first(lines: list[str], most: int, where: str = "") -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - most
    return [*lines[:most], *([f"and {number(more)} more{where}"] if more > 0 else [])]


def _verdict(view: RunView) -> Html:
    verdict = view.verdict
    meaning = next((m for v, m in MEANINGS.items() if v == verdict), "the run does not say")
    against: list[str] = [f"{c.what}: {c.found}" for c in view.seal]
    if view.acceptance:
        said = view.acceptance.checks
        told = f"Validated {moment(view.acceptance.at)}. {tally(said)}."
        against = against or [f"{c.what}: {c.found}" for c in said if not c.ok]
    else:
        told = (
            "Files compared with the seal just now."
            if view.seal
            else "As the run itself found before it was sealed. Its files are compared with the seal now; "
            "input and pixels are not: validate does that."
        )
    failed = view.facts.get("failures", [])
    against = against or [f"{many(len(failed), 'failure')} listed below"] * bool(failed)
    shown = _first(against, _MOST_AGAINST)
    mark = tag("span", _MARKS.get(verdict, "?"), class_="mark", aria_hidden="true")
    return tag(
        "div",
        tag("p", mark, tag("strong", verdict.capitalize()), f": {meaning}."),
        tag("ul", *(tag("li", words) for words in shown)) if shown else None,
        tag("p", told, class_="told"),
        class_=f"verdict {verdict}",
        role="region",
        aria_label="Verdict",
    )
