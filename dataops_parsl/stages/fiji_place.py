"""Which TrackMate and which Java the backend fiji would use here: found without starting either."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

from dataops_parsl.errors import ConfigError, MissingExtraError, PlaceError

BACKEND = "stages.trackmate.backend = 'fiji'"
PACKAGES = ("imagej", "scyjava", "jpype")
LEAST_JAVA = 11
"""Of JPype and scyjava."""
JAVA_OF_8 = 21
"""Of TrackMate from version 8 on."""
TRACKER = "fiji/plugin/trackmate/tracking/jaqaman/SparseLAPTrackerFactory.class"
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class TrackMate:
    """A TrackMate, as its jar or its coordinates say.

    Parameters
    ----------
    version : str
    least_java : int
        Java that it needs.
    place : str
        Its jar, or its coordinates.
    """

    version: str
    least_java: int
    place: str


@dataclass(frozen=True)
class Java:
    """A Java: its home, its version in full and its number."""

    home: str
    version: str
    number: int


def check_extra() -> None:
    """Refuse to go on without the packages.

    Raises
    ------
    MissingExtraError
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise MissingExtraError(
            f"{BACKEND} needs the extra 'fiji': there is no Python package {', '.join(map(repr, missing))}",
            "pip install 'dataops_parsl[fiji]', or use the backend 'lap'",
        )


def find_trackmate(fiji_dir: str, maven: str) -> TrackMate:
    """The TrackMate of a Fiji's folder, or of Maven coordinates.

    Raises
    ------
    ConfigError
        If none of the two is named, or both.
    PlaceError
        If the folder is not there or holds no TrackMate that can be used.
    """
    if bool(fiji_dir) == bool(maven):
        raise ConfigError(
            f"{BACKEND} needs to know which TrackMate: stages.trackmate.fiji_dir and stages.trackmate.maven "
            f"are {'both' if maven else 'not'} set",
            "set fiji_dir to Fiji's folder (works without a network) or maven to coordinates such as "
            '"sc.fiji:TrackMate:7.14.0"; docs/fiji.md leads from the download to the first run',
        )
    if maven:
        version = maven.split(":")[2]
        return TrackMate(version, _java_of(version), maven)
    return _in_folder(Path(fiji_dir).expanduser())


def _java_of(version: str) -> int:
    return JAVA_OF_8 if int(re.split(r"\D", version, maxsplit=1)[0] or 0) >= 8 else LEAST_JAVA


@functools.cache
def _in_folder(folder: Path) -> TrackMate:
    if not (folder / "jars").is_dir():
        what = "holds no folder jars" if folder.is_dir() else "is no folder"
        raise PlaceError(
            f"stages.trackmate.fiji_dir = {str(folder)!r} {what} on this machine",
            "name the folder that Fiji was unpacked to (Fiji.app or Fiji), on a disk that all nodes see",
        )
    jars = [path for room in ("jars", "plugins") for path in sorted((folder / room).rglob("*.jar"))]
    found = {p: m[1] for p in jars if (m := re.fullmatch(r"TrackMate_?-(\d[^/]*)\.jar", p.name))}
    if len(found) != 1:
        what = f"{len(found)} ({', '.join(p.name for p in found)})" if found else "no TrackMate-<version>.jar"
        raise PlaceError(
            f"the Fiji in {folder} holds {what} in jars or plugins",
            "keep the newest of them: which one Java takes is not said"
            if found
            else "take the whole Fiji, of which TrackMate is a part, or update it: Help > Update...",
        )
    if not any(re.fullmatch(r"imglib2-imglyb-\d[^/]*\.jar", path.name) for path in jars):
        raise PlaceError(
            f"the Fiji in {folder} holds no imglib2-imglyb-<version>.jar, which pyimagej needs and would "
            "otherwise fetch over the network",
            f"put imglib2-imglyb-1.1.0.jar into {folder / 'jars'}: docs/fiji.md says from where",
        )
    (jar, version), *_ = found.items()
    return TrackMate(version, max(_java_of(version), _java_of_class(jar)), str(jar))


