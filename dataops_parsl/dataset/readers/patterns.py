"""File name patterns such as ``{position}/{channel}/im_{frame:05d}.tif``: read, applied, proposed."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass

from dataops_parsl.errors import DatasetError, nearest

FIELDS = ("position", "channel", "frame")
_FRAME_WORDS = ("t", "time", "frame", "f", "tp", "im", "img", "image", "timepoint")
_POSITION_VALUE = re.compile(
    r"(?:p|pos|position|xy|s|field|fov|well|w|series)[ _-]?\d+|[A-P]\d{1,2}", re.IGNORECASE
)


@dataclass(frozen=True)
class Match:
    """One file name, read; null where the pattern has no such field."""

    file: str
    position: str | None
    channel: str | None
    frame: int | None


class Pattern:
    """A file name pattern.

    Parameters
    ----------
    text : str
        Fields ``{position}``, ``{channel}``, ``{frame}`` or ``{frame:05d}``; ``*`` is any text in one
        folder level.
    channels : sequence of str
        Names that ``{channel}`` may take; others are tried where none of them fits.

    Raises
    ------
    DatasetError
        An unknown or repeated field.
    """

    def __init__(self, text: str, channels: Sequence[str] = ()) -> None:
        self.text = text
        seen: set[str] = set()
        pieces: list[tuple[str, str]] = []
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise DatasetError(f"pattern {text!r}: {error}", "close every brace") from error
        for literal, name, spec, _ in parsed:
            text_of_it = "[^/]*".join(re.escape(part) for part in literal.split("*"))
            pieces.append((text_of_it, name or ""))
            if name is None:
                continue
            if name not in FIELDS or name in seen:
                fault = "is there twice" if name in seen else f"is unknown{nearest(name, FIELDS)}"
                raise DatasetError(
                    f"pattern {text!r}: the field {name!r} {fault}", f"use {', '.join(FIELDS)}"
                )
            if spec and not (name == "frame" and re.fullmatch(r"0?\d*d", spec)):
                raise DatasetError(f"pattern {text!r}: {name}:{spec} is no format", "write {frame:05d}")
            seen.add(name)
        self.fields = frozenset(seen)
        known = "|".join(re.escape(name) for name in sorted(channels, key=len, reverse=True))
        self._expressions = [_expression(pieces, channel) for channel in (known, "[^/]+?") if channel]

    def match(self, file: str) -> Match | None:
        """Read one file name (relative, with ``/``), or None where the pattern does not fit."""
        found = next(filter(None, (expression.fullmatch(file) for expression in self._expressions)), None)
        if found is None:
            return None
        values = found.groupdict()
        frame = values.get("frame")
        return Match(
            file, values.get("position"), values.get("channel"), None if frame is None else int(frame)
        )

    def for_channel(self, position: str | None, channel: str | None) -> str:
        """The pattern with all but ``{frame}`` filled in."""
        text = self.text
        for name, value in (("position", position), ("channel", channel)):
            if value is not None:
                text = text.replace(f"{{{name}}}", value.replace("{", "{{").replace("}", "}}"))
        return text


def _expression(pieces: Sequence[tuple[str, str]], channel: str) -> re.Pattern[str]:
    groups = {"position": "[^/]+", "channel": channel, "frame": r"\d+"}
    return re.compile(
        "".join(text + (f"(?P<{name}>{groups[name]})" if name else "") for text, name in pieces)
    )


def propose_pattern(files: Sequence[str]) -> str | None:
    """Guess how single-frame files are named, or None where no guess fits all of them.

    The file's own name is cut at ``_``, ``-``, space and ``.``, its folders only at ``/``; of the parts that
    vary, one numbered part of the own name is the frame, and the others are the position and the channel.
    """
    cut = [re.split(r"(/|[_\-. ](?=[^/]*$))", file) for file in files]
    if not cut or len({tuple(parts[1::2]) for parts in cut}) > 1:
        return None
    separators = cut[0][1::2]
    fields = [list(column) for column in zip(*(parts[0::2] for parts in cut), strict=True)]
    own = separators[::-1].index("/") if "/" in separators else len(separators)
    first_own = len(fields) - 1 - own
    frame = _frame_field(fields, first_own)
    if frame is None:
        return None
    others = [i for i, column in enumerate(fields) if i != frame and len(set(column)) > 1]
    named = _name_fields(fields, others, frame, first_own)
    if named is None:
        return None
    texts = [_field_text(column[0], named.get(i), column, i == frame) for i, column in enumerate(fields)]
    text = texts[0] + "".join(sep + part for sep, part in zip(separators, texts[1:], strict=True))
    pattern = Pattern(text)
    read = [pattern.match(file) for file in files]
    distinct = {(m.position, m.channel, m.frame) for m in read if m is not None}
    return text if None not in read and len(distinct) == len(files) else None


def _frame_field(fields: list[list[str]], first_own: int) -> int | None:
    numbered: list[tuple[bool, bool, int, int]] = []
    for i in range(first_own, len(fields) - 1):
        found = [re.fullmatch(r"([A-Za-z]*?)(\d+)", value) for value in fields[i]]
        prefixes = {m[1].lower() for m in found if m is not None}
        if None in found or len(prefixes) > 1:
            continue
        prefix = prefixes.pop()
        varies = len(set(fields[i]))
        if prefix in _FRAME_WORDS or prefix == "":
            numbered.append((varies > 1, prefix in _FRAME_WORDS, varies, i))
    return max(numbered)[3] if numbered else None


def _name_fields(
    fields: list[list[str]], others: list[int], frame: int, first_own: int
) -> dict[int, str] | None:
    """Which field is the position and which the channel; `others` vary."""
    if len(others) > 2:
        return None
    if len(others) == 1 and all(value.isdigit() for value in fields[others[0]]) and others[0] > frame:
        return None
    if len(others) == 2:
        first, second = others
        if _is_position(fields[second]) and not _is_position(fields[first]):
            first, second = second, first
        if all(value.isdigit() for value in fields[second]):  # planes of a Z stack, or worse
            return None
        return {first: "position", second: "channel"}
    if len(others) == 1 and not _is_position(fields[others[0]]):
        named = {others[0]: "channel"}
        if 0 < others[0] < first_own and _is_position(fields[others[0] - 1]):
            named[others[0] - 1] = "position"
        return named
    named = dict.fromkeys(others, "position")
    words = [
        i
        for i in range(len(fields) - 1)
        if i != frame
        and i not in named
        and re.search("[A-Za-z]", fields[i][0])
        and fields[i][0].lower() not in _FRAME_WORDS
        and not _is_position(fields[i])
    ]
    if words:
        named[words[-1]] = "channel"
    return named


def _is_position(values: list[str]) -> bool:
    return all(_POSITION_VALUE.fullmatch(value) for value in values)


def _field_text(value: str, name: str | None, column: list[str], is_frame: bool) -> str:
    if is_frame:
        prefix = re.match(r"[A-Za-z]*", value)
        start = prefix[0] if prefix else ""
        widths = {len(v) - len(start) for v in column}
        width = widths.pop()
        return f"{start}{{frame:0{width}d}}" if not widths and width > 1 else f"{start}{{frame}}"
    if name is not None:
        return f"{{{name}}}"
    return value.replace("{", "{{").replace("}", "}}")
