"""The target branch of this host moves to the candidate, with the checkouts that it is in.

A checkout is a person's: files and index move as git's own fast-forward would move them, or nothing does. They go first and
the branch last, by compare-and-swap. Cut off in between, git shows the landing as staged changes, and the next try goes on
from there.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os.path import lexists
from pathlib import Path
from shutil import which

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.git import Repository as Checkout
from wvo_mcp.execution.workspaces.guard import keys_of
from wvo_mcp.execution.workspaces.lfs import Contents, Pointer, is_content
from wvo_mcp.execution.workspaces.repository import Common, changed, disabled, filters_of
from wvo_mcp.execution.workspaces.worktree import INDEXES, admin
from wvo_mcp.ports.merging import Candidate, Landed, Moved, NotNow

_AT_ONCE = 500
_LFS = {
    "filter.lfs.process": "git-lfs filter-process",
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.required": "true",
}
"""What `git lfs install` sets: the files of a person's checkout are the content, not pointers to it."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A checkout of the target; `git_dir` is its own."""

    common: Common
    path: Path
    git_dir: Path
    off: Mapping[str, str]
    """Settings that keep programs of its own configuration from being run: anybody may have written that."""

    def run(self, *arguments: str, content: bytes = b"") -> bytes:
        options = _LFS.items() if self.common.lfs else ()
        given = [one for key, value in options for one in ("-c", f"{key}={value}")]
        env = {"GIT_DIR": str(self.git_dir)}
        off = [*self.off.items()]
        return self.common.run(*given, *arguments, content=content, env=env, tree=self.path, settings=off)


def landed_here(common: Common, target: str, candidate: Candidate, why: str) -> Landed:
    """Raises Moved, NotNow, GitFailed, Tampered."""
    ref = f"refs/heads/{target}"
    if common.commit_of(ref) != candidate.tip:
        raise Moved
    places = _places(common, target)
    for place in places:
        _check(place, candidate)
    moved: list[_Place] = []
    try:
        for place in places:
            _move(place, candidate)
            moved.append(place)
        common.git("update-ref", "-m", why, ref, candidate.commit, candidate.tip)
    except GitFailed as error:
        now = common.commit_of(ref)
        _moved_back(moved, candidate, now)
        if now != candidate.tip:
            raise Moved from None
        raise NotNow(f"{target} cannot be moved: {error}") from None
    note = f"checkout updated: {', '.join(str(place.path) for place in places)}" if places else None
    return Landed(commit=candidate.commit, note=note)


def _move(place: _Place, candidate: Candidate) -> None:
    """Raises GitFailed; the files are then as they were, if the disk has room for them."""
    try:
        place.run("read-tree", "-m", "-u", candidate.tip, candidate.commit)
    except GitFailed as error:
        if error.code is not None and error.code < 0:  # it was killed, and left its lock
            (place.git_dir / "index.lock").unlink(missing_ok=True)
        with suppress(GitFailed, OSError):
            _take_back(place, candidate)
        raise


def _take_back(place: _Place, candidate: Candidate) -> None:
    """Files that git has begun to write. They were checked a moment ago, and the index still says what they were."""
    before, after = (_entries(place, commit) for commit in (candidate.tip, candidate.commit))
    again: list[str] = []
    for name in candidate.files:
        path = place.path / name
        if name not in after:
            again += [] if lexists(path) else [name]
        elif path.is_file() and not path.is_symlink():
            if _is_begun(place, path, after[name][1]):
                path.unlink()
                again += [name] if name in before else []
        elif name in before and not lexists(path):
            again.append(name)
    place.run("checkout-index", "-f", "-z", "--stdin", content=_listed(again))


def _is_begun(place: _Place, path: Path, blob: str) -> bool:
    content = place.run("cat-file", "blob", blob)
    here = path.read_bytes()
    return content.startswith(here) or (
        (pointer := Pointer.of(content)) is not None and Contents.of(place.common).begin_with(pointer, here)
    )


def _moved_back(places: Sequence[_Place], candidate: Candidate, now: str | None) -> None:
    """Unless what moved the target took the files along: a person committed just then, and has the landing in the commit."""
    for place in places:
        if now is not None and now != candidate.tip and _holds(place.common, now, candidate):
            continue
        with suppress(GitFailed):  # somebody edits there; git shows the landing as changes
            place.run("read-tree", "-m", "-u", candidate.commit, candidate.tip)


def _holds(common: Common, commit: str, candidate: Candidate) -> bool:
    return not set(changed(common, candidate.commit, commit)) & set(candidate.files)


def _places(common: Common, target: str) -> list[_Place]:
    """Raises NotNow where the branch is in use in another way."""
    found: list[_Place] = []
    for number, (named, branch) in enumerate(common.worktrees().items()):
        path = named if number else common.checkout()
        git_dir = admin(common, named) if number else common.git_dir
        if path is None and branch == target:
            raise NotNow(f"{target} is checked out, and nothing says where: set core.worktree in {common.git_dir}")
        if git_dir is None or path is None:
            continue  # its folder is gone
        for kind in ("rebase-merge", "rebase-apply"):
            name = git_dir / kind / "head-name"
            if name.is_file() and name.read_text("utf-8", "replace").strip() == f"refs/heads/{target}":
                raise NotNow(f"{target} is being rebased in {path}")
        if branch != target:
            continue
        if (path.parent / INDEXES).is_dir():
            raise NotNow(f"{target} is checked out in {path}, the worktree of a task")
        found.append(_Place(common, path, git_dir, disabled(keys_of(git_dir / "config.worktree"))))
    return found


