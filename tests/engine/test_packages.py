"""Versions against what is asked for, and what the workers of a single machine would have."""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

from dataops_parsl.config import load
from dataops_parsl.engine.packages import against, packages, workers
from dataops_parsl.provenance import version_of
from dataops_parsl.stages import discover
from tests.helpers import PROJECT, Project, package_with_stage


def test_this_environment_is_as_the_package_asks() -> None:
    found = packages()
    assert [(f.subject, f.ok, f.remedy) for f in found] == [("Python", True, ""), ("packages", True, "")]
    assert f"parsl {version_of('parsl')}" in found[1].found


def test_what_is_missing_fails_and_what_is_out_of_its_range_is_noted_each_with_a_command() -> None:
    wanted = [
        Requirement("numpy>=1.26"),
        Requirement("zarr>=2,<3"),
        Requirement("no-such-package>=4"),
        Requirement("another-one>=1; python_version < '3'"),
        Requirement("cellpose-of-no-one>=4; extra == 'cellpose'"),
        Requirement("pyarrow<1; extra == 'old'"),
    ]
    fine, missing, zarr, arrow = against(wanted)
    assert (fine.ok, fine.found) == (True, f"1 as asked for: numpy {version_of('numpy')}")
    assert (missing.ok, missing.found) == (False, "missing: no-such-package")
    assert missing.remedy == "pip install 'no-such-package>=4'"
    assert (zarr.ok, zarr.remedy) == (True, "pip install 'zarr<3,>=2'")
    assert f"zarr {version_of('zarr')} is not of <3,>=2" in zarr.found
    assert arrow.ok
    assert arrow.found.startswith("pyarrow ")


def test_workers_get_this_environment_unless_the_site_leads_elsewhere(
    bare_project: Project, tmp_path: Path
) -> None:
    def asked(*sets: str) -> tuple[bool, str]:
        config = load(bare_project.root, stage_classes=discover(), sets=list(sets))
        (finding,) = workers(config)
        return finding.ok, finding.found

    assert asked() == (True, "workers are started from this environment")
    here = f"export PYTHONPATH={PROJECT} PYTHONSAFEPATH=1"
    assert asked(f"site.worker_init={here}") == (
        True,
        "started as site.worker_init says, with these versions",
    )
    other = package_with_stage(tmp_path / "library", "extra", "")["PYTHONPATH"]
    ok, found = asked(f"site.worker_init=export PYTHONPATH={other} PYTHONSAFEPATH=1")
    assert (ok, found) == (False, "workers would get other versions and refuse to work")
    ok, found = asked("site.worker_prefix=no-such-container exec")
    assert not ok
    assert "no-such-container" in found
