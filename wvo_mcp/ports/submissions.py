"""What waits to land, what was verified, checkpoints of files, and messages, within one transaction."""

# pyright: reportReturnType=false

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

Row = dict[str, Any]


class SubmissionRepository(Protocol):
    """The rows of `merge_entries`: {entry_id, seq, task_id, number, kind (submission, revert), agent_id, repository, host,
    path, target, commit_sha, base_sha, state, attempts, tip_sha, candidate_sha, landed_sha, verified, drift (JSON text),
    reason, review (waits, passed, null: none is asked), findings (JSON text), pull_request, retry_at, created_at,
    updated_at}."""

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

    async def below(self, states: Collection[str], limit: int, before: int | None) -> list[Row]:
        """The same, however old: the highest number first, below the number `before`."""


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

    async def of_task(self, task_id: str, limit: int, before: int | None = None) -> list[Row]:
        """Newest first, of all its workspaces, with a number below `before`."""


class MessageRepository(Protocol):
    """The rows of `messages`: {message_id, seq, from_agent, to_agent, kind (note, question, violation, pause, resume,
    rollback), body, task_id, to_task, needs_answer, answers, delivered_at, delivered_to, deliveries, acked_at, deadline,
    created_at}."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next id (`n-12`), from the agent that calls."""

    async def get(self, message_id: str) -> Row | None: ...
    async def change(self, message_id: str, fields: Mapping[str, Any]) -> None: ...
    async def deliver(self, message_id: str, session_id: str) -> None:
        """It is shown to this session now."""

    async def waiting(self, agent_id: str, limit: int, after: int = 0) -> list[Row]:
        """To the agent and to ids that continue its own with a dot: not acknowledged, oldest first, those `after` this seq,
        with the first 1,100 characters of their bodies."""

    async def prefetch_waiting(self, agent_id: str, limit: int) -> None:
        """`waiting`, from the first on, will be asked for in this transaction."""

    async def hand_over(self, task_id: str, kinds: Collection[str], agent_id: str) -> None:
        """Those on the task that are of these kinds, or for whoever holds it, and not acknowledged, are for this agent now,
        as if never shown."""

    async def listed(self, agent_id: str, limit: int, after: int, *, all_of_them: bool) -> list[Row]:
        """To this agent, whole, oldest first, behind the one with the `seq` `after`; without those that are acknowledged
        unless `all_of_them`."""

    async def open_between(self, sender: str, receiver: str, most: int) -> tuple[int, int, int]:
        """How many are not acknowledged, counted up to `most`: from the one, to the other, and of the latter questions."""

    async def overdue(self, limit: int) -> list[Row]:
        """Not acknowledged within their time, the longest overdue first."""


class ReservationRepository(Protocol):
    """The rows of `file_reservations`: {reservation_id, seq, agent_id, task_id, lease_token, pattern, mode (exclusive, shared),
    created_at, expires_at, ended_at}. Live is one that has not ended and whose time is not over."""

    async def add(self, fields: Mapping[str, Any]) -> Row:
        """With the next id (`F-12`)."""

    async def prefetch_near(self, agent_id: str, files: Sequence[str], *, exclusive: bool) -> None:
        """`near` will be asked for in this transaction."""

    async def near(self, agent_id: str, files: Sequence[str], *, exclusive: bool) -> list[Row]:
        """Live ones of others that may overlap with these globs, oldest first: each that does, and some that do not.
        `exclusive`: only such. An index look-up, however many there are elsewhere."""

    async def of_others(self, agent_id: str) -> list[Row]:
        """Live exclusive ones of all others, oldest first."""

    async def live(self, agent_id: str | None, limit: int) -> list[Row]:
        """Of the agent, or of all, oldest first."""

    async def get(self, reservation_id: str) -> Row | None: ...
    async def end(self, reservation_ids: Collection[str]) -> None: ...
    async def end_of_task(self, task_id: str) -> None:
        """Those that end with its lease."""

    async def lapse(self) -> None:
        """End those whose time is over."""
