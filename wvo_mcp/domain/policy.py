"""What people say that agents may do (`state/policy.yaml`; contract, section 13), and what is said of one act."""

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from wvo_mcp.domain import sandbox as sandboxes
from wvo_mcp.domain.rules import Difference


class Verdict(IntEnum):
    """From the mildest to the strictest."""

    ALLOW = 0
    WATCH = 1
    """Done, and recorded; asked when nobody attends."""
    ASK = 2
    DENY = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """`reason` is a sentence that a model can act on; `subject` the part that it is about."""

    verdict: Verdict
    rule: str = "default"
    reason: str = ""
    subject: str = ""


ALLOWED = Judgement(Verdict.ALLOW)

SEVERITIES = MappingProxyType(
    {"info": Verdict.ALLOW, "warning": Verdict.WATCH, "error": Verdict.ASK, "critical": Verdict.DENY}
)

PROTECTED = (
    *(".git", ".gitmodules", ".gitattributes", ".lfsconfig", ".worktreeinclude", ".gitconfig"),
    *("/state/", "/directives/", "/flows/"),
    *(".mcp.json", ".claude", ".codex", ".gemini", ".agents", ".cursor", ".windsurf", ".aider*", ".continue"),
    *("CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "AGENTS.override.md", "GEMINI.md", ".cursorrules"),
    *(".github/workflows/", ".github/actions/", ".gitlab-ci.yml", ".circleci", ".travis.yml", "Jenkinsfile"),
    *("azure-pipelines.yml", "bitbucket-pipelines.yml", ".buildkite", ".drone.yml", ".woodpecker*", "appveyor.yml"),
    *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".zshrc", ".zshenv", ".zprofile"),
    *(".zlogin", ".zlogout", ".inputrc", ".envrc", ".ssh", ".netrc", ".config/fish/"),
    *(".vscode", ".idea", ".zed", ".fleet", ".devcontainer", "*.code-workspace"),
    *(".vimrc", ".exrc", ".nvimrc", ".nvim.lua"),
    *(".husky", ".githooks", ".pre-commit-config.yaml", "lefthook.yml", ".lefthook.yml"),
)
"""Paths that only people change, written as in .gitignore: one without a slash within it is meant in every folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyPolicy:
    """As it holds. Paths are globs as in .gitignore, `allowed` also absolute or below `~/`; commands are patterns such as
    `git push`: the program's name, then words in this order, each a glob."""

    allowed: tuple[str, ...] = ()
    """May be read and written, although outside of the workspace or protected."""
    forbidden: tuple[str, ...] = ()
    """Neither read nor written."""
    protected: tuple[str, ...] = PROTECTED
    allow: tuple[str, ...] = ()
    """Commands that need not be asked for, although the product's lists say so."""
    block: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    watch: tuple[str, ...] = ()
    severities: Mapping[str, str] = field(default_factory=lambda: dict(DEFAULT_SEVERITIES))
    asks: int = 20
    """Questions of one task that people are asked; more are denied."""
    command_bytes: int = 100_000
    """Longer commands are asked."""
    file_mb: int = 50
    """Of one changed file. New ones of more than 10 MB enter no snapshot."""
    workspace_mb: int = 1_024
    """Of what differs in one workspace."""
    workspaces_mb: int = 10_240
    """Of what differs in all open workspaces of a host."""
    sandbox: sandboxes.SandboxPolicy = field(default_factory=sandboxes.SandboxPolicy)

    def protects(self, path: str) -> str | None:
        """The pattern that keeps this path, relative to the workspace, from being written."""
        of_git = matching((".git",), path)
        return of_git or (None if matching(self.allowed, path) else matching(self.protected, path))

    def verdict(self, kind: str) -> Verdict:
        """Of `outside`, `protected` or `forbidden`."""
        return SEVERITIES[self.severities[kind]]


DEFAULT_SEVERITIES = MappingProxyType(
    {"outside": "error", "protected": "error", "forbidden": "critical"}
    | {"drift": "warning", "reserved": "warning", "executable": "warning", "submodule": "warning"}
    | {"size": "error", "quota": "error"}
)
"""`outside` is also of symbolic links; those after `forbidden` are of changed files only."""
LIMITS = MappingProxyType(
    {"asks": 20, "command_bytes": 100_000, "file_mb": 50, "workspace_mb": 1_024, "workspaces_mb": 10_240}
)
FORBIDDING = (
    *(("paths", one) for one in ("forbidden", "protected")),
    *(("commands", one) for one in ("block", "ask", "watch")),
)
ALLOWING = (("paths", "allowed"), ("commands", "allow"))

Stated = Mapping[str, Any]
"""Of the file, JSON-ready: {paths: {name: [glob]}, commands: {name: [pattern]}, severities: {kind: severity}, limits:
{name: number}}; what is empty or the default may be left out."""


