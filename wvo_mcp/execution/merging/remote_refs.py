"""Refs of a remote that have the form of ours, and how they are removed: only as long as they lead where they led."""

import re
from collections.abc import Sequence
from contextlib import suppress

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging import pushing
from wvo_mcp.execution.workspaces.repository import Common, whole
from wvo_mcp.ports.merging import RefKind, RemoteRef

_PATTERNS = ("refs/wvo/submit/*", "refs/wvo/pull/*", "refs/heads/wvo/*")
_FORMS = {
    RefKind.PIN: re.compile(r"refs/wvo/submit/(?P<task>[^/]+)/(?P<number>\d{1,9})(?:-[0-9a-f]{16})?"),
    RefKind.RECORD: re.compile(r"refs/wvo/pull/(?P<task>[^/]+)/(?P<number>\d{1,9})-(?P<of>[0-9a-f]{16})-[0-9a-f]{16}"),
    RefKind.BRANCH: re.compile(r"refs/heads/wvo/(?P<task>[^/]+)-(?P<number>\d{1,9})"),
}
_AT_ONCE = 100


def listed(common: Common, remote: str) -> list[RemoteRef]:
    """Raises NotNow, Tampered."""
    printed = pushing.asked(common, remote, "ls-remote", "--quiet", remote, *_PATTERNS, seconds=pushing.LOOK_SECONDS)
    rows = (line.split("\t") for line in printed.decode(errors="replace").splitlines() if "\t" in line)
    return [found for commit, name in rows if (found := _read(name, commit)) is not None]


def _read(name: str, commit: str) -> RemoteRef | None:
    for kind, form in _FORMS.items():
        if (found := form.fullmatch(name)) is not None:
            of = found.groupdict().get("of")
            return RemoteRef(
                name=name, commit=commit, kind=kind, task_id=whole(found["task"]), number=int(found["number"]), of=of
            )
    return None


def removed(common: Common, remote: str, refs: Sequence[RemoteRef]) -> None:
    """What the remote does not let go, or what leads elsewhere by now, stays. Raises NotNow, Tampered."""
    for start in range(0, len(refs), _AT_ONCE):
        some = refs[start : start + _AT_ONCE]
        leases = (f"--force-with-lease={one.name}:{one.commit}" for one in some)
        with suppress(GitFailed):  # the next time sees what stayed
            pushing.push(common, remote, *leases, refspecs=[f":{one.name}" for one in some])
