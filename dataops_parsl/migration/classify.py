"""What a tree holds, by the rules: claims, and what none of them claims."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from dataops_parsl.dataset.readers.tiff import is_tiff
from dataops_parsl.errors import DatasetError
from dataops_parsl.migration.films import film_in, why_not
from dataops_parsl.migration.plan import fits
from dataops_parsl.migration.rules import Rule
from dataops_parsl.migration.tree import Folder

_FILMS = {"tif", "tiff", "zarr"}


@dataclass(frozen=True)
class Claim:
    """A folder, or some of its children, and the rule that claims it.

    Parameters
    ----------
    only : tuple of str
        Names of children, with ``*``; empty for the whole folder.
    detail : str
        What the rule saw.
    """

    folder: Folder
    only: tuple[str, ...]
    rule: Rule
    detail: str = ""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The children that it means; all for the whole folder."""
        every = (*self.folder.files, *self.folder.folders, *self.folder.links, *self.folder.odd)
        return tuple(n for n in every if not self.only or fits(n, self.only))

    @property
    def size(self) -> int:
        """Bytes."""
        if not self.only:
            return self.folder.size
        return sum(self.folder.files.get(n, 0) + _of(self.folder, n, "size") for n in self.names)

    @property
    def n_files(self) -> int:
        """Files and links."""
        if not self.only:
            return self.folder.n_files
        inner = sum(_of(self.folder, n, "n_files") for n in self.names)
        return inner + sum(n in self.folder.files or n in self.folder.links for n in self.names)

    def folders(self) -> Iterator[Folder]:
        """Every folder that belongs to it whole."""
        if not self.only:
            yield from self.folder.walk()
            return
        for name in self.names:
            if name in self.folder.folders:
                yield from self.folder.folders[name].walk()

    def odd(self) -> list[str]:
        """What in it can be neither moved nor copied, in words."""
        own = [] if not self.only else [f"{n} {w}" for n, w in self.folder.odd.items() if n in self.names]
        return own + [
            f"{(f.path / n).relative_to(self.folder.path)} {why}" if n != "." else f"{f.path} {why}"
            for f in self.folders()
            for n, why in f.odd.items()
        ]


def _of(folder: Folder, name: str, what: str) -> int:
    inner = folder.folders.get(name)
    return int(getattr(inner, what)) if inner is not None else 0


@dataclass
class Found:
    """What the rules say of a tree.

    Parameters
    ----------
    claims : list
        In the order of their paths.
    alone : list of (path, bytes, files)
        What no rule claims: paths below the tree, outermost.
    questions : list of str
        What only a person can say.
    """

    claims: list[Claim] = field(default_factory=list)
    alone: list[tuple[str, int, int]] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)


def classify(top: Folder, rules: Sequence[Rule]) -> Found:
    """Tell a tree apart."""
    found = Found()
    _Classifier(top, rules, found).visit(top)
    found.questions = list(dict.fromkeys(found.questions))  # a folder is asked whole, then in parts
    found.claims.sort(key=lambda claim: (str(claim.folder.path), claim.only))
    return found


