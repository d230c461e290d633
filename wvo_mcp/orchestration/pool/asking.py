"""What a worker is told when it asks for permission: yes, no with a reason, or that a person must decide."""

import hashlib
import json
import logging
import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvo_mcp.domain.agents import PermissionRequest
from wvo_mcp.domain.approval import Approval, ApprovalKind, ApprovalState, subject_hash, subject_of_command
from wvo_mcp.domain.lease import Caller, Policy
from wvo_mcp.domain.policy import Judgement, Verdict
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.task import Status
from wvo_mcp.domain.worker import Worker
from wvo_mcp.errors import WvoError
from wvo_mcp.orchestration.approvals import deciding
from wvo_mcp.orchestration.tasks import breaches
from wvo_mcp.ports import Store, Transaction
from wvo_mcp.ports.safety import Judge
from wvo_mcp.ports.workers import Violation

logger = logging.getLogger(__name__)

_SHOWN = 4_000
_LOOKED_AT = 500
_WRITING = frozenset(
    {"Write", "Edit", "MultiEdit", "NotebookEdit", "apply_patch", "fileChange", "write_file", "replace", "edit"}
)
_READING = frozenset(
    {"Read", "NotebookRead", "Glob", "Grep", "LS", "read_file", "read_many_files", "list_directory", "glob"}
    | {"search_file_content", "grep_search"}
)
_PATH_FIELDS = ("file_path", "notebook_path", "path", "absolute_path", "dir_path", "paths")


@dataclass(frozen=True, slots=True)
class Reply:
    """`reason` is for the model when it is not allowed. With `approval_id` a person was asked: interrupt the worker and end
    it; after the decision the same request is allowed, once, or denied."""

    allowed: bool
    reason: str = ""
    approval_id: str | None = None


_YES = Reply(allowed=True)


