"""What one block asks for, against what its partitions have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dataops_parsl.config import Loaded
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.groups import Group, card
from dataops_parsl.engine.partitions import Nodes, Partition

AWAY = "too few of which are at work now"


def partitions_of(group: Group, partitions: Mapping[str, Partition]) -> list[str]:
    """Partitions that a block may go to."""
    if group.partition:
        return group.partition.split(",")
    return [p.name for p in partitions.values() if p.default]


def clock(minutes: float) -> str:
    """Minutes as ``4:00 h``."""
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d} h"


@dataclass(frozen=True)
class Block:
    """What one block of a group asks for, against what its partitions have."""

    config: Loaded
    group: Group
    partitions: Mapping[str, Partition]

    def findings(self) -> list[Finding]:
        """What all of it comes to; partition, walltime, size, card."""
        return [self._asked(), *self._where(), *self._card()]

    def _finding(self, what: str, ok: bool, found: str, remedy: str = "") -> Finding:
        return Finding(f"{self.group.label}: {what}", ok, found, remedy)

    def _where(self) -> Iterator[Finding]:
        names = partitions_of(self.group, self.partitions)
        known = [self.partitions[n] for n in names if n in self.partitions]
        key = keys(self.config, self.group)["partition"]
        missing = [n for n in names if n not in self.partitions]
        if missing or not names:
            what = f"there is no partition {', '.join(missing)}" if missing else "no partition is the default"
            yield self._finding(
                "partition", False, what, f"set {key} to one of {', '.join(self.partitions) or 'the cluster'}"
            )
        if known:
            yield self._walltime(max(p.limit_min for p in known))
            yield self._size([n for p in known for n in p.nodes], ",".join(p.name for p in known))

    def _walltime(self, limit_min: float) -> Finding:
        asked = self.group.walltime_min
        if asked <= limit_min:
            return self._finding("walltime", True, clock(asked))
        key = keys(self.config, self.group)["walltime"]
        return self._finding(
            "walltime",
            False,
            f"{clock(asked)} is more than the partition's limit of {clock(limit_min)}",
            f"set {key} to {int(limit_min)} or less, or name another partition",
        )

    def _size(self, nodes: Sequence[Nodes], where: str) -> Finding:
        """Whether some nodes hold a block's share of devices, cores and memory."""
        if not nodes:
            return self._finding("block", False, f"{where} has no nodes", "name another partition")
        if self.group.gres:
            fit = self._with_devices(nodes, where)
            if isinstance(fit, Finding):
                return fit
            nodes = fit
        group, per_node = self.group, self.group.workers_per_node
        cores, mem_gb = group.cores * per_node, group.mem_gb * per_node
        key = keys(self.config, group)
        most_cores, most_gb = max(n.cores for n in nodes), max(n.mem_mb for n in nodes) / 1024
        if cores > most_cores:
            return self._too_large(group.cores, "cores", most_cores, key["cores"], where)
        if mem_gb > most_gb:
            return self._too_large(group.mem_gb, "GB", most_gb, key["memory"], where)
        fitting = [n for n in nodes if n.cores >= cores and n.mem_mb >= mem_gb * 1024]
        n = sum(n.count for n in fitting)
        words = (f"{cores} core{'s' * (cores != 1)}", f"{mem_gb:g} GB", group.node_gres)
        share = ", ".join(filter(None, words))
        if n < group.nodes_per_block:
            found = f"{share} fit {n} nodes of {where}, but a block takes {group.nodes_per_block}"
            return self._finding("block", False, found, f"lower site.slurm.nodes_per_block or {key['cores']}")
        found = f"{share} fit {n} node{'s' * (n != 1)} of {where}"
        if sum(n.count for n in fitting if n.at_work) < group.nodes_per_block:
            return self._finding("block", True, f"{found}, {AWAY}", "blocks will wait until they are back")
        return self._finding("block", True, found)

    def _with_devices(self, nodes: Sequence[Nodes], where: str) -> Sequence[Nodes] | Finding:
        """The nodes that have a block's devices, or why there are none."""
        title, _, number = self.group.node_gres.rpartition(":")
        resource, kind, count = title.partition(":")[0], card(self.group.gres), int(number)
        most = max(n.has(resource, kind) for n in nodes)
        if most >= count:
            return [n for n in nodes if n.has(resource, kind) >= count]
        if most:
            found = f"a node of {where} has at most {most} × {title}, but {count} are asked for"
            return self._finding("block", False, found, f"set {self._per_block} to {most} or less")
        there = dict.fromkeys(k for n in nodes for k in n.titles)
        others = f"; there are {', '.join(there)}" if there else ", nor any other device"
        key = keys(self.config, self.group)
        return self._finding(
            "block",
            False,
            f"no node of {where} has {title}{others}",
            f"set {key['gres']} to what the partition has, or {key['partition']} to one that has it",
        )

    @property
    def _per_block(self) -> str:
        return f"site.slurm.{'gpu_' * bool(self.group.gres)}workers_per_block"

    def _too_large(self, each: float, unit: str, most: float, key: str, where: str) -> Finding:
        per_node = self.group.workers_per_node
        share = f" ({each:g} × {per_node} workers)" if per_node > 1 else ""
        devices = " with such devices" if self.group.gres else ""
        fewer = (
            f", or {self._per_block} to {int(most / each)} or less" if per_node > 1 and each <= most else ""
        )
        return self._finding(
            "block",
            False,
            f"{each * per_node:g} {unit}{share} are asked for, but a node of {where}{devices} has at most "
            f"{most:.4g}",
            f"lower {key}{fewer}",
        )

    def _card(self) -> Iterator[Finding]:
        """The policy for GPU memory; for blocks that only try GPUs (force_gres) too: a rehearsal."""
        site, gres = self.config.config.site, self.group.gres
        if not gres.startswith("gpu"):
            return
        key = keys(self.config, self.group)["gres"]
        kind, least_gb = card(gres), site.min_gpu_mem_gb
        memory_gb = site.slurm.card_mem_gb(kind) if kind else None
        if memory_gb is None:
            what = (
                f"how much memory a {kind} has is not known here" if kind else f"{gres} names no type of card"
            )
            remedy = (
                f'add "{kind} <GB>" to site.slurm.gpu_mem_gb'
                if kind
                else f"name one in {key}, such as gpu:a100:1"
            )
            yield self._finding(
                "card", True, f"{what}: each worker will look at the one that it gets", remedy
            )
        elif memory_gb >= least_gb:
            yield self._finding("card", True, f"{kind} has {memory_gb:g} GB, the least is {least_gb:g} GB")
        elif site.allow_small_gpu:
            yield self._finding(
                "card",
                True,
                f"{kind} has {memory_gb:g} GB, less than {least_gb:g} GB; site.allow_small_gpu lets it pass",
                "segmentation may run out of memory in mid-film",
            )
        else:
            yield self._finding(
                "card",
                False,
                f"{kind} has {memory_gb:g} GB, the least is {least_gb:g} GB: cpsam runs out of memory on a "
                "16 GB V100, which has no native bf16 either",
                f"set {key} to a larger card, or site.allow_small_gpu = true and risk that segmentation runs "
                "out of memory in mid-film",
            )

    def _asked(self) -> Finding:
        group, slurm = self.group, self.config.config.site.slurm
        blocks, each = group.max_blocks, group.workers_per_block
        nodes = f" on {group.nodes_per_block} nodes" if group.nodes_per_block > 1 else ""
        cores = group.cores * each
        words = [f"{cores} core{'s' * (cores != 1)}", f"{group.mem_gb * each:g} GB"]
        words += [f"{each} × {group.gres.removesuffix(':1')}"] * bool(group.gres)
        found = (
            f"at most {blocks} job{'s' * (blocks != 1)} of {each} worker{'s' * (each != 1)}{nodes}, "
            f"each with {', '.join(words)} for {clock(group.walltime_min)}; for {', '.join(group.stages)}"
        )
        wanted = slurm.gpu_workers_per_block if group.gres else slurm.workers_per_block
        remedy = ""
        if each < wanted < group.workers:
            fuller = -(-group.workers // wanted) * wanted
            remedy = (
                f"{group.workers} is no multiple of {wanted}; with --workers {fuller} jobs of {wanted} do"
            )
        return self._finding("jobs", True, found, remedy)


def keys(config: Loaded, group: Group) -> dict[str, str]:
    """The key that said each part of a group's share."""

    def said(name: str) -> str:
        own = [f"resources.{stage}.{name}" for stage in group.stages]
        return next((k for k in own if k in config.origins), f"resources.default.{name}")

    slurm = config.config.site.slurm
    partition = "site.slurm.gpu_partition" if group.gres and slurm.gpu_partition else "site.slurm.partition"
    if any(config.resources(stage).partition for stage in group.stages):
        partition = said("partition")
    return {
        "partition": partition,
        "walltime": said("walltime_min"),
        "cores": said("cores"),
        "memory": said("mem_gb"),
        "gres": said("gres"),
    }
