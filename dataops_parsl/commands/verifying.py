"""``dataset verify``: every file against its checksum, of one dataset or of all."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from dataops_parsl.commands.counting import Counting
from dataops_parsl.commands.setting import find_dataset, load_setting
from dataops_parsl.dataset.listing import list_datasets
from dataops_parsl.dataset.manifest import Dataset
from dataops_parsl.dataset.names import printable
from dataops_parsl.dataset.record import MANIFEST, lost_manifest, read_json
from dataops_parsl.dataset.verify import Finding, notes, verify
from dataops_parsl.errors import DatasetError, RejectedError
from dataops_parsl.report.words import short_duration

REMEDY = "put them back as they were, or take the data in anew under another name"


def execute(args: argparse.Namespace) -> int:
    """Verify; each changed, missing or extra file is named, and the exit code is 5 when there is one."""
    paths = load_setting(args).config.paths
    if args.name:
        wrong = _verify(find_dataset(args.name, paths))
        if wrong:
            raise RejectedError(f"{args.name}: {_files(wrong)} not as taken in", REMEDY)
        return 0
    spoilt = []
    for row in list_datasets(paths.data_root, paths.legacy_root):
        if not (row.root / MANIFEST).is_file():
            print(f"{row.name}: {printable(row.problem)}")
            spoilt += [f"{row.name} (1)"] if lost_manifest(row.root) else []
            continue
        try:
            n = _verify(row.root)
        except (DatasetError, RejectedError) as error:
            print("\n".join(printable(line) for line in f"{row.name}: {error}".splitlines()))
            n = 1
        spoilt += [f"{row.name} ({n})"] if n else []
    if spoilt:
        raise RejectedError(f"not all files are as they were taken in: {', '.join(spoilt)}", REMEDY)
    return 0


def _verify(root: Path) -> int:
    """Print what is wrong with a dataset; returns the number of files."""
    try:
        read_json(root / MANIFEST)
    except DatasetError as error:
        raise RejectedError(error.message, error.remedy) from error
    dataset = Dataset.open(root)
    started = time.monotonic()
    findings = verify(dataset, Counting("bytes"))
    took = short_duration(time.monotonic() - started)
    _show(findings)
    for note in notes(dataset):
        print(f"  note: {printable(note)}")
    files = dataset.record["files"]
    said = f"{dataset.name}: {files['n']} file{'s' * (files['n'] != 1)}, {files['size'] / 1e9:.2f} GB, {took}"
    print(f"{said}: {_files(len(findings)) + ' not' if findings else 'all'} as taken in")
    return len(findings)


def _show(findings: Sequence[Finding]) -> None:
    for finding in findings:
        print(printable(f"  {finding.kind:<8} {finding.path}: {finding.detail}"))


def _files(n: int) -> str:
    return "1 file is" if n == 1 else f"{n} files are"
