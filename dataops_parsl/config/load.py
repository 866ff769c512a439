"""Read the layers, check them as one, and hand the result out."""

from __future__ import annotations

import os.path
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dataops_parsl.config.benchmark import BENCH_DEFAULTS, BENCH_USER, Bench, bench_tables
from dataops_parsl.config.layers import DEFAULTS, Reader, known_tree, origin_of
from dataops_parsl.config.loaded import Loaded, Roots
from dataops_parsl.config.merge import Merge
from dataops_parsl.config.models import Config, Paths, PopulationConfig, Resources, Settings
from dataops_parsl.config.project import site_files
from dataops_parsl.config.words import Key, dotted, show
from dataops_parsl.errors import nearest
from dataops_parsl.stage import Stage

FLAGS: Mapping[str, Key] = {
    "--workers": ("workers",),
    "--dataset": ("dataset", "name"),
    "--frames": ("dataset", "total_frames"),
    "--endpoint": ("site", "globus", "endpoint"),
}
USER = "configs/config.user.toml"
LEGACY = "distributed/utse_cyto"
"""Where an older tree has its archive, most often by a symlink."""


def load(
    project: Path,
    *,
    stage_classes: Sequence[type[Stage]],
    site: str | None = None,
    dataset_layer: tuple[Path, Mapping[str, Any]] | None = None,
    flags: Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    benchmark: bool = False,
) -> Loaded:
    """Load the configuration of a project.

    The dataset's name is itself configuration: load once without `dataset_layer` to learn it and the
    paths, then again with it. The first pass takes any table in ``[stages.<name>]`` for a population's.

    Parameters
    ----------
    project : Path
        Project root.
    stage_classes : sequence of Stage classes
        All stages that there are.
    site : str or None
        What ``--site`` says; None takes ``site.name``.
    dataset_layer : (Path, mapping) or None
        The dataset's dataset.toml and the tables of its ``[populations]``, by population.
    flags : mapping
        Flag → value, of `FLAGS`; a None is a flag that was not given.
    sets : sequence of str
        What each ``--set`` says, ``key=value``.
    benchmark : bool
        With the layers of the benchmark, and its table ``[bench]``.

    Raises
    ------
    ConfigError
        Names all problems at once: the file, the key, what is wrong, the nearest known key.
    """
    _check_classes(stage_classes)
    populations = dataset_layer[1] if dataset_layer else None
    reader = Reader(known_tree(stage_classes, populations, {"bench": Bench} if benchmark else {}))
    merge = Merge(reader.problems)
    defaults = _defaults(stage_classes, reader)
    merge.lay(defaults, DEFAULTS)
    _check_written_defaults(project, DEFAULTS, reader, defaults)
    bench_user: dict[Key, Any] = {}
    if benchmark:
        own = reader.flat(bench_tables(cls.name for cls in stage_classes), BENCH_DEFAULTS)
        merge.lay(own, BENCH_DEFAULTS)
        _check_written_defaults(project, BENCH_DEFAULTS, reader, own)
        bench_user = _file(project / BENCH_USER, BENCH_USER, reader)
    user = _file(project / USER, USER, reader)
    set_leaves = reader.sets(sets)
    named = {"--set": set_leaves, BENCH_USER: bench_user, USER: user, DEFAULTS: defaults}
    if site is not None:
        named = {"--site": {("site", "name"): site}}
    merge.lay(*_site(project, named, reader))
    if dataset_layer is not None:
        merge.lay(_population_defaults(dataset_layer[1]), "default")
        origin = origin_of(dataset_layer[0], project)
        merge.lay(reader.flat({"populations": dataset_layer[1]}, origin), origin)
    merge.lay(user, USER)
    merge.lay(bench_user, BENCH_USER)
    for flag, value in (flags or {}).items():
        if value is not None:
            merge.lay({FLAGS[flag]: value}, flag)
    merge.lay(set_leaves, "--set")
    if site is not None:
        merge.lay({("site", "name"): site}, "--site")
    home = origin_of(dataset_layer[0], project) if dataset_layer else ""
    return _checked(project, merge, stage_classes, populations, home)


def _check_classes(stage_classes: Iterable[type[Stage]]) -> None:
    names = [cls.name for cls in stage_classes]
    for name in names:
        if not name or name == "default" or names.count(name) > 1:
            raise ValueError(f"stages need different names, none of them empty or 'default': {names}")


def _defaults(stage_classes: Iterable[type[Stage]], reader: Reader) -> dict[Key, Any]:
    tables = Settings().model_dump(mode="json")
    tables["stages"] = {cls.name: cls().model_dump(mode="json") for cls in stage_classes}
    tables["resources"] = {"default": Resources().model_dump(mode="json")}
    return reader.flat(tables, DEFAULTS)


def _population_defaults(tables: Mapping[str, Any]) -> dict[Key, Any]:
    """What a dataset need not say of its populations."""
    fields = PopulationConfig.model_fields.items()
    return {("populations", p, n): f.get_default() for p in tables for n, f in fields if not f.is_required()}


def _file(path: Path, origin: str, reader: Reader, remedy: str = "") -> dict[Key, Any]:
    return reader.flat(reader.file(path, origin), origin, remedy) if path.exists() else {}


def _check_written_defaults(project: Path, name: str, reader: Reader, defaults: Mapping[Key, Any]) -> None:
    own = name.replace(".def.", ".user.")
    redo = f"put it into {own} and run `make config`, which writes {name} from the code"
    for key, value in _file(project / name, name, reader, redo).items():
        if key not in defaults:
            reader.problems.add(name, key, f" was added by hand, as {show(value)}", redo)
        elif value != defaults[key]:
            text = f" was changed by hand: it is {show(value)}, and {show(defaults[key])} in the code"
            reader.problems.add(name, key, text, redo)


