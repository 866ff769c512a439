"""Draws events: frames done, rate and time left per stage; plain lines when not a terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, TextIO

from dataops_parsl.commands.block_states import BlockStates
from dataops_parsl.nodes import Part
from dataops_parsl.plan import Plan
from dataops_parsl.report.words import duration
from dataops_parsl.stage import PER_FRAME

PLAIN_EVERY_S = 10.0
DRAW_EVERY_S = 0.2


class Progress:
    """A listener that shows how far the stages are.

    Parameters
    ----------
    stream : text stream
    blocks : bool
        Show what the blocks are at too: on a cluster they wait and die.
    """

    def __init__(self, stream: TextIO | None = None, *, blocks: bool = False) -> None:
        self._blocks = BlockStates() if blocks else None
        self._told: set[str] = set()
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._total: dict[str, int] = {}
        self._done: dict[str, int] = {}
        self._first: dict[str, float] = {}
        self._drawn_lines = 0
        self._last = 0.0
        self._lost = 0
        self._size: dict[str, int] = {}
        self._waits: dict[str, tuple[str, str]] = {}

    def expect(self, plan: Plan, todo: Mapping[Part, Any]) -> None:
        """Add the tasks of a round, stages in the order of the workflow."""
        self._waits.clear()
        for node in plan.nodes:
            for part in todo:
                if part.node is node:
                    stage = node.stage.name
                    self._size[part.id] = len(part.frames) if node.step.scope in PER_FRAME else 1
                    self._total[stage] = self._total.get(stage, 0) + self._size[part.id]
                    self._done.setdefault(stage, 0)

    def on_event(self, event: dict[str, Any]) -> None:
        """Count what ended."""
        stage = event.get("task", "").partition(".")[0]
        if event["event"] in ("submitted", "passed_over"):
            self._waits.pop(event["task"], None)
        if event["event"] == "waits":
            self._waits[event["task"]] = (event["run"], event["what"])
        elif event["event"] == "submitted":
            self._first.setdefault(stage, time.monotonic())
        elif event["event"] == "lost":
            self._lost += 1
            if event.get("outcome") == "oom":
                self._tell(f"{event['task']}: {event['reason']}")
        elif event["event"] == "block":
            self._tell(self._blocks.on_event(event) if self._blocks else "")
        elif event["event"] in ("ended", "passed_over"):
            self._done[stage] = self._done.get(stage, 0) + self._size.get(event["task"], 0)
        self._draw()

    def on_tick(self) -> None:
        """Time went on."""
        self._draw()

    def close(self) -> None:
        """Draw a last time and leave the cursor below."""
        self._draw(force=True)

    def _tell(self, text: str) -> None:
        """A line that stays, once."""
        if not text or text in self._told:
            return
        self._told.add(text)
        if self._drawn_lines:
            self._stream.write(f"\x1b[{self._drawn_lines}A\x1b[J")
            self._drawn_lines = 0
        self._stream.write(f"  {text}\n")
        self._stream.flush()
        self._last = 0.0

    def _draw(self, force: bool = False) -> None:
        now = time.monotonic()
        if not (self._total or self._block_lines()) or (
            not force and now - self._last < (DRAW_EVERY_S if self._live else PLAIN_EVERY_S)
        ):
            return
        self._last = now
        if self._live:
            lines = [self._line(stage, now) for stage in self._total]
            if self._lost:
                lines.append(f"  {self._lost} worker(s) lost and replaced")
            lines += [f"  {line}" for line in (*self._waiting(), *self._block_lines())]
            width = shutil.get_terminal_size().columns
            up = f"\x1b[{self._drawn_lines}A" if self._drawn_lines else ""
            # There may be fewer lines than before.
            self._stream.write(f"{up}\x1b[J" + "".join(f"{line[: width - 1]}\n" for line in lines))
            self._drawn_lines = len(lines)
        else:
            parts = [f"{s} {self._done[s]}/{t}" for s, t in self._total.items()]
            lost = [f"{self._lost} worker(s) lost"] if self._lost else []
            left = [words] if (words := self._left(now)) else []
            line = " · ".join([*parts, *lost, *left, *self._waiting(), *self._block_lines()])
            self._stream.write(f"  {line}\n")
        self._stream.flush()

    def _waiting(self) -> list[str]:
        """What other runs are waited for."""
        many = Counter(self._waits.values())
        return [
            f"waiting for run {run}: {n} part{'s' * (n != 1)}"
            + ("" if what == "part" else ", which it keeps as they are until it ends")
            for (run, what), n in sorted(many.items())
        ]

    def _block_lines(self) -> list[str]:
        return self._blocks.lines() if self._blocks else []

    def _left(self, now: float) -> str:
        done, total = sum(self._done.values()), sum(self._total.values())
        # The first few say nothing of the rest, and what other runs did says nothing at all.
        if not self._first or not total / 20 < done < total:
            return ""
        elapsed = now - min(self._first.values())
        return f"{100 * done // total} %, about {duration(elapsed * (total - done) / done)} left"

    def _line(self, stage: str, now: float) -> str:
        done, total = self._done[stage], self._total[stage]
        elapsed = now - self._first[stage] if stage in self._first else 0.0
        rate = done / elapsed if elapsed > 0 else 0.0
        bar = "━" * round(20 * done / total)
        text = f"  {stage:<17}{bar:<20} {done:>6}/{total} frames"
        if done < total and rate > 0:
            text += f"  {rate:5.1f}/s  {duration((total - done) / rate)} left"
        return text
