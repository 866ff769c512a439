"""The pictures of a run in the page: what each shows in words, and not more bytes than a mail takes."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dataops_parsl.report.html import Html, details, join, tag
from dataops_parsl.report.words import many

SHOWN = 4
"""So many curves are shown at once."""
BUDGET_BYTES = 3_300_000
"""Of all pictures together; as text in the page they take a third more."""
_MOST_NAMED = 12
_LARGE_PNG, _LARGE_SVG, _WIDEST_PX, _QUALITY = 200_000, 250_000, 1800, 88
CURVES = {
    "survival_film_start": "Survival of targets since the film's start, by condition",
    "dead_over_time": "Share of targets that are dead over time, by condition",
    "kills_per_effector": "Deaths beside each effector, and as many as chance gives",
    "contact_to_death": "Time from the start of contact to death",
    "survival_first_contact": "Survival of targets since their first contact, by condition",
    "contacts_over_time": "Contacts over time, by condition",
    "death_traces": "Death stain and dye of dying targets, aligned at death",
    "plate_map": "The plate, each well by its share of dead targets",
    "quality": "Quality: objects, sizes and tracks over each film",
    "drift": "Drift that was taken out, frame by frame",
}
OVERLAYS = {
    "outlines": "Outlines of what was segmented, on the denoised frames",
    "kill_strips": "Deaths frame by frame: target, first candidate, death stain",
}


@dataclass
class Album:
    """The figures of a bundle; each call takes from what is left of the budget.

    Parameters
    ----------
    folder : Path
        ``figures/`` of the bundle.
    """

    folder: Path
    left_bytes: int = BUDGET_BYTES
    full: bool = False
    """Whether a picture that had to be made smaller did not fit: no other is read for nothing then."""

    def curves(self) -> Html:
        """Curves and maps: the most telling ones, then the others folded away."""
        there = {p.stem for p in self.folder.glob("*.png")} | {p.stem for p in self.folder.glob("*.svg")}
        others = sorted(s for s in there if s not in CURVES and not _overlay(s))
        named = {s: CURVES.get(s, s.replace("_", " ").capitalize()) for s in (*CURVES, *others) if s in there}
        shown = dict(list(named.items())[:SHOWN])
        folded = {s: words for s, words in named.items() if s not in shown}
        more = f"{many(len(folded), 'more figure')}: {', '.join(folded).replace('_', ' ')}"
        return join([self._figures(shown), details(more, self._figures(folded)) if folded else None])

    def overlays(self) -> Html:
        """Outlines and strips of each position."""
        there = sorted(p.stem for p in self.folder.glob("*.png") if _overlay(p.stem))
        named = {s: f"{OVERLAYS[kind]}: {s.removeprefix(f'{kind}_')}" for s in there if (kind := _overlay(s))}
        return self._figures(named)

    def _figures(self, named: dict[str, str]) -> Html:
        made, left_out = [], []
        for stem, words in named.items():
            picture = self._picture(stem)
            if picture is None or len(picture.data) > self.left_bytes:
                self.full |= picture is not None
                left_out.append(f"figures/{stem}")
                continue
            self.left_bytes -= len(picture.data)
            made.append(_figure(picture, words))
        if not named:
            made.append(tag("p", "There are none in this run."))
        if left_out:
            names = ", ".join(left_out[:_MOST_NAMED]) + (" and others" if len(left_out) > _MOST_NAMED else "")
            made.append(
                tag("p", f"{many(len(left_out), 'picture')} left out, to keep this page light: {names}")
            )
        return tag("div", *made, class_="figures")

    def _picture(self, stem: str) -> _Picture | None:
        """Lines as SVG, sharp on paper; photographs as JPEG where the PNG is large; sizes in CSS px.

        None where there is none that can be read, or none that could fit.
        """
        svg, png = self.folder / f"{stem}.svg", self.folder / f"{stem}.png"
        try:
            if not _overlay(stem) and svg.is_file() and (size := svg.stat().st_size) <= _LARGE_SVG:
                if size > self.left_bytes:
                    return None
                data = svg.read_bytes()
                return _Picture("svg+xml", data, *_points(data))
            size = png.stat().st_size
            if self.full if size > _LARGE_PNG else size > self.left_bytes:
                return None
            with Image.open(png) as image:
                if size <= _LARGE_PNG:
                    return _Picture("png", png.read_bytes(), *image.size)
                small = image.convert("RGB")
                small.thumbnail((_WIDEST_PX, 4 * _WIDEST_PX), Image.Resampling.LANCZOS)
                out = io.BytesIO()
                # Thin coloured outlines bleed when colour is stored at half the resolution. Not with
                # optimize, which fails on grainy pictures: Pillow reserves too little room for them.
                small.save(out, "JPEG", quality=_QUALITY, subsampling=0)
                return _Picture("jpeg", out.getvalue(), *small.size)
        except (OSError, ValueError):
            return None


def _overlay(stem: str) -> str:
    return next((kind for kind in OVERLAYS if stem.startswith(f"{kind}_")), "")


@dataclass(frozen=True)
class _Picture:
    kind: str
    data: bytes
    width: int | None
    height: int | None


def _points(svg: bytes) -> tuple[int | None, int | None]:
    """Width and height of a drawing, which are given in points, as CSS px."""
    found = re.search(rb'<svg[^>]*?\swidth="([\d.]+)pt"\s+height="([\d.]+)pt"', svg[:4000])
    return (round(float(found[1]) * 4 / 3), round(float(found[2]) * 4 / 3)) if found else (None, None)


def _figure(picture: _Picture, words: str) -> Html:
    address = f"data:image/{picture.kind};base64,{base64.b64encode(picture.data).decode()}"
    image = tag("img", src=address, alt=words, width=picture.width, height=picture.height)
    return tag("figure", image, tag("figcaption", words))
