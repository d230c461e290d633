"""The machine and the folders of a workspace."""

import os
import platform
import shutil
import sys
from pathlib import Path

from wvo_mcp.domain.finding import Finding, fail, ok, warn

OLDEST_PYTHON = (3, 11)
LITTLE_BYTES = 1_000_000_000
TOO_LITTLE_BYTES = 100_000_000
NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "afpfs", "ceph", "glusterfs", "lustre", "webdav", "davfs")
)  # fmt: skip
"""File systems on which the memory that WAL shares between processes does not work across machines."""


def python() -> Finding:
    version = platform.python_version()
    if sys.version_info < OLDEST_PYTHON:
        return fail("python", f"Python {version}", "Install Python 3.11 or newer and reinstall wvo-mcp with it.")
    return ok("python", f"Python {version} at {sys.executable}")


def workspace(root: Path, reason: str) -> Finding:
    found = f"{root} (chosen by: {reason})"
    if root.is_dir():
        return ok("workspace", found)
    return fail("workspace", f"{found} is not a folder", "Set ROOT to the folder of the project, or leave it unset.")


def state_folder(state_dir: Path) -> Finding:
    """The folder can be read and written, or can be made."""
    check = "state folder"
    if state_dir.is_dir():
        if os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            return ok(check, str(state_dir))
        return fail(check, f"{state_dir} is not writable", f"Give this user the rights: chmod u+rwx {state_dir}")
    if state_dir.exists():
        remedy = "Move that file away, or set WVO_STATE_DIR to another folder."
        return fail(check, f"{state_dir} is not a folder", remedy)
    above = next(folder for folder in state_dir.parents if folder.exists())
    if os.access(above, os.W_OK | os.X_OK):
        return warn(check, f"{state_dir} does not exist yet", "Run wvo-mcp init; a server creates it as well.")
    found = f"{state_dir} cannot be created: {above} is not writable"
    return fail(check, found, "Fix the permissions of that folder.")


def disk(state_dir: Path) -> Finding:
    folder = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return warn("disk", f"the free space is unknown: {error.strerror}", "Look with df.")
    found = f"{free / 1e9:.1f} GB free"
    if free < TOO_LITTLE_BYTES:
        return fail("disk", found, "Free some space: a full disk stops every write (store_unavailable).")
    if free < LITTLE_BYTES:
        return warn("disk", found, "Free some space before it runs out.")
    return ok("disk", found)


def file_system(state_dir: Path, mounts: str | None = None) -> Finding:
    """`mounts` is the text of /proc/self/mountinfo, read when it is not given."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return ok("file system", "its kind is unknown; keep the state folder on a local disk")
    kind = _kind(state_dir.resolve(), mounts)
    if kind in NETWORK or kind.startswith("fuse.ssh"):
        return warn(
            "file system",
            f"{state_dir} is on {kind}, a network file system",
            "Set WVO_STATE_DIR to a local disk: processes of several machines on one SQLite file can damage it.",
        )
    return ok("file system", kind or "unknown")


def _kind(path: Path, mounts: str) -> str:
    """Type of the file system that the path is on: of the longest mount point above it."""
    best: tuple[int, str] = (-1, "")
    for line in mounts.splitlines():
        fields, separator, rest = line.partition(" - ")
        words = fields.split()
        if not separator or len(words) < 5:
            continue
        point = words[4].encode().decode("unicode_escape")
        if path.is_relative_to(point) and len(point) >= best[0]:
            best = (len(point), rest.split()[0])
    return best[1]
