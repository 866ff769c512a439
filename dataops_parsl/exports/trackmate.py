"""Spots and tracks as a TrackMate file (version 7), one a position and population, as Fiji opens it.

TrackMate's track is our lineage: what its links connect. Objects without a link are spots in no track.
The reader of TrackMate (``fiji.plugin.trackmate.io.TmXmlReader``) asks for what stands here.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from xml.sax.saxutils import quoteattr

import pyarrow as pa

from dataops_parsl import __version__
from dataops_parsl.bundle import Bundle
from dataops_parsl.errors import UsageError
from dataops_parsl.exports.films import (
    FilmFacts,
    Tables,
    film_facts,
    members,
    of_film,
    of_tracks,
    populations,
)
from dataops_parsl.exports.films import require as require_tables
from dataops_parsl.exports.target import new_file, new_folder, readme_head, write_readme

VERSION = "7.14.0"
"""Of TrackMate, whose format this is."""
_NO_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_Feature = tuple[str, str, str, str, bool]
_SPOT_FEATURES: tuple[_Feature, ...] = (
    ("QUALITY", "Quality", "Quality", "QUALITY", False),
    ("POSITION_X", "X", "X", "POSITION", False),
    ("POSITION_Y", "Y", "Y", "POSITION", False),
    ("POSITION_Z", "Z", "Z", "POSITION", False),
    ("POSITION_T", "T", "T", "TIME", False),
    ("FRAME", "Frame", "Frame", "NONE", True),
    ("RADIUS", "Radius", "R", "LENGTH", False),
    ("VISIBILITY", "Visibility", "Visibility", "NONE", True),
    ("LABEL", "Value in the label image", "Label", "NONE", True),
    ("UNBRANCHED_TRACK", "Unbranched track", "Unbranched", "NONE", True),
    ("ACQUIRED_X", "X in the acquired frame", "Acq. X", "POSITION", False),
    ("ACQUIRED_Y", "Y in the acquired frame", "Acq. Y", "POSITION", False),
)
_MORE: dict[str, _Feature] = {
    "area_um2": ("AREA", "Area", "Area", "AREA", False),
    "n_contacts": ("N_CONTACTS", "Cells in contact", "Contacts", "NONE", True),
    "death_score": ("DEATH_SCORE", "Death score", "Death", "NONE", False),
    "alive": ("ALIVE", "Alive", "Alive", "NONE", True),
}
"""Columns of `cells` that are spot features where the run has them."""
_EDGE_FEATURES: tuple[_Feature, ...] = (
    ("SPOT_SOURCE_ID", "Source spot ID", "Source ID", "NONE", True),
    ("SPOT_TARGET_ID", "Target spot ID", "Target ID", "NONE", True),
    ("LINK_COST", "Link cost", "Cost", "NONE", False),
)
_TRACK_FEATURES: tuple[_Feature, ...] = (
    ("TRACK_INDEX", "Track index", "Index", "NONE", True),
    ("TRACK_ID", "Track ID", "ID", "NONE", True),
    ("NUMBER_SPOTS", "Number of spots in track", "N spots", "NONE", True),
    ("NUMBER_GAPS", "Number of gaps", "N gaps", "NONE", True),
    ("NUMBER_SPLITS", "Number of split events", "N splits", "NONE", True),
    ("TRACK_DURATION", "Track duration", "Duration", "TIME", False),
    ("TRACK_START", "Track start", "Track start", "TIME", False),
    ("TRACK_STOP", "Track stop", "Track stop", "TIME", False),
)


def export_trackmate(target: Path, bundle: Bundle, tables: Tables, notes: list[str]) -> str:
    """Write a file a position and population into a new folder; a lone one under a name that ends in .xml.

    Raises
    ------
    UsageError
        The run does not track, or one file is named for several.
    """
    require_tables(bundle, tables, ("cells", "edges", "tracks"), "tracks")
    films = film_facts(bundle, tables)
    wanted = [(film, p) for film in films.values() for p in populations(tables, bundle.facts)]
    if target.suffix == ".xml":
        if len(wanted) != 1:
            raise UsageError(
                f"{target} is one file, but the run has {len(wanted)} films times populations",
                "give a folder: --to FOLDER",
            )
        with new_file(target) as path, open(path, "w", encoding="utf-8", newline="\n") as file:
            _write(file, bundle, tables, *wanted[0], notes)
        return "1 TrackMate file"
    with new_folder(target) as folder:
        for film, population in wanted:
            name = f"{film.position}_{population}.xml"
            with open(folder / name, "w", encoding="utf-8", newline="\n") as file:
                _write(file, bundle, tables, film, population, notes)
        write_readme(folder, _readme(bundle, notes))
    return f"{len(wanted)} TrackMate files"


def _readme(bundle: Bundle, notes: list[str]) -> list[str]:
    return [
        *readme_head(bundle, notes),
        "<position>_<population>.xml: in Fiji, Plugins > Tracking > Load a TrackMate file.",
        "Coordinates are drift-corrected, in µm; where each cell lay in the acquired frame is in the spot",
        "features ACQUIRED_X and ACQUIRED_Y. Times are in s. TrackMate looks for the film as <position>.tif",
        "beside the file: put one there that is drift-corrected too, else it shows an empty image.",
        "A track is a whole lineage; its unbranched parts are in the spot feature UNBRANCHED_TRACK. Spots in",
        "no track are objects without a link. RADIUS is that of a circle of the same area; QUALITY is 1 for",
        "all, since segmentation gives none.",
    ]


def _write(
    file: TextIO, bundle: Bundle, tables: Tables, film: FilmFacts, population: str, notes: list[str]
) -> None:
    cells = of_film(tables["cells"], film.position, population)
    more = [name for name in _MORE if name in cells.column_names]
    said = [f"run {bundle.id}, position {film.position}, population {population}", *notes]
    file.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    file.write(f'<TrackMate version="{VERSION}">\n')
    log = "\n".join([f"Written by dataops_parsl {__version__}", *said])
    file.write(f"  <Log>{_escaped(log)}</Log>\n")
    file.write('  <Model spatialunits="µm" timeunits="s">\n')
    _declare(file, [_MORE[name] for name in more])
    spots = _spots(file, cells, tables, film, population, more)
    _tracks(file, tables, film, population, spots)
    file.write("  </Model>\n")
    _settings(file, film)
    file.write('  <GUIState state="ConfigureViews" />\n</TrackMate>\n')


def _escaped(text: str) -> str:
    return _NO_XML.sub("?", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _element(name: str, values: Mapping[str, Any]) -> str:
    return f"<{name} {' '.join(f'{k}={quoteattr(str(v))}' for k, v in values.items())}"


def _declare(file: TextIO, more: list[_Feature]) -> None:
    file.write("    <FeatureDeclarations>\n")
    for name, features in (
        ("SpotFeatures", [*_SPOT_FEATURES, *more]),
        ("EdgeFeatures", _EDGE_FEATURES),
        ("TrackFeatures", _TRACK_FEATURES),
    ):
        file.write(f"      <{name}>\n")
        for key, title, short, dimension, whole in features:
            said = {"feature": key, "name": title, "shortname": short, "dimension": dimension}
            file.write(f"        {_element('Feature', {**said, 'isint': str(whole).lower()})} />\n")
        file.write(f"      </{name}>\n")
    file.write("    </FeatureDeclarations>\n")


def _spots(
    file: TextIO, cells: pa.Table, tables: Tables, film: FilmFacts, population: str, more: list[str]
) -> dict[tuple[int, int], int]:
    """Write all spots, frame by frame; returns the id of each by frame and label."""
    size_y, size_x = film.pixel_size_um
    frame, label, track = members(tables, film.position, population)
    track_of = dict(zip(zip(frame.tolist(), label.tolist(), strict=True), track.tolist(), strict=True))
    names = ["frame", "label", "x_um", "y_um", "area_um2", "x_px_raw", "y_px_raw", *more]
    rows = cells.select(list(dict.fromkeys(names))).sort_by([("frame", "ascending"), ("label", "ascending")])
    by_frame: dict[int, list[dict[str, Any]]] = {}
    for row in rows.to_pylist():
        by_frame.setdefault(row["frame"], []).append(row)
    ids: dict[tuple[int, int], int] = {}
    file.write(f'    <AllSpots nspots="{rows.num_rows}">\n')
    # Frames without a spot too: TrackMate links from one frame that is there to the next.
    for at in range(max([film.n_frames, *(f + 1 for f in by_frame)])):
        file.write(f'      <SpotsInFrame frame="{at}">\n')
        for row in by_frame.get(at, []):
            key = (at, row["label"])
            ids[key] = len(ids)
            spot = {
                "ID": ids[key],
                "name": f"{at}-{row['label']}",
                "QUALITY": "1.0",
                "POSITION_X": row["x_um"],
                "POSITION_Y": row["y_um"],
                "POSITION_Z": "0.0",
                "POSITION_T": film.time_s[at] if at < len(film.time_s) else at * film.interval_s,
                "FRAME": at,
                "RADIUS": math.sqrt(row["area_um2"] / math.pi),
                "VISIBILITY": 1,
                "LABEL": row["label"],
                "UNBRANCHED_TRACK": track_of.get(key),
                "ACQUIRED_X": None if row["x_px_raw"] is None else row["x_px_raw"] * size_x,
                "ACQUIRED_Y": None if row["y_px_raw"] is None else row["y_px_raw"] * size_y,
                **{_MORE[name][0]: _number(row[name]) for name in more},
            }
            # Readers expect of every spot all features that are declared.
            known = {k: "NaN" if v is None else v for k, v in spot.items()}
            file.write(f"        {_element('Spot', known)} />\n")
        file.write("      </SpotsInFrame>\n")
    file.write("    </AllSpots>\n")
    return ids


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _tracks(
    file: TextIO, tables: Tables, film: FilmFacts, population: str, spots: Mapping[tuple[int, int], int]
) -> None:
    """Write the links, a lineage a track, and that all are shown."""
    lineages = list(_lineages(tables, film.position, population))
    file.write("    <AllTracks>\n")
    for index, (lineage, links) in enumerate(lineages):
        frames = sorted({f for link in links for f in (link["source_frame"], link["target_frame"])})
        start, stop = (film.time_s[f] for f in (frames[0], frames[-1]))
        ends = {(link[f"{e}_frame"], link[f"{e}_label"]) for link in links for e in ("source", "target")}
        track = {
            "name": f"Track_{lineage}",
            "TRACK_ID": lineage,
            "TRACK_INDEX": index,
            "NUMBER_SPOTS": len(ends),
            "NUMBER_GAPS": sum(link["target_frame"] - link["source_frame"] > 1 for link in links),
            "NUMBER_SPLITS": _splits(links),
            "TRACK_DURATION": stop - start,
            "TRACK_START": start,
            "TRACK_STOP": stop,
        }
        file.write(f"      {_element('Track', track)}>\n")
        for link in links:
            edge = {
                "SPOT_SOURCE_ID": spots[link["source_frame"], link["source_label"]],
                "SPOT_TARGET_ID": spots[link["target_frame"], link["target_label"]],
                **({} if link["cost"] is None else {"LINK_COST": link["cost"]}),
            }
            file.write(f"        {_element('Edge', edge)} />\n")
        file.write("      </Track>\n")
    file.write("    </AllTracks>\n    <FilteredTracks>\n")
    for lineage, _ in lineages:
        file.write(f'      <TrackID TRACK_ID="{lineage}" />\n')
    file.write("    </FilteredTracks>\n")


def _splits(links: list[dict[str, Any]]) -> int:
    n_links = Counter((link["source_frame"], link["source_label"]) for link in links)
    return sum(n > 1 for n in n_links.values())


def _lineages(tables: Tables, position: str, population: str) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Each lineage that has a link, with its links in order of frames."""
    edges = of_film(tables["edges"], position, population).sort_by(
        [(f"{end}_{of}", "ascending") for end in ("source", "target") for of in ("frame", "label")]
    )
    frame, label, track = members(tables, position, population)
    lineage_of = of_tracks(tables, position, population, "lineage_id")
    track_of = dict(zip(zip(frame.tolist(), label.tolist(), strict=True), track.tolist(), strict=True))
    found: dict[int, list[dict[str, Any]]] = {}
    for link in edges.to_pylist():
        own = track_of[link["source_frame"], link["source_label"]]
        found.setdefault(lineage_of[own], []).append(link)
    yield from sorted(found.items())


