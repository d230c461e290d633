"""The files of a commit in a folder that nobody works in, for who only reads."""

import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio import to_thread

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces.repository import Common, Tampered
from wvo_mcp.execution.workspaces.worktree import SHADOWS


class CommitCopies:
    """`ports.reviews.Copies` below `folder`."""

    def __init__(self, root: Path, folder: Path, worktrees: Path) -> None:
        self._root = root
        self._copies = worktrees / SHADOWS
        self._folder = folder

    @asynccontextmanager
    async def of(self, commit: str, name: str) -> AsyncGenerator[Path | None]:
        path = self._folder / name
        try:
            yield await to_thread.run_sync(self._made, commit, path)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lambda: shutil.rmtree(path, ignore_errors=True))

    def _made(self, commit: str, path: Path) -> Path | None:
        shutil.rmtree(path, ignore_errors=True)  # a process that was killed may have left it
        files = path / "files"
        try:
            common = Common.having(commit, self._root, self._copies)
            if common is None:
                return None
            files.mkdir(parents=True, mode=0o700)
            env = {"GIT_INDEX_FILE": str(path / "index")}
            common.git("read-tree", commit, env=env)
            common.git("checkout-index", "--quiet", "--all", "--force", env=env, tree=files)
        except (GitFailed, Tampered, OSError):
            return None
        return files
