"""What waits to land, what was verified, checkpoints of files, and messages, within one transaction."""

# pyright: reportReturnType=false

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

Row = dict[str, Any]


class SubmissionRepository(Protocol):
    """The rows of `merge_entries`: {entry_id, seq, task_id, number, kind (submission, revert), agent_id, repository, host,
    path, target, commit_sha, base_sha, state, attempts, tip_sha, candidate_sha, landed_sha, verified, drift (JSON text),
    reason, findings (JSON text), pull_request, retry_at, created_at, updated_at}."""

    async def next_number(self, task_id: str) -> int:
        """Reserve N of `refs/wvo/submit/TASK/N`: never given twice."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next id (`m-12`), in the state queued, of the agent that calls."""

    async def change(self, entry_id: str, fields: Mapping[str, Any]) -> None: ...
    async def get(self, entry_id: str) -> Row | None: ...
    async def of_task(self, task_id: str) -> list[Row]:
        """Newest first."""

    async def commits(self, task_ids: Sequence[str]) -> dict[str, str]:
        """The newest submitted commit of each task that has one and is not withdrawn."""

    async def built_on(self, task_id: str) -> list[Row]:
        """The newest entries of what the task waited for, its children among it; of one that submitted nothing, those of what
        that waited for. In the order of the tasks' ids, nearest first."""

    async def in_states(self, states: Collection[str], limit: int) -> list[Row]:
        """Entries of all repositories in any of these states, oldest first."""

    async def changed_last(self, states: Collection[str], limit: int) -> list[Row]:
        """The same, what changed last first."""


class VerificationRepository(Protocol):
    """What the commands said of a tree."""

    async def find(self, tree: str, commands_hash: str) -> Row | None:
        """{passed, took_ms, verdict, created_at}."""

    async def put(
        self, tree: str, commands_hash: str, *, passed: bool, took_ms: int, verdict: Mapping[str, Any]
    ) -> None: ...

    async def forget(self, before: datetime) -> None: ...


class SnapshotRepository(Protocol):
    """The rows of `workspace_checkpoints`: {workspace_id, seq, task_id, number, task_checkpoint, commit_sha, tree_sha,
    trigger (call, interval, changes, pause, complete), files_changed, violations, findings (JSON text, null until it
    is judged), took_ms, created_at}."""

    async def next_number(self, task_id: str) -> int:
        """N of `refs/wvo/checkpoint/TASK/N` for the next one; it is taken once the row is added."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next `seq` of its workspace."""

    async def judged(self, workspace_id: str, seq: int, violations: int, findings: Sequence[Row]) -> None:
        """It has so many; the findings that are kept, as {severity, rule, path, message, told}: was anybody told of it?"""

    async def link(self, task_id: str, number: int, task_checkpoint: int) -> None:
        """It was taken with this checkpoint of the task; the first one counts."""

    async def remove(self, task_id: str, numbers: Collection[int]) -> None:
        """Forget these of the task."""

    async def of_workspace(self, workspace_id: str, limit: int) -> list[Row]:
        """Newest first."""

    async def of_task(self, task_id: str, limit: int) -> list[Row]:
        """Newest first, of all its workspaces."""


class MessageRepository(Protocol):
    """The rows of `messages`: {message_id, seq, from_agent, to_agent, kind (note, question, violation, pause, resume,
    rollback), body, task_id, needs_answer, answers, delivered_at, deliveries, acked_at, deadline, created_at}."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next id (`n-12`), from the agent that calls."""

    async def get(self, message_id: str) -> Row | None: ...
    async def change(self, message_id: str, fields: Mapping[str, Any]) -> None: ...
    async def waiting(self, agent_id: str, limit: int) -> list[Row]:
        """Not acknowledged, oldest first."""

    async def prefetch_waiting(self, agent_id: str, limit: int) -> None:
        """`waiting` will be asked for in this transaction."""

    async def hand_over(self, task_id: str, kinds: Collection[str], agent_id: str) -> None:
        """Those of these kinds on the task that are not acknowledged are for this agent now, as if never shown."""

    async def overdue(self, limit: int) -> list[Row]:
        """Not acknowledged within their time, the longest overdue first."""
