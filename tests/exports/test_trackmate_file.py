"""``runs export --trackmate-xml``: every spot and link of the tables, in TrackMate's own form."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from dataops_parsl.bundle import Bundle, RunTables
from dataops_parsl.exports.trackmate import export_trackmate
from tests.exports.planted import film

Key = tuple[int, int]


class Read:
    """A TrackMate file, read as its own reader does: spots by id, links by id of their ends."""

    def __init__(self, path: Path) -> None:
        self.root = ET.parse(path).getroot()
        model = self.root.find("Model")
        assert model is not None
        self.model = model
        self.spots = {int(s.attrib["ID"]): s.attrib for s in model.iter("Spot")}
        for at in model.iter("SpotsInFrame"):
            assert all(s.attrib["FRAME"] == at.attrib["frame"] for s in at)
        self.tracks = {
            int(t.attrib["TRACK_ID"]): [
                (int(e.attrib["SPOT_SOURCE_ID"]), int(e.attrib["SPOT_TARGET_ID"])) for e in t
            ]
            for t in model.iter("Track")
        }

    def key(self, spot: int) -> Key:
        """Frame and label."""
        return int(self.spots[spot]["FRAME"]), int(self.spots[spot]["LABEL"])

    @property
    def links(self) -> set[tuple[Key, Key]]:
        """Ends of all links."""
        return {(self.key(a), self.key(b)) for links in self.tracks.values() for a, b in links}

    def declared(self, kind: str) -> set[str]:
        """Features that are declared."""
        return {f.attrib["feature"] for f in self.model.iterfind(f"FeatureDeclarations/{kind}/Feature")}


def _of(table: Any, position: str, population: str) -> list[dict[str, Any]]:
    mask = pc.and_(pc.equal(table["position_id"], position), pc.equal(table["population"], population))
    rows: list[dict[str, Any]] = table.filter(mask).to_pylist()
    return rows


@pytest.fixture
def files(killing: Bundle, export: Callable[..., Path]) -> dict[tuple[str, str], Read]:
    """The files of the sealed run by position and population."""
    folder = export(killing.id, "--trackmate-xml")
    names = [(p, q) for p in ("coculture", "targets_alone") for q in ("effector", "target")]
    assert {p.name for p in folder.iterdir()} == {"README.txt", *(f"{p}_{q}.xml" for p, q in names)}
    return {(p, q): Read(folder / f"{p}_{q}.xml") for p, q in names}


def test_spots_and_links_are_those_of_the_tables(files: dict[tuple[str, str], Read], killing: Bundle) -> None:
    tables = RunTables(killing)
    times = {(r["position_id"], r["frame"]): r["time_s"] for r in tables.arrow("frames").to_pylist()}
    for (position, population), read in files.items():
        cells = {(c["frame"], c["label"]): c for c in _of(tables.arrow("cells"), position, population)}
        assert read.model.find("AllSpots").attrib["nspots"] == str(len(cells))  # type: ignore[union-attr]
        assert {read.key(i) for i in read.spots} == set(cells)
        assert len(read.spots) == len(cells)
        for i, spot in read.spots.items():
            cell = cells[read.key(i)]
            assert float(spot["POSITION_X"]) == cell["x_um"]
            assert float(spot["POSITION_Y"]) == cell["y_um"]
            assert float(spot["POSITION_T"]) == times[position, cell["frame"]]
            assert float(spot["RADIUS"]) ** 2 * 3.141592653589793 == pytest.approx(cell["area_um2"])
            assert float(spot["ACQUIRED_X"]) == pytest.approx(cell["x_px_raw"] * 0.65)
            assert int(spot["UNBRANCHED_TRACK"]) == cell["track_id"]
            assert spot["ALIVE"] == ("NaN" if cell["alive"] is None else str(int(cell["alive"])))
        edges = _of(tables.arrow("edges"), position, population)
        wanted = {
            tuple((e[f"{end}_frame"], e[f"{end}_label"]) for end in ("source", "target")) for e in edges
        }
        assert read.links == wanted
        assert sum(map(len, read.tracks.values())) == len(edges)
        lineage = {
            (t["track_id"]): t["lineage_id"] for t in _of(tables.arrow("tracks"), position, population)
        }
        for track, links in read.tracks.items():
            ends = {read.key(i) for link in links for i in link}
            assert {lineage[cells[key]["track_id"]] for key in ends} == {track}


def test_all_that_a_reader_asks_for_is_there(files: dict[tuple[str, str], Read]) -> None:
    read = files["coculture", "target"]
    assert read.root.attrib["version"].startswith("7.")
    assert read.model.attrib == {"spatialunits": "µm", "timeunits": "s"}
    frames = [int(f.attrib["frame"]) for f in read.model.iter("SpotsInFrame")]
    assert frames == list(range(12)), "frames without a spot too"
    for spot in read.spots.values():
        assert set(spot) == read.declared("SpotFeatures") | {"ID", "name"}
    for track in read.model.iter("Track"):
        assert set(track.attrib) == read.declared("TrackFeatures") | {"name"}
        assert all(set(edge.attrib) == read.declared("EdgeFeatures") for edge in track)
    shown = {int(t.attrib["TRACK_ID"]) for t in read.model.iterfind("FilteredTracks/TrackID")}
    assert shown == set(read.tracks)
    image = read.root.find("Settings/ImageData")
    assert image is not None
    assert image.attrib["width"] == image.attrib["height"] == "128"
    assert (image.attrib["nframes"], image.attrib["pixelwidth"]) == ("12", "0.65")
    assert float(image.attrib["timeinterval"]) == 120


def test_its_parts_are_those_that_trackmate_writes(
    files: dict[tuple[str, str], Read], test_data: Path
) -> None:
    theirs = ET.parse(test_data / "trackmate_lap_dev" / "trackmate_tracks_with_gap_closing.xml").getroot()
    ours = files["coculture", "target"].root
    for path in (
        ".",
        "Model",
        "Model/FeatureDeclarations",
        "Model/FeatureDeclarations/SpotFeatures/Feature",
        "Model/AllSpots",
        "Model/AllSpots/SpotsInFrame",
        "Model/FilteredTracks/TrackID",
        "Settings",
        "Settings/ImageData",
        "Settings/BasicSettings",
        "Settings/InitialSpotFilter",
        "Settings/AnalyzerCollection",
        "GUIState",
    ):
        one, other = theirs.find(path), ours.find(path)
        assert one is not None
        assert other is not None, path
        assert set(one.attrib) == set(other.attrib), path
        if path in (".", "Model", "Model/FeatureDeclarations", "Settings", "Settings/AnalyzerCollection"):
            assert [child.tag for child in one] == [child.tag for child in other], path
    basic = {
        "ID",
        "name",
        "QUALITY",
        "POSITION_X",
        "POSITION_Y",
        "POSITION_Z",
        "POSITION_T",
        "FRAME",
        "RADIUS",
    }
    for root in (theirs, ours):
        spot, edge = root.find("Model/AllSpots/SpotsInFrame/Spot"), root.find("Model/AllTracks/Track/Edge")
        assert spot is not None
        assert edge is not None
        assert set(spot.attrib) >= basic | {"VISIBILITY"}
        assert set(edge.attrib) >= {"SPOT_SOURCE_ID", "SPOT_TARGET_ID", "LINK_COST"}


def test_gaps_divisions_and_lone_spots(tmp_path: Path) -> None:
    bundle, tables = film(tmp_path)
    assert export_trackmate(tmp_path / "film.xml", bundle, tables, []) == "1 TrackMate file"
    read = Read(tmp_path / "film.xml")
    assert len(read.spots) == 9
    assert set(read.tracks) == {1}
    linked = {read.key(i) for links in read.tracks.values() for link in links for i in link}
    assert (0, 2) not in linked, "an object without a link is in no track"
    (track,) = read.model.iter("Track")
    assert track.attrib["NUMBER_SPLITS"] == "1"
    assert track.attrib["NUMBER_GAPS"] == "1"
    assert track.attrib["NUMBER_SPOTS"] == "8"
    assert all(set(e.attrib) == {"SPOT_SOURCE_ID", "SPOT_TARGET_ID"} for e in track), "no cost is known"


def test_a_run_without_tracks_is_refused(
    export: Callable[..., Path], sealed_project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    export(str(sealed_project.bundles("stills")[-1]), "--trackmate-xml", code=2)
    assert "no table edges" in capsys.readouterr().err


def test_one_file_cannot_hold_several_films(
    killing: Bundle, export: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    export(killing.id, "--trackmate-xml", "out.xml", code=2)
    assert "4 films times populations" in capsys.readouterr().err
