"""What a commit of a workspace is judged by: the policy, and what the store knows of the task and of all others."""

import json
from typing import Any

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.validation import Validation
from wvo_mcp.execution.workspaces.snapshot import Tree
from wvo_mcp.execution.workspaces.validating import Priority, Validator, Work
from wvo_mcp.ports import Transaction, WatchedStore

Row = dict[str, Any]
_MOST_PLACES = 1_000


class Judging:
    """One for a process: it has the one validator."""

    def __init__(self, store: WatchedStore, caller: Caller, validator: Validator) -> None:
        self._store = store
        self._caller = caller
        self._validator = validator

    async def of(self, row: Row, tree: Tree, commit: str, priority: Priority) -> Validation:
        """What `commit` changes of what the workspace began with. Raises Tampered, GitFailed."""

        async def work(tx: Transaction) -> Work:
            task = await tx.tasks.find(row["task_id"])
            places = await tx.workspaces.on_host(row["host"], _MOST_PLACES)
            scopes = [(one["id"], json.loads(one["files"])) for one in await tx.queue.scopes()]
            return Work(
                common=tree.common,
                base=tree.base,
                commit=commit,
                files=() if task is None else task.files,
                included=tree.left_out,
                others=sum(one["bytes"] for one in places if one["workspace_id"] != row["workspace_id"]),
                reserved=[(owner, globs) for owner, globs in scopes if owner != row["task_id"]],
            )

        found = await self._validator.validate(await self._store.read(self._caller, work), priority)
        fields = {"bytes": found.bytes}
        if row.get("bytes") != found.bytes:
            await self._store.write(self._caller, lambda tx: tx.workspaces.change(row["workspace_id"], fields))
        return found
