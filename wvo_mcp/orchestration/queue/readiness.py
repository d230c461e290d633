"""Why a task may not be claimed at this moment, WIP limits of agent and store aside."""

import json

from wvo_mcp.domain.files import InUse
from wvo_mcp.domain.lease import Policy
from wvo_mcp.domain.task import GATE_BITS, Gate, Status, Task
from wvo_mcp.ports import Row, Transaction


class Circumstances:
    """What shuts tasks out at this moment: the agent's capabilities, files in use, full epics."""

    def __init__(self, tx: Transaction, agent_id: str, policy: Policy) -> None:
        self._tx = tx
        self._policy = policy
        self._agent_id = agent_id
        self._capabilities: tuple[str, ...] | None = None
        self._in_use: InUse | None = None
        self.full_epic = False
        """True once a lane was shut out by nothing but the limit of its epic."""

    async def admit(self, lane: Row) -> bool:
        """May tasks of this lane be claimed?"""
        if not self._policy.serves(lane["epic_id"] or None):
            return False
        if lane["capabilities"] != "[]" and await self.lacking(json.loads(lane["capabilities"])):
            return False
        if lane["files"] != "[]" and await self.conflict(json.loads(lane["files"])) is not None:
            return False
        if lane["epic_id"] and await self.epic_limit(lane["epic_id"]) is not None:
            self.full_epic = True
            return False
        return True

    async def lacking(self, wanted: list[str] | tuple[str, ...]) -> list[str]:
        """Capabilities that the agent does not have."""
        if not wanted:
            return []
        if self._capabilities is None:
            self._capabilities = await self._tx.sessions.capabilities(self._agent_id)
        return [name for name in wanted if name not in self._capabilities]

    async def conflict(self, files: list[str] | tuple[str, ...]) -> tuple[str, list[str]] | None:
        """(task in progress, globs of `files` that overlap with its), or None."""
        if not files:
            return None
        if self._in_use is None:
            self._in_use = InUse([(row["id"], json.loads(row["files"])) for row in await self._tx.queue.scopes()])
        return self._in_use.conflict(files)

    async def epic_limit(self, epic_id: str | None) -> int | None:
        """The limit, when the epic has reached it."""
        epic = None if epic_id is None else await self._tx.tasks.epic(epic_id)
        if epic is None or epic["wip_limit"] is None or epic["in_progress"] < epic["wip_limit"]:
            return None
        return int(epic["wip_limit"])


async def why_not_ready(tx: Transaction, task: Task, circumstances: Circumstances) -> tuple[str, list[str]] | None:
    """(reason as in `not_ready`, what is waited for), or None when the task may be claimed but for WIP limits of
    agent and store. For a task that is not pending the reason is its status."""
    if task.status is not Status.PENDING:
        return task.status.value, await tx.tasks.waits(task.id) if task.status is Status.BLOCKED else []
    if task.unmet_deps:
        return "dependencies", await tx.tasks.unmet(task.id)
    if task.not_before is not None and task.not_before > tx.now:
        return "not_before", [task.model_dump(mode="json")["not_before"]]
    if task.gates & GATE_BITS[Gate.APPROVAL]:
        return "approval", ["a person: wvo-mcp approve " + task.id]
    if task.gates & GATE_BITS[Gate.CHILDREN]:
        return "children", await tx.tasks.open_children(task.id)
    lacking = await circumstances.lacking(task.capabilities)
    if lacking:
        return "capabilities", lacking
    conflict = await circumstances.conflict(task.files)
    if conflict is not None:
        return "files", [conflict[0]]
    if await circumstances.epic_limit(task.epic_id) is not None:
        return "epic_wip_limit", [task.epic_id] if task.epic_id else []
    return None
