"""A folder that looks like a Fiji, of stand-ins for its classes: not TrackMate, and no proof of how it links.

The Java files of ``standin/`` have the signatures and check the types of TrackMate 7.14 (spots: of 8 too) as
far as they are used; they link what is nearest, so that something comes back. What pyimagej's own libraries
look up when the JVM starts is generated from their sources.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

SOURCES = Path(__file__).parent / "standin"


def why_not() -> str:
    """Why stand-ins cannot be used here; empty where they can."""
    missing = [name for name in ("imagej", "scyjava", "jpype") if importlib.util.find_spec(name) is None]
    if missing:
        return f"the extra 'fiji' is not installed (no {', '.join(missing)})"
    return "" if shutil.which("javac") else "there is no javac on the PATH"


def build(folder: Path, version: str = "7.14.0", like: Path | None = None) -> Path:
    """Compile the stand-ins into a new folder; returns it.

    Parameters
    ----------
    version : str
        From 8 on spots are as in TrackMate 8.
    like : Path, optional
        A folder that was built before: all but TrackMate is copied from there.
    """
    work, jars = folder.with_name(f"{folder.name}-work"), folder / "jars"
    jars.mkdir(parents=True)
    spots = "trackmate8" if int(version.split(".")[0]) >= 8 else "trackmate7"
    rooms = {f"TrackMate-{version}": [SOURCES / "trackmate", SOURCES / spots]}
    if like is None:
        _looked_up(work / "imglyb")
        rooms |= {"imagej-2.16.0": [SOURCES / "imagej"], "imglib2-imglyb-1.1.0": [work / "imglyb"]}
    for jar in (like / "jars").glob("im*.jar") if like else ():
        shutil.copy(jar, jars)
    sources = [p for many in rooms.values() for room in many for p in room.rglob("*.java")]
    subprocess.run(
        ["javac", "--release", "11", "-nowarn", "-d", str(work / "classes"), *map(str, sources)],
        check=True,
        capture_output=True,
        text=True,
    )
    for name, many in rooms.items():
        packages = {p.parent.relative_to(room) for room in many for p in room.rglob("*.java")}
        _jar(jars / f"{name}.jar", work / "classes", packages, name.rpartition("-")[2])
    return folder


def _jar(path: Path, classes: Path, packages: set[Path], version: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("META-INF/MANIFEST.MF", f"Manifest-Version: 1.0\nImplementation-Version: {version}\n\n")
        for package in sorted(packages):
            for compiled in sorted((classes / package).glob("*.class")):
                file.write(compiled, str(compiled.relative_to(classes)))


def _looked_up(folder: Path) -> None:
    """Write an empty class for each that imglyb looks up at the start, with what it takes of them."""
    package = importlib.util.find_spec("imglyb")
    assert package is not None
    assert package.origin is not None
    text = "\n".join(p.read_text() for p in sorted(Path(package.origin).parent.glob("*.py")))
    names = set(re.findall(r'jimport\(\s*"(net\.imglib2[\w.]+)"', text))
    for name in names:
        *place, simple = name.split(".")
        methods = set(re.findall(rf"\b{simple}\.(to\w+)\b", text))
        body = "".join(f"    public static void {method}() {{}}\n" for method in sorted(methods))
        if simple == "ReferenceGuardingRandomAccessibleInterval":
            body += "    public interface ReferenceHolder {}\n"
        path = folder.joinpath(*place)
        path.mkdir(parents=True, exist_ok=True)
        (path / f"{simple}.java").write_text(
            f"package {'.'.join(place)};\n\npublic class {simple} {{\n{body}}}\n"
        )
