"""``weights``: bring weights of Cellpose-SAM to this machine, with or without a network; say what is here."""

from __future__ import annotations

import argparse
import hashlib
import http.client
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dataops_parsl.algorithms import cpsam_place, cpsam_weights
from dataops_parsl.algorithms.cpsam_weights import LICENCE, PUBLISHED, Weights
from dataops_parsl.bundle import now
from dataops_parsl.commands.text import columns
from dataops_parsl.dataset.names import check_name
from dataops_parsl.errors import PlaceError, UsageError, nearest
from dataops_parsl.stages import cpsam_backend
from dataops_parsl.storage.atomic import sync_folder, write_json

DEFAULT = "cpsam_v2"
TIMEOUT_S = 60.0
"""Silence of a server after which a download is given up."""
LEFT_S = 3600.0
"""A temporary file that did not grow for so long was left by a process that was killed."""
_CHUNK = 1 << 20
_Sha256 = str


def add_parser(commands: Any) -> None:
    """Add ``weights`` to the command line."""
    parser = commands.add_parser(
        "weights", help="weights for the backend cpsam: fetch them, import a file, list what is here"
    )
    parser.set_defaults(execute=execute_list)
    actions = parser.add_subparsers(title="actions", metavar="ACTION")
    fetch = actions.add_parser("fetch", help="download published weights; 1.2 GB, for non-commercial use")
    fetch.add_argument(
        "model", nargs="?", default=DEFAULT, help=f"{' or '.join(PUBLISHED)} (default: %(default)s)"
    )
    fetch.add_argument("--url", metavar="URL", help="download this file instead, such as a mirror's")
    _add_sha256(fetch)
    fetch.set_defaults(execute=execute_fetch)
    bring = actions.add_parser("import", help="take in a file of weights, for machines without a network")
    bring.add_argument("file", type=Path, help="as fetched elsewhere, or trained with cellpose 4")
    bring.add_argument(
        "--name", help="what to call them (default: the published name of these bytes, or the file's)"
    )
    _add_sha256(bring)
    bring.set_defaults(execute=execute_import)
    listing = actions.add_parser("list", help="what is here; so does weights alone")
    listing.set_defaults(execute=execute_list)


