"""What was asked of reviewers and what they answered, as files; and the changes that they look at."""

import re
from collections import OrderedDict
from pathlib import Path

from anyio import to_thread

from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.replacement import disk_errors, write_whole
from wvo_mcp.execution.workspaces.checkpoints import difference
from wvo_mcp.execution.workspaces.repository import Common, Tampered
from wvo_mcp.execution.workspaces.worktree import SHADOWS
from wvo_mcp.ports.checkpoints import Difference

KEPT = 1_000
LARGEST = 400_000
"""Characters of one file."""
_KNOWN, _SMALL = 32, 20_000
"""So many differences of so many characters at most are remembered."""
_NAME = re.compile(r"R-(\d+)\.md")


class ReviewFolder:
    """`ports.reviews.ReviewFiles` in a folder; the newest thousand stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, review_id: str, text: str) -> str:
        return await to_thread.run_sync(self._write, review_id, text)

    def _write(self, review_id: str, text: str) -> str:
        path = self._path(review_id)
        clean = redact(text)
        kept = clean if len(clean) <= LARGEST else f"{clean[:LARGEST]}\n\n[cut: {len(clean)} characters]\n"
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, kept.encode(errors="replace"))
        with disk_errors(self._folder):
            for old in self._files()[:-KEPT]:
                old.unlink(missing_ok=True)
        return f"{self._folder.name}/{path.name}"

    async def read(self, review_id: str) -> str | None:
        return await to_thread.run_sync(self._read, review_id)

    def _read(self, review_id: str) -> str | None:
        try:
            return self._path(review_id).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None

    def _path(self, review_id: str) -> Path:
        path = self._folder / f"{review_id}.md"
        if not _NAME.fullmatch(path.name):
            raise ValueError(review_id)
        return path

    def _files(self) -> list[Path]:
        """Oldest first."""
        found = ((_NAME.fullmatch(path.name), path) for path in self._folder.iterdir())
        return [path for _, path in sorted((int(name[1]), path) for name, path in found if name is not None)]


class CommitsOfRoot:
    """`ports.reviews.Commits`."""

    def __init__(self, root: Path, worktrees: Path) -> None:
        self._root = root
        self._known: OrderedDict[tuple[str | None, str, int], Difference] = OrderedDict()
        self._copies = worktrees / SHADOWS

    async def between(self, base: str | None, commit: str, most: int) -> Difference | None:
        # Commits never change, and an open page asks at each change of the store.
        key = (base, commit, most)
        known = self._known.get(key)
        if known is None:
            known = await to_thread.run_sync(self._between, base, commit, most)
            if known is not None and len(known.text) <= _SMALL:
                self._known[key] = known
                while len(self._known) > _KNOWN:
                    self._known.popitem(last=False)
        return known

    def _between(self, base: str | None, commit: str, most: int) -> Difference | None:
        try:
            common = Common.having(commit, self._root, self._copies)
            if common is None:
                return None
            before = common.commit_of(base or f"{commit}^")
            return None if before is None else difference(common, before, commit, most)
        except (GitFailed, Tampered, OSError):
            return None