def _check(place: _Place, candidate: Candidate) -> None:
    """Raises NotNow unless the checkout can be moved along without a loss."""
    if (doing := Checkout(place.path, place.git_dir).unfinished()) is not None:
        raise NotNow(f"{place.path} is in the middle of {doing}")
    if (place.git_dir / "index.lock").exists():
        raise NotNow(f"another git command works in {place.path}, or one left {place.git_dir / 'index.lock'}")
    if other := _filters(place, candidate):
        raise NotNow(
            f"{other[1]} passes through the filter {other[0]}, which is not run here: advance {place.path} by hand (git merge"
            f" --ff-only {candidate.commit})",
            passing=False,
        )
    if (why := _in_the_way(place, candidate)) is not None:
        _take_up(place, candidate)
        if (why := _in_the_way(place, candidate)) is not None:
            raise NotNow(f"{place.path} {why}")


def _in_the_way(place: _Place, candidate: Candidate) -> str | None:
    with suppress(GitFailed):  # something was changed; whether that matters is asked below
        place.run("update-index", "-q", "--refresh")
    if there := _untracked(place, candidate):
        return f"has files of its own where work is to land: {', '.join(there[:5])}"
    try:
        place.run("read-tree", "-m", "-u", "-n", candidate.tip, candidate.commit)
    except GitFailed as error:
        return f"has changes where work is to land: {error}"
    return None


def _take_up(place: _Place, candidate: Candidate) -> None:
    """Files that are what they are to become are staged so: an earlier try was cut off (power, a full disk) while git wrote
    them. Raises GitFailed."""
    wanted = _entries(place, candidate.commit)
    gone = "0" * len(candidate.commit)
    lines: list[str] = []
    for name in candidate.files:
        path = place.path / name
        mode, blob = wanted.get(name, ("0", gone))
        if not lexists(path) if blob == gone else _is_that(place, path, mode, blob):
            lines.append(f"{mode} {blob}\t{name}")
    place.run("update-index", "-z", "--index-info", content=_listed(lines))


def _entries(place: _Place, commit: str) -> dict[str, tuple[str, str]]:
    """{path: (mode, object)}."""
    lines = place.run("ls-tree", "-r", "-z", commit).decode(errors="surrogateescape").split("\0")
    rows = (line.partition("\t") for line in lines if line)
    return {name: (known.split()[0], known.split()[2]) for known, _, name in rows}


def _listed(names: Sequence[str]) -> bytes:
    return "".join(f"{name}\0" for name in names).encode(errors="surrogateescape")


def _is_that(place: _Place, path: Path, mode: str, blob: str) -> bool:
    try:
        if path.is_symlink():
            content = os.fsencode(path.readlink()) if mode == "120000" else None
        else:
            fits = path.is_file() and mode == ("100755" if os.access(path, os.X_OK) else "100644")
            if fits and (pointer := Pointer.of(place.run("cat-file", "blob", blob))) is not None:
                return is_content(path, pointer) or path.read_bytes() == pointer.text
            content = path.read_bytes() if fits else None
    except OSError:
        return False
    return content is not None and place.run("hash-object", "--stdin", content=content).decode().strip() == blob


def _untracked(place: _Place, candidate: Candidate) -> list[str]:
    """Paths that the landing would write over, ignored ones too: git would not ask for those."""
    options = ("-r", "-z", "--name-only", "--no-renames", "--diff-filter=A")
    printed = place.run("diff-tree", *options, candidate.tip, candidate.commit)
    added = [name for name in printed.decode(errors="surrogateescape").split("\0") if name]
    above = {folder.as_posix() for name in added for folder in Path(name).parents[:-1]}
    files = [name for name in added if lexists(place.path / name)]
    files += [name for name in above if lexists(place.path / name) and not _is_folder(place.path / name)]
    found: list[str] = []
    for start in range(0, len(files), _AT_ONCE):
        part = files[start : start + _AT_ONCE]
        found += place.run("ls-files", "-z", "--others", "--", *part).decode(errors="surrogateescape").split("\0")
    return [name for name in dict.fromkeys(found) if name]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _filters(place: _Place, candidate: Candidate) -> tuple[str, str] | None:
    """A filter that would have to run, and the path; None when there is none but that of Git LFS, which is there."""
    printed = place.run("check-attr", "-z", "--stdin", "filter", content=_listed(candidate.files))
    if any(Path(name).name == ".gitattributes" for name in candidate.files):
        with tempfile.TemporaryDirectory(prefix="wvo-git-") as folder:
            to_be = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            place.common.run("read-tree", candidate.commit, env=to_be)
            how = ("check-attr", "-z", "--stdin", "--cached", "filter")
            printed += place.common.run(*how, content=_listed(candidate.files), env=to_be)
    parts = printed.decode(errors="surrogateescape").split("\0")
    known = place.common.filters() | filters_of(place.off)
    for name, value in zip(parts[0::3], parts[2::3], strict=False):
        if value in known and not (value == "lfs" and which("git-lfs") is not None):
            return value, name
    return None
