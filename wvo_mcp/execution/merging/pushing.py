"""The target branch of a remote moves to the candidate. Never forced; whether it moved is looked at, not believed.

The local branches and a person's `refs/remotes` stay as they are: what is fetched is kept under `refs/wvo/fetched`.
"""

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common, fetched_ref, submit_ref
from wvo_mcp.ports.merging import Candidate, Landed, Landing, Moved, NotNow

LOOK_SECONDS = 60.0
MOVE_SECONDS = 600.0
_MOST_SAID = 600
_OPTIONS = (
    ("push.gpgSign", "false"), ("push.followTags", "false"), ("push.recurseSubmodules", "no"), ("fetch.prune", "false"),
    ("credential.interactive", "false"),
)  # fmt: skip
_ALIAS = "wvo-landing"
_QUIET = {"GIT_ASKPASS": "", "SSH_ASKPASS": "", "SSH_ASKPASS_REQUIRE": "never", "GCM_INTERACTIVE": "never"}
_PASSING = (
    "failed to update ref",
    "cannot lock ref",
    "unpacker error",
    "unpack failed",
    "fetch first",
    "non-fast-forward",
)
"""The remote's reasons that are not about what was pushed: somebody else pushes, its disk is full."""


def remote_of(common: Common, target: str) -> str:
    """The remote that the target follows, else `origin`, else the only one. Raises NotNow."""
    known = common.git("remote").splitlines()
    followed = _setting(common, f"branch.{target}.remote")
    for name in (followed, "origin", *(known if len(known) == 1 else ())):
        if name in known:
            return name
    if not known:
        raise NotNow("there is no remote to push to: add it (git remote add origin ADDRESS)")
    raise NotNow(
        f"which of the remotes {', '.join(known)} {target} goes to is not said: git branch --set-upstream-to=REMOTE/{target}"
        f" {target}"
    )


def fetched_tip(common: Common, remote: str, target: str) -> str:
    """The commit of the remote's branch, which is here then. Raises NotNow, Tampered."""
    branch = f"refs/heads/{target}"
    ref = fetched_ref(remote, target)
    tip = looked(common, remote, branch)
    if tip is None:
        raise NotNow(f"{remote} has no branch {target}: push it (git push {remote} {target})")
    if common.commit_of(tip) is not None and common.commit_of(ref) == tip:
        return tip
    try:
        _fetched(common, remote, f"+{branch}:{ref}")
    except NotNow:  # another that fetches at the same time, such as a prediction, may have moved it under git's hands
        there = common.commit_of(ref)
        if there is None or common.commit_of(tip) is None or not common.contains(there, tip):
            raise
    if (fetched := common.commit_of(ref)) is None:
        raise NotNow(f"{target} of {remote} was fetched and is not here")
    return fetched


def looked(common: Common, remote: str, ref: str) -> str | None:
    """The object of the remote's ref now. Raises NotNow, Tampered."""
    printed = asked(common, remote, "ls-remote", "--quiet", remote, ref, seconds=LOOK_SECONDS)
    rows = (line.split("\t") for line in printed.decode(errors="surrogateescape").splitlines() if "\t" in line)
    return next((commit for commit, name in rows if name == ref), None)


def pinned_remotely(common: Common, remote: str, landing: Landing) -> str | None:
    """The submission's ref there, made if need be; None for what pins nothing. Raises NotNow, Tampered."""
    if landing.undo:
        return None
    for ref in _pins(landing):
        there = looked(common, remote, ref)
        if there is None:
            put(common, remote, landing.commit, ref)
        if there in (None, landing.commit):
            return ref
    raise NotNow(f"{_pins(landing)[0]} of {remote} is taken by other work", passing=False)


def brought(common: Common, remote: str, landing: Landing) -> bool:
    """The submission of another host is here, if that one has pinned it there. Raises NotNow, Tampered."""
    for ref in _pins(landing):
        if looked(common, remote, ref) == landing.commit:
            _fetched(common, remote, f"{ref}:{ref}")
            return True
    return False


def _pins(landing: Landing) -> tuple[str, str]:
    """Another store may use the names of this one: the commit is then part of ours."""
    plain = submit_ref(landing.task_id, landing.number)
    return plain, f"{plain}-{landing.commit[:16]}"


def _fetched(common: Common, remote: str, refspec: str) -> None:
    """Raises NotNow, Tampered."""
    options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
    asked(common, remote, "fetch", *options, "--refmap=", remote, refspec, seconds=MOVE_SECONDS)


def put(common: Common, remote: str, commit: str, ref: str) -> None:
    """The remote's ref leads to the commit. Raises NotNow where it does not, or cannot be forwarded to it; Tampered."""
    why = _pushed(common, remote, commit, ref)
    if looked(common, remote, ref) != commit:
        raise why or NotNow(f"{remote} took {ref} and does not have it")