def _add_sha256(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sha256", metavar="HEX", type=_hex, help="refuse other bytes than these")


def _hex(text: str) -> _Sha256:
    text = text.strip().lower()
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise argparse.ArgumentTypeError(f"{text!r} is no sha256: 64 hexadecimal digits")
    return text


# --- list


def execute_list(args: argparse.Namespace) -> int:
    """Print the weights in the folder, and the published ones that are not there."""
    folder = cpsam_weights.folder()
    print(f"weights in {folder}\n")
    rows = [("name", "size", "sha256", "what")]
    files = {path.name: path for path in cpsam_weights.listed()}
    for name in sorted({*files, *PUBLISHED}):
        if (path := files.get(name)) is None:
            rows.append((name, "", "", f"not here: python -m dataops_parsl weights fetch {name}"))
            continue
        try:
            found = cpsam_weights.find(name)
            said = (
                "published" if name in PUBLISHED else f"imported {cpsam_weights.record(path).get('at', '')}"
            )
            sha256 = found.sha256
        except cpsam_weights.WeightsError as error:
            said, sha256 = f"not usable: {error.message}", ""
        rows.append((name, f"{path.stat().st_size / 1e6:.1f} MB", sha256[:16], said))
    print(columns(rows))
    return 0


# --- fetch


def execute_fetch(args: argparse.Namespace) -> int:
    """Download, check, put into the folder."""
    model = check_name(args.model, "file of weights")
    if model not in PUBLISHED and not args.url:
        raise UsageError(
            f"there are no published weights {model!r}{nearest(model, PUBLISHED)}",
            f"published are {', '.join(PUBLISHED)}; others with --url, or import a file",
        )
    cpsam_backend.check_installed()
    folder, wanted = cpsam_weights.folder(), _wanted(model, args.sha256 or "")
    if (there := _there(folder / model)) and _is_meant(there, wanted, args.url):
        print(f"{model} is here already: {there.path}, sha256 {there.sha256}")
        return 0
    url = args.url or cpsam_place.url(model)
    print(f"{url}\n  -> {folder / model}\nlicence of the published weights: {LICENCE}", flush=True)
    with _placed(folder / model) as temporary:
        size, sha256 = _download(url, temporary, model)
        _check(temporary, sha256, wanted, f"what {url} gave")
        _keep(temporary, folder / model, sha256, url)
    print(f"{model}: {size / 1e6:.1f} MB, sha256 {sha256}")
    return 0


def _is_meant(there: Weights, wanted: _Sha256, url: str) -> bool:
    """Whether the weights that are there are those to be fetched; False: published ones that are damaged.

    Raises
    ------
    UsageError
        When others are there, or ones that nothing is known of: they are never overwritten.
    """
    if there.name in PUBLISHED:
        return wanted == there.sha256
    recorded = cpsam_weights.record(there.path)
    whole = recorded.get("sha256") == there.sha256
    if wanted == there.sha256:
        if not whole:  # put there by hand, or its fetch was killed at the very end
            _check(there.path, there.sha256, wanted, f"{there.path}")
            _record(there.path, there.sha256, str(there.path))
        return True
    if not wanted and whole and recorded.get("from") == url:  # the same command again
        return True
    raise UsageError(
        f"weights are here as {there.name!r} already: {there.path}, sha256 {there.sha256}"
        + (f"; {wanted} was asked for" if wanted else f", and nothing says that {url} has the same"),
        "choose another name; or, if they are the ones you mean, say so: --sha256 and what they have",
    )


def _download(url: str, target: Path, model: str) -> tuple[int, _Sha256]:
    """Download to a file; returns size and sha256."""
    request = urllib.request.Request(url, headers={"User-Agent": "dataops_parsl"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer, open(target, "wb") as file:
            expected = int(answer.headers.get("Content-Length") or 0)
            size, sha256 = _copied(answer, file, expected, sys.stderr.isatty())
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        code = f"HTTP {error.code}, " if isinstance(error, urllib.error.HTTPError) else ""
        raise _no_network(url, model, f"{code}{getattr(error, 'reason', '') or error}") from error
    if expected and size != expected:
        raise _no_network(url, model, f"the connection ended after {size} of {expected} bytes")
    return size, sha256


def _no_network(url: str, model: str, words: str) -> PlaceError:
    return PlaceError(
        f"{url} could not be fetched: {words}",
        "run it where there is a network (a login node; behind a proxy, set https_proxy), or bring the file: "
        f"on another machine python -m dataops_parsl weights fetch {model}, copy ~/.cellpose/models/{model}, "
        f"then here python -m dataops_parsl weights import FILE --name {model}",
    )


# --- import


def execute_import(args: argparse.Namespace) -> int:
    """Copy a file of weights into the folder, after looking into it."""
    source = args.file.expanduser()
    if not source.is_file():
        raise UsageError(f"there is no file {source}", "name the file of weights; nothing is downloaded")
    cpsam_backend.check_installed()
    with cpsam_backend.place_errors():
        cpsam_weights.look_at(source)
        sha256 = cpsam_weights.hash_now(source)
    published = next((name for name, p in PUBLISHED.items() if p.sha256 == sha256), "")
    name = check_name(args.name or published or source.name, "file of weights")
    wanted = _wanted(name, args.sha256 or "")
    target = cpsam_weights.folder() / name
    there = _there(target)
    if there and there.sha256 == sha256 and wanted in ("", sha256):
        _record(target, sha256, str(source.resolve()))
        print(f"{name} is here already: {target}, sha256 {sha256}")
        return 0
    if there and name not in PUBLISHED:
        raise UsageError(
            f"other weights are here as {name!r}: {target}, sha256 {there.sha256}; {source} has {sha256}",
            "choose another --name; results name weights by their sha256",
        )
    with _placed(target) as temporary:
        with open(source, "rb") as taken, open(temporary, "wb") as file:
            _, copied = _copied(taken, file, source.stat().st_size, False)
        _check(temporary, copied, wanted or sha256, f"{source}")
        _keep(temporary, target, copied, str(source.resolve()))
    print(f"{name}: {target}, sha256 {sha256}\nuse them: --set stages.cellpose.cpsam_model={name}")
    return 0


# --- what both do


def _wanted(name: str, sha256: _Sha256) -> _Sha256:
    """The sha256 that weights of this name must have; empty: any."""
    if name not in PUBLISHED:
        return sha256
    published = PUBLISHED[name].sha256
    if sha256 not in ("", published):
        raise UsageError(
            f"the published weights {name} have the sha256 {published}, not {sha256}",
            "other bytes need another name: weights import FILE --name another_name",
        )
    return published


def _there(path: Path) -> Weights | None:
    """The weights that are at a place already, if they are of use."""
    try:
        cpsam_weights.look_at(path)
        return Weights(path.name, path, cpsam_weights.sha256_of(path))
    except (cpsam_weights.WeightsError, OSError):
        return None


@contextmanager
def _placed(target: Path) -> Iterator[Path]:
    """A temporary file beside the target; gone afterwards."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for left in target.parent.glob(f".{target.name}.*.tmp"):
            if time.time() - left.stat().st_mtime > LEFT_S:
                left.unlink(missing_ok=True)
        yield temporary
    except PlaceError:
        raise
    except OSError as error:
        raise PlaceError(
            f"{target} cannot be written: {error.strerror or error}",
            f"free some space there, or set {cpsam_weights.FOLDER_VARIABLE} to a folder on a larger disk, "
            "which workers must see too",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _copied(source: Any, file: IO[bytes], expected: int, show: bool) -> tuple[int, _Sha256]:
    """Copy a stream and make it durable; returns size and sha256."""
    digest, size, said = hashlib.sha256(), 0, time.monotonic()
    while chunk := source.read(_CHUNK):
        file.write(chunk)
        digest.update(chunk)
        size += len(chunk)
        if show and time.monotonic() - said > 1:
            said = time.monotonic()
            part = f" of {expected / 1e6:.0f}" if expected else ""
            print(f"\r{size / 1e6:.0f}{part} MB", end="", file=sys.stderr, flush=True)
    if show:
        print(file=sys.stderr)
    file.flush()
    os.fsync(file.fileno())
    return size, digest.hexdigest()


def _check(path: Path, sha256: _Sha256, wanted: _Sha256, whose: str) -> None:
    """Refuse bytes that are not the expected ones, or no whole checkpoint."""
    if wanted not in ("", sha256):
        raise PlaceError(
            f"{whose} has the sha256 {sha256}, expected is {wanted}: nothing was kept",
            "try again; if it stays so, the file was replaced where it is published: weights import FILE "
            "--name another_name takes it under a name of its own",
        )
    with cpsam_backend.place_errors():
        cpsam_weights.look_at(path)
        cpsam_place.look_inside(Weights(whose, path, sha256))


def _keep(temporary: Path, target: Path, sha256: _Sha256, source: str) -> None:
    os.replace(temporary, target)
    sync_folder(target.parent)
    _record(target, sha256, source)


def _record(target: Path, sha256: _Sha256, source: str) -> None:
    stat = target.stat()
    facts = {
        "sha256": sha256,
        "size": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "from": source,
        "at": now(),
        "cellpose": cpsam_place.installed(),
    }
    write_json(cpsam_weights.record_path(target), facts, indent=1)
