"""The backend fiji without Java: each refusal with its words, what is in the key, how settings are mapped."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataops_parsl.algorithms import fiji
from dataops_parsl.errors import ConfigError, MissingExtraError, PlaceError
from dataops_parsl.stages import fiji_place
from dataops_parsl.stages.fiji_place import TRACKER, find_java, find_trackmate, heap_mb
from dataops_parsl.stages.trackmate import Trackmate
from tests.helpers import Project
from tests.in_process import planned

JAVA_11, JAVA_21 = 55, 65
"""Numbers of class files."""


def folder(
    root: Path, *jars: str, tracker: str = TRACKER, number: int = JAVA_11, imglyb: bool = True
) -> Path:
    """A folder with jars of these names, each with a class file's first bytes: enough to be looked at."""
    (root / "jars" / "deeper").mkdir(parents=True)
    (root / "plugins").mkdir()
    for jar in jars:
        with zipfile.ZipFile(root / jar, "w") as file:
            file.writestr(tracker, b"\xca\xfe\xba\xbe\0\0" + number.to_bytes(2, "big"))
    if imglyb:
        (root / "jars" / "deeper" / "imglib2-imglyb-1.1.0.jar").touch()
    return root


def a_java(home: Path, says: str) -> str:
    """A Java that says this of its version."""
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "java").write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    (home / "bin" / "java").chmod(0o755)
    return str(home)


def no_imglyb(root: Path) -> None:
    find_trackmate(str(folder(root / "F", "jars/TrackMate-7.14.0.jar", imglyb=False)), "")


def two(root: Path) -> None:
    find_trackmate(str(folder(root / "F", "jars/TrackMate-7.14.0.jar", "plugins/TrackMate_-6.0.1.jar")), "")


def none(root: Path) -> None:
    find_trackmate(str(folder(root / "F", "jars/TrackMate-Cellpose-1.0.0.jar")), "")


def old(root: Path) -> None:
    sparselap = "fiji/plugin/trackmate/tracking/sparselap/SparseLAPTrackerFactory.class"
    find_trackmate(str(folder(root / "F", "plugins/TrackMate_-6.0.1.jar", tracker=sparselap)), "")


def torn(root: Path) -> None:
    (folder(root / "F") / "jars" / "TrackMate-7.14.0.jar").write_text("half a download")
    find_trackmate(str(root / "F"), "")


def no_jars(root: Path) -> None:
    find_trackmate(str(root), "")


def no_folder(root: Path) -> None:
    find_trackmate(str(root / "Fiji.app"), "")


def neither(root: Path) -> None:
    find_trackmate("", "")


def both(root: Path) -> None:
    find_trackmate(str(root), "sc.fiji:TrackMate:7.14.0")


def too_old_for_8(root: Path) -> None:
    java = find_java(a_java(root / "jdk", 'openjdk version "17.0.15" 2025-04-15'), "")
    fiji_place.check_java(java, find_trackmate("", "sc.fiji:TrackMate:8.1.2"))


def too_old_for_its_classes(root: Path) -> None:
    java = find_java(a_java(root / "jdk", 'openjdk version "17.0.15" 2025-04-15'), "")
    found = find_trackmate(str(folder(root / "F", "jars/TrackMate-7.99.0.jar", number=JAVA_21)), "")
    fiji_place.check_java(java, found)


def java_8(root: Path) -> None:
    java = find_java(a_java(root / "jdk", 'java version "1.8.0_312"'), "")
    assert java.number == 8
    fiji_place.check_java(java, find_trackmate("", "sc.fiji:TrackMate:7.14.0"))


def no_java_there(root: Path) -> None:
    find_java(str(root), "")


def mute_java(root: Path) -> None:
    find_java(a_java(root / "jdk", "Error: could not find libjli.so"), "")


