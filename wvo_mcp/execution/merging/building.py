"""What the target would become: merges of trees and new commits, as objects only.

No worktree, index, hook or filter has a part in it, so a crash leaves nothing half-done. The same landing on the same tip
gives the same commit: names, dates and messages come from what was submitted.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from wvo_mcp.domain.rules import MergePolicy
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common, changed
from wvo_mcp.ports.merging import Candidate, Conflicting, Landing

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN_FILES, _SHOWN = 5, 4_000


def built(common: Common, landing: Landing, tip: str) -> Candidate:
    """Raises Conflicting, GitFailed, Tampered."""
    if landing.undo:
        return _undone(common, landing, tip)
    if landing.policy is MergePolicy.MERGE:
        return _candidate(common, tip, _merge(common, landing, tip))
    if landing.policy is MergePolicy.SQUASH:
        tree = three_way(common, landing.base, tip, landing.commit)
        message = f"{landing.title}\n\nTask: {landing.task_id}\n"
        return _candidate(common, tip, common.committed(tree, (tip,), message, at=landing.made_at))
    at = tip
    for commit in _own(common, landing):
        tree = three_way(common, f"{commit}^1", at, commit)
        if tree != common.tree_of(at):
            at = _replayed(common, commit, tree, at, landing.made_at)
    return _candidate(common, tip, at)


def three_way(common: Common, base: str, ours: str, theirs: str) -> str:
    """The tree of `ours` with what lies between `base` and `theirs`. Raises Conflicting with paths and their texts."""
    root = common.committed(f"{base}^{{tree}}", (), "base\n", at=_EPOCH)  # git 2.39 takes no base: history must say it
    sides = [common.committed(f"{one}^{{tree}}", (root,), "side\n", at=_EPOCH) for one in (ours, theirs)]
    return merged_tree(common, sides[0], sides[1], ours)


def merged_tree(common: Common, ours: str, theirs: str, tip: str) -> str:
    try:
        printed = common.run("merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", ours, theirs)
    except GitFailed as error:
        if error.code != 1:
            raise
        tree, *paths = error.output.decode(errors="surrogateescape").split("\0")
        raise _conflicting(common, tree, list(dict.fromkeys(path for path in paths if path)), tip) from None
    return printed.decode().partition("\0")[0].strip()


def _conflicting(common: Common, tree: str, paths: Sequence[str], tip: str) -> Conflicting:
    texts: dict[str, str] = {}
    for path in paths[:_SHOWN_FILES]:
        try:
            content = common.run("cat-file", "blob", f"{tree}:{path}")
        except GitFailed:
            continue  # one side has removed it, or it is no file
        if b"\0" not in content[:8_000]:
            texts[path] = content.decode(errors="replace")[:_SHOWN]
    return Conflicting(paths, tip, texts)


def _merge(common: Common, landing: Landing, tip: str) -> str:
    if common.contains(tip, landing.commit):
        return tip
    tree = merged_tree(common, tip, landing.commit, tip)
    message = f"Merge {landing.task_id}: {landing.title}\n"
    return common.committed(tree, (tip, landing.commit), message, at=landing.made_at)


def _own(common: Common, landing: Landing) -> list[str]:
    """Its commits, oldest first; a merge among them counts as what it changed of its first parent."""
    return common.git("rev-list", "--reverse", "--first-parent", landing.commit, f"^{landing.base}").split()


def _replayed(common: Common, commit: str, tree: str, parent: str, made_at: datetime) -> str:
    """Under its author's name and date."""
    shown = common.git("show", "--no-patch", "--format=%an%x00%ae%x00%ad%x00%B", "--date=raw", commit)
    name, email, date, message = shown.split("\0", 3)
    author = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email, "GIT_AUTHOR_DATE": date} if name.strip() else {}
    return common.committed(tree, (parent,), f"{message.rstrip()}\n", at=made_at, names=author)


def _undone(common: Common, landing: Landing, tip: str) -> Candidate:
    """A commit on `tip` that takes back what lies between its base and its commit."""
    tree = three_way(common, landing.commit, tip, landing.base)
    message = f'Revert "{landing.title}"\n\nThis takes back {landing.commit}.\n\nTask: {landing.task_id}\n'
    return _candidate(common, tip, common.committed(tree, (tip,), message, at=landing.made_at))


def _candidate(common: Common, tip: str, commit: str) -> Candidate:
    tree = common.tree_of(commit)
    if tree == common.tree_of(tip):
        return Candidate(commit=tip, tree=tree, tip=tip)
    return Candidate(commit=commit, tree=tree, tip=tip, files=tuple(changed(common, tip, commit)))