def _settings(file: TextIO, film: FilmFacts) -> None:
    """The image's size, and that spots and links came from outside, so that TrackMate asks for nothing."""
    (size_y, size_x), (height, width) = film.pixel_size_um, film.shape_px
    image = {
        "filename": f"{film.position}.tif",
        "folder": "",
        "width": width,
        "height": height,
        "nslices": 1,
        "nframes": film.n_frames,
        "pixelwidth": size_x,
        "pixelheight": size_y,
        "voxeldepth": "1.0",
        "timeinterval": film.interval_s,
    }
    crop = {"xstart": 0, "xend": width - 1, "ystart": 0, "yend": height - 1, "zstart": 0, "zend": 0}
    crop |= {"tstart": 0, "tend": film.n_frames - 1}
    radius = {"DETECTOR_NAME": "MANUAL_DETECTOR", "RADIUS": "5.0"}
    empty = "".join(f"      <{name} />\n" for name in ("SpotAnalyzers", "EdgeAnalyzers", "TrackAnalyzers"))
    file.write(
        "  <Settings>\n"
        f"    {_element('ImageData', image)} />\n"
        f"    {_element('BasicSettings', crop)} />\n"
        f"    {_element('DetectorSettings', radius)} />\n"
        '    <InitialSpotFilter feature="QUALITY" value="0.0" isabove="true" />\n'
        "    <SpotFilterCollection />\n"
        '    <TrackerSettings TRACKER_NAME="MANUAL_TRACKER" />\n'
        "    <TrackFilterCollection />\n"
        f"    <AnalyzerCollection>\n{empty}    </AnalyzerCollection>\n"
        "  </Settings>\n"
    )
