"""What the policy says of changed files (contract, section 13): pure, of what git's objects say that they are."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from wvo_mcp.domain.files import covers
from wvo_mcp.domain.policy import SafetyPolicy, matching, spellings

MOST_SHOWN = 100
"""Findings that are kept of one validation, the worst first."""
_GONE, _LINK, _MODULE, _PROGRAM = "000000", "120000", "160000", "100755"
_MB = 1 << 20


class Severity(IntEnum):
    """As the policy names them, from the mildest to the strictest."""

    INFO = 0
    """Logged."""
    WARNING = 1
    """People are notified."""
    ERROR = 2
    """A person decides whether it lands."""
    CRITICAL = 3
    """Never submitted."""


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. Modes are git's, six digits, 000000 where there is nothing. Bytes of the path that are not UTF-8
    are surrogates."""

    path: str
    mode: str
    old_mode: str
    blob: str

    @property
    def is_link(self) -> bool:
        return self.mode == _LINK

    @property
    def has_content(self) -> bool:
        return self.mode not in (_GONE, _MODULE)


@dataclass(frozen=True, slots=True)
class Content:
    """`size` in bytes; `link`: where a symbolic link leads; `program`: it begins as programs of a machine do."""

    size: int
    link: str | None = None
    program: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """`message` names the path, says what is wrong, and what to do."""

    severity: Severity
    rule: str
    path: str
    message: str

    def as_json(self) -> dict[str, Any]:
        return {
            "severity": self.severity.name.lower(),
            "rule": self.rule,
            "path": shown(self.path),
            "message": self.message,
        }


