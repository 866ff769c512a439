"""charts: the figures of a run, of all positions together, and strips of single deaths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pydantic import Field

from dataops_parsl.figures import base, over_time
from dataops_parsl.figures.contacts_over_time import contacts_over_time
from dataops_parsl.figures.dead_over_time import dead_over_time
from dataops_parsl.figures.death_traces import Traces, death_traces, traces_of
from dataops_parsl.figures.drift import drift
from dataops_parsl.figures.groups import Design, Site
from dataops_parsl.figures.kills import contact_to_death, kills_of, kills_per_effector
from dataops_parsl.figures.plate_map import plate_map
from dataops_parsl.figures.quality import places_of, quality
from dataops_parsl.figures.strips import Crop, Kill, Strip, credible, strips, window
from dataops_parsl.figures.survival import survival_curves
from dataops_parsl.film import Film
from dataops_parsl.stage import Stack, Stage, readable, step
from dataops_parsl.stages.overlays import PICTURES, together
from dataops_parsl.tables import Rows

MOST_DRIFTS = 16
_PLATE = ("condition", "well", "control")


def pictures(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Each figure as PNG and SVG, rows of a table of pictures."""
    files, data = [], []
    for name, made in figures.items():
        files += [f"{name}.png", f"{name}.svg"]
        data += [base.png_bytes(made), base.svg_bytes(made)]
    return {"file": files, "data": data}


class Charts(Stage):
    """Draw the figures of a run."""

    name: ClassVar[str] = "charts"
    version: ClassVar[int] = 2

    trace_before_min: float = Field(60.0, gt=0)
    """Traces of dying targets start so long before death."""

    trace_after_min: float = Field(60.0, gt=0)
    """Traces of dying targets end so long after death."""

    strip_kills: int = Field(6, ge=1, le=24)
    """At most so many deaths are shown as strips for each position."""

    strip_width_um: float = Field(60.0, gt=0)
    """Width of a strip's pictures."""

    strip_before: int = Field(6, ge=0, le=20)
    """Pictures before death."""

    strip_after: int = Field(4, ge=0, le=20)
    """Pictures after death."""

    strip_step_frames: int = Field(1, ge=1)
    """Frames from one picture of a strip to the next."""

    @step(
        scope="dataset",
        gives={"curves": PICTURES},
        facts=("plate", "pixel_size_um", "channels"),
        parameters=("trace_before_min", "trace_after_min"),
    )
    def curves(
        self,
        films: Mapping[str, Film],
        frames: Rows,
        cells: Rows,
        tracks: Rows,
        deaths: Rows,
        survival: Rows,
        effectors: Rows,
        chance: Rows,
        chance_kills: Rows,
        summary: Rows,
        thresholds: Rows,
    ) -> dict[str, Any]:
        """Deaths, survival, kills, contacts, plate and quality."""
        plates = {position: film.plate for position, film in films.items()}
        design = Design({p: Site(*(plate.get(n) for n in _PLATE)) for p, plate in plates.items()})
        target = str(thresholds["population"][0]) if len(thresholds) else "target"
        threshold = float(thresholds["threshold"].astype(float)[0]) if len(thresholds) else float("nan")
        known = bool(np.isfinite(threshold)) or bool(len(deaths))
        counts = over_time.counts(frames, cells, target)
        judged = ("n_live", "n_dead")
        kills = kills_of(deaths, chance, chance_kills, effectors, design)
        film = next(iter(films.values()))
        made = {
            "dead_over_time": dead_over_time(
                over_time.percent(counts, design, "n_dead", judged),
                over_time.per_field(counts, design, "n_live"),
                design,
            ),
            "contacts_over_time": contacts_over_time(
                over_time.per_field(counts, design, "n_contacts"),
                over_time.percent(counts, design, "n_in_contact", ("n_targets",)),
                design,
            ),
            "survival_film_start": survival_curves(survival, "film_start", design, known),
            "survival_first_contact": survival_curves(survival, "first_contact", design, known),
            "kills_per_effector": kills_per_effector(kills, design, known),
            "contact_to_death": contact_to_death(kills, design, known),
            "death_traces": death_traces(self._traces(film, frames, cells, deaths), threshold, known),
            "quality": quality(places_of(frames, cells, tracks, film.pixel_size_um), tracks),
            "drift": drift(*_drifts(frames), film.pixel_size_um),
        }
        plate = plate_map(*_wells(design, summary))
        return pictures(made if plate is None else made | {"plate_map": plate})

    def _traces(self, film: Film, frames: Rows, cells: Rows, deaths: Rows) -> dict[str, Traces]:
        """Death score, and the stains that a dying cell loses."""
        span_s = self.trace_before_min * 60, self.trace_after_min * 60
        columns = {"death_score": "death score (counts)"}
        for name, channel in film.channels.items():
            if channel.lost_on_death and f"mean_bg_{name}" in cells.table.column_names:
                columns[f"mean_bg_{name}"] = f"mean of {name} (counts)"
        return {label: traces_of(frames, cells, deaths, c, span_s) for c, label in columns.items()}

    @step(
        scope="film",
        gives={"kill_strips": PICTURES},
        facts=("pixel_size_um", "segments", "channels", "time_s"),
        parameters=("strip_kills", "strip_width_um", "strip_before", "strip_after", "strip_step_frames"),
    )
    def strips(
        self,
        film: Film,
        denoised: Mapping[str, Stack],
        labels: Mapping[str, Stack],
        cells: Rows,
        deaths: Rows,
        death_candidates: Rows,
    ) -> dict[str, Any]:
        """The deaths that are easiest to believe, as strips of pictures."""
        times = np.array([film.time_s[f] for f in film.frames])
        interval_s = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
        kills = credible(cells, deaths, death_candidates, interval_s, self.strip_kills)
        if not kills:
            return {"file": [], "data": []}
        offsets = [k * self.strip_step_frames for k in range(-self.strip_before, self.strip_after + 1)]
        heads = [f"{o * interval_s / 60:+.3g} min".replace("-", "−") if o else "death" for o in offsets]
        rows = []
        for kill in kills:
            words = (
                f"{kill.target[0]} {kill.target[1]}\nby {kill.effector[0]} {kill.effector[1]}\n"
                f"{kill.contact_s / 60:.0f} min in contact\ncredit {kill.credit_frac:.2f}"
            )
            rows.append(Strip(self._crops(film, kill, offsets, denoised, labels, cells), words))
        title = f"{film.position_id}: deaths with the clearest candidate; chosen, not a count"
        made = strips(rows, heads, self.strip_before, film.pixel_size_um[1], title)
        return pictures({f"kill_strips_{film.position_id}": made})

    def _crops(
        self,
        film: Film,
        kill: Kill,
        offsets: list[int],
        denoised: Mapping[str, Stack],
        labels: Mapping[str, Stack],
        cells: Rows,
    ) -> list[Crop | None]:
        """The window around the target in each frame; where it is not seen, around its nearest sight."""
        size_y, size_x = film.pixel_size_um
        half = round(self.strip_width_um / size_y / 2), round(self.strip_width_um / size_x / 2)
        own, other = (_track(cells, *who) for who in (kill.target, kill.effector))
        marker = next((n for n, c in film.channels.items() if c.death_marker and n in denoised), None)
        # What is drawn as the death stain is left out of the grey, unless nothing else is there.
        grey = {p: tuple(c for c in many if c != marker) or many for p, many in film.segments.items()}
        crops: list[Crop | None] = []
        for frame in (kill.frame + o for o in offsets):
            images = {p: together(denoised, shown, frame) for p, shown in grey.items()}
            if frame not in film.frames or any(i is None for i in images.values()):
                crops.append(None)
                continue
            near = own[min(own, key=lambda f, at=frame: (abs(f - at), f))]  # type: ignore[misc]
            centre = near[1] / size_y, near[2] / size_x
            masks = [
                _mask(labels[who[0]], frame, track.get(frame), centre, half)
                for who, track in ((kill.target, own), (kill.effector, other))
            ]
            stain = readable(denoised[marker], frame) if marker else None
            crops.append(
                Crop(
                    {p: _window(i, centre, half) for p, i in images.items() if i is not None},
                    None if stain is None else _window(stain, centre, half),
                    *masks,
                )
            )
        return crops


