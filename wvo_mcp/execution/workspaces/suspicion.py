"""Whether the repository's own files are as they were when places were made in it."""

import json
from pathlib import Path

from anyio import to_thread

from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import guard, worktree
from wvo_mcp.execution.workspaces.repository import Common, found_around
from wvo_mcp.execution.workspaces.rows import Row, Rows


class Suspicion:
    def __init__(self, root: Path, rows: Rows) -> None:
        self._root = root
        self._rows = rows

    def difference(self, row: Row) -> str | None:
        """What differs from what the place began with, in lines; None: nothing that matters."""
        if row["mode"] == "folder" or self.elsewhere(row) is not None:
            return None
        try:
            if row["mode"] == "shadow":
                return _of_shadow(row)
            found = found_around(self._root)
            return (
                "the repository is gone"
                if found is None
                else guard.difference(found[1], worktree.facts_of(row)["baseline"])
            )
        except (GitFailed, OSError) as error:
            return f"it cannot be read: {error}"

    def elsewhere(self, row: Row) -> Path | None:
        """The checkout of another repository that the place was made in, as long as there is one."""
        top, own = worktree.facts_of(row).get("top"), found_around(self._root)
        if top is None or own is None or Path(top) == own[0] or not Path(top).is_dir():
            return None
        other = found_around(Path(top))
        return Path(top) if other is not None and other[1] != own[1] else None

    async def lines(self) -> list[str]:
        """What differs of all places, each line once."""
        return list(dict.fromkeys(line for _, lines in await self._found() for line in lines))

    async def accept(self) -> list[str]:
        """What is there now is the measure of all places from now on; what differed."""
        found = await self._found()
        now = await to_thread.run_sync(Common.of, self._root) if found else None
        for row, _ in found:
            own = now and now.baseline
            if row["mode"] == "shadow":
                own = await to_thread.run_sync(guard.taken, worktree.shadow_repository(row))
            if own is not None:
                await self._rows.write(row, facts={**worktree.facts_of(row), "baseline": own})
        if found:
            await self._rows.accepted()
        return list(dict.fromkeys(line for _, lines in found for line in lines))

    async def _found(self) -> list[tuple[Row, list[str]]]:
        rows = await self._rows.live()

        def compared() -> list[str | None]:
            known: dict[str, str | None] = {}  # most places began with the same
            keys = [row["workspace_id"] if row["mode"] == "shadow" else _begun_with(row) for row in rows]
            for row, key in zip(rows, keys, strict=True):
                if key not in known:
                    known[key] = self.difference(row)
            return [known[key] for key in keys]

        found = zip(rows, await to_thread.run_sync(compared), strict=True)
        return [(row, changed.splitlines()) for row, changed in found if changed]


def _of_shadow(row: Row) -> str | None:
    git_dir = worktree.shadow_repository(row)
    return guard.difference(git_dir, worktree.facts_of(row)["baseline"]) if git_dir.is_dir() else None


def _begun_with(row: Row) -> str:
    facts = worktree.facts_of(row)
    return json.dumps([facts.get("baseline"), facts.get("top")])
