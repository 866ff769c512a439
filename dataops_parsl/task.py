"""Runs on workers: read parts → step → publish parts → outcome. The stages' one I/O shell.

A task never raises: an exception that does not unpickle would hang the driver. It takes and returns
small dicts; arrays go through scratch.
"""

from __future__ import annotations

import importlib
import os
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.errors import DataopsError, DatasetError, InputMissingError, PlaceError
from dataops_parsl.film import Film
from dataops_parsl.provenance import worker_versions
from dataops_parsl.stage import PER_FRAME, Pixels, Stage, Step
from dataops_parsl.storage.atomic import place_errors
from dataops_parsl.storage.parts import (
    PartPlace,
    Receipt,
    drop_receipts,
    overwriting,
    publish_receipt,
    publish_table,
    read_receipt,
    read_tables,
)
from dataops_parsl.storage.pixels import CACHED_FRAMES, StoredStack, publish_pixels
from dataops_parsl.tables import Rows
from dataops_parsl.telling import listening
from dataops_parsl.worker.assembly import assembled
from dataops_parsl.worker.attempt import Attempt
from dataops_parsl.worker.log import identity, this_worker
from dataops_parsl.worker.memory import give_back


def execute(task: dict[str, Any]) -> dict[str, Any]:
    """Compute one part.

    Parameters
    ----------
    task : dict
        What `spec.Specs` made; JSON-like.

    Returns
    -------
    dict
        ``status`` done | partial | failed | input_missing | refused | unfit, ``reason``, ``failed``
        (frame → reason), ``rows`` (output → number); ``started, ended`` (UTC, s since 1970), ``cpu_s,
        max_rss_mb``; what a step told of its work (``device, gpu_mem_mb, load_s, note``); ``block, job_id,
        host, pid`` of the worker.
    """
    attempt = Attempt(task)
    outcome: dict[str, Any] = {"id": task["id"], "failed": {}, **attempt.began}
    try:
        with attempt.watched(), listening(attempt.hear):
            problem = _other_versions(task["versions"])
            receipt = None if problem else _Shell(task).run()
    except InputMissingError as error:
        outcome |= {"status": "input_missing", "reason": str(error)}
    except PlaceError as error:
        outcome |= {"status": "unfit", "reason": error.message, "remedy": error.remedy}
    except Exception as error:
        reason = str(error) if isinstance(error, DataopsError) else f"{type(error).__name__}: {error}"
        outcome |= {"status": "failed", "reason": reason, "traceback": traceback.format_exc()}
    else:
        outcome |= _computed(receipt) if receipt else {"status": "refused", "reason": problem}
    return outcome | attempt.end(outcome["status"])


def _computed(receipt: Receipt) -> dict[str, Any]:
    return {
        "status": "partial" if receipt.partial else "done",
        "reason": "",
        "failed": receipt.failed,
        "rows": {name: out["rows"] for name, out in receipt.outputs.items() if "rows" in out},
    }


def _other_versions(expected: Mapping[str, str]) -> str:
    mine = worker_versions()
    differ = [f"{k} {mine.get(k)} instead of {v}" for k, v in expected.items() if mine.get(k) != v]
    return f"{this_worker()} has {', '.join(differ)}" if differ else ""


_NO_FRAMES = (InputMissingError, PlaceError)
"""Errors that are no frame's: the whole part ends."""


class UnreadableFrameError(DatasetError):
    """An acquired frame that cannot be read, or that is not what was ingested: its frame fails alone."""


class _RawStack:
    """Acquired frames of one channel, through the dataset's manifest: a `Stack`."""

    def __init__(self, dataset: Dataset, position: str, channel: str, frames: tuple[int, ...]) -> None:
        self._film, self._channel = dataset.position(position), channel
        self._frames = set(frames)
        self._cache: dict[int, Any] = {}
        self.unreadable: dict[int, str] = {}

    def __getitem__(self, frame: int) -> Any:
        if frame not in self._frames:
            raise KeyError(f"frame {frame} of {self._channel!r} is outside the step's window")
        if frame in self._film.excluded:
            return None
        if frame not in self._cache:
            while len(self._cache) >= CACHED_FRAMES:
                self._cache.pop(next(iter(self._cache)))
            try:
                self._cache[frame] = self._film.read(self._channel, frame)
            except DataopsError as error:
                self.unreadable[frame] = error.message
                raise UnreadableFrameError(error.message, error.remedy) from error
        return self._cache[frame]


