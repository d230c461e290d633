"""What a store holds beside its tasks after months of work: written straight into the file, before a server opens it."""

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from wvo_mcp.domain.event import canonical, chain_hash
from wvo_mcp.domain.instant import iso
from wvo_mcp.store.sqlite.connection import sqlite

Row = Mapping[str, object]

LONG = 5_000
"""Events of the one task that has a long history."""
WORKERS, ENTRIES, REVIEWS, USES, REFUSALS, DAYS = 10_000, 5_000, 5_000, 100_000, 10_000, 28
_OF_LONG = 200
"""Workers, submissions, reviews and so on of that task."""
_LINES = 20_000
_SHA = "0123456789abcdef0123456789abcdef01234567"
_KINDS = ("task.claimed", "task.checkpoint", "lease.expired", "worker.lost", "task.returned")


def write(database: Path) -> dict[str, str]:
    """Workers, submissions, reviews, usage, refusals, a month of completions, and one open task with much of each. The names
    that the addresses of pages have: {task_id, worker_id, entry_id, review_id}."""
    now = datetime.now(UTC) - timedelta(minutes=1)
    with closing(sqlite.connect(str(database), isolation_level=None)) as raw:
        raw.execute("PRAGMA synchronous = OFF")
        raw.execute("BEGIN")
        tasks: list[str] = [row[0] for row in raw.execute("SELECT id FROM tasks ORDER BY seq DESC LIMIT ?", (WORKERS,))]
        long = tasks[0]
        whose = [long if number < _OF_LONG else tasks[number] for number in range(WORKERS)]
        _events(raw, long, now)
        log = database.parent / "workers" / "long.log"
        log.parent.mkdir(exist_ok=True)
        said = "".join(json.dumps({"line": number, "text": "what it does now " * 5}) + "\n" for number in range(_LINES))
        log.write_text('{"wvo": "log", "driver": "none"}\n' + said)
        _put(raw, "workers", (_worker(number, whose[number], now, str(log)) for number in range(WORKERS)))
        _put(raw, "merge_entries", (_entry(number, whose[number], now) for number in range(ENTRIES)))
        _put(raw, "reviews", (_review(number, whose[number], now) for number in range(REVIEWS)))
        _put(raw, "workspace_checkpoints", (_files(number, long, now) for number in range(LONG)))
        _put(raw, "checkpoints", (_checkpoint(number, long, now) for number in range(_OF_LONG)))
        _put(raw, "violations", (_refusal(number, whose[number], now) for number in range(REFUSALS)))
        _put(raw, "usage", (_use(number, whose[number % WORKERS], now) for number in range(USES)))
        raw.execute("COMMIT")
    return {"task_id": long, "worker_id": "w-1", "entry_id": "m-1", "review_id": "R-1"}


def _put(raw: Any, table: str, rows: Iterable[Row]) -> None:
    found = list(rows)
    names = ", ".join(f'"{name}"' for name in found[0])
    marks = ", ".join(f":{name}" for name in found[0])
    raw.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", found)


def _events(raw: Any, long: str, now: datetime) -> None:
    """A month of completions, one for each task that is done, and a long history of one task, each linked to its last."""
    (seq,) = raw.execute("SELECT max(seq) FROM events").fetchone()
    heads = dict(raw.execute("SELECT id, event_head FROM tasks WHERE status = 'done' OR id = ?", (long,)).fetchall())
    done = [task_id for task_id in heads if task_id != long]
    every = len(done) + LONG
    made: list[tuple[Any, ...]] = []
    for place in range(every):
        task_id, kind = (long, _KINDS[place % 5]) if place < LONG else (done[place - LONG], "task.completed")
        seq += 1
        at = iso(now - timedelta(days=DAYS) * (1 - place / every))
        data = canonical({"summary": "what was done, in a sentence of some length", "agent": "ann"})
        head = chain_hash(heads[task_id], seq, at, kind, task_id, "ann", "seed", data)
        made.append((seq, at, kind, task_id, "ann", "seed", data, heads[task_id], head))
        heads[task_id] = head
    raw.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", made)
    raw.executemany(
        "UPDATE tasks SET event_head = ? WHERE id = ?", [(head, task_id) for task_id, head in heads.items()]
    )


