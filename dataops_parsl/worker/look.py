"""What a worker elsewhere sees: the folders of the run, its environment and its versions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataops_parsl.provenance import host_facts, worker_versions
from dataops_parsl.storage.atomic import write_bytes
from dataops_parsl.storage.removing import reason

ANSWER = ".answer"
"""Ends the name of the file that answers the driver's."""


def look(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Look for what a run needs; never raises.

    Parameters
    ----------
    asked : mapping
        ``read``: folders to list; ``marks``: files that the driver wrote into the folders to be written, each
        of which is answered by a copy beside it; ``environment``: names of variables.

    Returns
    -------
    dict
        ``host, pid``; ``versions``; ``environment``: name → value; ``unseen``: folder → why.
    """
    unseen: dict[str, str] = {}
    for folder in asked["read"]:
        try:
            os.listdir(folder)
        except OSError as error:
            unseen[folder] = reason(error)
    for mark in map(Path, asked["marks"]):
        try:
            write_bytes(mark.with_name(mark.name + ANSWER), mark.read_bytes())
        except OSError as error:
            unseen[str(mark.parent)] = reason(error)
    return {
        **host_facts(),
        "versions": worker_versions(),
        "environment": {name: os.environ.get(name, "") for name in asked["environment"]},
        "unseen": unseen,
    }
