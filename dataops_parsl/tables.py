"""What a table is: columns with unit, meaning, key and reference. No schema and no path here.

Unknown is null, never NaN or a magic number. No list columns, so that every table is also a CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Kind = Literal["int64", "float64", "string", "bool", "binary"]
_ARROW: dict[str, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "binary": pa.binary(),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name : str
        With its unit; ``{channel}`` in it stands for one column per channel of the dataset.
    kind : Kind
        Arrow type.
    meaning : str
        One sentence.
    unit : str
        SI-like unit, ``px``, ``count``, ``frac`` or empty.
    key : bool
        Part of the row's identity: never null, unique together.
    low, high : float or None
        Range of plausible values, checked by validation.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""
    key: bool = False
    low: float | None = None
    high: float | None = None

    def field(self, references: str = "") -> pa.Field:
        """The Arrow field, with unit, meaning, key and reference in its metadata."""
        facts = {"unit": self.unit, "meaning": self.meaning}
        if self.key:
            facts["key"] = "yes"
        if references:
            facts["references"] = references
        return pa.field(self.name, _ARROW[self.kind], nullable=not self.key, metadata=facts)


@dataclass(frozen=True)
class Reference:
    """Columns that together name a row of another table; a row with a null among them names none.

    Parameters
    ----------
    table : str
    columns : tuple of (own column, column there)
    """

    table: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Schema:
    """One table: its name, what a row is, its columns in order, what they refer to."""

    name: str
    row: str
    columns: tuple[Column, ...]
    references: tuple[Reference, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)

    @property
    def key(self) -> tuple[str, ...]:
        """Names of the columns that identify a row."""
        return tuple(c.name for c in self.columns if c.key)

    def for_channels(self, channels: Iterable[str]) -> Schema:
        """The schema with every ``{channel}`` column written out for each channel, in order."""
        channels = list(channels)
        columns: list[Column] = []
        for column in self.columns:
            if "{channel}" not in column.name:
                columns.append(column)
                continue
            columns += [
                replace(column, name=column.name.format(channel=c), meaning=column.meaning.format(channel=c))
                for c in channels
            ]
        return replace(self, columns=tuple(columns))

    def arrow(self) -> pa.Schema:
        """The Arrow schema with metadata."""
        targets = {own: f"{r.table}.{there}" for r in self.references for own, there in r.columns}
        return pa.schema(
            [c.field(targets.get(c.name, "")) for c in self.columns],
            metadata={"table": self.name, "row": self.row},
        )

    def table(self, columns: Mapping[str, Any], **constants: Any) -> pa.Table:
        """Build the table; NaN becomes null, constants fill whole columns that `columns` lacks.

        Parameters
        ----------
        columns : mapping of str to array-like of equal length
        **constants : value for every row, used for columns of the schema that `columns` lacks

        Raises
        ------
        ValueError
            For a missing or unknown column, unequal lengths, or a null in a key column.
        """
        if unknown := [name for name in columns if name not in self.names]:
            raise ValueError(f"table {self.name!r} has no column {unknown[0]!r}; it has {list(self.names)}")
        n_rows = len(next(iter(columns.values()))) if columns else 0
        arrays = []
        for column in self.columns:
            kind = _ARROW[column.kind]
            if column.name in columns:
                array = _array(columns[column.name], kind)
            elif column.name in constants:
                array = pa.array([constants[column.name]] * n_rows, kind)
            else:
                raise ValueError(f"table {self.name!r} needs the column {column.name!r}")
            if len(array) != n_rows:
                raise ValueError(f"table {self.name!r}: {column.name!r} has {len(array)} rows, not {n_rows}")
            if column.key and array.null_count:
                raise ValueError(f"table {self.name!r}: null in key column {column.name!r}")
            arrays.append(array)
        return pa.table(arrays, schema=self.arrow())

    def to_json(self) -> dict[str, Any]:
        """As a JSON-like dict."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Schema:
        """From what `to_json` gave, through JSON or not.

        Raises
        ------
        KeyError, TypeError
            When it is something else.
        """
        references = tuple(
            Reference(r["table"], tuple((own, there) for own, there in r["columns"]))
            for r in value["references"]
        )
        columns = tuple(Column(**c) for c in value["columns"])
        return cls(value["name"], value["row"], columns, references)

    def empty(self) -> pa.Table:
        """The table without rows."""
        return self.arrow().empty_table()

    def problems(self, table: pa.Table) -> list[str]:
        """Say in words where a table departs from this schema: columns, types, nulls, keys, ranges."""
        return self.column_problems(table) or [*self.key_problems(table), *self.range_problems(table)]

    def column_problems(self, table: pa.Table) -> list[str]:
        """Say in words where columns, types, units or meanings are not those of this schema."""
        want, found = self.arrow(), table.schema
        if want.names != found.names:
            return [_other_columns(want.names, found.names)]
        out = []
        for field in want:
            got = found.field(field.name)
            if got.type != field.type:
                out.append(f"{field.name} has type {got.type}, expected {field.type}")
            elif got.metadata != field.metadata:
                out.append(f"{field.name} has other unit or meaning than its schema")
        return out

    def range_problems(self, table: pa.Table) -> list[str]:
        """Say in words which columns leave their range; the columns must be those of this schema."""
        return [words for column in self.columns for words in _range_problems(column, table[column.name])]

    def key_problems(self, table: pa.Table) -> list[str]:
        """Say in words which rows have no key of their own; the columns must be those of this schema."""
        out = []
        for column in self.columns:
            if column.key and table[column.name].null_count:
                out.append(f"{column.name} is a key and has {table[column.name].null_count} nulls")
        if self.key and table.num_rows and (n := table.num_rows - n_unique(table, self.key)):
            out.append(f"{n} rows share the key {self.key}")
        return out