def pushed(common: Common, remote: str, target: str, candidate: Candidate) -> Landed:
    """Raises Moved, NotNow, Tampered."""
    ref = f"refs/heads/{target}"
    if looked(common, remote, ref) != candidate.tip:
        raise Moved
    why = _pushed(common, remote, candidate.commit, ref)
    now = looked(common, remote, ref)
    if now == candidate.tip:
        raise why or NotNow(f"{remote} said that it took {target} and did not move it")
    if now == candidate.commit:
        with suppress(GitFailed):  # the next fetch does it
            common.git("update-ref", fetched_ref(remote, target), candidate.commit)
    elif landed_there(common, remote, target, candidate.commit) is None:
        raise Moved
    return Landed(commit=candidate.commit, note=f"pushed to {target} of {remote}")


def landed_there(common: Common, remote: str, target: str, commit: str) -> str | None:
    """The commit, if the remote's branch has it. Raises NotNow, Tampered."""
    return commit if common.contains(fetched_tip(common, remote, target), commit) else None


def _pushed(common: Common, remote: str, commit: str, ref: str) -> NotNow | None:
    """Why it was not taken, as far as git knows: an answer may be lost, so look. Raises Tampered."""
    try:
        push(common, remote, refspecs=[f"{commit}:{ref}"])
    except GitFailed as error:
        rows = [line.split("\t") for line in error.output.decode(errors="replace").splitlines()]
        if (summary := next((row[2] for row in rows if row[0] == "!" and len(row) > 2), None)) is None:
            return _away(remote, error)
        text = f"{remote} refused {ref.removeprefix('refs/heads/')}: {_shown(summary, error.said)}"
        return NotNow(text, passing=any(one in f"{summary} {error.said}" for one in _PASSING))
    return None


def push(common: Common, remote: str, *options: str, refspecs: Sequence[str]) -> None:
    """Raises GitFailed, Tampered."""
    given = ("--porcelain", "--no-progress", "--no-verify", "--no-follow-tags", "--recurse-submodules=no", *options)
    settings = (*_OPTIONS, *_alias(common, remote))
    _run(common, "push", *given, _ALIAS, *refspecs, seconds=MOVE_SECONDS, settings=settings)


def _alias(common: Common, remote: str) -> list[tuple[str, str]]:
    """Settings of a remote that is the same, but whose branches git keeps no note of: what a person fetched last is what their
    own --force-with-lease compares with, and must not move. Raises GitFailed, Tampered."""
    before = f"remote.{remote}."
    found: list[tuple[str, str]] = []
    for entry in common.run("config", "--null", "--list", as_person=True).decode(errors="surrogateescape").split("\0"):
        key, _, value = entry.partition("\n")
        if key.startswith(before) and (name := key.removeprefix(before)) not in ("fetch", "push", "mirror"):
            found.append((f"remote.{_ALIAS}.{name}", value))
    return found


def asked(common: Common, remote: str, *arguments: str, settings: Sequence[tuple[str, str]] = (), **more: Any) -> bytes:
    """What git prints that asks the remote. Raises NotNow, Tampered."""
    try:
        return _run(common, *arguments, settings=[*_OPTIONS, *settings], **more)
    except GitFailed as error:
        raise _away(remote, error) from None


def _run(common: Common, *arguments: str, **more: Any) -> bytes:
    """Nothing asks a person; what logs them in without a question does so."""
    env = dict(_QUIET)
    ssh = os.environ.get("GIT_SSH_COMMAND") or _setting(common, "core.sshCommand", as_person=True)
    ssh = ssh or shlex.quote(os.environ.get("GIT_SSH") or "ssh")
    env["GIT_SSH_COMMAND"] = f"{ssh} -o BatchMode=yes" if _is_openssh(ssh) else ssh
    return common.run(*arguments, env=env, as_person=True, ends_with_us=True, **more)


def _is_openssh(command: str) -> bool:
    try:
        return Path(next(iter(shlex.split(command)), "")).name == "ssh"
    except ValueError:
        return False


def _setting(common: Common, name: str, *, as_person: bool = False) -> str | None:
    try:
        return common.git("config", "--get", name, as_person=as_person) or None
    except GitFailed:
        return None


def _away(remote: str, error: GitFailed) -> NotNow:
    """A remote that is away, asks for a login or has another kind of objects: of no fault of the work, so it is tried again."""
    return NotNow(f"{remote} does not answer as it should: {_shown(str(error), error.said)}")


def _shown(first: str, said: str) -> str:
    """What git and the remote said, in one line, without secrets."""
    lines = [line.strip() for line in said.replace("\r", "\n").splitlines()]
    lines = [
        line for line in lines if line.startswith(("remote: ", "fatal: ", "error: ")) and "failed to push" not in line
    ]
    parts = dict.fromkeys([first.strip(), *(line.partition(": ")[2].strip() for line in lines)])
    text = "; ".join(part for part in parts if part)
    plain = "".join(c if c.isprintable() else " " for c in redact(text))
    return plain if len(plain) <= _MOST_SAID else f"{plain[:_MOST_SAID]}..."