def _ago(now: datetime, number: int) -> str:
    return iso(now - timedelta(minutes=number))


def _worker(number: int, task_id: str, now: datetime, log: str) -> Row:
    ended = number >= 20
    return {
        "worker_id": f"w-{number + 1}", "seq": number + 1, "task_id": task_id, "lease_token": number + 1,
        "agent_id": f"auto-here.{number % 20}", "run_id": "r-1", "provider": "claude", "tier": "high", "model": "sonnet",
        "host": "elsewhere", "state": "ended" if ended else "working", "since": _ago(now, number),
        "last_act": "runs the tests of the part that it changes", "started_at": _ago(now, number + 30),
        "ended_at": _ago(now, number) if ended else None, "outcome": "completed" if ended else None,
        "tokens_in": 120_000, "tokens_out": 8_000, "cost_usd": 0.4, "log": log,
    }  # fmt: skip


def _entry(number: int, task_id: str, now: datetime) -> Row:
    return {
        "entry_id": f"m-{number + 1}", "seq": number + 1, "task_id": task_id, "number": number + 1, "repository": "/r",
        "host": "here", "path": "/r", "target": "main", "commit_sha": _SHA, "base_sha": _SHA,
        "state": ("queued", "red")[number % 2] if number < 24 else "merged", "agent_id": "ann",
        "drift": json.dumps([f"src/part{n}.py" for n in range(20)]), "reason": "the tests of the target fail with it",
        "created_at": _ago(now, number + 5), "updated_at": _ago(now, number),
    }  # fmt: skip


def _review(number: int, task_id: str, now: datetime) -> Row:
    issue = {"path": "src/a.py", "line": 7, "problem": "It fails on empty input.", "suggestion": "Return early."}
    return {
        "review_id": f"R-{number + 1}", "seq": number + 1, "task_id": task_id, "round": number + 1, "commit_sha": _SHA,
        "author": "ann", "reviewer": "bob", "trigger": "milestone", "state": "asked" if number < 10 else "answered",
        "verdict": None if number < 10 else "concerns", "summary": "It works but for one case. " * 10,
        "issues": json.dumps([issue] * 5), "decision": None if number < 10 else "continue", "asked_by": "ann",
        "asked_at": _ago(now, number + 3), "answered_at": None if number < 10 else _ago(now, number),
    }  # fmt: skip


def _files(number: int, task_id: str, now: datetime) -> Row:
    return {
        "workspace_id": f"ws-{number // 1_000}", "seq": number % 1_000 + 1, "task_id": task_id, "number": number + 1,
        "commit_sha": _SHA, "tree_sha": _SHA, "trigger": "changes", "files_changed": 12, "took_ms": 40,
        "created_at": _ago(now, LONG - number),
    }  # fmt: skip


def _checkpoint(number: int, task_id: str, now: datetime) -> Row:
    return {
        "id": f"c-{number}", "task_id": task_id, "seq": number + 1, "agent_id": "ann",
        "summary": "What was done so far, and what was found on the way. " * 10, "next_steps": "The rest of it.",
        "created_at": _ago(now, _OF_LONG - number),
    }  # fmt: skip


def _refusal(number: int, task_id: str, now: datetime) -> Row:
    return {
        "seq": number + 1, "at": _ago(now, REFUSALS - number), "task_id": task_id, "worker_id": "w-1", "agent_id": "ann",
        "kind": "command", "verdict": "deny", "rule": "no force push", "subject": "git push --force origin main",
    }  # fmt: skip


def _use(number: int, task_id: str, now: datetime) -> Row:
    at = iso(now - timedelta(days=DAYS) * (1 - number / USES))
    return {
        "at": at, "task_id": task_id, "agent_id": "ann", "provider": ("claude", "codex")[number % 2], "tier": "high",
        "model": "sonnet", "tokens_in": 900, "tokens_out": 100, "tokens": 1_000, "cost": 0.01, "source": "report",
    }  # fmt: skip
