"""Which executors a run needs: stages whose workers need the same share one.

Resources are given per stage: ``[resources.<stage>]`` before ``[resources.default]``, key by key; of the
layers the later wins (default, site, dataset, user, flags). Stages for which partition, cores, mem_gb,
walltime_min and gres come out equal share one HighThroughputExecutor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dataops_parsl.config import Loaded
from dataops_parsl.config.models import Resources, Site
from dataops_parsl.errors import ConfigError
from dataops_parsl.stage import Stage


@dataclass(frozen=True)
class Group:
    """One executor, before it runs: the blocks that it asks for.

    Parameters
    ----------
    label : str
        Such as ``short_1c_8gb``.
    workers : int
        Ceiling of workers.
    workers_per_block, nodes_per_block : int
        Of one block, over all its nodes.
    partition, gres : str
        ``gres`` is one worker's share.
    cores, mem_gb, walltime_min : of one worker; the walltime of a block
    serves : tuple of (stage name, whether it computes on a GPU)
        Whose tasks it runs: a stage may use a GPU for one population and none for another.
    """

    label: str
    workers: int
    workers_per_block: int
    nodes_per_block: int = 1
    partition: str = ""
    gres: str = ""
    cores: int = 1
    mem_gb: float = 0.0
    walltime_min: int = 0
    serves: tuple[tuple[str, bool], ...] = ()

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages whose tasks it runs."""
        return tuple(dict.fromkeys(name for name, _ in self.serves))

    @property
    def computes_on_gpu(self) -> bool:
        """Whether any of them computes on a GPU, so that its device has to be checked."""
        return any(on_gpu for _, on_gpu in self.serves)

    @property
    def max_blocks(self) -> int:
        """Blocks that hold all its workers."""
        return self.workers // self.workers_per_block

    @property
    def workers_per_node(self) -> int:
        """Workers on each node of a block."""
        return self.workers_per_block // self.nodes_per_block

    @property
    def node_gres(self) -> str:
        """What a block asks for on each of its nodes: the share of a worker times its workers there."""
        if not self.gres:
            return ""
        name, count = _gres(self.gres)
        return f"{name}:{count * self.workers_per_node}"

    @property
    def share(self) -> tuple[str, int, float, int, str]:
        """What is asked for a worker: groups for which it is equal are one."""
        return (self.partition, self.cores, self.mem_gb, self.walltime_min, self.gres)

    def with_memory(self, mem_gb: float) -> Group:
        """The same with another share of memory: for a task that needed more."""
        return replace(self, mem_gb=mem_gb, label=f"{self.label}_with_{mem_gb:g}gb", serves=())


def largest_divisor(n: int, ceiling: int) -> int:
    """The largest divisor of `n` that is not above `ceiling`."""
    return next(d for d in range(min(n, ceiling), 0, -1) if n % d == 0)


def groups(config: Loaded, stages: Iterable[Stage]) -> list[Group]:
    """The executors that these stages need, in the order of the stages.

    On a site of kind ``local`` there is one, with all the workers; of kind ``globus`` one an endpoint.

    Raises
    ------
    ConfigError
        When a worker would get several devices.
    """
    site, workers = config.config.site, config.config.workers
    kinds = {(s.name, s.on_gpu): s for s in stages}
    if site.kind == "local":
        return [Group(site.name, workers, workers, serves=tuple(kinds))]
    if site.kind == "globus":
        return _endpoints(site, workers, list(kinds))
    found: dict[tuple[object, ...], Group] = {}
    for kind, stage in kinds.items():
        group = _group(config, stage, workers)
        known = found.get(group.share, group)
        found[group.share] = replace(known, serves=(*known.serves, kind))
    return _distinct(list(found.values()))


def _endpoints(site: Site, workers: int, kinds: Sequence[tuple[str, bool]]) -> list[Group]:
    """One executor an endpoint: how its blocks are asked for, the endpoint itself knows."""
    one = site.globus.gpu_endpoint in ("", site.globus.endpoint)
    serves = {"": kinds} if one else {"": [k for k in kinds if not k[1]], "_gpu": [k for k in kinds if k[1]]}
    return [
        Group(f"{site.name}{suffix}", workers, workers, serves=tuple(some))
        for suffix, some in serves.items()
        if some
    ]


def _group(config: Loaded, stage: Stage, workers: int) -> Group:
    resources, slurm = config.resources(stage.name), config.config.site.slurm
    gres = resources.gres if stage.on_gpu or resources.force_gres else ""
    if gres and _gres(gres)[1] != 1:
        raise ConfigError(
            f"resources.{stage.name}.gres is {gres!r}, but a worker computes on one device",
            "ask for one, and for more workers: site.slurm.gpu_workers_per_block puts several into a block",
        )
    per_block = largest_divisor(workers, slurm.gpu_workers_per_block if gres else slurm.workers_per_block)
    partition = _partition(resources, gres, slurm.gpu_partition, slurm.partition)
    return Group(
        label=_label(partition, gres, resources.cores, resources.mem_gb),
        workers=workers,
        workers_per_block=per_block,
        nodes_per_block=largest_divisor(per_block, slurm.nodes_per_block),
        partition=partition,
        gres=gres,
        cores=resources.cores,
        mem_gb=resources.mem_gb,
        walltime_min=resources.walltime_min,
    )


def _partition(resources: Resources, gres: str, gpu_partition: str, partition: str) -> str:
    return resources.partition or (gpu_partition if gres else "") or partition


def _gres(gres: str) -> tuple[str, int]:
    """``gpu:a100:2`` as (``gpu:a100``, 2)."""
    name, _, last = gres.rpartition(":")
    return (name, int(last)) if last.isdigit() else (gres, 1)


def card(gres: str) -> str:
    """The type of card that a gres names, or an empty text."""
    words = _gres(gres)[0].split(":")
    return words[1] if len(words) > 1 else ""


def _label(partition: str, gres: str, cores: int, mem_gb: float) -> str:
    words = [partition or "blocks", "gpu" if gres else "", f"{cores}c", f"{mem_gb:g}gb"]
    return "_".join(w for w in words if w).replace(",", "_")


def _distinct(found: list[Group]) -> list[Group]:
    """Labels name folders and Parsl's executors: two groups that differ in walltime alone get a number."""
    labels = [g.label for g in found]
    return [
        replace(g, label=f"{g.label}_{i}") if labels.count(g.label) > 1 else g for i, g in enumerate(found)
    ]
