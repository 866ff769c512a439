"""What tests have done in a process of its own, since a process starts one JVM, once: JSON in, JSON out.

Standard input: ``source``, ``java_home``, ``films`` of keyword arguments for `fiji.track` with, optionally,
``properties`` of Java to be set before and whether it runs in a ``thread``. Standard output, last line: the
``jvm``, and for each film its edges or its error, and the calls that stand-ins saw.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from dataops_parsl.algorithms import fiji


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """Start the JVM and track each film."""
    jvm = fiji.start(asked["source"], asked["java_home"], 512)
    films = [_film(dict(film)) for film in asked["films"]]
    try:
        fiji.start("/another", asked["java_home"], 512)
        again = ""
    except fiji.FijiError as error:
        again = str(error)
    return {"jvm": vars(jvm), "films": films, "another": again}


def _film(film: dict[str, Any]) -> dict[str, Any]:
    import jpype

    for name, value in film.pop("properties", {}).items():
        jpype.JClass("java.lang.System").setProperty(name, value)
    made: list[dict[str, Any]] = []
    work = threading.Thread(target=lambda: made.append(_tracked(film)))
    if film.pop("thread", False):
        work.start()
        work.join()
    else:
        work.run()
    return made[0] | {"calls": _calls(jpype)}


def _tracked(film: dict[str, Any]) -> dict[str, Any]:
    try:
        found = fiji.track(**film)
    except fiji.FijiError as error:
        return {"error": str(error)}
    edges = zip(found.source_row.tolist(), found.target_row.tolist(), found.cost.tolist(), strict=True)
    return {"edges": list(edges), "settings": found.settings}


def _calls(jpype: Any) -> list[str]:
    """Those since the last time; none of a real TrackMate."""
    try:
        made = jpype.JClass("fiji.plugin.trackmate.Calls").made
    except TypeError:
        return []
    calls = [str(call) for call in made]
    made.clear()
    return calls


if __name__ == "__main__":
    print(json.dumps(main(json.load(sys.stdin))))
