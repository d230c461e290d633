"""Conflicts among what waits to land, and with the target, before they happen and without a worktree."""

from collections.abc import Sequence
from itertools import combinations

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.merging.building import three_way
from wvo_mcp.execution.workspaces.repository import Common, changed
from wvo_mcp.ports.merging import Conflicting, Landing, Predicted

MOST = 20


def predicted(common: Common, tip: str, landings: Sequence[Landing]) -> list[Predicted]:
    """Of the first 20: each with the target, then those that have no conflict there with each other, in pairs that change a
    path in common. Raises GitFailed for the tip alone; a submission that cannot be read is left out."""
    found: list[Predicted] = []
    fit: list[tuple[Landing, str, set[str]]] = []
    for landing in landings[:MOST]:
        try:
            tree = three_way(common, landing.base, tip, landing.commit)
            fit.append((landing, tree, set(changed(common, landing.base, landing.commit))))
        except Conflicting as conflict:
            found.append(Predicted(landing.entry_id, None, conflict.paths))
        except GitFailed:
            common.tree_of(tip)
    for (one, tree, touched), (other, _, others) in combinations(fit, 2):
        if _touch(touched, others):
            try:
                three_way(common, other.base, tree, other.commit)
            except Conflicting as conflict:
                found.append(Predicted(one.entry_id, other.entry_id, conflict.paths))
    return found


def _touch(one: set[str], other: set[str]) -> bool:
    """Is a path of one that of the other, or a folder of it?"""
    return bool(one & other or one & _folders(other) or other & _folders(one))


def _folders(names: set[str]) -> set[str]:
    return {name[:at] for name in names for at, sign in enumerate(name) if sign == "/"}
