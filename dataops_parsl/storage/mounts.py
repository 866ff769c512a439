"""What kind of file system a folder lies on, and what is known to go wrong there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NETWORK = (
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb3", "afs", "9p", "virtiofs"),
    *("glusterfs", "sshfs", "ceph-fuse", "s3fs", "rclone"),
)
"""Types that other hosts may see too; of FUSE by what they stand for."""


@dataclass(frozen=True)
class Mount:
    """A line of ``/proc/mounts``.

    Parameters
    ----------
    device, point, kind : str
        What is mounted, where, and the type; of FUSE the type with its name, ``fuse.sshfs``.
    options : tuple of str
    """

    device: str
    point: str
    kind: str
    options: tuple[str, ...]

    @property
    def network(self) -> bool:
        """Whether other hosts may see it too."""
        return self.kind.removeprefix("fuse.").split(".")[0] in NETWORK


@dataclass(frozen=True)
class Concern:
    """What a kind of file system does that a run should know of.

    Parameters
    ----------
    what, remedy : str
    """

    what: str
    remedy: str


def parse(text: str) -> list[Mount]:
    """The mounts in the text of ``/proc/mounts``, in its order; lines that are none are passed over."""
    found = []
    for line in text.splitlines():
        words = [_unescaped(word) for word in line.split(" ")]
        if len(words) >= 4 and words[1].startswith("/"):
            found.append(Mount(words[0], words[1], words[2], tuple(words[3].split(","))))
    return found


def _unescaped(word: str) -> str:
    """Blanks and backslashes of paths are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), word)


def mount_of(folder: Path, mounts: list[Mount]) -> Mount | None:
    """The mount that a folder lies on: the last of those with the longest point above it."""
    path = folder.resolve()
    above = [m for m in mounts if path.is_relative_to(m.point)]
    return max(reversed(above), key=lambda m: len(Path(m.point).parts), default=None)


def mounted(folder: Path) -> Mount | None:
    """The mount that a folder lies on; None where the system does not say, as on macOS."""
    try:
        text = Path("/proc/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return mount_of(folder, parse(text))


_LOCKS = (
    "two runs started on different hosts could continue the same bundle, or grow one array at once: "
    "start runs of a project on one host only"
)


def concerns(mount: Mount) -> Iterator[Concern]:
    """What is known to go wrong on such a mount, as its options say; nothing is tried."""
    options, kind = set(mount.options), mount.kind
    if kind in ("nfs", "nfs4"):
        yield from _nfs(options)
    elif kind == "lustre":
        if "localflock" in options:
            yield Concern(f"locks hold on one host only (localflock): {_LOCKS}", "ask for -o flock")
        elif "flock" not in options:
            yield Concern(
                f"mounted without flock, so that locks may be refused: {_LOCKS}",
                "ask the administrators to mount it with -o flock (or at least -o localflock)",
            )
    elif kind == "beegfs":
        yield Concern(
            f"locks hold on one host only unless its clients are told otherwise: {_LOCKS}",
            "ask the administrators for tuneUseGlobalFileLocks = true",
        )
    elif kind in ("tmpfs", "ramfs"):
        yield Concern(
            "this is memory: what lies there takes it from the workers and is gone after a restart",
            "fine for a trial; for more name a folder on a disk",
        )
    elif kind in ("overlay", "aufs"):
        yield Concern(
            "this is the layer of a container: it is gone with it",
            "name a folder that is mounted from outside",
        )
    elif kind in ("cifs", "smb3"):
        yield Concern(
            f"a Windows share{' with nobrl, which turns locks off' if 'nobrl' in options else ''}: "
            "renames over open files may be refused",
            "name a folder on a local disk or on NFS; copy results to the share",
        )
    elif kind in ("vfat", "exfat", "msdos", "ntfs", "ntfs3", "fuseblk"):
        yield Concern(
            "a file system of removable disks: renames are not safe when the power goes",
            "name a folder on ext4, xfs or APFS; keep films here",
        )
    elif kind in ("drvfs",) or (kind == "9p" and any(o.startswith("aname=drvfs") for o in options)):
        yield Concern(
            "a Windows folder seen from WSL: small files are very slow there",
            "name a folder of the Linux side, such as below your home",
        )
    elif kind.startswith("fuse."):
        yield Concern(
            f"{kind} may hold writes back and knows no locks between hosts: {_LOCKS}",
            "name a folder on a local disk or on the cluster's own file system",
        )


def _nfs(options: set[str]) -> Iterator[Concern]:
    local = next((o for o in options if o in ("local_lock=all", "local_lock=flock")), "")
    if "nolock" in options or local:
        yield Concern(
            f"locks hold on one host only ({local or 'nolock'}): {_LOCKS}",
            "ask the administrators to mount it without nolock and with local_lock=none",
        )
    if "soft" in options or "softerr" in options:
        yield Concern(
            "mounted soft: when the server is busy, writes fail instead of waiting, and frames with them",
            "ask for a hard mount; what failed is computed again by the same command",
        )
