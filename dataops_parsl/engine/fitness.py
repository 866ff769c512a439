"""Whether a SLURM cluster can give the blocks of a run, each answer from a question that costs nothing."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Sequence

import psutil

from dataops_parsl.config import Loaded
from dataops_parsl.engine.block_fit import AWAY, Block, clock, keys, partitions_of
from dataops_parsl.engine.finding import Finding
from dataops_parsl.engine.groups import Group
from dataops_parsl.engine.partitions import QUESTION, Nodes, Partition, parse
from dataops_parsl.engine.slurm import SUBMIT_EVERY_S, Answer, command, options

COMMANDS = ("sbatch", "squeue", "sinfo", "scancel", "scontrol")
ANSWER_S = 10.0
"""A command that says nothing for so long hangs."""
_NOT_NOW = "Requested node configuration is not available"
_ACCEPTED = re.compile(r"to start at (\S+) using \d+ processors on nodes (\S+)")
# What sbatch complains of, and the keys that say it.
_REMEDIES = (
    ("time limit", "shorten {walltime}, or name another partition in {partition}"),
    # Before the partition: SLURM names both, "account/partition combination".
    ("account", "set site.slurm.account: `sacctmgr show associations user=$USER` lists yours"),
    ("partition", "name one that you may use in {partition}: `sinfo -s` lists them"),
    ("qos", "set site.slurm.qos: `sacctmgr show associations user=$USER` lists yours"),
    (
        "feature",
        "set site.slurm.constraint (gpu_constraint with a gres) to features that `sinfo -o '%P %f'` lists",
    ),
    ("node name", "correct site.slurm.extra: `sinfo -N` lists the nodes"),
    ("option", "correct site.slurm.extra"),
    ("node", "ask for less ({cores}, {memory}, {gres}), or name another partition in {partition}"),
)


def cluster(config: Loaded, groups: Sequence[Group]) -> list[Finding]:
    """All about the cluster; stops asking when it does not answer."""
    found = [_commands()]
    if found[-1].ok:
        found.append(_controller())
    if not found[-1].ok:
        return found
    answer = command(QUESTION, ANSWER_S)
    if answer.code:
        return [*found, _away("partitions", answer)]
    partitions = parse(answer.out)
    if config.config.site.slurm.interface:
        found.append(_interface(config.config.site.slurm.interface))
    names = [n for g in groups for n in partitions_of(g, partitions)]
    found += [_partition(partitions[n]) for n in dict.fromkeys(names) if n in partitions]
    for number, group in enumerate(groups):
        block = Block(config, group, partitions).findings()
        found += block
        if number:  # a request like any other: no faster than blocks are asked for
            time.sleep(SUBMIT_EVERY_S)
        answer = _try(config, group)
        if answer.unreachable:
            return [*found, _away(f"{group.label}: sbatch", answer)]
        found.append(_accepted(config, group, answer, away=any(AWAY in f.found for f in block)))
    return found


def shortage(config: Loaded, group: Group) -> str:
    """Why no node could ever hold a block of this group, in words; empty where one could, or none can say."""
    answer = command(QUESTION, ANSWER_S)
    if answer.code:
        return ""
    found = Block(config, group, parse(answer.out)).findings()
    return "; ".join(f.found for f in found if not f.ok)


def _commands() -> Finding:
    missing = [name for name in COMMANDS if shutil.which(name) is None]
    if missing:
        return Finding(
            "SLURM",
            False,
            f"{', '.join(missing)} not found on the PATH",
            "run this on a login node of the cluster, or load the module that brings SLURM's commands",
        )
    version = command(["sinfo", "--version"], ANSWER_S)
    if version.code:
        return _away("SLURM", version)
    return Finding("SLURM", True, f"{version.out}: {', '.join(COMMANDS)}")


def _controller() -> Finding:
    """Ping first: other commands take half a minute to say that nobody is there."""
    answer = command(["scontrol", "ping"], ANSWER_S)
    lines = [line for line in answer.out.splitlines() if re.search(r"\bis (UP|DOWN)\b", line)]
    if any("is UP" in line for line in lines):
        return Finding("controller", True, next(line for line in lines if "is UP" in line))
    return _away("controller", Answer(1, "", " | ".join(lines)) if lines else answer)


def _away(subject: str, answer: Answer) -> Finding:
    return Finding(
        subject,
        False,
        f"SLURM does not answer: {answer.words or f'exit code {answer.code}'}",
        "wait until the controller is back (`scontrol ping`); if it never was there, look at SLURM_CONF",
    )


def _interface(name: str) -> Finding:
    there = psutil.net_if_addrs()
    if name in there:
        return Finding("interface", True, f"{name}, {there[name][0].address}")
    return Finding(
        "interface",
        False,
        f"this host has no network interface {name}",
        f"set site.slurm.interface to one of {', '.join(there)}, or leave it empty to try all",
    )


def _partition(partition: Partition) -> Finding:
    subject = f"partition {partition.name}"
    if partition.available != "up":
        return Finding(
            subject,
            False,
            f"is {partition.available}",
            "name another one in site.slurm.partition or site.slurm.gpu_partition, or wait until it is up",
        )
    limit = (
        "no limit" if partition.limit_min == float("inf") else f"jobs of up to {clock(partition.limit_min)}"
    )
    total = sum(n.count for n in partition.nodes)
    at_work = sum(n.count for n in partition.nodes if n.at_work)
    kinds = dict.fromkeys(f"{n.cores} cores, {n.mem_mb / 1024:.0f} GB{_has(n)}" for n in partition.nodes)
    shown = "; ".join([*list(kinds)[:3], "…"][: len(kinds) if len(kinds) <= 3 else 4])
    found = f"up, {limit}, {at_work} of {total} nodes at work: {shown}"
    remedy = "" if at_work else "blocks will wait until a node is back: `sinfo -R` says why they are away"
    return Finding(subject, True, found, remedy)


def _has(nodes: Nodes) -> str:
    counts = zip(nodes.titles, nodes.gres.values(), strict=True)
    return "".join(f", {n} × {title}" for title, n in counts)


def _try(config: Loaded, group: Group) -> Answer:
    """Ask sbatch whether it would take a block, with the very options of one."""
    with tempfile.NamedTemporaryFile("w", prefix="dataops-check-", suffix=".sh") as script:
        lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in options(config, group)), "true"]
        script.write("\n".join([*lines, ""]))
        script.flush()
        return command(["sbatch", "--test-only", script.name], ANSWER_S)


def _accepted(config: Loaded, group: Group, answer: Answer, *, away: bool) -> Finding:
    subject = f"{group.label}: sbatch"
    if answer.code == 0:
        start = _ACCEPTED.search(answer.err or answer.out)
        when = f"; it would start one on {start[2]} at {start[1].replace('T', ' ')}" if start else ""
        return Finding(subject, True, f"accepts a block{when}")
    if away and _NOT_NOW in answer.words:
        # What is submitted for real waits for nodes that are away; a trial is refused.
        return Finding(subject, True, "cannot be tried while nodes are away", "try again when they are back")
    words = answer.words.lower()
    remedy = next((r for what, r in _REMEDIES if what in words), "change what sbatch names")
    return Finding(subject, False, f"refuses: {answer.words}", remedy.format(**keys(config, group)))
