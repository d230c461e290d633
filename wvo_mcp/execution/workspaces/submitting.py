"""`ports.Submissions`: a snapshot of a task's worktree, pinned under a number that the store reserved."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.validation import Severity, shown
from wvo_mcp.errors import Conflict, Forbidden, StaleLease, StoreUnavailable, WvoError
from wvo_mcp.execution.git import GitFailed
from wvo_mcp.execution.workspaces import joining, worktree
from wvo_mcp.execution.workspaces.judging import Judging
from wvo_mcp.execution.workspaces.repository import Tampered, means_full, submit_ref
from wvo_mcp.execution.workspaces.snapshot import NotSubmittable, Tree
from wvo_mcp.execution.workspaces.validating import Priority
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.places import Prepared
from wvo_mcp.ports.workers import Violation

Row = dict[str, Any]
_TRIES = 5
_NAMED = 5
_HINT = "Mend it in the worktree, then call complete_task again."


class PinnedSubmissions:
    """Of the repository around ROOT."""

    def __init__(self, root: Path, store: WatchedStore, caller: Caller, judging: Judging) -> None:
        self._root = root.resolve()
        self._store = store
        self._caller = caller
        self._judging = judging
        self._host = worktree.host_name()

    async def prepare(self, task_id: str, lease_token: int) -> Prepared | None:
        found = await self._store.read(self._caller, lambda tx: self._held(tx, task_id, lease_token))
        if found is None:
            return None
        row, title = found
        try:
            tree = await to_thread.run_sync(worktree.tree_of, self._root, row)
            prepared = await to_thread.run_sync(self._snapshot, tree, row, title)
            if prepared.files:
                prepared = replace(prepared, violations=await self._judged(row, tree, prepared.commit))
            for _ in range(_TRIES if prepared.files else 0):
                number = await self._store.write(self._caller, lambda tx: self._reserved(tx, task_id, lease_token))
                if await to_thread.run_sync(tree.common.pin, submit_ref(task_id, number), prepared.commit):
                    return replace(prepared, number=number)
        except NotSubmittable as error:
            raise Conflict(f"The work of {task_id} cannot be submitted. {error}", hint=_HINT) from None
        except Tampered as error:
            raise _tampered(task_id, str(error)) from None
        except GitFailed as error:
            raise _failed(task_id, str(error)) from None
        except OSError as error:
            raise _failed(task_id, error.strerror or str(error)) from None
        if not prepared.files:
            return prepared
        raise _failed(task_id, f"{_TRIES} refs for it exist already")

    async def _held(self, tx: Transaction, task_id: str, lease_token: int) -> tuple[Row, str] | None:
        task = await tx.tasks.find(task_id)
        row = await tx.workspaces.open_of(task_id)
        if task is None or row is None or task.status is not Status.IN_PROGRESS or task.lease_token != lease_token:
            return None
        own = row["state"] == "open" and row["lease_token"] == lease_token and row["host"] == self._host
        submits = own and row["mode"] == "worktree" and worktree.facts_of(row)["submits"]
        return (row, task.title) if submits else None

    def _snapshot(self, tree: Tree, row: Row, title: str) -> Prepared:
        facts = worktree.facts_of(row)
        commit = tree.commit(f"{title}\n\nTask: {row['task_id']}\n")
        if left := joining.unresolved(tree, commit, facts["conflicts"], facts.get("marks", ())):
            named = ", ".join(shown(name) for name in left[:5])
            raise NotSubmittable(f"{named}: conflict markers are left in it.")
        return Prepared(
            workspace_id=row["workspace_id"],
            number=0,
            commit=commit,
            base=tree.base,
            target=row["target"],
            repository=facts["repository"],
            host=row["host"],
            path=str(tree.common.top),
            files=() if commit == tree.base else tuple(tree.files(commit)),
        )

    async def _judged(self, row: Row, tree: Tree, commit: str) -> list[dict[str, str]]:
        """What a person must decide. Raises NotSubmittable for what nobody may submit."""
        found = await self._judging.of(row, tree, commit, Priority.COMPLETE)
        if critical := found.at_least(Severity.CRITICAL):
            raise NotSubmittable(" ".join(one.message for one in critical[:_NAMED]))
        return [one.as_json() for one in found.at_least(Severity.ERROR)]

    async def _reserved(self, tx: Transaction, task_id: str, lease_token: int) -> int:
        task = await tx.tasks.get(task_id)
        if task.status is not Status.IN_PROGRESS or task.lease_token != lease_token:
            raise StaleLease(task_id, task.assigned_to)
        return await tx.submissions.next_number(task_id)


def _tampered(task_id: str, difference: str) -> Forbidden:
    error = Forbidden(
        "The repository's own files (.git) were changed while you worked; nothing can be submitted before a person has looked.",
        hint="Stop here. A person compares them (wvo-mcp trust).",
        difference=difference,
    )

    async def recorded(tx: Transaction) -> None:
        await tx.violations.add(Violation("repository", "block", "repository_changed", difference, task_id))

    error.follow_up = recorded
    return error


def _failed(task_id: str, why: str) -> WvoError:
    text = f"The work of {task_id} could not be kept: {why}."
    return StoreUnavailable(text) if means_full(why) else Conflict(text, hint=_HINT)