@dataclass
class Asker:
    """For one worker. What is allowed costs the store nothing; the rest is recorded before it is answered. `workspace` is
    where the worker may write."""

    _store: Store
    _caller: Caller
    _policy: Policy
    _judge: Judge
    _worker: Worker
    _workspace: Path

    async def reply(self, request: PermissionRequest) -> Reply:
        """Never fails: what cannot be asked or recorded is refused."""
        await self._judge.refresh()
        judged = self.judge(request)
        if judged.verdict is Verdict.ALLOW:
            return _YES
        try:
            return await self._store.write(self._caller, lambda tx: self._recorded(tx, request, judged))
        except WvoError as error:
            logger.warning(
                "a request of %s was refused, for it could not be recorded: %s", self._worker.worker_id, error
            )
            if judged.verdict is Verdict.DENY:
                return Reply(allowed=False, reason=judged.reason)
            return Reply(allowed=False, reason=f"{judged.reason} Nobody can be asked now; do something else meanwhile.")

    def judge(self, request: PermissionRequest) -> Judgement:
        """By what it would do. Nobody attends a worker."""
        cwd = self._workspace / (request.cwd or ".")
        if request.command is not None:
            return self._judge.command(request.command, cwd, self._workspace, attended=False)
        if request.paths or request.tool in _WRITING:
            return self._judge.paths(request.paths or _paths_of(request.input), cwd, self._workspace, writes=True)
        if request.tool in _READING:
            return self._judge.paths(_paths_of(request.input) or ["."], cwd, self._workspace, writes=False)
        return self._judge.tool(request.tool)

    async def _recorded(self, tx: Transaction, request: PermissionRequest, judged: Judgement) -> Reply:
        if judged.verdict is Verdict.ASK:
            subject = self._subject(request)
            if await deciding.use(tx, ApprovalKind.COMMAND, subject) is not None:
                return _YES
            await self._record(tx, request, judged)
            return await self._ask(tx, subject, judged)
        await self._record(tx, request, judged)
        if judged.verdict is Verdict.WATCH:
            return _YES
        who, task_id = self._worker.worker_id, self._worker.task_id
        message = f"{who} was refused by the policy ({judged.rule}): {redact(_named(request))[:200]}"
        await tx.alerts.raise_alert(breaches.KIND, "warning", task_id, message, {"worker_id": who, "rule": judged.rule})
        return Reply(allowed=False, reason=judged.reason)

    async def _record(self, tx: Transaction, request: PermissionRequest, judged: Judgement) -> None:
        kind = "command" if request.command is not None else "path" if request.paths else "tool"
        subject, verdict = str(redact(_named(request)))[:_SHOWN], judged.verdict.name.lower()
        worker_id, task_id = self._worker.worker_id, self._worker.task_id
        await tx.violations.add(Violation(kind, verdict, judged.rule, subject, task_id, worker_id))
        data = {"worker_id": worker_id, "kind": kind, "verdict": verdict, "rule": judged.rule, "subject": subject[:500]}
        await tx.events.append("policy.violation", task_id, data)

    async def _ask(self, tx: Transaction, subject: Mapping[str, Any], judged: Judgement) -> Reply:
        task = await tx.tasks.get(self._worker.task_id)
        of_task = [one for one in await tx.approvals.of_task(task.id, _LOOKED_AT) if not one.gate]
        newest = next((one for one in of_task if one.subject_hash == subject_hash(subject)), None)
        if newest is not None and newest.state in (ApprovalState.DENIED, ApprovalState.EXPIRED):
            return Reply(allowed=False, reason=_denied(newest))
        waiting = next((one for one in of_task if one.state is ApprovalState.PENDING), None)
        if task.status is not Status.IN_PROGRESS:  # another call of the same turn was faster
            known = None if waiting is None else waiting.approval_id
            return Reply(
                allowed=False, reason=f"{judged.reason} The task does not go on now: end your turn.", approval_id=known
            )
        if len(of_task) >= self._judge.policy().asks:
            return Reply(allowed=False, reason=f"{judged.reason} This task has asked too often: find another way.")
        known = (await deciding.ask(tx, self._policy, task, ApprovalKind.COMMAND, subject, judged.reason)).approval_id
        reason = f"{judged.reason} It waits for approval {known}: end your turn now; you go on once it is decided."
        return Reply(allowed=False, reason=reason, approval_id=known)

    def _subject(self, request: PermissionRequest) -> dict[str, Any]:
        """What is approved, and no more: for a tool also what it is given."""
        cwd = os.path.relpath(self._workspace / (request.cwd or "."), self._workspace)
        subject = subject_of_command(self._worker.task_id, _shown(request), cwd)
        if request.command is not None:
            return subject
        given = json.dumps([request.tool, dict(request.input)], sort_keys=True, default=str)
        return {**subject, "sha256": hashlib.sha256(given.encode(errors="replace")).hexdigest()}


def _named(request: PermissionRequest) -> str:
    """The command, or the tool and what it is about."""
    paths = request.paths or _paths_of(request.input)
    return " ".join((request.tool, *paths)) if request.command is None and paths else _shown(request)


def _shown(request: PermissionRequest) -> str:
    """All that it would do: a person approves nothing unseen."""
    if request.command is not None:
        return request.command
    paths = request.paths or _paths_of(request.input)
    text = " ".join((request.tool, *paths)) or "a tool"
    more = {name: value for name, value in request.input.items() if value not in paths}
    return f"{text} {json.dumps(more, sort_keys=True, default=str)}" if more or not paths else text


def _paths_of(given: Mapping[str, Any]) -> Sequence[str]:
    values = [given[name] for name in _PATH_FIELDS if given.get(name)]
    return [str(one) for value in values for one in (value if isinstance(value, list) else [value])]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]


def _denied(approval: Approval) -> str:
    if approval.state is ApprovalState.EXPIRED:
        return (
            f"{approval.approval_id}: no person decided in time. Find another way, or block the task with the reason."
        )
    why = f": {approval.reason}" if approval.reason else ""
    return f"{approval.approval_id}: a person denied this{why}. Find another way, or block the task with the reason."
