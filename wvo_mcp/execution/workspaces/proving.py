"""Is what was submitted in the target? Only what is proven to be there may lose its last ref."""

from collections.abc import Mapping
from typing import Any

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common


def proven(common: Common, entry: Mapping[str, Any]) -> bool:
    """The target here, or as it was last fetched, has the entry's commit, or one that made the same change. Raises Tampered."""
    target, landed = entry["target"], entry["landed_sha"]
    here = common.commit_of(f"refs/heads/{target}")
    tips = [*([] if here is None else [here]), *common.fetched(target)]
    if any(common.contains(tip, entry["commit_sha"]) for tip in tips):
        return True
    if not landed or not entry["tip_sha"] or not any(common.contains(tip, landed) for tip in tips):
        return False
    try:
        return same_change(common, (entry["base_sha"], entry["commit_sha"]), (entry["tip_sha"], landed))
    except GitFailed:
        return False


def same_change(common: Common, one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Do both pairs of commits differ in the same lines, spaces included? Files that are not text must be equal on both sides,
    and what surrounds the lines as well. Raises GitFailed, Tampered."""
    raw = [common.run("diff-tree", "-r", "-z", "--no-renames", *pair) for pair in (one, other)]
    if raw[0] == raw[1]:
        return True
    texts = [_lines(common, *pair) for pair in (one, other)]
    return texts[0] is not None and texts[0] == texts[1]


def _lines(common: Common, before: str, after: str) -> list[bytes] | None:
    """The patch without object names and line numbers; None with files in it that are not text."""
    options = (
        "--no-renames",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--no-indent-heuristic",
        "--diff-algorithm=myers",
    )
    patch = common.run("diff-tree", "-p", "-r", "--full-index", "--submodule=short", *options, before, after)
    lines = patch.split(b"\n")
    if any(line.startswith(b"Binary files ") for line in lines):
        return None
    return [b"@@" if line.startswith(b"@@ ") else line for line in lines if not line.startswith(b"index ")]
