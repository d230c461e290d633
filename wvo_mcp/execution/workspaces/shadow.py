"""The workspace of a task where there is no git, or its agent wants none: a copy of the project's folder, and a repository of
our own beside it.

The copy shares nothing with the project: no hard link, and no symbolic link that leads out of it. Its repository holds what
it began with, its checkpoints, and what the project's files were before a promotion; no agent works in it.
"""

import os
import re
import shutil
import stat
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvo_mcp.execution.git import run_git
from wvo_mcp.execution.workspaces import guard
from wvo_mcp.execution.workspaces.repository import Common
from wvo_mcp.execution.workspaces.snapshot import LARGEST, NotSubmittable, Tree
from wvo_mcp.execution.workspaces.worktree import (
    INDEXES,
    SHADOWS,
    Row,
    facts_of,
    process_in,
    shadow_repository,
    tree_of,
)

MOST_BYTES = 2_048 << 20
MOST_FILES = 100_000
OLD_SECONDS = 24 * 3_600
"""Of a copy: after that people are told that the project may have gone on."""
_KEPT_SECONDS = 7 * 24 * 3_600
"""A repository stays so long after its copy: it has what promotions replaced."""
_TRIES = 3
_BASE = "refs/wvo/base"
_MADE = ("node_modules/", ".venv/", "__pycache__/", "*.pyc")
"""What programs make again; it is copied, and never promoted."""
_NO_REPOSITORY = "A copy of a project, which wvo-mcp promotes. There is no git in it.\n"
"""In place of `.git`: without it, git in the copy would work in the person's repository, which is around it. Who looks for the
project from here finds that one all the same."""
_BYTES_AS_THEY_ARE = "* -text -ident -filter !working-tree-encoding\n"


class NoShadow(Exception):
    """The folder cannot be copied; the text says why, and what a person can do."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What is to be copied, as paths below the project: `folders`, `files` and `links`; `apart`: links that lead out of the
    project, and what is no file."""

    folders: Sequence[str]
    files: Sequence[str]
    links: Sequence[str]
    apart: Sequence[str]


def surveyed(root: Path, spared: Collection[Path], project: Common | None = None) -> Survey:
    """All that is below `root`, but for the folders `spared` and the repository `project` itself. Raises NoShadow, OSError."""
    if project is not None and (project.top != root or project.git_dir == root):
        raise NoShadow(
            f"{root} is not the top of a checkout, and only a whole one can be copied; ask for mode worktree"
        )
    instead = "ask for mode worktree" if project else "run wvo-mcp in that repository instead"
    smaller = "ask for mode worktree" if project else "make it a git repository (git init)"
    folders, files, links, apart = list[str](), list[str](), list[str](), list[str]()
    size, waiting = 0, [root]
    while waiting:
        folder = waiting.pop()
        with suppress(FileNotFoundError):  # somebody removes it just now
            for entry in list(os.scandir(folder)):
                path = folder / entry.name
                if path in spared or (project is not None and path == root / ".git"):
                    continue
                name = path.relative_to(root).as_posix()
                if entry.name.lower() == ".git":
                    raise NoShadow(
                        f"{name} is a git repository within it, whose files could not be promoted; {instead}"
                    )
                with suppress(FileNotFoundError):
                    if entry.is_symlink():
                        (links if _stays_inside(root, path) else apart).append(name)
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                        waiting.append(path)
                    elif entry.is_file(follow_symlinks=False):
                        size += entry.stat(follow_symlinks=False).st_size
                        files.append(name)
                    else:
                        apart.append(name)
        if size > MOST_BYTES or len(files) > MOST_FILES:
            raise NoShadow(
                f"the folder holds more than {MOST_BYTES >> 20:,} MB or {MOST_FILES:,} files, too much to be copied for each"
                f" task; {smaller}"
            )
    return Survey(sorted(folders), sorted(files), sorted(links), sorted(apart))


def _stays_inside(root: Path, path: Path) -> bool:
    target = path.readlink()
    return not target.is_absolute() and Path(os.path.normpath(path.parent / target)).is_relative_to(root)


def made(root: Path, row: Row, spared: Collection[Path], project: Common | None = None) -> dict[str, Any]:
    """The copy and its repository; {base_sha, facts} of its row. `project`: the person's repository, which is read for what it
    ignores and what it has all the same. Raises NoShadow, Tampered, GitFailed, OSError."""
    path, git_dir = Path(row["path"]), shadow_repository(row)
    found = surveyed(root, spared, project)
    _copied(root, path, found)
    ours = [one.relative_to(root) for one in spared if one.is_relative_to(root)]
    apart_from = ["/" + re.sub(r"([*?\[\\!#])", r"\\\1", one.as_posix()) + "/" for one in ours]
    if project is not None:
        (path / ".git").write_text(_NO_REPOSITORY)
    _initialised(git_dir, [*(_MADE if project is None else _ignored(project)), *apart_from])
    facts = {**facts_of(row), "baseline": guard.taken(git_dir), "ours": [one.as_posix() for one in ours]}
    common = Common.beside(root, git_dir, facts)
    nothing = common.committed(common.git("mktree"), (), "Nothing")
    tree = Tree(common, path, nothing, index_of(row))
    with tree.own_index() as own:
        names = {*tree.changes(own).new}
        if project is not None:  # what the person's git has, it has although it is ignored
            names |= _tracked(project) & {*found.files, *found.links}
        apart = sorted(name for name in names if tree.size(name) > LARGEST or tree.holds_secret(name))
        tree.enter(own, sorted(names.difference(apart)), ())
        base = common.committed(tree.run(own, "write-tree").decode().strip(), (), f"What {row['task_id']} began with")
        tree.begin(Path(own["GIT_INDEX_FILE"]))
    common.pin(_BASE, base)
    why = "There is no git here" if project is None else "It is not in git"
    notes = [f"{why}: it works in a copy of the folder, which is promoted when the task is completed."]
    if unseen := [*apart, *found.apart]:
        notes.append(f"Never promoted, as they are too large, hold a secret or lead elsewhere: {_few(unseen)}.")
    return {"base_sha": base, "facts": {**facts, "included": unseen, "note": " ".join(notes)}}


