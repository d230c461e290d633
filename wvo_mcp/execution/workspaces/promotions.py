"""`ports.Promotions`: what is promoted is committed, judged and compared with the project's folder first."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.validation import Severity, shown
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import joining, promoting, rollback, shadow, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.repository import Tampered, means_full
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.snapshot import NotSubmittable, Tree
from wvo_mcp.execution.workspaces.validating import Priority
from wvo_mcp.ports.checkpoints import NoPromotion, Promoted

Row = dict[str, Any]
_PATIENCE_SECONDS = 60.0
_NAMED = 5


class ShadowPromotions:
    """`folder` is that of the worktrees."""

    def __init__(self, root: Path, folder: Path, rows: Rows, judging: Judging) -> None:
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._rows = rows
        self._judging = judging

    async def promote(
        self, task_id: str, lease_token: int | None = None, *, dry_run: bool = False, diff: int = 0
    ) -> Promoted | None:
        person = lease_token is None
        if (row := await self._row(task_id, person=person)) is None:
            return None
        async with self._alone(row):
            if (row := await self._row(task_id, person=person)) is None:
                return None
            if lease_token not in (None, row["lease_token"]):
                raise NoPromotion("A later lease has the workspace.")
            if not dry_run:
                row = await gone_on(self._rows, self._root, row)
                await self._others_gone_on(row)
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            commit = await to_thread.run_sync(_committed, tree, row)
            await self._judged(row, tree, commit, person=person)
            try:
                promotion = await to_thread.run_sync(promoting.planned, tree, self._root, commit)
                if promotion.changed and not dry_run:
                    await to_thread.run_sync(promoting.applied, tree, self._root, promotion)
                    await _recorded(self._rows, row, tree, commit)
            except promoting.Moved as moved:
                raise await self._brought(row, tree, moved, dry_run=dry_run) from None
            text = await to_thread.run_sync(_diff, tree, commit) if diff else ""
            return Promoted(files=promotion.changed, diff=text[:diff])

    async def _row(self, task_id: str, *, person: bool) -> Row | None:
        row = await self._rows.of(task_id)
        states = ("open", "closed") if person else ("open",)
        return row if row is not None and row["mode"] == "shadow" and row["state"] in states else None

    async def _others_gone_on(self, row: Row) -> None:
        """A promotion of another copy that was cut off is finished first: later it would undo what this one writes in the same
        files. Raises NoPromotion, Tampered, GitFailed, OSError."""
        for other in await self._rows.live():
            if other["workspace_id"] == row["workspace_id"] or not await to_thread.run_sync(
                _is_begun, self._root, other
            ):
                continue
            try:
                async with alone(self._folder, f"task-{other['task_id']}", 0):
                    await gone_on(self._rows, self._root, other)
            except Busy:
                task_id = other["task_id"]
                raise NoPromotion(f"A promotion of {task_id} is being finished; try it again in a moment.") from None

    async def _judged(self, row: Row, tree: Tree, commit: str, *, person: bool) -> None:
        """Raises NoPromotion."""
        if commit == tree.base:
            return
        found = await self._judging.of(row, tree, commit, Priority.COMPLETE)
        if found.critical:
            raise NoPromotion(" ".join(one.message for one in found.critical[:_NAMED]))
        if (errors := found.at_least(Severity.ERROR)) and not person:
            raise NoPromotion(" ".join(one.message for one in errors[:_NAMED]), violations=True)

    async def _brought(self, row: Row, tree: Tree, moved: promoting.Moved, *, dry_run: bool) -> NoPromotion:
        """The copy has what the project has by now as well; what git cannot join has conflict markers."""
        names = ", ".join(shown(one) for one in moved.paths[:_NAMED])
        more = f" and {len(moved.paths) - _NAMED} more" if len(moved.paths) > _NAMED else ""
        said = f"{names}{more} changed in the project since the copy was made."
        if dry_run:
            return NoPromotion(f"{said} Promoting it would bring that into the workspace first.")
        onto, conflicts, marks = await to_thread.run_sync(_joined, tree, self._root, moved.paths)
        if await to_thread.run_sync(_same, tree, onto):
            return NoPromotion(f"{names}{more}: something of the project is in the way. A person has to move it.")
        facts = {**worktree.facts_of(row), "conflicts": conflicts, "marks": marks}
        await self._rows.write(row, base_sha=onto, facts=facts)
        left = (
            f" Resolve the conflict markers in {', '.join(shown(one) for one in conflicts[:_NAMED])}."
            if conflicts
            else ""
        )
        return NoPromotion(f"{said} The workspace {row['path']} has both now.{left} Look at these files there.")

    @asynccontextmanager
    async def _alone(self, row: Row) -> AsyncGenerator[None]:
        """One promotion at a time into this folder, and nobody keeps or rolls back the copy meanwhile. What goes wrong within,
        as NoPromotion."""
        try:
            async with (
                alone(self._folder, "promotion", _PATIENCE_SECONDS),
                alone(self._folder, f"task-{row['task_id']}", _PATIENCE_SECONDS),
                alone(self._folder, f"checkpoint-{row['workspace_id']}", _PATIENCE_SECONDS),
            ):
                yield
        except Busy:
            raise NoPromotion("Another promotion takes very long; try it again in a moment.") from None
        except NotSubmittable as error:
            raise NoPromotion(str(error)) from None
        except rollback.NotPossible as error:
            raise NoPromotion(
                f"The project went on in the same files, and cannot be joined with the copy: {error}"
            ) from None
        except Tampered as error:
            raise NoPromotion(f"The repository of the copy was changed: {error}") from None
        except (GitFailed, OSError) as error:
            raise NoPromotion(f"git could not do it: {error}.", full=means_full(str(error))) from None


async def gone_on(rows: Rows, root: Path, row: Row) -> Row:
    """A promotion that was cut off is finished, and on record; the row as it is then. Who calls has the lock of its task.
    Raises Tampered, GitFailed, OSError."""
    tree = await to_thread.run_sync(worktree.tree_of, root, row)
    done = await to_thread.run_sync(promoting.finished, tree, root, worktree.today())
    return row if done is None else await _recorded(rows, row, tree, done)


def _is_begun(root: Path, row: Row) -> bool:
    of_copy = row["mode"] == "shadow" and row["base_sha"] is not None and shadow.has_repository(row)
    return of_copy and promoting.is_begun(worktree.tree_of(root, row))


async def _recorded(rows: Rows, row: Row, tree: Tree, commit: str) -> Row:
    """The project has what `commit` has, so that only what differs from it is to be promoted later."""
    facts = {**worktree.facts_of(row), "promoted": True}
    await rows.write(row, base_sha=commit, facts=facts)
    await to_thread.run_sync(promoting.kept, tree)
    return {**row, "base_sha": commit, "facts": json.dumps(facts)}


def _committed(tree: Tree, row: Row) -> str:
    """All that the copy holds. Raises NotSubmittable, Tampered, GitFailed."""
    facts = worktree.facts_of(row)
    commit = tree.commit(f"What {row['task_id']} has done\n")
    ours = facts.get("ours", ())
    if own := [name for name in tree.files(commit) if any(f"{name}/".startswith(f"{one}/") for one in ours)]:
        raise NotSubmittable(
            f"{', '.join(shown(name) for name in own[:_NAMED])}: that is for wvo-mcp alone. Remove it."
        )
    if left := joining.unresolved(tree, commit, facts.get("conflicts", ()), facts.get("marks", ())):
        raise NotSubmittable(f"{', '.join(shown(name) for name in left[:_NAMED])}: conflict markers are left in it.")
    return commit


def _joined(tree: Tree, root: Path, paths: list[str]) -> tuple[str, list[str], list[str]]:
    """The new base, paths with conflicts, and the labels of their markers. Raises rollback.NotPossible, Tampered,
    GitFailed."""
    common = tree.common
    onto = promoting.theirs(tree, root, paths)
    here = common.committed(rollback.held(tree), (tree.base,), "What the copy had")
    merged = joining.merged(common, onto, [here])
    plan = rollback.planned(tree, merged.commit)
    before = common.committed(plan.before, (here,), "What was here before the project's files were joined with it")
    common.archive(tree.index.name, before, worktree.today())
    rollback.applied(tree, plan, before)
    return onto, list(merged.conflicts), list(merged.marks)


def _same(tree: Tree, commit: str) -> bool:
    return tree.common.tree_of(commit) == tree.common.tree_of(tree.base)


def _diff(tree: Tree, commit: str) -> str:
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")
    return tree.common.run("diff", *options, tree.base, commit, "--").decode(errors="replace")
