"""`ports.Promotions`: what is promoted is committed, judged and compared with the project's folder first."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.validation import Severity, shown
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import going_on, joining, promoting, rollback, worktree
from wvo_mcp.execution.workspaces.alone import Busy, alone
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.repository import Tampered, means_full
from wvo_mcp.execution.workspaces.rows import Rows
from wvo_mcp.execution.workspaces.snapshot import NotSubmittable, Tree
from wvo_mcp.execution.workspaces.validating import Priority
from wvo_mcp.ports.checkpoints import Content, NoPromotion, Promoted

Row = dict[str, Any]
_PATIENCE_SECONDS = 60.0
_NAMED = 5
_REVIEWED = "refs/wvo/reviewed"
_HELD_BACK = (
    "what the project has there by now holds a known secret, which is never copied. Take your change of it back"
    ' (workspace_rollback with to 0, mode "partial" and these files), or let a person take the secret out.'
)


class ShadowPromotions:
    """`folder` is that of the worktrees."""

    def __init__(self, root: Path, folder: Path, rows: Rows, judging: Judging) -> None:
        self._root = root.resolve()
        self._folder = folder.resolve()
        self._rows = rows
        self._judging = judging

    async def promote(
        self,
        task_id: str,
        lease_token: int | None = None,
        *,
        dry_run: bool = False,
        diff: int = 0,
        reviews: bool = False,
        passed: Content | None = None,
    ) -> Promoted | None:
        person = lease_token is None
        if (row := await self._row(task_id, person=person)) is None:
            return None
        async with self._alone(row):
            if (row := await self._row(task_id, person=person)) is None:
                return None
            if lease_token not in (None, row["lease_token"]):
                raise NoPromotion("A later lease has the workspace.")
            unread: list[going_on.Unread] = []
            held: Content | None = None
            if not dry_run:
                row = await going_on.gone_on(self._rows, self._root, row)
                unread = await going_on.others_gone_on(self._rows, self._root, self._folder, row)
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            commit = await to_thread.run_sync(_committed, tree, row)
            await self._judged(row, tree, commit, person=person)
            if unread and not person:
                _check_apart(await to_thread.run_sync(tree.files, commit), unread)
            try:
                promotion = await to_thread.run_sync(promoting.planned, tree, self._root, commit)
                if promotion.changed and reviews and not dry_run:
                    held = await to_thread.run_sync(_held, tree, Content(commit, tree.base), passed)
                if promotion.changed and not dry_run and held is None:
                    begun = await going_on.begins(self._rows, row, promotion.changed)
                    await to_thread.run_sync(promoting.applied, tree, self._root, promotion)
                    await going_on.recorded(self._rows, begun, tree, commit)
            except promoting.Moved as moved:
                raise await self._brought(row, tree, moved, dry_run=dry_run) from None
            text = await to_thread.run_sync(_diff, tree, commit) if diff else ""
            return Promoted(files=promotion.changed, diff=text[:diff], held=held)

    async def _row(self, task_id: str, *, person: bool) -> Row | None:
        row = await self._rows.of(task_id)
        states = ("open", "closed") if person else ("open",)
        return row if row is not None and row["mode"] == "shadow" and row["state"] in states else None

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
        said = f"{_few(moved.paths)} changed in the project since the copy was made."
        if dry_run:
            return NoPromotion(f"{said} Promoting it would bring that into the workspace first.")
        joined = await to_thread.run_sync(_joined, tree, self._root, moved.paths)
        secret = f" {_few(joined.secret)}: {_HELD_BACK}" if joined.secret else ""
        if await to_thread.run_sync(_same, tree, joined.onto):
            left = [one for one in moved.paths if one not in joined.secret]
            way = f" {_few(left)}: something of the project is in the way. A person has to move it." if left else ""
            return NoPromotion(f"{way}{secret}".strip())
        facts = {**worktree.facts_of(row), "conflicts": joined.conflicts, "marks": joined.marks}
        await self._rows.write(row, base_sha=joined.onto, facts=facts)
        left = f" Resolve the conflict markers in {_few(joined.conflicts)}." if joined.conflicts else ""
        return NoPromotion(f"{said} The workspace {row['path']} has both now.{left} Look at these files there.{secret}")

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


def _check_apart(names: Sequence[str], unread: Sequence[going_on.Unread]) -> None:
    """What a copy that cannot be read may have half written must not be joined with this one's as if a person had written
    it. Raises NoPromotion."""
    for other in unread:
        if both := other.overlap(names):
            raise NoPromotion(
                f"A promotion of {other.task_id} was cut off and cannot be finished, and {_few(both)} may be half written"
                " by it. A person has to look at that first.",
                violations=True,
            )


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


def _held(tree: Tree, content: Content, passed: Content | None) -> Content | None:
    """What a review has to pass first; None: `passed` is the same change. Raises Tampered, GitFailed."""
    common = tree.common
    if passed is not None and all(common.commit_of(one) for one in (passed.commit, passed.base)):
        ours, theirs = ([common.tree_of(one) for one in (which.commit, which.base)] for which in (content, passed))
        if ours == theirs:
            return None
    common.pin(f"{_REVIEWED}/{content.commit}", content.commit)
    return content


@dataclass(frozen=True, slots=True)
class _Joined:
    """`onto`: the new base. `conflicts`: paths with markers, whose labels are `marks`. `secret`: what was not joined."""

    onto: str
    conflicts: list[str]
    marks: list[str]
    secret: list[str]


def _joined(tree: Tree, root: Path, paths: list[str]) -> _Joined:
    """Raises rollback.NotPossible, Tampered, GitFailed."""
    common = tree.common
    onto, secret = promoting.theirs(tree, root, paths)
    here = common.committed(rollback.held(tree), (tree.base,), "What the copy had")
    merged = joining.merged(common, onto, [here])
    plan = rollback.planned(tree, merged.commit)
    before = common.committed(plan.before, (here,), "What was here before the project's files were joined with it")
    common.archive(tree.index.name, before, worktree.today())
    rollback.applied(tree, plan, before)
    return _Joined(onto, list(merged.conflicts), list(merged.marks), secret)


def _same(tree: Tree, commit: str) -> bool:
    return tree.common.tree_of(commit) == tree.common.tree_of(tree.base)


def _diff(tree: Tree, commit: str) -> str:
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames")
    return tree.common.run("diff", *options, tree.base, commit, "--").decode(errors="replace")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shown(one) for one in names[:_NAMED]) + more
