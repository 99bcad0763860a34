"""
The file systems that state should not lie on: those that go with the machine, and those of a network.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from obskit.late_patterns import late

MOUNTS = "/proc/self/mounts"
EPHEMERAL = frozenset({"tmpfs", "ramfs", "overlay", "aufs"})
# Locks of files are not kept there, or not between machines, and SQLite's shared memory is not shared.
NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "ncpfs", "9p", "afs", "coda", "davfs", "ceph"),
        *("glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "panfs", "weka", "webdav"),
    }
)
_NETWORK_BY_FUSE = late(r"fuse\.(?!fuseblk|ntfs|exfat|overlay|fuse-overlayfs|encfs|gocryptfs|bindfs|mergerfs)")


def filesystem_of(path: str | os.PathLike[str], mounts: str | os.PathLike[str] | None = None) -> str | None:
    """
    Return the type of the file system that holds a path, such as `ext4`; None if unknown.
    """
    try:
        lines = Path(mounts or MOUNTS).read_text("utf-8", "surrogateescape").splitlines()
        real = os.path.realpath(path)
    except OSError:
        return None
    found, longest = None, -1
    for line in lines:
        _, _, rest = line.partition(" ")
        point, _, rest = rest.partition(" ")
        point = _unescaped(point)
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= longest:
            found, longest = rest.partition(" ")[0], len(point)
    return found


def _unescaped(point: str) -> str:
    return re.sub(r"\\(040|011|012|134)", lambda octal: chr(int(octal[1], 8)), point)


def is_network(kind: str | None) -> bool:
    """
    Return whether a type of file system is one of a network.
    """
    return kind is not None and (kind in NETWORK or _NETWORK_BY_FUSE.match(kind) is not None)
