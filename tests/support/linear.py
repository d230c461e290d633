"""Judges what clients were told, without a look into any server: could one careful clerk have given these answers?

Only acknowledged calls count as done, and only "ended before the other began" counts as earlier; what overlaps may have
happened in either order.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.support.databases import Database
from tests.support.recording import Call

LEASE_WRITES = frozenset({"heartbeat", "checkpoint", "complete_task", "fail_task", "release_task", "block_task"})
REOPENING = frozenset({"reopen", "retry", "restore", "unblock", "roadmap_sync", "update_task"})


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    """two holders, token, completed twice, ran again, lost write, another answer, unknown token."""
    what: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


def judged(calls: Sequence[Call], database: Database | None = None) -> list[Violation]:
    """All violations. With the store as it is after the last call, acknowledged writes are looked for in it as well."""
    calls = _since_first_asked(calls)
    found: list[Violation] = []
    by_task: dict[str, list[Call]] = defaultdict(list)
    reopenings: dict[str | None, list[Call]] = defaultdict(list)
    for call in calls:
        if call.tool in REOPENING:
            reopenings[call.arguments.get("task_id")].append(call)
        task_id = _task(call)
        if task_id is not None and call.acknowledged:
            by_task[task_id].append(call)
    for task_id, mine in by_task.items():
        reopened = reopenings[task_id] + reopenings[None]
        found += _of_task(task_id, mine, reopened)
    found += _repeats(calls)
    if database is not None:
        found += _lost(calls, database)
    return found


def _since_first_asked(calls: Sequence[Call]) -> list[Call]:
    """A repeated call may be answered from its first time, so it counts from there."""
    first: dict[tuple[str, ...], float] = {}
    found: list[Call] = []
    for call in sorted(calls, key=lambda call: call.begin):
        request = call.arguments.get("request_id")
        if request is None and call.tool not in LEASE_WRITES:
            found.append(call)
            continue
        key = (call.agent, call.tool, request or json.dumps(call.arguments, sort_keys=True))
        found.append(replace(call, begin=first.setdefault(key, call.begin)))
    return found


def _task(call: Call) -> str | None:
    if call.tool == "claim_task":
        task = (call.result or {}).get("task")
        return None if task is None else task["id"]
    return call.arguments.get("task_id")


def _of_task(task_id: str, calls: Sequence[Call], reopened: Sequence[Call]) -> Iterator[Violation]:
    claims = [call for call in calls if call.tool == "claim_task"]
    writes = [call for call in calls if call.tool in LEASE_WRITES]
    yield from _tokens(task_id, claims)
    yield from _holders(task_id, claims, writes)
    yield from _endings(task_id, claims, [call for call in writes if call.tool == "complete_task"], reopened)
    yield from _checkpoints(task_id, claims, [call for call in writes if call.tool == "checkpoint"])


def _tokens(task_id: str, claims: Sequence[Call]) -> Iterator[Violation]:
    """Later claims have larger tokens; no token is given to two."""
    given: dict[int, Call] = {}
    for claim in claims:
        first = given.setdefault(_token(claim), claim)
        if first is not claim and not _same_call(first, claim):
            yield Violation("two holders", f"{task_id}: token {_token(claim)} was given by {first} and by {claim}")
    by_end = sorted(given.values(), key=lambda claim: claim.end)
    highest: Call | None = None
    ended = 0
    for claim in sorted(given.values(), key=lambda claim: claim.begin):
        while ended < len(by_end) and by_end[ended].end < claim.begin:
            if highest is None or _token(by_end[ended]) > _token(highest):
                highest = by_end[ended]
            ended += 1
        if highest is not None and _token(claim) <= _token(highest):
            yield Violation("token", f"{task_id}: {_token(claim)} of {claim} came after {_token(highest)} of {highest}")


def _holders(task_id: str, claims: Sequence[Call], writes: Sequence[Call]) -> Iterator[Violation]:
    """Once somebody was told that the task is theirs, no call that begins later succeeds under an older token."""
    for write in writes:
        token = write.arguments.get("lease_token")
        if token is None:
            continue
        newer = next((claim for claim in claims if _token(claim) > token and claim.end < write.begin), None)
        if newer is not None:
            yield Violation("two holders", f"{task_id}: {write} succeeded under {token} after {newer} gave a newer one")
        if not any(_token(claim) == token and claim.begin < write.end for claim in claims):
            yield Violation("unknown token", f"{task_id}: {write} succeeded, but nobody was given {token}")


def _endings(
    task_id: str, claims: Sequence[Call], completions: Sequence[Call], reopened: Sequence[Call]
) -> Iterator[Violation]:
    """Between two ends, and between an end and another beginning, somebody reopened the task."""
    for number, done in enumerate(completions):
        for again in completions[number + 1 :]:
            if not _same_call(done, again) and not _between(done, again, reopened):
                yield Violation("completed twice", f"{task_id}: by {done} and by {again}")
        for claim in claims:
            if claim.begin > done.end and not _between(done, claim, reopened):
                yield Violation("ran again", f"{task_id}: {claim} was given it after {done}")


def _checkpoints(task_id: str, claims: Sequence[Call], saved: Sequence[Call]) -> Iterator[Violation]:
    """Whoever takes a task over is given a checkpoint no older than any that was acknowledged before."""
    for claim in claims:
        resume = _result(claim).get("resume")
        seq = 0 if resume is None else resume["seq"]
        for call in saved:
            if call.end < claim.begin and _result(call)["checkpoint"]["seq"] > seq:
                yield Violation("lost write", f"{task_id}: {claim} was given checkpoint {seq}, not that of {call}")
                break


def _repeats(calls: Sequence[Call]) -> Iterator[Violation]:
    """The same request gets the same answer."""
    first: dict[tuple[str, str, str], Call] = {}
    for call in calls:
        request = call.arguments.get("request_id")
        if request is None or not call.acknowledged:
            continue
        known = first.setdefault((call.agent, call.tool, request), call)
        if known.result != call.result:
            yield Violation("another answer", f"{call} was answered otherwise than {known}")


def _lost(calls: Sequence[Call], database: Database) -> Iterator[Violation]:
    """What was acknowledged is in the store."""
    checkpoints = set(database.column("SELECT id FROM checkpoints"))
    versions = {(row["topic"], row["version"]) for row in database.rows("SELECT topic, version FROM context_entries")}
    tasks = {row["id"]: row for row in database.rows("SELECT id, lease_token FROM tasks WHERE seq > 0")}
    completed = set(database.column("SELECT task_id FROM events WHERE kind = 'task.completed'"))
    for call in calls:
        if call.acknowledged and not _is_there(call, checkpoints, versions, tasks, completed):
            yield Violation("lost write", f"{call} was acknowledged and is not in the store")


def _is_there(
    call: Call, checkpoints: set[str], versions: set[tuple[str, int]], tasks: dict[str, Any], completed: set[str]
) -> bool:
    result = _result(call)
    if call.tool == "checkpoint":
        return result["checkpoint"]["id"] in checkpoints
    if call.tool == "context_write":
        return (call.arguments["topic"], result["version"]) in versions
    if call.tool == "create_tasks":
        return all(task_id in tasks for task_id in result["created"])
    if call.tool == "complete_task":
        return call.arguments["task_id"] in completed
    if call.tool == "claim_task" and result["task"] is not None:
        return tasks[result["task"]["id"]]["lease_token"] >= _token(call)
    return True


def _result(call: Call) -> dict[str, Any]:
    return call.result or {}


def _token(claim: Call) -> int:
    return _result(claim)["lease"]["token"]


def _same_call(one: Call, other: Call) -> bool:
    """One is the other's repetition: of the same agent, with the same request or under the same token."""
    if one.agent != other.agent or one.tool != other.tool:
        return False
    request = one.arguments.get("request_id")
    if request is not None:
        return request == other.arguments.get("request_id")
    return one.arguments == other.arguments


def _between(done: Call, later: Call, reopened: Sequence[Call]) -> bool:
    return any(call.begin < later.end and call.end > done.begin and call.error is None for call in reopened)