class _Shell:
    """One task: opens what the step reads, calls it frame by frame, publishes what it gives."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        module, _, name = task["stage"].partition(":")
        cls: type[Stage] = getattr(importlib.import_module(module), name)
        self.stage = cls.model_validate(task["parameters"])
        self.step: Step = cls.steps()[task["step"]]
        self.method = self.stage.bound(self.step.name)
        self.place = PartPlace(Path(task["folder"]), task["stem"], task["recipe"])
        self.frames = tuple(task["frames"])
        self.receipt = Receipt(recipe=task["recipe"], part=task["id"])
        self.sources: dict[Path, tuple[PartPlace, Receipt]] = {}
        self.raw: dict[str, _RawStack] = {}

    # --- the course of a task

    def run(self) -> Receipt:
        try:
            self._check_identity()
            with listening(self._hear):
                share = (self.task.get("terms") or {}).get("mem_gb") or self.task["mem_gb"]
                self.stage.prepare(self.step.name, share)
                return self._course()
        finally:
            if self.step.scope not in PER_FRAME:
                give_back()

    def _check_identity(self) -> None:
        mine = {k: str(v) for k, v in self.stage.identity(self.step.name).items()}
        for name, planned in self.task.get("identity", {}).items():
            if mine.get(name) != planned:
                raise PlaceError(
                    f"{this_worker()} has {name} {mine.get(name) or 'none'} for {self.stage.name}; the run "
                    f"was planned with {planned}",
                    "the nodes must see the environment and the files that the driver sees, unchanged",
                )

    def _hear(self, event: str, **facts: Any) -> None:
        if event == "used":
            self.receipt.figures["device"] = ", ".join([facts["device"], *facts.get("libraries", ())])
        elif event == "noted":
            self.receipt.figures.setdefault("notes", {}).update(facts)

    def _course(self) -> Receipt:
        started, cpu_s = time.time(), time.process_time()
        inputs = {port: self._open(port) for port in self.step.ports}
        self._inherit()
        carry = self._previous_carry()
        outputs = self._per_frame(inputs, carry) if self.step.scope in PER_FRAME else self._whole(inputs)
        for stack in self.raw.values():
            for frame, reason in stack.unreadable.items():
                if frame not in self.receipt.failed:
                    self.receipt.halo[frame] = reason
        if any(isinstance(given, Pixels) for given in self.step.gives.values()):
            with overwriting(self.place):
                drop_receipts(self.place)
                self._publish_all(outputs, started, cpu_s)
        else:
            self._publish_all(outputs, started, cpu_s)
        return self.receipt

    def _publish_all(self, outputs: Mapping[str, Any], started: float, cpu_s: float) -> None:
        for name, value in outputs.items():
            self.receipt.outputs[name] = self._publish(name, value)
        self.receipt.figures |= {
            "wall_s": round(time.time() - started, 3),
            "cpu_s": round(time.process_time() - cpu_s, 3),
            "frames": self.task["n_frames"],
            "host": os.uname().nodename,
            "job_id": identity()["job_id"],
            # A later run with other libraries takes this part as it is, and must not call it its own.
            "versions": worker_versions(),
        }
        publish_receipt(self.place, self.receipt)

    def _publish(self, name: str, value: Any) -> dict[str, Any]:
        if isinstance(value, pa.Table):
            return publish_table(self.place, name, value)
        given = self.step.gives[name]
        return publish_pixels(
            self.place,
            self.task["position"],
            name,
            self.task["index"],
            self.frames[0],
            value,
            len(self.frames),
            isinstance(given, Pixels) and given.labelled,
        )

    # --- what is read

    def _open(self, port: str) -> Any:
        if port in self.task["raw"]:
            dataset = Dataset.open(Path(self.task["dataset_root"]))
            frames = tuple(self.task["raw_frames"])
            channels = dataset.description.channels
            self.raw = {c: _RawStack(dataset, self.task["position"], c, frames) for c in channels}
            return self.raw
        columns = self.step.columns.get(port)
        opened = {s["population"]: self._open_source(s, columns) for s in self.task["reads"][port]}
        return opened if self.task["by_population"].get(port) else next(iter(opened.values()))

    def _open_source(self, source: Mapping[str, Any], columns: Sequence[str] | None) -> Any:
        parts = [self._source_part(Path(folder), stem, recipe) for folder, stem, recipe in source["parts"]]
        output = source["output"]
        if source["kind"] == "table":
            return Rows(read_tables(parts, output, columns=columns, population=self.task["population"]))
        position = self.task["position"]
        stacks = {c: StoredStack(parts, position, output, c) for c in source["channels"]}
        return stacks if source["kind"] == "channels" else stacks[""]

    def _source_part(self, folder: Path, stem: str, recipe: str) -> tuple[PartPlace, Receipt]:
        place = PartPlace(folder, stem, recipe)
        receipt = read_receipt(place.receipt)
        if receipt is None:
            raise InputMissingError(f"{place.receipt} is gone", "run the same command again")
        self.sources[place.receipt] = (place, receipt)
        return place, receipt

    def _note_input(self, receipt: Receipt, path: Path) -> None:
        self.receipt.inputs[str(path.relative_to(self.task["scratch"]))] = receipt.digest

    def _inherit(self) -> None:
        """Note what was read, and the failures that come with it."""
        roots: dict[tuple[Any, ...], dict[str, Any]] = {}
        for path, (_, receipt) in self.sources.items():
            self._note_input(receipt, path)
            for root in receipt.roots:
                roots[root["position"], root["frame"], root["stage"]] = root
            for frame, reason in {**receipt.failed, **receipt.halo}.items():
                root = _root(receipt.part, frame, reason)
                roots[root["position"], root["frame"], root["stage"]] = root
        self.receipt.roots = [roots[k] for k in sorted(roots)]

    # --- what is computed

    def _film(self, frames: tuple[int, ...]) -> Film:
        return Film(self.task["position"], frames, self.task["population"], self.task["facts"])

    def _whole(self, inputs: Mapping[str, Any]) -> dict[str, pa.Table]:
        if self.step.scope == "dataset":
            first: Any = {
                p: Film(p, (), self.task["population"], facts) for p, facts in self.task["facts"].items()
            }
        else:
            first = self._film(self.frames)
        result = self.method(first, **inputs)
        return {name: self._table(name, value) for name, value in self._named(result).items()}

    def _per_frame(self, inputs: Mapping[str, Any], carry: Any) -> dict[str, Any]:
        self.receipt.carry = carry
        pieces: dict[str, list[Any]] = {name: [] for name in self.step.gives}
        film = self._film(self.frames)
        for frame, given in self._together(film, inputs) or self._one_by_one(film, inputs):
            try:
                if isinstance(given, Exception):
                    raise given
                result, after = given
                own = {name: self._piece(name, value, frame) for name, value in self._named(result).items()}
            except _NO_FRAMES:
                raise
            except Exception as error:
                reason = str(error) if isinstance(error, DataopsError) else f"{type(error).__name__}: {error}"
                self.receipt.failed[frame] = reason
            else:
                # All outputs of a frame or none: one that failed leaves no rows behind, and no carry.
                self.receipt.carry = after
                for name, piece in own.items():
                    pieces[name].append(piece)
        return {name: self._gathered(name, many) for name, many in pieces.items()}

    def _one_by_one(self, film: Film, inputs: Mapping[str, Any]) -> Iterator[tuple[int, Any]]:
        """Each frame with what it gives and the carry after it, or with the error."""
        for frame in self._attempted():
            given: Any
            try:
                if self.step.scope == "prefix":
                    given = self.method(film, frame, self.receipt.carry, **inputs)
                else:
                    given = self.method(film, frame, **inputs), self.receipt.carry
            except Exception as error:
                given = error
            yield frame, given

    def _together(self, film: Film, inputs: Mapping[str, Any]) -> Iterator[tuple[int, Any]] | None:
        """The same with several frames at once; None where frames are computed one by one.

        A second attempt goes frame by frame: it notes which frame it is at.
        """
        parts = self.stage.together(self.step.name) if self.step.scope == "batch" else None
        if parts is None or self.task["attempt"] > 1:
            return None
        read, compute, finish = (
            self.stage.bound(self.step.name, name) for name in (parts.read, parts.compute, parts.finish)
        )
        return assembled(
            list(self._attempted()),
            lambda frame: read(film, frame, **inputs),
            compute,
            lambda frame, item, result: (finish(film, frame, item, result), self.receipt.carry),
            _NO_FRAMES,
        )

    def _piece(self, name: str, value: Any, frame: int) -> Any:
        if isinstance(self.step.gives[name], Pixels):
            return frame, value
        return self._table(name, value, frame)

    def _gathered(self, name: str, pieces: list[Any]) -> Any:
        if not isinstance(self.step.gives[name], Pixels):
            schema = self.task["schemas"][name]
            return pa.concat_tables(pieces) if pieces else self.step_schema(name, schema).empty_table()
        channels = self.task["arrays"][name]
        if channels == [""]:
            return {"": dict(pieces)}
        return {c: {f: images[c] for f, images in pieces if images.get(c) is not None} for c in channels}

    def step_schema(self, name: str, channels: list[str]) -> pa.Schema:
        """Arrow schema of an output, for the channels of this dataset."""
        given = self.step.gives[name]
        assert not isinstance(given, Pixels)
        return given.for_channels(channels).arrow()

    def _table(self, name: str, value: Any, frame: int | None = None) -> pa.Table:
        given = self.step.gives[name]
        assert not isinstance(given, Pixels)
        constants: dict[str, Any] = {}
        if self.task["position"]:
            constants["position_id"] = self.task["position"]
        if self.task["population"]:
            constants["population"] = self.task["population"]
        if frame is not None:
            constants["frame"] = frame
        return given.for_channels(self.task["schemas"][name]).table(value, **constants)

    def _named(self, result: Any) -> Mapping[str, Any]:
        if len(self.step.gives) == 1 and not (
            isinstance(result, Mapping) and set(result) == set(self.step.gives)
        ):
            return {next(iter(self.step.gives)): result}
        if set(result) != set(self.step.gives):
            raise ValueError(f"{self.step.name} gave {sorted(result)}, declared {sorted(self.step.gives)}")
        return dict(result)

    def _previous_carry(self) -> Any:
        if not self.task["previous"]:
            return None
        # Its failures are not inherited: a carry comes through them, and its digest is noted.
        folder, stem, recipe = self.task["previous"]
        _, receipt = self._source_part(Path(folder), stem, recipe)
        self._note_input(receipt, PartPlace(Path(folder), stem, recipe).receipt)
        return receipt.carry

    def _attempted(self) -> Iterator[int]:
        """The frames to compute: not those excluded, failed above, or known to kill their worker."""
        above = self._failed_above()
        for frame in self.frames:
            if str(frame) in self.task["excluded"]:
                self.receipt.skipped[frame] = self.task["excluded"][str(frame)]
            elif frame in above:
                self.receipt.skipped[frame] = "failed in an earlier step"
            elif frame in self.task["deadly"]:
                self.receipt.failed[frame] = "the worker died on this frame"
            else:
                if self.task["attempt"] > 1:
                    with place_errors(self.place.notes):
                        self.place.notes.parent.mkdir(parents=True, exist_ok=True)
                        self.place.notes.write_text(str(frame))
                yield frame

    def _failed_above(self) -> set[int]:
        own = {f for f in self.frames if str(f) not in self.task["excluded"]}
        return {f for _, r in self.sources.values() for f in r.unavailable() if f in own}


def _root(part: str, frame: int, reason: str) -> dict[str, Any]:
    node, _, rest = part.partition("/")
    return {"position": rest.partition("/")[0], "frame": frame, "stage": node, "reason": reason}