def _site(
    project: Path, layers: Mapping[str, Mapping[Key, Any]], reader: Reader
) -> tuple[dict[Key, Any], str]:
    """The layer of the site that the first of `layers` names, and its origin."""
    key = ("site", "name")
    origin, name = next((o, leaves[key]) for o, leaves in layers.items() if key in leaves)
    files = site_files(project)
    if name not in files:
        reader.problems.add(
            origin,
            () if origin == "--site" else key,
            f": there is no site {show(name)}{nearest(str(name), files)}",
            f"the sites are {', '.join(files) or 'none'}; a new one is a file configs/sites/<name>.toml",
        )
        return {}, origin
    origin = origin_of(files[name], project)
    leaves = _file(files[name], origin, reader)
    if leaves.pop(key, None) is not None:
        reader.problems.add(origin, key, " is the name of this file: take the line out")
    return leaves, origin


def _checked(
    project: Path,
    merge: Merge,
    stage_classes: Iterable[type[Stage]],
    populations: Mapping[str, Any] | None,
    home: str,
) -> Loaded:
    if populations is None:
        merge.values = {k: v for k, v in merge.values.items() if k[0] != "populations"}
    bench = merge.model(Bench, merge.under("bench"), ("bench",)) if merge.under("bench") else None
    sections = {"populations", "stages", "resources", "bench"}
    settings = merge.model(Settings, {k: v for k, v in merge.under().items() if k[0] not in sections})
    described = {
        p: merge.model(PopulationConfig, merge.under("populations", p), ("populations", p), home=home)
        for p, table in (populations or {}).items()
        if isinstance(table, Mapping)
    }
    stages: dict[str, Stage] = {}
    overrides: dict[tuple[str, str], Stage] = {}
    at = ("resources", "default")
    resources = {"default": merge.model(Resources, merge.under(*at), at)}
    for cls in stage_classes:
        _stage(cls, merge, stages, overrides)
        at = ("resources", cls.name)
        whole = merge.under("resources", "default") | merge.under(*at)
        resources[cls.name] = merge.model(Resources, whole, at, own=resources["default"] is None)
    # Checked alone too, so that a wrong key elsewhere does not hide a wrong root.
    paths = merge.model(Paths, merge.under("paths"), ("paths",))
    roots = _roots(project, paths, merge) if paths else None
    merge.problems.stop()
    # Where one is None, a problem was noted, and stop() raised.
    assert settings is not None
    assert roots is not None
    config = Config(
        **{name: getattr(settings, name) for name in Settings.model_fields},
        populations={p: m for p, m in described.items() if m},
        stages=stages,
        resources={s: m for s, m in resources.items() if m},
    )
    return Loaded(
        project,
        config,
        roots,
        {dotted(key): v.origin for key, v in merge.values.items()},
        overrides,
        _effective(config, bench, overrides, merge.values),
        bench,
    )


def _stage(
    cls: type[Stage],
    merge: Merge,
    stages: dict[str, Stage],
    overrides: dict[tuple[str, str], Stage],
) -> None:
    said = merge.under("stages", cls.name)
    base = {k: v for k, v in said.items() if k[0] in cls.model_fields}
    stage = merge.model(cls, base, ("stages", cls.name))
    if stage:
        stages[cls.name] = stage
    for population in dict.fromkeys(k[0] for k in said if k not in base):
        at = ("stages", cls.name, population)
        # What is wrong for all populations was noted above.
        if special := merge.model(cls, base | merge.under(*at), at, own=stage is None):
            overrides[cls.name, population] = special


def _roots(project: Path, paths: Paths, merge: Merge) -> Roots:
    """Absolute roots; that purge could reach what is not scratch, or a run write to data, is noted."""

    def absolute(place: str) -> Path:
        return Path(os.path.abspath(project / os.path.expanduser(place)))

    roots = {name: absolute(getattr(paths, name)) for name in Paths.model_fields if getattr(paths, name)}
    archive = project / LEGACY
    if archive.is_dir() and not project.resolve().is_relative_to(archive.resolve()):
        roots.setdefault("legacy_root", absolute(LEGACY))
    for outer, why in (
        ("scratch_root", "purge would reach it"),
        ("data_root", "its folders are datasets"),
        ("legacy_root", "nothing is written there"),
    ):
        for inner in roots:
            if outer not in roots or inner == outer or (outer, inner) == ("data_root", "legacy_root"):
                continue
            if roots[inner].resolve().is_relative_to(roots[outer].resolve()):
                key = max((("paths", inner), ("paths", outer)), key=lambda k: merge.values[k].rank)
                text = f": {inner} {roots[inner]} must not lie in {outer} {roots[outer]}: {why}"
                merge.problems.add(merge.origin(key), key, text)
    return Roots(roots["data_root"], roots["scratch_root"], roots["output_root"], roots.get("legacy_root"))


def _effective(
    config: Config, bench: Bench | None, overrides: Mapping[tuple[str, str], Stage], keys: Iterable[Key]
) -> dict[Key, Any]:
    """The values of `keys` as the models have them."""
    tables = config.model_dump(mode="json", exclude={"stages"})
    if bench:
        tables["bench"] = bench.model_dump(mode="json")
    tables["stages"] = {name: stage.model_dump(mode="json") for name, stage in config.stages.items()}
    for (stage, population), special in overrides.items():
        tables["stages"][stage][population] = special.model_dump(mode="json")
    out = {}
    for key in keys:
        value: Any = tables
        for part in key:
            value = value[part]
        out[key] = value
    return out
