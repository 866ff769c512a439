"""Label images kept in the bundle of a run, before it is sealed: ``run --keep-labels``."""

from __future__ import annotations

import os
import shutil

import numpy as np

from dataops_parsl.bundle import Bundle
from dataops_parsl.exports.films import FilmFacts
from dataops_parsl.exports.labels import KEPT
from dataops_parsl.exports.ome_zarr import write_labels
from dataops_parsl.exports.target import sync_tree
from dataops_parsl.plan import Plan
from dataops_parsl.publish import label_stacks
from dataops_parsl.storage.atomic import place_errors, sync_folder

_UNFINISHED = ".labels.tmp"


def drop_kept(bundle: Bundle) -> None:
    """Take away the label images that an earlier start of an open bundle wrote, whole or in part."""
    for name in (KEPT, _UNFINISHED):
        if (bundle.root / name).exists():
            shutil.rmtree(bundle.root / name)


def keep_labels(bundle: Bundle, plan: Plan) -> None:
    """Write the label images of a run into its open bundle.

    Raises
    ------
    InputMissingError
        One is not what was written; its receipt is dropped, so that the same command computes it again.
    PlaceError
        The disk is full.
    """
    temporary, final = bundle.root / _UNFINISHED, bundle.root / KEPT
    with place_errors(final):
        drop_kept(bundle)
        temporary.mkdir()
        write_labels(temporary, label_stacks(plan), _facts(plan), bundle.id)
        sync_tree(temporary)
        os.rename(temporary, final)
        sync_folder(bundle.root)


def _facts(plan: Plan) -> dict[str, FilmFacts]:
    found = {}
    for name, film in plan.positions.items():
        times = tuple(film.times[: plan.n_frames[name]])
        steps = np.diff(times)
        interval_s = float(np.median(steps)) if len(steps) else 1.0
        size = plan.dataset.pixel_size_um
        found[name] = FilmFacts(name, plan.n_frames[name], film.shape_px, size, times, interval_s)
    return found