def held_back(stated: Stated, accepted: Stated) -> tuple[SafetyPolicy, list[Difference]]:
    """The policy that holds, and what waits for a person: what forbids more holds at once, what allows more once it was
    accepted; what was accepted and forbids holds until a person accepts that it goes."""
    lists: dict[str, tuple[str, ...]] = {}
    differences: list[Difference] = []
    for kind, name in FORBIDDING:
        now, then = _list(stated, kind, name), _list(accepted, kind, name)
        gone = [one for one in then if one not in now]
        if gone:
            differences.append(Difference(f"{kind}.{name}", gone, None))
        shipped = PROTECTED if name == "protected" else ()
        lists[name] = tuple(dict.fromkeys((*shipped, *then, *now)))
    for kind, name in ALLOWING:
        now, then = _list(stated, kind, name), _list(accepted, kind, name)
        more = [one for one in now if one not in then]
        if more:
            differences.append(Difference(f"{kind}.{name}", None, more))
        lists[name] = tuple(one for one in now if one in then)
    severities: dict[str, str] = {}
    for kind, default in DEFAULT_SEVERITIES.items():
        now, then = (one.get("severities", {}).get(kind, default) for one in (stated, accepted))
        milder = SEVERITIES[now] < SEVERITIES[then]
        severities[kind] = then if milder else now
        if milder:
            differences.append(Difference(f"severities.{kind}", then, now))
    limits: dict[str, int] = {}
    for name, default in LIMITS.items():
        now, then = (one.get("limits", {}).get(name, default) for one in (stated, accepted))
        limits[name] = min(now, then)
        if now > then:
            differences.append(Difference(f"limits.{name}", then, now))
    of_sandbox, more = sandboxes.held_back(stated.get("sandbox", {}), accepted.get("sandbox", {}))
    made: dict[str, Any] = {**lists, **limits, "severities": severities, "sandbox": of_sandbox}
    return SafetyPolicy(**made), [*differences, *more]


def waits(differences: list[Difference]) -> str | None:
    """One line for people, or None when nothing waits."""
    if not differences:
        return None
    names = ", ".join(one.name for one in differences)
    return f"policy.yaml allows more than a person has accepted: {names}. What was accepted holds; see wvo-mcp trust"


def matching(patterns: Sequence[str], path: str) -> str | None:
    """The pattern that covers the path or a folder above it, or that names something below the path. Letters that look or
    fold alike are alike: some file systems do not tell them apart."""
    compiled = _compiled(tuple(patterns))
    for plain in spellings(path.strip("/")):
        parts = plain.split("/")
        for pattern, (name, wanted, within) in compiled:
            if (name in parts) if name else _covers(wanted, parts):
                return pattern
            if within and within.startswith(plain + "/"):
                return pattern
    return None


def _covers(wanted: Sequence[str], parts: Sequence[str]) -> bool:
    """Folder by folder: a pattern takes no more time than its length times that of the path."""
    reached = {0}
    for one in wanted:
        if one == "**":
            reached = set(range(min(reached), len(parts)))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and fnmatchcase(parts[at], one)}
        if not reached:
            return False
    return True


def spellings(path: str) -> Iterator[str]:
    """The path folded; and, where it is another one, without the dots and blanks that Windows leaves out after a name."""
    plain = folded(path)
    yield plain
    if ". " in plain or "./" in plain or " /" in plain or plain.endswith((".", " ")):
        bare = "/".join(one.rstrip(". ") or one for one in plain.split("/"))
        if bare != plain:
            yield bare


def folded(path: str) -> str:
    """Compatible letters become the plain ones; what is not shown is left out, as HFS+ does."""
    if path.isascii():
        return path.lower()
    shown = "".join(one for one in unicodedata.normalize("NFKC", path) if unicodedata.category(one) != "Cf")
    return shown.casefold()


@lru_cache(maxsize=64)
def _compiled(patterns: tuple[str, ...]) -> tuple[tuple[str, tuple[str, Sequence[str], str]], ...]:
    return tuple((one, _split(folded(one))) for one in patterns)


def _split(pattern: str) -> tuple[str, Sequence[str], str]:
    """Its one name in any folder, if it is no more; its parts, anchored when a slash is at its beginning or within it; and
    what it names literally, if it is several folders deep."""
    inner = pattern.strip("/")
    anchored, literal = pattern.startswith("/") or "/" in inner, not any(one in inner for one in "*?")
    parts = inner.replace("[", "[[]").split("/")
    return (
        inner if literal and not anchored else "",
        parts if anchored else ["**", *parts],
        inner if literal and "/" in inner else "",
    )


def _list(stated: Stated, kind: str, name: str) -> Iterable[str]:
    return stated.get(kind, {}).get(name, ())
