"""What a stage is: a validated model whose fields are its parameters and whose methods are its steps.

A step declares its scope, what it gives and which facts of the film it may know; what it reads are
the names of its arguments. The same class works in a notebook, in a plan and on a worker::

    class Brightness(Stage):
        \"\"\"Mean count of every frame.\"\"\"

        name = "brightness"
        version = 1

        gain: float = 1.0
        \"\"\"Counts are multiplied by this.\"\"\"

        @step(scope="batch", gives={"brightness": BRIGHTNESS})
        def mean(self, film, frame, raw):
            return {"mean_count": [raw["gfp"][frame].mean() * self.gain]}

Scopes
------
batch
    The method computes one frame, ``(film, frame, inputs...)``; a task computes a batch of them. So a
    frame's rows depend on its window of frames alone, whatever the batch.
prefix
    As batch, in order of frames, with a small JSON carry from the frame before:
    ``(film, frame, carry, inputs...) -> (rows, carry)``.
sample
    Once per position, reading a fixed few frames: ``(film, inputs...)`` with ``film.frames``.
film
    Once per position, reading whole tables, never whole pixels: ``(film, inputs...)``.
dataset
    Once, over the small tables of all positions: ``(films, inputs...)``.

Several frames at once
----------------------
Where a device is better used by several frames, a batch step names three more methods, `Together`. The step's
own method stays what it means: one frame. The three must give the same, whatever frames come together.

Inputs
------
Pixels come as a `Stack` (``stack[frame]`` is (Y, X) or None where there is no such frame), or as a
mapping channel → Stack. Tables come as `Rows`, with the columns that the step declared. A stage that is not
repeated per population gets a mapping population → input from one that is.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, cast

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from dataops_parsl.errors import DatasetError
from dataops_parsl.film import FACTS, Film
from dataops_parsl.tables import Schema

Scope = Literal["batch", "prefix", "sample", "film", "dataset"]
PER_FRAME = ("batch", "prefix")
_RESERVED = ("self", "film", "films", "frame", "carry")


class Stack(Protocol):
    """Frames of one channel or label image: a (T, Y, X) array is one."""

    def __getitem__(self, frame: int, /) -> NDArray[Any] | None: ...


def readable(stack: Stack, frame: int) -> NDArray[Any] | None:
    """A neighbour's or a sample's frame, or None: what cannot be read fails by itself where it is
    computed, and whoever only looks at it does without."""
    try:
        return stack[frame]
    except DatasetError:
        return None


@dataclass(frozen=True)
class Pixels:
    """An output that is one (Y, X) image a frame.

    Parameters
    ----------
    dtype : str
        Stored dtype; ``raw`` is the acquired one.
    per_channel : bool
        One image per channel, given as a mapping.
    """

    dtype: str
    per_channel: bool = False

    @property
    def labelled(self) -> bool:
        """Whether they are label images: uint32, 0 is background."""
        return self.dtype == "uint32" and not self.per_channel


@dataclass(frozen=True)
class Requirement:
    """One thing that a stage, as it is configured, needs of the place beside what this package installs.

    Parameters
    ----------
    subject : str
        What is needed, in a word or two: ``weights``, ``Java``.
    ok : bool
        Whether it is there and of use. With a remedy it is a note: it works, but could be better.
    found : str
        What is there: version, path, size.
    remedy : str
        What to do about it: a command or a key.
    """

    subject: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass(frozen=True)
class Together:
    """A batch step taken apart, so that frames are read ahead and finished behind while a device computes.

    Parameters
    ----------
    read : str
        Method ``(film, frame, inputs...) -> item``: all that is read for a frame. In a thread of its own.
    compute : str
        Method ``(items) -> results``: takes an iterable, gives an iterator, in the same order. It may take
        some more items before it gives a result.
    finish : str
        Method ``(film, frame, item, result) -> what the step gives``. In a thread of its own.
    """

    read: str
    compute: str
    finish: str


@dataclass(frozen=True)
class Step:
    """The declaration of one step; see the module's docstring.

    Parameters
    ----------
    window : mapping of port to method name
        For batch steps: the stage's method ``(frame) -> frames`` that a port is read at; by default
        the frame alone. For film steps: the method ``(n_frames) -> frames``; by default all.
    columns : mapping of port to names
        Columns that the step reads of a table, ``*`` standing for any letters; by default all. Others are not
        there for it. A film's table is large, and most steps need little of it.
    parameters : tuple of str or None
        Fields of the stage that the step may read; None for all. Only these are in its key, so that
        another field can change without computing the step again.
    unkeyed : tuple of str
        Fields that it may read as well, and that are in no key: they change where and how fast it computes,
        never what it gives.
    together : Together or None
        For batch steps: how several frames are computed at once.
    """

    name: str
    scope: Scope
    gives: Mapping[str, Schema | Pixels]
    facts: tuple[str, ...]
    window: Mapping[str, str]
    ports: tuple[str, ...]
    parameters: tuple[str, ...] | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unkeyed: tuple[str, ...] = ()
    together: Together | None = None


F = TypeVar("F", bound=Callable[..., Any])


def step(
    *,
    scope: Scope,
    gives: Mapping[str, Schema | Pixels],
    facts: Iterable[str] = (),
    window: Mapping[str, str] | None = None,
    parameters: Iterable[str] | None = None,
    columns: Mapping[str, Iterable[str]] | None = None,
    unkeyed: Iterable[str] = (),
    together: Together | None = None,
) -> Callable[[F], F]:
    """Declare a method of a stage as a step."""
    facts = tuple(facts)
    if unknown := set(facts) - set(FACTS):
        raise ValueError(f"no such fact: {sorted(unknown)}; there are {FACTS}")

    def mark(method: F) -> F:
        ports = tuple(p for p in inspect.signature(method).parameters if p not in _RESERVED)
        for what, given in (("a window", window), ("columns", columns)):
            if extra := set(given or {}) - set(ports):
                raise ValueError(
                    f"{method.__qualname__} has {what} for {sorted(extra)}, which it does not read"
                )
        shown = {port: tuple(names) for port, names in (columns or {}).items()}
        own = None if parameters is None else tuple(parameters)
        if together is not None and scope != "batch":
            raise ValueError(f"{method.__qualname__} is no batch step: it computes no frames together")
        if unkeyed and own is None:
            raise ValueError(f"{method.__qualname__} has all parameters in its key: name those that it reads")
        method._step = Step(  # type: ignore[attr-defined]
            method.__name__,
            scope,
            dict(gives),
            facts,
            dict(window or {}),
            ports,
            own,
            shown,
            tuple(unkeyed),
            together,
        )
        return method

    return mark


class _Restricted:
    """A stage seen by a step: a parameter that it did not declare raises, as it is not in its key."""

    def __init__(self, stage: Stage, parameters: tuple[str, ...]) -> None:
        self._stage, self._parameters = stage, parameters

    def __getattr__(self, name: str) -> Any:
        cls = type(self._stage)
        if name in cls.model_fields:
            if name not in self._parameters:
                raise KeyError(
                    f"this step reads the parameter {name!r} without declaring it: @step(parameters=...)"
                )
            return getattr(self._stage, name)
        method = inspect.getattr_static(cls, name)
        if inspect.isfunction(method):
            return types.MethodType(method, self)
        return getattr(self._stage, name)


class Stage(BaseModel):
    """Base of all stages: a frozen model with attribute docstrings as docs and unknown keys refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    name: ClassVar[str] = ""
    version: ClassVar[int] = 0

    @classmethod
    def steps(cls) -> dict[str, Step]:
        """The steps in the order in which they are written."""
        return {k: v._step for k, v in vars(cls).items() if hasattr(v, "_step")}

    @classmethod
    def outputs(cls) -> dict[str, Schema | Pixels]:
        """Everything that the steps give, by name."""
        return {name: out for s in cls.steps().values() for name, out in s.gives.items()}

    @classmethod
    def ports(cls) -> tuple[str, ...]:
        """What the stage reads from others: arguments of its steps that no step of its own gives."""
        own = cls.outputs()
        return tuple(dict.fromkeys(p for s in cls.steps().values() for p in s.ports if p not in own))

    def reads(self, name: str) -> tuple[str, ...] | None:
        """The parameters that a step depends on as the stage is configured: those it declared, or fewer."""
        return self.steps()[name].parameters

    def keyed(self, name: str) -> dict[str, Any]:
        """The parameters that a step's result depends on, JSON-like."""
        own = self.reads(name)
        values = self.model_dump(mode="json")
        return values if own is None else {k: values[k] for k in own}

    def bound(self, name: str, method: str = "") -> Callable[..., Any]:
        """The method of a step, or another that works for it, on a self that shows only what it may read."""
        own = self.reads(name)
        if own is None:
            return cast(Callable[..., Any], getattr(self, method or name))
        shown = (*own, *self.steps()[name].unkeyed)
        return types.MethodType(vars(type(self))[method or name], _Restricted(self, shown))

    def together(self, name: str) -> Together | None:
        """How a step computes several frames at once, as the stage is configured; None: frame by frame."""
        return self.steps()[name].together

    @property
    def on_gpu(self) -> bool:
        """Whether it computes on a GPU, as it is configured: else it never occupies one."""
        return False

    @property
    def needs_bf16(self) -> bool:
        """Whether its GPU has to compute in bf16, as it is configured: older cards are refused then."""
        return False

    def identity(self, step: str) -> Mapping[str, str]:
        """What identifies the arithmetic of a step beyond parameters: library versions, hashes of weights.

        Asked again by the worker, which refuses to compute when it finds something else.

        Raises
        ------
        DataopsError
            When it cannot be told, as weights are gone.
        """
        return {}

    def requirements(self) -> Sequence[Requirement]:
        """What it needs of the place: weights, a JVM, packages of an extra.

        Asked by ``check`` for each stage and population as it is configured, on the driver's host. It
        answers in seconds, downloads nothing, and imports nothing heavy where looking suffices
        (`importlib.util.find_spec`, a file's size). An exception becomes a failed finding.
        """
        return ()

    def prepare(self, step: str, mem_gb: float) -> None:
        """Get this worker ready for one of the steps, such as start a program; called before each task.

        All parameters may be read here. What is kept for the next task, a module keeps.

        Parameters
        ----------
        step : str
            Name of the step.
        mem_gb : float
            Memory that this worker may use, GB (2**30 bytes).

        Raises
        ------
        PlaceError
            When this worker is not fit.
        """

    def check_device(self) -> None:
        """Raise a `PlaceError` when this host lacks the device that this stage computes on.

        Called before work starts that this host does itself, and by ``check`` where workers run on this
        host; it may take seconds.
        """

    def check(self, film: Film) -> None:
        """Raise a `DataopsError` when this stage, as it is configured, cannot work.

        Called once at planning, before anything starts.

        Parameters
        ----------
        film : Film
            With the facts of the dataset: ``channels``, ``populations``, ``segments``, ``pixel_size_um``.
        """

    @classmethod
    def check_each(cls, stages: Mapping[str, Self]) -> None:
        """Raise a `DataopsError` when what its populations ask for cannot be had in one run.

        A worker computes for one population and then for another: what it has once, such as a JVM, must do
        for all. Called at planning, before `check`.

        Parameters
        ----------
        stages : mapping of population to stage
            As each is configured; one named ``""`` where the stage is not repeated.
        """