def _java_of_class(jar: Path) -> int:
    """Java that the tracker was compiled for: the class file says it in its bytes 6 and 7, plus 44."""
    try:
        with zipfile.ZipFile(jar) as file, file.open(TRACKER) as tracker:
            return int.from_bytes(tracker.read(8)[6:8], "big") - 44
    except KeyError as error:
        raise PlaceError(
            f"{jar} is of a TrackMate before fiji.plugin.trackmate.tracking.jaqaman: it cannot be used",
            "update Fiji: Help > Update..., or take a newer one",
        ) from error
    except (OSError, zipfile.BadZipFile) as error:
        raise PlaceError(f"{jar} cannot be read: {error}", "download Fiji again") from error


def find_java(java_home: str, fiji_dir: str) -> Java:
    """The Java to use: `java_home`, else JAVA_HOME, else the one in Fiji's folder, else that of the PATH.

    Raises
    ------
    PlaceError
        If there is none, or it cannot be asked.
    """
    home, origin = _home(java_home, fiji_dir)
    if home is None:
        raise PlaceError(
            f"{BACKEND} needs Java, and there is none: no stages.trackmate.java_home, no JAVA_HOME, no java "
            "in Fiji's folder or on the PATH",
            "install a JDK (Debian: apt install openjdk-21-jdk-headless; a cluster: module load java, here "
            "and in site.worker_init), or set stages.trackmate.java_home to one",
        )
    return _asked(home, origin)


def _home(java_home: str, fiji_dir: str) -> tuple[Path | None, str]:
    if java_home:
        return Path(java_home).expanduser(), "stages.trackmate.java_home"
    if there := os.environ.get("JAVA_HOME"):
        return Path(there), "JAVA_HOME"
    if fiji_dir:
        for java in sorted((Path(fiji_dir).expanduser() / "java").glob("*/*/bin/java"), reverse=True):
            return java.parent.parent, "Fiji's own Java"
    if on_path := shutil.which("java"):
        return Path(on_path).resolve().parent.parent, "java on the PATH"
    return None, ""


@functools.cache
def _asked(home: Path, origin: str) -> Java:
    try:
        done = subprocess.run(
            [str(home / "bin" / "java"), "-version"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        words = done.stdout + done.stderr
    except (OSError, subprocess.TimeoutExpired) as error:
        words = str(error)
    if not (found := re.search(r'version "((?:1\.)?(\d+)[^"]*)"', words)):
        said = " | ".join(line for line in words.splitlines() if line.strip()) or "nothing"
        raise PlaceError(
            f"{origin}, {home}, is no Java that says its version: {said}",
            "set stages.trackmate.java_home to a JDK's folder, that which holds bin/java",
        )
    return Java(str(home), found[1], int(found[2]))


def check_java(java: Java, trackmate: TrackMate) -> None:
    """Refuse a Java that is too old for a TrackMate.

    Raises
    ------
    PlaceError
    """
    if java.number < trackmate.least_java:
        raise PlaceError(
            f"TrackMate {trackmate.version} needs Java {trackmate.least_java}, but {java.home} is Java "
            f"{java.version}",
            f"set stages.trackmate.java_home (or JAVA_HOME) to a JDK {trackmate.least_java} or newer; newer "
            "Fijis bring one in their folder java",
        )


def heap_mb(mem_gb: float) -> int:
    """Heap of a JVM that shares its worker's memory, MB: three quarters of the share less half a GB.

    The rest is for Python with the film's tables, and for what Java keeps beside its heap.

    Parameters
    ----------
    mem_gb : float
        Share of the worker, GB (2**30 bytes).
    """
    return max(256, round(1024 * (0.75 * mem_gb - 0.5)))
