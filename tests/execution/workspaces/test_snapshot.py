"""Snapshots are quick once the files are older than the index, and miss no change for it."""

import os
from pathlib import Path

import anyio.to_thread
import pytest

from tests.support.yard import Yard
from wvo_mcp.execution.workspaces import snapshot, worktree
from wvo_mcp.execution.workspaces.snapshot import Tree

pytestmark = [pytest.mark.anyio, pytest.mark.requirement("WS-1")]


async def grown_old(yard: Yard) -> Tree:
    """T1's worktree, whose index and files are an hour old."""
    await yard.opened("T1")
    (row,) = await yard.bench.sql("SELECT * FROM workspaces")
    tree = await anyio.to_thread.run_sync(worktree.tree_of, yard.root, row)
    made = tree.index.stat().st_mtime - 3_600
    os.utime(tree.index, (made, made))
    return tree


def settled(tree: Tree) -> Path:
    return tree.index.with_name(f"{tree.index.name}.settled")


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_change_that_hides_its_time_and_size_is_found(yard: Yard, when: str) -> None:
    tree = await grown_old(yard)
    if when == "after":
        assert await anyio.to_thread.run_sync(tree.commit, "none") == tree.base
    file = tree.path / "code.py"
    known = file.stat()
    file.write_text("a = 9\n")
    os.utime(file, ns=(known.st_atime_ns, known.st_mtime_ns))
    for number in range(2):
        commit = await anyio.to_thread.run_sync(tree.commit, f"{number}")
        assert yard.show(commit, "code.py") == "a = 9"
    assert settled(tree).is_file()
    file.write_text("a = 1\n")
    assert await anyio.to_thread.run_sync(tree.commit, "as it was") == tree.base


async def test_a_young_index_is_left_as_it_is(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_SETTLED_SECONDS", 86_400.0)
    await yard.opened("T1")
    (row,) = await yard.bench.sql("SELECT * FROM workspaces")
    tree = await anyio.to_thread.run_sync(worktree.tree_of, yard.root, row)
    (tree.path / "code.py").write_text("a = 2\n")
    commit = await anyio.to_thread.run_sync(tree.commit, "changed")
    assert yard.show(commit, "code.py") == "a = 2"
    assert not settled(tree).exists()


async def test_nothing_of_it_is_left_when_the_place_is_gone(yard: Yard) -> None:
    tree = await grown_old(yard)
    await anyio.to_thread.run_sync(tree.commit, "none")
    assert settled(tree).is_file()
    assert await yard.places.close("T1") is None
    assert list(tree.index.parent.iterdir()) == []
