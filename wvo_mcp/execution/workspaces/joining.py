"""Commits joined into one, as objects only: what git cannot join is in the files, for somebody to decide.

Where conflict markers cannot say it (a binary file, a link, one that a side removed), a note among the files does, with a
marker of its own. Whoever has decided deletes the note.
"""

import re
import shlex
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wvo_mcp.domain.validation import shown
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.lfs import POINTER
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import Tree, joined

_ANY = "[0-9a-f]{40}"


@dataclass(frozen=True, slots=True)
class Merged:
    """A commit that holds all of several. `conflicts`: paths that somebody has to decide, the notes among them; `marks`: what
    their conflict markers are labelled with."""

    commit: str
    conflicts: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """`said`: by path, what git says of it."""

    tree: str
    paths: tuple[str, ...]
    said: Mapping[str, Sequence[str]]


def merged(common: Common, base: str, others: Sequence[str]) -> Merged:
    """`base` with the others merged one after the other, as commits that no branch knows. Raises Tampered, GitFailed."""
    conflicts: dict[str, None] = {}
    marks: list[str] = []
    for other in others:
        if common.contains(base, other):
            continue
        if common.contains(other, base):
            base = other
            continue
        found = _attempt(common, base, other)
        tree = found.tree
        if found.paths:
            tree, notes = _noted(common, found, base, other)
            conflicts |= dict.fromkeys((*found.paths, *notes))
            marks.append(base)
        base = common.committed(tree, (base, other), f"Merge {other[:12]}\n")
    return Merged(base, tuple(conflicts), tuple(marks))


def unresolved(tree: Tree, commit: str, names: Sequence[str], marks: Collection[str]) -> list[str]:
    """Paths that still have one of the markers: of these names as they are here, since git may ignore them, and of all that
    the commit holds, since they may have been renamed. Raises Tampered, GitFailed."""
    if not names:
        return []
    labels = marks or (_ANY,)
    line = re.compile(f"^<+ (?:{'|'.join(labels)})".encode(), re.MULTILINE)
    here = [name for name in names if line.search(tree.read(name) or b"")]
    return list(dict.fromkeys((*here, *_marked(tree.common, commit, labels))))


def _attempt(common: Common, ours: str, theirs: str) -> _Attempt:
    """Raises GitFailed where git could not even try."""
    try:
        printed = common.run("merge-tree", "--write-tree", "--name-only", "-z", ours, theirs)
    except GitFailed as error:
        if error.code != 1:
            raise
        printed = error.output
    parts = iter(printed.decode(errors="surrogateescape").split("\0"))
    tree, paths = next(parts), dict[str, None]()
    for path in parts:
        if not path:
            break
        paths[path] = None
    said: dict[str, list[str]] = {}
    for number in parts:
        if not number.strip().isdecimal():
            break
        about, kind, text = [next(parts) for _ in range(int(number))], next(parts), next(parts)
        if kind != "Auto-merging":
            for path in about:
                said.setdefault(path, []).append(text.strip())
            if kind.startswith("CONFLICT") and not paths.keys() & set(about):
                paths |= dict.fromkeys(about)
    return _Attempt(tree.strip(), tuple(paths), said)


def _noted(common: Common, found: _Attempt, ours: str, theirs: str) -> tuple[str, list[str]]:
    """The tree with a note of what has no markers, and the note's path."""
    marked = set(_marked(common, found.tree, (ours,)))
    pointers = [name for name in found.paths if name in marked and _is_pointer(common, f"{found.tree}:{name}")]
    if not (silent := [name for name in found.paths if name not in marked or name in pointers]):
        return found.tree, []
    note = f"CONFLICTS.{theirs[:12]}.txt"
    text = _text(common, found, silent, pointers, ours, theirs).encode(errors="surrogateescape")
    blob = common.git("hash-object", "-w", "--stdin", "--no-filters", content=text)
    lines = [f"100644 {blob}\t{note}"]
    for name in pointers:  # a pointer with markers in it leads nowhere
        of_ours = common.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ours}:{name}")
        lines.append(f"100644 {of_ours}\t{name}")
    with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
        own = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        common.run("read-tree", found.tree, env=own)
        common.run("update-index", "-z", "--index-info", content=joined(lines), env=own)
        return common.git("write-tree", env=own), [note]


def _text(
    common: Common, found: _Attempt, silent: Sequence[str], pointers: Sequence[str], ours: str, theirs: str
) -> str:
    lines = [
        "git could not join the paths below, and could not leave conflict markers in them. Decide what each of them is to",
        "become. Then delete this file; as long as it is here, nothing can be submitted.",
        "",
        f"<<<<<<< {ours}",
    ]
    for name in silent:
        lines += [shown(name), *(f"    {text}" for text in found.said.get(name, ()))]
        known = name.removesuffix(f"~{ours}").removesuffix(f"~{theirs}")  # what git added to keep two apart
        for side in (ours, theirs):
            has = _has(common, f"{side}:{known}")
            filtered = " | git lfs smudge" if name in pointers else ""
            lines.append(
                f"    git show {shlex.quote(f'{side}:{known}')}{filtered}" if has else f"    {side[:12]} has none"
            )
    return "\n".join([*lines, f">>>>>>> {theirs}", ""])


def _has(common: Common, revision: str) -> bool:
    try:
        common.git("rev-parse", "--verify", "--quiet", "--end-of-options", revision)
    except GitFailed:
        return False
    return True


def _is_pointer(common: Common, revision: str) -> bool:
    return common.run("cat-file", "blob", revision).startswith(POINTER)


def _marked(common: Common, revision: str, marks: Collection[str]) -> list[str]:
    """Paths of the commit or tree with a conflict marker that is labelled so."""
    patterns = [one for mark in marks for one in ("-e", f"^<+ {mark}")]
    try:
        printed = common.run("grep", "--no-color", "-a", "-l", "-z", "-E", *patterns, revision, "--")
    except GitFailed as error:
        if error.code != 1:
            raise
        return []
    names = printed.decode(errors="surrogateescape").split("\0")
    return [name.removeprefix(f"{revision}:") for name in names if name]
