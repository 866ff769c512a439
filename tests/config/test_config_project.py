"""Where the project root is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_parsl.config import find_project
from dataops_parsl.errors import ConfigError


def test_the_nearest_parent_with_configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (tmp_path / "configs").mkdir()
    assert find_project(deep) == find_project(tmp_path) == tmp_path
    (tmp_path / "a" / "configs").mkdir()
    assert find_project(deep) == tmp_path / "a"
    monkeypatch.chdir(deep)
    assert find_project() == tmp_path / "a"
    assert find_project(flag=Path("../../..")) == tmp_path


def test_a_file_named_configs_is_none(tmp_path: Path) -> None:
    (tmp_path / "configs").write_text("")
    with pytest.raises(
        ConfigError, match=f"no project here: neither {tmp_path} nor a folder above it holds configs/"
    ):
        find_project(tmp_path)


def test_a_flag_without_configs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_project(flag=tmp_path)
    assert caught.value.message == f"--project: {tmp_path} is no project: it has no folder configs/"
    assert "mkdir configs" in caught.value.remedy
