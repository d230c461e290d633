"""What in a repository decides which programs git runs and which objects and files it reads: remembered at a launch, and
compared before each command of ours.

A person works in the same repository meanwhile, and their tools note upstreams and the like in its config. Such keys make
git run and read nothing; they may change. Whatever else changes stops our work there until a person has looked.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed, run_git

Baseline = Mapping[str, object]
"""JSON-ready: {files: {path: digest}, config: {key: [digest of a value]}}. No value is kept: some hold passwords."""

_WATCHED = ("config", "config.worktree", "hooks", "info", "objects/info/alternates", "objects/info/http-alternates")
_WRITTEN_BY_GIT = frozenset({"info/refs"})
_EXCLUDE = "info/exclude"
_OURS = re.compile(rb"/(?:[^\n*?\[\\]|\\[^\n])*(?<=/)(?:worktrees|workers)/")
"""A line with which another store of the repository keeps its own folders out: it names one folder, by no pattern."""
_LARGEST = 1 << 20
_MOST_FILES = 10_000
_SHOWN = 20
_LONGEST_HOOK = 1_024
_HARMLESS = re.compile(
    r"branch\..+\.(?:remote|merge|pushremote|rebase|description|vscode-merge-base|gh-merge-base|github-pr-[a-z-]+)"
    r"|gui\..+|lfs\.(?:.+\.access|repositoryformatversion)",
    re.DOTALL,
)

_BEGUN = re.compile(r"submodule\..+\.(?:url|active)", re.DOTALL)
"""What `git submodule init` adds. The commit that is fetched from there is one that the repository names."""

_LFS_HOOK = re.compile(
    rb"#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 \|\| \{ (?:echo|printf) >&2(?: \"[^\"$`\n]*\")+; exit 2; \}\n"
    rb"git lfs (post-checkout|post-commit|post-merge|pre-push) \"\$@\"\n?"
)
"""What Git LFS adds by itself wherever it is run, such as by `git lfs pull` of a setup: it runs nothing but that program."""


def taken(git_dir: Path) -> Baseline:
    """As it is now. Raises GitFailed."""
    return {"files": _files(git_dir), "config": {key: [_of(one) for one in all_] for key, all_ in _config(git_dir)}}


def difference(git_dir: Path, baseline: Baseline) -> str | None:
    """What is not as it was, in lines for a person; None: nothing that matters. Raises GitFailed."""
    before, now = cast("Mapping[str, str]", baseline["files"]), _files(git_dir)
    changed = sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))
    changed = [path for path in changed if path in before or not _is_lfs_hook(git_dir, path)]
    known = cast("Mapping[str, list[str]]", baseline["config"])
    if not changed and not any(key.startswith(("include.", "includeif.")) for key in known):
        return None
    lines = [_line(path, before, now) for path in changed if path != "config"]
    settings = dict(_config(git_dir))
    for key in sorted(known.keys() | settings.keys()):
        if _HARMLESS.fullmatch(key) or (key not in known and _BEGUN.fullmatch(key)):
            continue
        if [_of(one) for one in settings.get(key, ())] == known.get(key, []):
            continue
        what = "was removed" if key not in settings else f"is now {redact(', '.join(settings[key]))[:200]!r}"
        lines.append(f"config: {key} {what}")
    more = [f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "\n".join([*lines[:_SHOWN], *more]) or None


def _line(path: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    what = "was added" if path not in before else "was removed" if path not in now else "was changed"
    return f"{json.dumps(path, ensure_ascii=False)} {what}"


def _is_lfs_hook(git_dir: Path, path: str) -> bool:
    folder, _, name = path.rpartition("/")
    file = git_dir / path
    if folder != "hooks" or file.is_symlink() or not file.is_file() or file.stat().st_size > _LONGEST_HOOK:
        return False
    found = _LFS_HOOK.fullmatch(file.read_bytes())
    return found is not None and found[1].decode() == name


def _files(git_dir: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in _WATCHED:
        start = git_dir / name
        for path in sorted(start.rglob("*")) if start.is_dir() and not start.is_symlink() else [start]:
            relative = path.relative_to(git_dir).as_posix()
            if relative in _WRITTEN_BY_GIT or path.suffix == ".sample":
                continue
            if path.is_symlink():
                found[relative] = f"-> {path.readlink()}"
            elif path.is_file():
                with path.open("rb") as file:
                    content = file.read(_LARGEST)
                status = path.stat()
                if relative == _EXCLUDE and status.st_size <= _LARGEST:
                    if kept := [line for line in content.splitlines() if not _OURS.fullmatch(line)]:
                        found[relative] = _of(b"%d\n" % (status.st_mode & 0o111) + b"\n".join(kept))
                    continue
                found[relative] = _of(f"{status.st_mode & 0o111} {status.st_size}\0".encode() + content)
            elif path.exists() and not path.is_dir():
                found[relative] = "no file"
            if len(found) > _MOST_FILES:
                raise GitFailed(f"{start} holds more than {_MOST_FILES:,} files")
    return found


def _config(git_dir: Path) -> list[tuple[str, list[str]]]:
    """The values of each key of the repository's own config, and of what it includes. git only reads for it."""
    own = {"GIT_DIR": str(git_dir), "GIT_COMMON_DIR": str(git_dir), "GIT_WORK_TREE": str(git_dir)}
    if not (git_dir / "config").exists():
        return []
    printed = run_git(git_dir, "config", "--local", "--includes", "--null", "--list", env=own)
    keys: dict[str, list[str]] = {}
    for entry in printed.decode(errors="surrogateescape").split("\0")[:-1]:
        key, _, value = entry.partition("\n")
        keys.setdefault(key, []).append(value)
    return list(keys.items())


def keys_of(file: Path) -> list[str]:
    """Of one file of configuration and what it includes; none where there is no such file. Raises GitFailed."""
    if not file.is_file():
        return []
    printed = run_git(file.parent, "config", "--file", str(file), "--includes", "--name-only", "--null", "--list")
    return printed.decode(errors="surrogateescape").split("\0")[:-1]


def _of(value: str | bytes) -> str:
    content = value.encode(errors="surrogateescape") if isinstance(value, str) else value
    return hashlib.sha256(content).hexdigest()[:32]