def _ignored(project: Common) -> list[str]:
    """Lines that say what the person's git ignores besides the .gitignore files; the last one counts."""
    named = project.setting("core.excludesfile", "--type=path")
    files = [*([Path(named)] if named else []), project.git_dir / "info" / "exclude"]
    return [line for file in files if file.is_file() for line in file.read_text("utf-8", "surrogateescape").split("\n")]


def _tracked(project: Common) -> set[str]:
    """The paths in the person's index, which is only read."""
    index = project.git_dir / Path(project.head).with_name("index")
    printed = project.run("ls-files", "-z", env={"GIT_INDEX_FILE": str(index)})
    return set(printed.decode(errors="surrogateescape").split("\0")) - {""}


def _copied(root: Path, path: Path, found: Survey) -> None:
    """A file that changes while it is copied is copied again, a few times. Raises OSError."""
    path.mkdir(parents=True)
    for name in found.folders:
        (path / name).mkdir(exist_ok=True)
    for name in found.links:
        with suppress(FileNotFoundError):
            (path / name).symlink_to((root / name).readlink())
    for name in found.files:
        for _ in range(_TRIES):
            try:
                before = (root / name).lstat()
                if not stat.S_ISREG(before.st_mode):
                    break
                shutil.copy2(root / name, path / name, follow_symlinks=False)
                if _mark(before) == _mark((root / name).lstat()):
                    break
            except FileNotFoundError:  # somebody removed it meanwhile
                (path / name).unlink(missing_ok=True)
                break
    for name in reversed(found.folders):
        with suppress(FileNotFoundError):
            shutil.copystat(root / name, path / name)


def _mark(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _initialised(git_dir: Path, excluded: Sequence[str]) -> None:
    git_dir.mkdir(parents=True, mode=0o700)
    named = {"GIT_DIR": str(git_dir), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    run_git(git_dir, "init", "--quiet", "--bare", "--template=", env=named)
    (git_dir / "info").mkdir(exist_ok=True)
    lines = "".join(f"{line}\n" for line in excluded)
    (git_dir / "info" / "exclude").write_text(lines, "utf-8", "surrogateescape")
    (git_dir / "info" / "attributes").write_text(_BYTES_AS_THEY_ARE)


def index_of(row: Row) -> Path:
    return Path(row["path"]).parent / INDEXES / row["workspace_id"]


def is_whole(row: Row) -> bool:
    path = Path(row["path"])
    return path.is_dir() and path.resolve() == path and has_repository(row)


def has_repository(row: Row) -> bool:
    return (shadow_repository(row) / "HEAD").is_file()


def is_clean(root: Path, row: Row) -> bool:
    """It holds nothing but what it began with. Raises Tampered, GitFailed."""
    tree = tree_of(root, row)
    try:
        return tree.common.tree_of(tree.commit("What is here")) == tree.common.tree_of(tree.base)
    except NotSubmittable:
        return False


def dropped(row: Row) -> None:
    """The copy that nobody has worked in, or that holds nothing; its repository stays for a while. Raises OSError."""
    path = Path(row["path"])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    index_of(row).unlink(missing_ok=True)
    git_dir = shadow_repository(row)
    if (git_dir / _BASE).exists():
        os.utime(git_dir)
    elif git_dir.is_dir():  # it was never finished
        shutil.rmtree(git_dir)


def removed(root: Path, row: Row) -> str | None:
    """Take it away when all that it holds was promoted; else why not. Raises Tampered, GitFailed, OSError."""
    path = Path(row["path"])
    if path.exists():
        if (inside := process_in(path)) is not None:
            return f"process {inside} works in it"
        if not is_whole(row):
            return "its repository is gone: nobody can say what it holds"
        tree = tree_of(root, row)
        try:
            here = tree.commit("What is here")
        except NotSubmittable as error:
            return f"it holds work that was not promoted: {error}"
        if tree.common.tree_of(here) != tree.common.tree_of(tree.base):
            return "it holds work that was not promoted"
    dropped(row)
    return None


def swept(folder: Path, live: Collection[str]) -> None:
    """Remove repositories whose copies are gone for a week. Raises OSError."""
    for git_dir in (folder / SHADOWS).glob("*.git"):
        if git_dir.stem not in live and time.time() - git_dir.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(git_dir)


def outgrown(size: int, age: float) -> str | None:
    """What people should look at; `size` in bytes, `age` in seconds."""
    if size > MOST_BYTES:
        return f"it holds {size >> 20:,} MB; at most {MOST_BYTES >> 20:,} are meant for a copy"
    if age > OLD_SECONDS:
        return f"it was copied {age / 3_600:,.0f} hours ago: the project may have gone on without it"
    return None


def _few(names: Sequence[str]) -> str:
    shown = [name.encode(errors="replace").decode() for name in names[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