@pytest.mark.parametrize(
    ("asked", "kind", "words", "remedy"),
    [
        (neither, ConfigError, "fiji_dir and stages.trackmate.maven are not set", "sc.fiji:TrackMate:7.14.0"),
        (both, ConfigError, "are both set", "set fiji_dir to Fiji's folder"),
        (no_folder, PlaceError, "is no folder on this machine", "a disk that all nodes see"),
        (no_jars, PlaceError, "holds no folder jars", "that Fiji was unpacked to"),
        (none, PlaceError, "holds no TrackMate-<version>.jar", "the whole Fiji"),
        (two, PlaceError, "holds 2 (TrackMate-7.14.0.jar, TrackMate_-6.0.1.jar)", "keep the newest"),
        (no_imglyb, PlaceError, "no imglib2-imglyb-<version>.jar", "imglib2-imglyb-1.1.0.jar into"),
        (old, PlaceError, "TrackMate_-6.0.1.jar is of a TrackMate before", "update Fiji"),
        (torn, PlaceError, "cannot be read", "download Fiji again"),
        (too_old_for_8, PlaceError, "TrackMate 8.1.2 needs Java 21", "a JDK 21 or newer"),
        (too_old_for_its_classes, PlaceError, "TrackMate 7.99.0 needs Java 21", "a JDK 21 or newer"),
        (java_8, PlaceError, "needs Java 11, but", "a JDK 11 or newer"),
        (no_java_there, PlaceError, "is no Java that says its version", "that which holds bin/java"),
        (mute_java, PlaceError, "could not find libjli.so", "that which holds bin/java"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_refusal_says_what_and_the_remedy(
    asked: Callable[[Path], None], kind: type[PlaceError], words: str, remedy: str, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        asked(tmp_path)
    assert words in caught.value.message
    assert remedy in caught.value.remedy


def test_without_java_or_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PlaceError, match="needs Java, and there is none") as caught:
        find_java("", str(tmp_path))
    assert "install a JDK" in caught.value.remedy
    monkeypatch.setattr(fiji_place, "PACKAGES", ("numpy", "no_such_package"))
    with pytest.raises(MissingExtraError, match=r"needs the extra 'fiji'.*'no_such_package'") as missing:
        fiji_place.check_extra()
    assert "pip install 'dataops_parsl[fiji]'" in missing.value.remedy


def test_which_java_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = a_java(tmp_path / "F" / "java" / "linux64" / "jdk-21", 'openjdk version "21.0.7" 2025-04-15')
    of_path = a_java(tmp_path / "path", 'openjdk version "11.0.2" 2019-01-15')
    named = a_java(tmp_path / "named", 'Picked up JAVA_TOOL_OPTIONS: -Da=b\nopenjdk version "25" 2025-09-16')
    monkeypatch.setenv("PATH", f"{of_path}/bin:{os.environ['PATH']}")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert find_java("", str(tmp_path / "F")).home == own
    assert find_java("", "").home == of_path
    monkeypatch.setenv("JAVA_HOME", of_path)
    assert find_java("", str(tmp_path / "F")).number == 11
    assert find_java(named, str(tmp_path / "F")).number == 25


def test_only_trackmates_version_is_in_the_key(tmp_path: Path) -> None:
    def keyed(root: Path) -> tuple[Any, Any]:
        stage = Trackmate(backend="fiji", fiji_dir=str(root), java_home="/somewhere")
        return stage.keyed("close"), stage.identity("close")

    one = keyed(folder(tmp_path / "one", "jars/TrackMate-7.14.0.jar"))
    assert one == keyed(folder(tmp_path / "other", "plugins/TrackMate-7.14.0.jar"))
    assert one[1] == {"trackmate": "7.14.0"}
    assert "fiji_dir" not in one[0]
    newer = keyed(folder(tmp_path / "newer", "jars/TrackMate-8.1.2.jar"))
    assert newer[1] == {"trackmate": "8.1.2"}
    assert Trackmate().identity("close") == {}


@pytest.mark.parametrize("key", ["java_home", "fiji_dir", "maven"])
def test_a_population_with_another_jvm_is_refused_at_planning(project: Project, key: str) -> None:
    words = ["--set", "stages.trackmate.backend=fiji"]
    each = {"target": "/a", "effector": "/b"} if key != "maven" else {"target": "a:b:1", "effector": "a:b:2"}
    for population, value in each.items():
        words += ["--set", f"stages.trackmate.{population}.{key}={value}"]
    with pytest.raises(ConfigError, match=f"stages.trackmate.{key} is .* a worker has one JVM") as caught:
        planned(project.root, *words)
    assert f"set stages.trackmate.{key} once" in caught.value.remedy


def test_other_backends_do_not_care_which_jvm(project: Project) -> None:
    here, there = "stages.trackmate.target", "stages.trackmate.effector"
    planned(project.root, "--set", f"{here}.java_home=/a", "--set", f"{there}.java_home=/b")
    Trackmate.check_each({"a": Trackmate(backend="fiji", java_home="/a"), "b": Trackmate(java_home="/b")})


def test_settings_are_mapped_one_to_one() -> None:
    given = fiji.tracker_settings(
        linking_max_distance=12,
        gap_closing_max_distance=18,
        max_frame_gap=3,
        splitting=True,
        splitting_max_distance=9.5,
    )
    assert given == {
        "LINKING_MAX_DISTANCE": 12.0,
        "ALLOW_GAP_CLOSING": True,
        "GAP_CLOSING_MAX_DISTANCE": 18.0,
        "MAX_FRAME_GAP": 3,
        "ALLOW_TRACK_SPLITTING": True,
        "SPLITTING_MAX_DISTANCE": 9.5,
        "ALLOW_TRACK_MERGING": False,
        "CUTOFF_PERCENTILE": 0.9,
        "ALTERNATIVE_LINKING_COST_FACTOR": 1.05,
        "BLOCKING_VALUE": float("inf"),
    }
    assert {type(value) for key, value in given.items() if "DISTANCE" in key} == {float}


def test_the_heap_leaves_room_in_the_workers_share() -> None:
    assert [heap_mb(share) for share in (0.5, 2, 4, 16)] == [256, 1024, 2560, 11776]
