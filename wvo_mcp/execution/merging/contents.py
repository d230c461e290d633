"""What Git LFS keeps of a candidate is where its pointers say before they land: here, or at the remote they are pushed to.

The program of Git LFS runs in an empty folder that has the target's own `.lfsconfig`: no checkout, index or branch that a
worker can write says where the content goes.
"""

import tempfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import which

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging import pushing
from wvo_mcp.execution.workspaces.lfs import LONGEST, Contents, Pointer
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.ports.merging import Candidate, NotNow

_AT_ONCE = 500
_SHOWN = 3
_OPTIONS = (
    ("lfs.allowincompletepush", "false"), ("lfs.skipdownloaderrors", "false"), ("lfs.fetchinclude", ""),
    ("lfs.fetchexclude", ""), ("lfs.fetchrecentalways", "false"), ("lfs.transfer.maxretries", "3"),
)  # fmt: skip

Found = Mapping[str, Pointer]
"""By path."""


def check_here(common: Common, target: str, candidate: Candidate) -> None:
    """Of each pointer that lands, for the checkouts of this host; fetched if need be. Raises NotNow, GitFailed, Tampered."""
    _bring(common, None, target, candidate.tip, _changed(common, candidate.tip, candidate.commit))


def check_there(common: Common, remote: str, target: str, tip: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Of each pointer that differs between the two commits of a pair, and that the tip has nowhere: the remote has it then.
    Raises NotNow, GitFailed, Tampered."""
    found: dict[str, Pointer] = {}
    for older, newer in pairs:
        found |= _changed(common, older, newer)
    if not found:
        return
    known = set(common.git("ls-tree", "-r", "--format=%(objectname)", tip).split())
    new = {name: one for name, one in found.items() if _blob(common, one) not in known}
    _bring(common, remote, target, tip, new)
    oids = sorted({one.oid for one in new.values()})
    for start in range(0, len(oids), _AT_ONCE):
        _asked(common, remote, tip, "push", "--object-id", remote, *oids[start : start + _AT_ONCE])


def _bring(common: Common, remote: str | None, target: str, tip: str, found: Found) -> None:
    """What is not here is fetched. Raises NotNow."""
    if not found:
        return
    contents = Contents.of(common)
    missing = {name: one for name, one in found.items() if not contents.have(one)}
    if not missing:
        return
    try:
        _fetch(common, remote or pushing.remote_of(common, target), tip, missing)
    except NotNow as error:
        raise NotNow(f"{_said(missing)}, and cannot be fetched: {error.reason}") from None
    if left := {name: one for name, one in missing.items() if not contents.have(one)}:
        raise NotNow(f"{_said(left)}")


def _fetch(common: Common, remote: str, tip: str, found: Found) -> None:
    """By a commit of these pointers alone: Git LFS fetches what a commit needs. Raises NotNow."""
    contents = Contents.of(common)
    for one in found.values():
        if contents.seem_to_have(one):  # it is another content, and would be taken for this one
            contents.place(one.oid).unlink(missing_ok=True)
    blobs = {one.oid: _blob(common, one) for one in found.values()}
    listed = "".join(f"100644 blob {blob}\t{oid}\0" for oid, blob in sorted(blobs.items()))
    tree = common.git("mktree", "-z", content=listed.encode())
    _asked(common, remote, tip, "fetch", remote, common.committed(tree, (), "contents\n"))


def _said(found: Found) -> str:
    names = ", ".join(name.encode(errors="replace").decode() for name in list(found)[:_SHOWN])
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"the content of {names}{more} (Git LFS) is not in this repository"


def _blob(common: Common, pointer: Pointer) -> str:
    return common.git("hash-object", "-w", "--stdin", "--no-filters", content=pointer.text)


def _changed(common: Common, older: str, commit: str) -> dict[str, Pointer]:
    """The pointers of the commit that the older one has not, or not there. Raises GitFailed, Tampered."""
    options = ("-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--diff-filter=d")
    raw = common.run("diff-tree", *options, older, commit).decode(errors="surrogateescape").split("\0")
    rows = zip((entry.split(" ") for entry in raw[0::2]), raw[1::2], strict=False)
    blobs = {name: entry[3] for entry, name in rows if entry[1].startswith("100")}
    pointers = _pointers(common, set(blobs.values()))
    found = {name: pointers[blob] for name, blob in blobs.items() if blob in pointers}
    return {name: found[name] for name in _of_lfs(common, commit, list(found))}


def _pointers(common: Common, blobs: Iterable[str]) -> dict[str, Pointer]:
    asked = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    sizes = (line.split() for line in common.git("cat-file", "--batch-check", content=asked).splitlines())
    small = [one[0] for one in sizes if one[1] == "blob" and int(one[2]) < LONGEST]
    content = common.run("cat-file", "--batch", content="".join(f"{blob}\n" for blob in small).encode())
    found: dict[str, Pointer] = {}
    while content:
        head, _, rest = content.partition(b"\n")
        blob, _, size = head.decode().split(" ")
        if (pointer := Pointer.of(rest[: int(size)])) is not None:
            found[blob] = pointer
        content = rest[int(size) + 1 :]
    return found


def _of_lfs(common: Common, commit: str, names: Sequence[str]) -> list[str]:
    """Those that the commit's own attributes give to Git LFS."""
    if not names:
        return []
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        own = {"GIT_INDEX_FILE": f"{folder}/index"}
        common.run("read-tree", commit, env=own)
        listed = "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")
        printed = common.run("check-attr", "--cached", "-z", "--stdin", "filter", content=listed, env=own)
    parts = printed.decode(errors="surrogateescape").split("\0")
    return [name for name, value in zip(parts[0::3], parts[2::3], strict=False) if value == "lfs"]


def _asked(common: Common, remote: str, tip: str, *arguments: str) -> None:
    """Raises NotNow, Tampered."""
    if which("git-lfs") is None:
        raise NotNow("git-lfs is not installed here")
    with _folder(common, tip) as folder:
        own = [*_OPTIONS, *_address(common, remote)]
        pushing.asked(
            common, remote, "lfs", *arguments, seconds=pushing.MOVE_SECONDS, settings=own, tree=folder, at=folder
        )


@contextmanager
def _folder(common: Common, tip: str) -> Generator[Path]:
    """Git LFS reads an empty `.lfsconfig`, too: without the file it would look for one in the index, and in HEAD."""
    try:
        settings = common.run("cat-file", "blob", f"{tip}:.lfsconfig")
    except GitFailed:
        settings = b""
    with tempfile.TemporaryDirectory(prefix="wvo-lfs-") as name:
        folder = Path(name).resolve()
        (folder / ".lfsconfig").write_bytes(settings)
        yield folder


def _address(common: Common, remote: str) -> list[tuple[str, str]]:
    """A remote that is a folder near the checkout would be looked for near the empty one."""
    address = common.git("config", "--get", f"remote.{remote}.url")
    near = "://" not in address and ":" not in address.partition("/")[0] and not Path(address).is_absolute()
    return [(f"remote.{remote}.url", str((common.top / address).resolve()))] if near else []
