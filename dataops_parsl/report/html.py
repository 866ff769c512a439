"""HTML as nested calls: text is escaped, what was made here is not."""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence

VOID = frozenset({"img", "meta", "link", "br", "path", "rect", "line", "stop", "use", "circle"})
WIDE = 7
"""Tables with more columns may scroll sideways, and can be reached by keyboard for that."""


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: str | float | None) -> Html:
    """An element; children that are not `Html` are escaped, None is left out.

    Parameters
    ----------
    **attributes
        ``class_`` is class, ``aria_label`` is aria-label; None is left out, an empty text is a bare name.
    """
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(_plain(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID and not children:
        return Html(f"<{name}{said}/>")
    return Html(f"<{name}{said}>{join(children)}</{name}>")


def join(children: Iterable[str | None]) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children if c is not None))


def _plain(value: str | float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def section(identifier: str, title: str, *children: str | None) -> Html:
    """A section with its heading, which it is named by."""
    heading = tag("h2", title, id=f"{identifier}-title")
    return tag("section", heading, *children, id=identifier, aria_labelledby=f"{identifier}-title")


def table(
    caption: str,
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    left: Collection[int] = (0,),
    note: str = "",
) -> Html:
    """A table: the first cell of each row is its header.

    Parameters
    ----------
    left : collection of int
        Columns of words; the others are numbers and stand on the right.
    note : str
        Under the caption, smaller.
    """

    def cell(name: str, i: int, text: str, scope: str | None = None) -> Html:
        return tag(name, text, scope=scope, class_=None if i in left else "n")

    body = [
        tag("tr", *(cell("td" if i else "th", i, text, None if i else "row") for i, text in enumerate(row)))
        for row in rows
    ]
    told = tag("caption", caption, tag("small", note) if note else None)
    heads = tag("thead", tag("tr", *(cell("th", i, text, "col") for i, text in enumerate(head))))
    made = tag("table", told, heads, tag("tbody", *body))
    if len(head) < WIDE:
        return tag("div", made, class_="wide")
    return tag("div", made, class_="wide", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *children: str | None) -> Html:
    """What is folded away until it is asked for; printed all the same."""
    return tag("details", tag("summary", summary), *children)


def code(text: str) -> Html:
    """Lines to be copied."""
    return tag("pre", tag("code", text))


def pairs(items: Iterable[tuple[str, str]], class_: str | None = None) -> Html:
    """Names with their values."""
    return tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in items), class_=class_)