def _other_columns(want: Sequence[str], found: Sequence[str]) -> str:
    missing = [name for name in want if name not in found]
    extra = [name for name in found if name not in want]
    if missing or extra or len(found) != len(want):
        said = [f"columns are missing: {', '.join(missing)}"] * bool(missing)
        said += [f"columns are there that should not be: {', '.join(extra)}"] * bool(extra)
        return "; ".join(said) or f"columns are there twice: {', '.join(found)}"
    moved = [name for name, there in zip(want, found, strict=True) if name != there]
    if len(moved) == 2:
        return f"columns {moved[0]} and {moved[1]} are swapped"
    return f"columns are in another order: {', '.join(moved)} are not where they should be"


def _range_problems(column: Column, values: pa.ChunkedArray) -> list[str]:
    out = []
    for bound, wrong, word in ((column.low, pc.less, "below"), (column.high, pc.greater, "above")):
        if bound is not None and (n := pc.sum(wrong(values, bound)).as_py()):
            out.append(f"{column.name} is {word} {bound} in {n} rows")
    return out


def n_unique(table: pa.Table, columns: Sequence[str]) -> int:
    """Number of different value combinations in the columns."""
    return int(table.select(list(columns)).group_by(list(columns)).aggregate([]).num_rows)


def _array(values: Any, kind: Any) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = one_piece(values)
    if isinstance(values, pa.Array):
        return values.cast(kind)
    # from_pandas makes NaN null: unknown has one spelling only.
    return pa.array(values, kind, from_pandas=True)


def one_piece(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array; copied only where it lies in pieces."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


class Rows:
    """Rows of one table as NumPy columns, also frame by frame.

    Parameters
    ----------
    table : pa.Table
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._columns: dict[str, NDArray[Any]] = {}
        self._spans: dict[int, NDArray[np.int64]] | None = None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The column as an array; null is NaN in numbers, None elsewhere."""
        if name not in self._columns:
            column = self.table[name]
            self._columns[name] = _words(column) if pa.types.is_string(column.type) else column.to_numpy()
        return self._columns[name]

    def at(self, frame: int) -> Rows:
        """The rows of one frame, in table order (none when the frame is not there)."""
        if self._spans is None:
            frames = self["frame"]
            order = np.argsort(frames, kind="stable")
            values, starts = np.unique(frames[order], return_index=True)
            parts = np.split(order, starts[1:]) if len(values) else []
            self._spans = dict(zip(values.tolist(), parts, strict=True))
        return self.take(self._spans.get(frame, np.empty(0, np.int64)))

    def where(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows where `mask`, (n,) bool, is true."""
        return Rows(self.table.filter(pa.array(mask)))

    def take(self, index: NDArray[np.int64]) -> Rows:
        """The rows at `index`, in that order."""
        return Rows(self.table.take(pa.array(index, pa.int64())))

    def columns(self) -> dict[str, Any]:
        """All columns, as Arrow arrays, to build another table from."""
        return {name: self.table[name] for name in self.table.column_names}


def _words(column: pa.ChunkedArray) -> NDArray[np.object_]:
    """A column of strings, each different one there only once: a film's rows share very few."""
    encoded = one_piece(column).dictionary_encode()
    words = np.array([*encoded.dictionary.to_pylist(), None], object)
    found: NDArray[np.object_] = words[encoded.indices.fill_null(len(words) - 1).to_numpy()]
    return found