def key_of(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """What makes two findings the same; of one as JSON."""
    return line["severity"], line["rule"], line["path"]


@dataclass(frozen=True, slots=True)
class Validation:
    """`findings`: the worst, at most 100, of `violations`; `critical`: all that are. The paths of all `total` files are judged,
    the contents of `judged`, of which `cached` were judged before. `bytes`: of what differs."""

    findings: tuple[Finding, ...] = ()
    violations: int = 0
    judged: int = 0
    total: int = 0
    bytes: int = 0
    took_ms: int = 0
    critical: tuple[Finding, ...] = ()
    cached: int = 0

    @property
    def sampled(self) -> str | None:
        """In words, when not everything was looked at."""
        if self.judged == self.total:
            return None
        return f"the contents of {self.judged:,} of {self.total:,} changed files were looked at; all paths were"

    def at_least(self, severity: Severity) -> list[Finding]:
        return [one for one in self.findings if one.severity >= severity]


def validation(
    found: Collection[Finding], *, judged: int, total: int, size: int, took_ms: int = 0, cached: int = 0
) -> Validation:
    worst = sorted(found, key=lambda one: (-one.severity, one.path, one.rule))
    critical = tuple(one for one in worst if one.severity is Severity.CRITICAL)
    return Validation(tuple(worst[:MOST_SHOWN]), len(found), judged, total, size, took_ms, critical, cached)


def of_path(change: Change, policy: SafetyPolicy) -> Iterator[Finding]:
    """By its path and mode alone."""
    path, name = change.path, shown(change.path)
    if why := _untenable(path):
        yield Finding(Severity.CRITICAL, "traversal", path, f"{name} {why}. Remove it.")
        return
    if (rule := matching(policy.forbidden, path)) is not None:
        text = f"{name} is forbidden by the policy of this project ({rule}). Undo what you did to it."
        yield Finding(_severity(policy, "forbidden"), "forbidden", path, text)
    if (rule := policy.protects(path)) is not None:
        text = f"{name} is protected ({rule}): only people change it. Restore it as it was."
        yield Finding(_severity(policy, "protected"), "protected", path, text)
    if change.mode == _PROGRAM != change.old_mode:
        text = f"{name} became executable. If nothing has to run it, take the mode bit away (chmod -x)."
        yield Finding(_severity(policy, "executable"), "executable", path, text)
    if change.mode == _MODULE:
        text = f"{name} is another commit of a submodule, whose files are not judged."
        yield Finding(_severity(policy, "submodule"), "submodule", path, text)


def of_content(change: Change, content: Content, policy: SafetyPolicy) -> Iterator[Finding]:
    path, name = change.path, shown(change.path)
    if content.link is not None and (why := _leaves(path, content.link)):
        text = f"{name} is a symbolic link to {shown(content.link)}, which {why}. Let it lead to a file of the project."
        yield Finding(_severity(policy, "outside"), "outside", path, text)
    if content.program:
        text = f"{name} is a compiled program, which nobody can review. Leave it out; let the build make it."
        yield Finding(_severity(policy, "executable"), "executable", path, text)
    if content.size > policy.file_mb * _MB:
        text = f"{name} has {content.size // _MB:,} MB; at most {policy.file_mb:,} are allowed (limits.file_mb)."
        yield Finding(_severity(policy, "size"), "size", path, f"{text} Make it smaller or leave it out.")


def of_task(
    changes: Iterable[Change],
    policy: SafetyPolicy,
    files: Sequence[str],
    included: Collection[str],
    reserved: Collection[tuple[str, Sequence[str]]] = (),
) -> Iterator[Finding]:
    """What is wrong for this task only: `files` are the globs that it claims, `included` what `.worktreeinclude` brought,
    `reserved` the globs that others claim, each with its owner."""
    for change in changes:
        name = shown(change.path)
        if change.path in included:
            text = f"{name} came by .worktreeinclude: it belongs to this machine alone. Leave it out."
            yield Finding(Severity.ERROR, "included", change.path, text)
        if drifts(files, change.path):
            text = f"{name} is not among the files that the task claims. Say in your summary why it had to change, or undo it."
            yield Finding(_severity(policy, "drift"), "drift", change.path, text)
        owner = next((who for who, globs in reserved if any(covers(glob, change.path) for glob in globs)), None)
        if owner is not None:
            text = f"{name} belongs to {owner}, which is in progress: your changes may be in conflict. Undo them, or tell it."
            yield Finding(_severity(policy, "reserved"), "reserved", change.path, text)


def drifts(files: Sequence[str], path: str) -> bool:
    """Is it outside of the globs? Who claims no files drifts nowhere."""
    return bool(files) and not any(covers(glob, path) for glob in files)


def of_sizes(size: int, others: int, policy: SafetyPolicy) -> Iterator[Finding]:
    """`size`: bytes that differ in this workspace; `others`: in all other open ones of the host."""
    limits = (("workspace_mb", size, "this workspace holds"), ("workspaces_mb", size + others, "all workspaces hold"))
    for name, used, who in limits:
        if used > (most := getattr(policy, name)) * _MB:
            text = f"What differs in {who} {used // _MB:,} MB; at most {most:,} are allowed (limits.{name})."
            yield Finding(_severity(policy, "quota"), "quota", "", f"{text} Remove what need not be kept.")


def shown(path: str) -> str:
    """For a line that people and agents read: nothing in it moves the cursor or hides."""
    return path if path.isprintable() and path else repr(path)


def _severity(policy: SafetyPolicy, kind: str) -> Severity:
    return Severity[policy.severities[kind].upper()]


def _untenable(path: str) -> str | None:
    """Why no repository may hold such a path, whatever the policy says."""
    if not path or "\0" in path:
        return "is not a path"
    if path.startswith("/"):
        return "is absolute"
    for spelling in spellings(path):
        parts = spelling.split("/")
        if any(one.rstrip(" ") in (".", "..") or not one for one in parts):
            return "leads somewhere else than it says"
        if ".git" in parts:
            return "belongs to git"
    return None


def _leaves(path: str, target: str) -> str | None:
    """Why a link must not be followed. It may go up first, then only down: what is after a name could be another link."""
    if target.startswith("/") or not target:
        return "is outside of the project"
    parts = [one for one in target.split("/") if one not in ("", ".")]
    ups = next((at for at, one in enumerate(parts) if one != ".."), len(parts))
    if ups > path.count("/"):
        return "is outside of the project"
    if ".." in parts[ups:]:
        return "may lead outside of the project"
    if any(".git" in one.split("/") for one in spellings("/".join(parts[ups:]))):
        return "belongs to git"
    return None
