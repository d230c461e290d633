"""Safe repeats: the first result of a call is kept with the change it made, and answers every repeat
(contract, section 6)."""

import hashlib
import json
from typing import Any

from wvo_mcp.domain.event import canonical
from wvo_mcp.domain.lease import Lease, Policy
from wvo_mcp.domain.task import Status
from wvo_mcp.errors import StaleLease
from wvo_mcp.operations.inputs import Input, LeaseWrite, Replayable
from wvo_mcp.operations.results import compact
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Transaction


class Repeat:
    """Recognises that one call repeats another: by its request_id, or by the token of the lease that did it."""

    def __init__(self, tx: Transaction, policy: Policy, tool: str, params: Input) -> None:
        self._tx = tx
        self._policy = policy
        self._tool = tool
        self._params = params
        self._request_id: str | None = None
        self._agent_id = tx.caller.agent_id
        if isinstance(params, Replayable):
            self._request_id = params.request_id
            self._agent_id = params.on_behalf_of or self._agent_id
        self._leased: tuple[str, int] | None = None
        self._hashed: str | None = None

    async def first_result(self) -> dict[str, Any] | None:
        """The result of the call that this one repeats, with its lease renewed. Raises RequestIdReused, StaleLease."""
        replays = self._tx.replays
        if self._request_id is not None:
            kept = await replays.by_request(self._agent_id, self._tool, self._request_id, self._hash("request_id"))
            return None if kept is None else json.loads(kept)
        if isinstance(self._params, LeaseWrite):
            if self._params.looks_for_workspace:
                await self._tx.workspaces.prefetch_open_of(self._params.task_id)
            return await self._by_lease(self._params.task_id, self._params.lease_token)
        return None

    async def keep(self, result: dict[str, Any]) -> None:
        """Store the result beside the change, in the same transaction."""
        replays = self._tx.replays
        if self._request_id is not None:
            kept = compact(result)
            await replays.keep_request(self._agent_id, self._tool, self._request_id, self._hash("request_id"), kept)
        elif self._leased is not None:
            await replays.keep_lease(*self._leased, self._tool, self._hash("lease_token"), compact(result))

    async def _by_lease(self, task_id: str, given: int | None) -> dict[str, Any] | None:
        row = await self._tx.replays.by_lease(task_id, given, self._tool, self._hash("lease_token"))
        if row is None:
            return None
        if row["status"] == Status.IN_PROGRESS and given in (None, row["lease_token"]):
            self._leased = task_id, row["lease_token"]
        caller = self._tx.caller
        if row["result"] is None or (row["session_id"] != caller.session_id and row["agent_id"] != caller.agent_id):
            return None
        result = json.loads(row["result"])
        if given is None and "task" in result and result["task"]["status"] != row["status"]:
            return None  # without a token it may as well be a new request: the task has moved on since
        if "lease" in result:
            result["lease"] = await self._renewed(task_id, given, row, Lease.model_validate(result["lease"]))
        return result

    async def _renewed(self, task_id: str, given: int | None, row: dict[str, Any], first: Lease) -> dict[str, Any]:
        """The lease of the first result, renewed for its holder; as it was, once its holder has ended it.

        Raises StaleLease when it was lost.
        """
        tx = self._tx
        if row["status"] != Status.IN_PROGRESS:
            if row["lease_token"] != first.token or first.expires_at <= tx.now:
                raise StaleLease(task_id, None)
            return first.model_dump(mode="json")
        await tx.sessions.ensure()
        task = await lifecycle.held(tx, self._policy, task_id, given)
        lease = await lifecycle.extend(tx, task)
        await tx.tasks.change(task, "task.heartbeat", {"lease_expires_at": lease.expires_at}, {"repeat_of": self._tool})
        return lease.model_dump(mode="json")

    def _hash(self, without: str) -> str:
        if self._hashed is None:
            given = self._params.model_dump(mode="json", exclude={without}, exclude_unset=True)
            self._hashed = hashlib.sha256(canonical(given).encode()).hexdigest()
        return self._hashed