def _track(cells: Rows, population: str, track_id: int) -> dict[int, tuple[int, float, float]]:
    """Label and place (y, x) µm of a track in each frame."""
    own = cells.where((cells["population"] == population) & (cells["track_id"] == track_id))
    values = zip(own["label"].tolist(), own["y_um"].tolist(), own["x_um"].tolist(), strict=True)
    return dict(zip(own["frame"].tolist(), values, strict=True))


def _window(image: NDArray[Any], centre: tuple[float, float], half: tuple[int, int]) -> NDArray[np.float32]:
    """A window that shows background beyond the border, so that its black and white are those of cells."""
    counts = np.asarray(image, np.float32)
    return window(counts, centre, half, float(np.median(counts)))


def _mask(
    stack: Stack,
    frame: int,
    seen: tuple[int, float, float] | None,
    centre: tuple[float, float],
    half: tuple[int, int],
) -> NDArray[np.bool_] | None:
    image = readable(stack, frame) if seen is not None else None
    return None if image is None or seen is None else window(image, centre, half) == seen[0]


def _drifts(frames: Rows) -> tuple[dict[str, base.Series]]:
    """Drift of each position; of many, those that moved most."""
    found: dict[str, base.Series] = {}
    for position in dict.fromkeys(frames["position_id"].tolist()):
        mine = frames.where(frames["position_id"] == position)
        found[position] = {n: mine[n] for n in ("time_s", "dy_px", "dx_px", "confidence")} | {
            n: mine[n].astype(bool) for n in ("valid", "jump", "refocused")
        }
    if len(found) > MOST_DRIFTS:
        far = {p: float(np.nanmax(np.hypot(s["dy_px"], s["dx_px"]), initial=0)) for p, s in found.items()}
        kept = sorted(found, key=lambda p: -far[p])[:MOST_DRIFTS]
        found = {p: s for p, s in found.items() if p in kept}
    return (found,)


def _wells(design: Design, summary: Rows) -> tuple[dict[str, float], str]:
    """Part of the targets that died in each well: the mean over its positions, less the controls' mean."""
    rows = summary.where(summary["level"] == "position")
    part = dict(zip(rows["name"].tolist(), rows["dead_frac"].astype(float).tolist(), strict=True))
    wells: dict[str, list[float]] = {}
    for position, site in design.sites.items():
        if site.well:
            wells.setdefault(site.well, []).append(part.get(position, float("nan")))
    means = {well: _mean(many) for well, many in wells.items()}
    control = _mean([part.get(p, float("nan")) for p, s in design.sites.items() if s.control == "negative"])
    if not np.isfinite(control):
        return means, "Targets that died"
    return {w: v - control for w, v in means.items()}, "Targets that died, less the negative controls"


def _mean(values: list[float]) -> float:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")
