"""Which folders of a worktree are watched, and whose changes count: what a checkpoint would hold, and nothing else."""

import os
from collections.abc import Collection

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.snapshot import Tree, joined

MOST_FOLDERS = 5_000
"""Of one worktree. Watches are shared with all other programs of the person: editors need some, too."""
_MOST_KNOWN = 20_000
_RULES = ".gitignore"


class NotWatchable(Exception):
    """The worktree cannot be watched; the text says why in words."""


class Listing:
    """Of one worktree, as git sees it. For one thread at a time."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: dict[str, bool] = {}

    def folders(self) -> set[str]:
        """Those to watch, below the worktree, which itself is "". Never through a link: it may lead anywhere, or around.
        Neither what git ignores, such as node_modules, nor repositories within, whose files are in no checkpoint. Raises
        NotWatchable, Tampered, GitFailed, OSError."""
        ignored = self._ignored_folders()
        found, waiting = set[str](), [""]
        while waiting:
            here = waiting.pop()
            found.add(here)
            if len(found) > MOST_FOLDERS:
                raise NotWatchable(f"it has more than {MOST_FOLDERS:,} folders")
            try:
                inside = self._inside(here)
            except FileNotFoundError:
                if not here:
                    raise NotWatchable("its folder is gone") from None
                found.discard(here)
                continue
            waiting += [name for name in inside if name not in ignored]
        return found

    def files(self, folder: str) -> list[str]:
        """All that is in it but folders."""
        try:
            with os.scandir(self._tree.path / folder) as entries:
                return [_below(folder, one.name) for one in entries if not one.is_dir(follow_symlinks=False)]
        except OSError:
            return []

    def counted(self, names: Collection[str]) -> set[str]:
        """Those of the paths that a checkpoint would hold. Raises Tampered, GitFailed."""
        if any(name.rpartition("/")[2] == _RULES for name in names):
            self._known.clear()
        left_out = self._tree.left_out
        open_ = [one for one in names if one not in left_out and ".git" not in one.split("/")]
        unknown = [one for one in open_ if one not in self._known]
        if len(self._known) + len(unknown) > _MOST_KNOWN:
            self._known.clear()
            unknown = open_
        ignored = self._ignored(unknown)
        self._known |= {one: one in ignored for one in unknown}
        return {one for one in open_ if not self._known[one]}

    def _ignored(self, names: Collection[str]) -> set[str]:
        if not names:
            return set()
        with self._tree.own_index() as own:
            # It takes no literal paths: what begins with a colon would mean something.
            own = {**own, "GIT_LITERAL_PATHSPECS": "0"}
            asked = joined([f"./{one}" for one in names])
            try:
                printed = self._tree.run(own, "check-ignore", "-z", "--stdin", content=asked)
            except GitFailed as error:
                if error.code is None:
                    raise
                printed = error.output  # 1: none of them; else it met what it does not take, and the rest counts
        return {name[2:] for name in printed.decode(errors="surrogateescape").split("\0") if name}

    def _ignored_folders(self) -> set[str]:
        with self._tree.own_index() as own:
            asked = ("--others", "--ignored", "--exclude-standard", "--directory")
            printed = self._tree.run(own, "ls-files", "-z", *asked).decode(errors="surrogateescape")
        return {name.rstrip("/") for name in printed.split("\0") if name.endswith("/")}

    def _inside(self, folder: str) -> list[str]:
        found: list[str] = []
        with os.scandir(self._tree.path / folder) as entries:
            for entry in entries:
                if entry.name == ".git" or not entry.is_dir(follow_symlinks=False):
                    continue
                if not _is_text(entry.name):
                    raise NotWatchable("the name of a folder is not UTF-8")
                if not os.path.lexists(os.path.join(entry.path, ".git")):  # noqa: PTH118 - thousands of them
                    found.append(_below(folder, entry.name))
        return found


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
