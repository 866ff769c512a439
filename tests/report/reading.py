"""A page as a reader of its structure sees it."""

from __future__ import annotations

from html.parser import HTMLParser

from dataops_parsl.report.html import VOID


class Page(HTMLParser):
    """Elements of a page in order, each with its attributes, its ancestors and the text directly in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], tuple[str, ...]]] = []
        self.texts: list[str] = []
        self._open: list[int] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {[self.elements[i][0] for i in self._open]}"

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        above = tuple(self.elements[i][0] for i in self._open)
        self.elements.append((name, {k: v or "" for k, v in attributes}, above))
        self.texts.append("")
        if name not in VOID or name in ("rect", "path", "line"):
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        above = tuple(self.elements[i][0] for i in self._open)
        self.elements.append((name, {k: v or "" for k, v in attributes}, above))
        self.texts.append("")

    def handle_endtag(self, name: str) -> None:
        assert self._open, f"{name} was never opened"
        there = self.elements[self._open.pop()][0]
        assert there == name, f"{there} ends as {name}"

    def handle_data(self, data: str) -> None:
        for i in self._open:
            self.texts[i] += data

    def named(self, *names: str) -> list[tuple[dict[str, str], str]]:
        """Attributes and whole text of the elements of these names."""
        return [(e[1], t.strip()) for e, t in zip(self.elements, self.texts, strict=True) if e[0] in names]
