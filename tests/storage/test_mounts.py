"""Which file system a folder lies on, and what is known of it, from lines as real hosts have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataops_parsl.storage.mounts import Mount, concerns, mount_of, mounted, parse

NFS4 = (
    "nas1:/vol/lab /well/lab nfs4 rw,relatime,vers=4.1,rsize=1048576,wsize=1048576,namlen=255,hard,proto=tcp,"
    "timeo=600,retrans=2,sec=sys,clientaddr=10.1.2.3,local_lock=none,addr=10.1.2.9 0 0"
)
NFS3_NOLOCK = (
    "nas:/export /data nfs rw,relatime,vers=3,rsize=65536,wsize=65536,namlen=255,hard,nolock,proto=tcp,"
    "timeo=600,retrans=2,sec=sys,mountaddr=10.0.0.5,mountproto=tcp,local_lock=all,addr=10.0.0.5 0 0"
)
NFS_SOFT = (
    "nas:/home /home nfs4 rw,relatime,vers=4.2,soft,proto=tcp,timeo=100,local_lock=none,addr=10.0.0.5 0 0"
)
LUSTRE_FLOCK = (
    "10.0.0.1@o2ib:10.0.0.2@o2ib:/scratch /scratch lustre rw,flock,user_xattr,lazystatfs,encrypt 0 0"
)
LUSTRE_LOCAL = "10.0.0.1@o2ib:/work /work lustre rw,localflock,user_xattr,lazystatfs 0 0"
LUSTRE_NONE = "10.0.0.1@o2ib:/old /old lustre rw,seclabel,lazystatfs 0 0"
GPFS = "gpfs01 /gpfs01 gpfs rw,relatime 0 0"
BEEGFS = "beegfs_nodev /beegfs beegfs rw,relatime,cfgFile=/etc/beegfs/beegfs-client.conf,_netdev 0 0"
SSHFS = "me@host:/data /mnt/data fuse.sshfs rw,nosuid,nodev,relatime,user_id=1000,group_id=1000 0 0"
CIFS = "//nas/share /mnt/share cifs rw,relatime,vers=3.0,cache=strict,username=me,nobrl,soft 0 0"
WSL = (
    "C:\\134 /mnt/c 9p rw,noatime,dirsync,aname=drvfs;path=C:\\;uid=1000;gid=1000;symlinkroot=/mnt/,mmap,"
    "access=client,msize=65536,trans=fd,rfd=8,wfd=8 0 0"
)
OVERLAY = (
    "overlay / overlay rw,relatime,lowerdir=/var/lib/docker/overlay2/l/A:/var/lib/docker/overlay2/l/B,"
    "upperdir=/var/lib/docker/overlay2/x/diff,workdir=/var/lib/docker/overlay2/x/work 0 0"
)
EXT4 = "/dev/sda2 /home ext4 rw,relatime,errors=remount-ro 0 0"
TMPFS = "tmpfs /run/user/1000 tmpfs rw,nosuid,nodev,relatime,size=1629012k,mode=700,uid=1000,gid=1000 0 0"


def only(line: str) -> Mount:
    (mount,) = parse(line)
    return mount


@pytest.mark.parametrize(
    ("line", "what", "remedy"),
    [
        (NFS3_NOLOCK, "locks hold on one host only (local_lock=all)", "without nolock"),
        (NFS_SOFT, "mounted soft", "hard mount"),
        (LUSTRE_LOCAL, "locks hold on one host only (localflock)", "-o flock"),
        (LUSTRE_NONE, "mounted without flock", "-o flock (or at least -o localflock)"),
        (BEEGFS, "locks hold on one host only", "tuneUseGlobalFileLocks"),
        (SSHFS, "fuse.sshfs may hold writes back", "local disk"),
        (CIFS, "a Windows share with nobrl", "copy results"),
        (WSL, "a Windows folder seen from WSL", "Linux side"),
        (OVERLAY, "layer of a container", "mounted from outside"),
        (TMPFS, "this is memory", "folder on a disk"),
    ],
)
def test_what_goes_wrong_on_a_mount_is_known_with_its_remedy(line: str, what: str, remedy: str) -> None:
    (concern,) = concerns(only(line))
    assert what in concern.what
    assert remedy in concern.remedy


@pytest.mark.parametrize("line", [NFS4, LUSTRE_FLOCK, GPFS, EXT4])
def test_mounts_that_do_all_that_is_asked_are_no_concern(line: str) -> None:
    assert list(concerns(only(line))) == []


def test_what_a_lock_on_one_host_alone_would_cost_is_said() -> None:
    for line in (NFS3_NOLOCK, LUSTRE_LOCAL, LUSTRE_NONE, BEEGFS):
        (concern,) = concerns(only(line))
        assert "could continue the same bundle" in concern.what


@pytest.mark.parametrize(
    ("line", "shared"), [(NFS4, True), (SSHFS, True), (GPFS, True), (EXT4, False), (TMPFS, False)]
)
def test_network_file_systems_are_told_from_those_of_a_host(line: str, shared: bool) -> None:
    assert only(line).network is shared


def test_a_folder_lies_on_the_nearest_mount_above_it_and_on_the_last_of_one_point() -> None:
    lines = [
        "/dev/sda1 / ext4 rw 0 0",
        "auto.lab /well autofs rw,fd=7 0 0",
        NFS4,
        "old:/vol /well/lab nfs4 rw,nolock 0 0",
        "tmpfs /well/labour tmpfs rw 0 0",
    ]
    mounts = parse("\n".join(lines))
    found = [mount_of(Path(p), mounts) for p in ("/well/lab/me/new", "/well/labour", "/well/x", "/etc")]
    assert [m.device for m in found if m] == ["old:/vol", "tmpfs", "auto.lab", "/dev/sda1"]


def test_blanks_in_paths_are_read_as_they_are_and_broken_lines_are_passed_over() -> None:
    text = "/dev/sdb1 /mnt/my\\040disk\\134x ext4 rw,noatime 0 0\nnonsense\n\nnone\n"
    assert parse(text) == [Mount("/dev/sdb1", "/mnt/my disk\\x", "ext4", ("rw", "noatime"))]


def test_the_mount_of_a_real_folder_is_found_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    proc = mounted(tmp_path / "link")
    assert proc is not None
    assert (proc.kind, proc.point) == ("proc", "/proc")
