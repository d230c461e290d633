"""What of this machine a container may see: resolved, judged, held open, and compared with what was mounted.

Between the judgement and the mount, which the engine does by path, somebody may put something else there. So the judged file
is held open, and before anything else runs in the container, it says the inode of what it got.
"""

import os
import stat
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wvo_mcp.domain.policy import matching
from wvo_mcp.domain.sandbox import RESERVED, covered
from wvo_mcp.errors import Forbidden, InvalidInput, NotConfigured
from wvo_mcp.ports.sandbox import Mount, Run

_CLOSED = ("/proc", "/sys", "/dev", "/run", "/boot", "/var/lib/docker", "/var/lib/containerd")
_KEY = "sandbox.mounts of state/policy.yaml"


@dataclass(frozen=True, slots=True)
class Bind:
    """`inode` as `stat -c %d:%i` prints it. `hidden`: a folder in the container that is covered by an empty one."""

    source: str
    target: str
    write: bool
    inode: str
    owner: tuple[int, int]
    hidden: str | None = None


@dataclass(frozen=True, slots=True)
class Here:
    """The places of one project. `closed` is never mounted, nor what is above or below it; `fixed` not for writing."""

    root: str
    state: str
    worktrees: str
    home: str
    closed: tuple[str, ...] = field(default=())
    fixed: tuple[str, ...] = field(default=())


@contextmanager
def held(here: Here, wanted: Run) -> Generator[Sequence[Bind]]:
    """The mounts of a run; what they name is held open for as long as this lasts. Raises Forbidden, InvalidInput."""
    if wanted.mounts and sys.platform != "linux":
        raise NotConfigured("Mounts need an engine on this machine, and Linux.", hint="Give the files with `files`.")
    with ExitStack() as opened:
        binds: list[Bind] = []
        targets: list[str] = []
        for number, mount in enumerate(wanted.mounts):
            found = _binds(here, wanted, mount, f"mounts.{number}", opened)
            target = found[0].target
            if any(_within(target, one) or _within(one, target) for one in targets):
                raise InvalidInput(f"mounts.{number}.at", f"{target} overlaps with another mount")
            binds += found
            targets.append(target)
        yield binds


def _open(path: str, opened: ExitStack) -> os.stat_result:
    """Of what the path, which has no links in it, names; held open. Raises OSError."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    found = os.fstat(descriptor)
    if str(Path(f"/proc/self/fd/{descriptor}").readlink()) != path or not (
        stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)
    ):
        raise OSError(0, "neither a file nor a folder")
    return found


def _binds(here: Here, wanted: Run, mount: Mount, where: str, opened: ExitStack) -> list[Bind]:
    """The mount, and what in it is mounted once more, for reading only."""
    try:
        real = os.path.realpath(Path(here.root, mount.path), strict=True)
        found = _open(real, opened)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{where}.path", f"{mount.path!r}: {getattr(error, 'strerror', None) or error}") from None
    inside = _within(real, here.root)
    name = os.path.relpath(real, here.root) if inside else real
    _judge(here, wanted, mount, real, name, where)
    target = mount.at or (os.path.normpath(f"/project/{name}") if inside else f"/mnt/{Path(real).name}")
    if target != os.path.normpath(target) or not target.startswith("/") or target == "/" or not target.isprintable():
        raise InvalidInput(f"{where}.at", "expected an absolute path")
    if any(_within(target, one) for one in RESERVED):
        raise InvalidInput(f"{where}.at", f"{target} is kept for the container; take another place")
    hidden = os.path.normpath(f"{target}/{os.path.relpath(here.state, real)}") if _within(here.state, real) else None

    def bind(path: str, at: str, its: os.stat_result, hidden: str | None = None, *, write: bool = False) -> Bind:
        return Bind(path, at, write, f"{its.st_dev}:{its.st_ino}", (its.st_uid, its.st_gid), hidden)

    binds = [bind(real, target, found, hidden, write=mount.write)]
    if mount.write and stat.S_ISDIR(found.st_mode):
        prefix = f"{name}/" if inside and name != "." else ""
        for entry in sorted(os.scandir(real), key=lambda one: one.name):
            at = f"{target}/{entry.name}"
            if wanted.policy.protects(prefix + entry.name) and at != hidden and not entry.is_symlink():
                binds.append(bind(entry.path, at, _open(entry.path, opened)))
    return binds


def _judge(here: Here, wanted: Run, mount: Mount, real: str, name: str, where: str) -> None:
    """Raises Forbidden, which names the field and the key of the policy."""

    def refused(why: str, key: str) -> Forbidden:
        hint = "Give the files with `files`, or ask a person to allow it in state/policy.yaml (wvo-mcp trust)."
        return Forbidden(f"{where}: {mount.path!r} {why} ({key}).", hint=hint, field=where, policy=key, path=real)

    for one in (*_CLOSED, *here.closed):
        if _within(real, one) or _within(one, real):
            raise refused(f"would show {one} of this machine", "never allowed")
    if mount.write and (real != here.root and _within(here.root, real)):
        raise refused("holds the project as a whole", "never allowed for writing")
    if mount.write and any(_within(real, one) or _within(one, real) for one in here.fixed):
        raise refused("holds what people have accepted", "never allowed for writing")
    own = _within(real, here.worktrees) and real != here.worktrees
    if _within(real, here.state) and not own:
        raise refused("is a file of this program", "never allowed")
    grant = wanted.grant
    key = "sandbox.mounts.write" if mount.write else "sandbox.mounts.read"
    patterns = grant.write if mount.write else (*grant.read, *grant.write)
    if not covered(patterns, real, here.root, here.home):
        raise refused("is not among what may be mounted", key)
    if matching(wanted.policy.forbidden, name) is not None:
        raise refused("is forbidden", "paths.forbidden")
    if mount.write and (name == ".git" or (name != "." and not own and wanted.policy.protects(name))):
        raise refused("is protected", "paths.protected")
    if mount.write and ".git" in Path(name).parts:
        raise refused("is part of a git repository's own files", "never allowed")


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