class _Classifier:
    def __init__(self, top: Folder, rules: Sequence[Rule], found: Found) -> None:
        self._top = top
        self._of_folders = [rule for rule in rules if rule.of_folders]
        self._of_files = [rule for rule in rules if rule.files]
        self._films = next((rule for rule in rules if rule.film), None)
        self._found = found
        self._own: dict[int, bool] = {}
        self._mixed: dict[int, bool] = {}

    def visit(self, folder: Folder) -> bool:
        """Claim a folder or what is in it; whether anything was claimed."""
        rule = self._rule_of(folder)
        if rule is not None:
            self._claim(Claim(folder, (), rule))
            return True
        if folder.is_zarr:
            return False
        if not self._has_claims(folder) and self._film(folder, None):
            return True
        return self._visit_children(folder)

    def _visit_children(self, folder: Folder) -> bool:
        n_before = len(self._found.claims)
        free = [n for n, inner in folder.folders.items() if not self._has_claims(inner)]
        loose = self._loose(folder)
        tiffs = [n for n in folder.files if is_tiff(n) and n not in loose]
        taken = set(loose)
        images = [n for n in free if folder.folders[n].is_zarr]
        plain = [n for n in free if n not in images and folder.folders[n].kinds.keys() & _FILMS]
        for names in ([*tiffs, *plain] if len(plain) != 1 or tiffs else [], images, tiffs if plain else []):
            if not taken.intersection(names) and self._film(folder, names):
                taken |= set(names)
        left = {n: s for n, s in folder.files.items() if n not in taken}
        alone = [inner for n, inner in folder.folders.items() if n not in taken and not self.visit(inner)]
        claimed = len(self._found.claims) > n_before
        if folder is self._top or claimed:
            self._left_alone(folder, left, alone)
        return claimed

    def _left_alone(self, folder: Folder, left: dict[str, int], alone: Sequence[Folder]) -> None:
        where = self._shown(folder)
        self._found.alone += [(f"{self._shown(inner)}/", inner.size, inner.n_files) for inner in alone]
        if left:
            said = f"{where}/*" if len(left) > 1 else f"{where}/{next(iter(left))}"
            self._found.alone.append((said.removeprefix("./"), sum(left.values()), len(left)))
        for name in folder.links:
            self._found.alone.append((f"{where}/{name} (a link)".removeprefix("./"), 0, 1))
        for name, why in folder.odd.items():
            self._found.questions.append(f"{where}/{name} {why}: left alone".removeprefix("./"))

    def _loose(self, folder: Folder) -> set[str]:
        """Claim single files; returns the names of those that are."""
        taken: set[str] = set()
        for rule in self._of_files:
            names = [n for n in folder.files if n not in taken and rule.fits_file(n)]
            if names:
                self._claim(Claim(folder, patterns(names, folder), rule))
                taken |= set(names)
        return taken

    def _film(self, folder: Folder, names: Sequence[str] | None) -> bool:
        """Claim a film in some children of a folder, or in all."""
        if self._films is None or names == []:
            return False
        every = [*folder.files, *(n for n in folder.folders if not n.startswith("."))]
        try:
            film = film_in(folder, every if names is None else names, top=folder is self._top)
        except DatasetError as error:
            why = why_not(error).replace(str(folder.path), "…")
            self._found.questions.append(f"{self._shown(folder)} looks like a film, but: {why}")
            return False
        if film is None:
            return False
        only = () if names is None else patterns(names, folder)
        self._claim(Claim(folder, only, self._films, str(film)))
        return True

    def _claim(self, claim: Claim) -> None:
        self._found.claims.append(claim)

    def _rule_of(self, folder: Folder) -> Rule | None:
        """The first rule that claims a folder; one that is not sure never what this program laid out."""
        for rule in self._of_folders:
            if rule.fits(folder) and (rule.confidence == "sure" or not self._holds_own(folder)):
                return rule
        return None

    def _holds_own(self, folder: Folder) -> bool:
        """Whether a part of this program's own layout lies below."""
        if id(folder) not in self._own:
            sure = [rule for rule in self._of_folders if rule.confidence == "sure"]
            self._own[id(folder)] = any(
                any(rule.fits(inner) for rule in sure) or self._holds_own(inner)
                for inner in folder.folders.values()
            )
        return self._own[id(folder)]

    def _has_claims(self, folder: Folder) -> bool:
        """Whether another rule than that of films claims something in it that is not a mere guess."""
        if id(folder) not in self._mixed:
            files = (rule for rule in self._of_files if rule.confidence != "guess")
            self._mixed[id(folder)] = not folder.is_zarr and (
                self._rule_of(folder) is not None
                or any(rule.fits_file(n) for rule in files for n in folder.files)
                or any(self._has_claims(inner) for inner in folder.folders.values())
            )
        return self._mixed[id(folder)]

    def _shown(self, folder: Folder) -> str:
        return str(folder.path.relative_to(self._top.path))


def patterns(names: Sequence[str], folder: Folder) -> tuple[str, ...]:
    """Names as few patterns: ``*.tif`` where it means just these of all that is in the folder."""
    wanted = set(names)
    every = (*folder.files, *folder.folders, *folder.links, *folder.odd)
    given = []
    for ending in sorted({n.rpartition(".")[2] for n in wanted if "." in n}):
        alike = [n for n in every if n.endswith(f".{ending}") and not n.startswith(".")]
        if len(alike) > 1 and wanted.issuperset(alike):
            given.append(f"*.{ending}")
            wanted -= set(alike)
    return (*given, *(_literal(name) for name in sorted(wanted)))


def _literal(name: str) -> str:
    """A pattern that means one name."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
