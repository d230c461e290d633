"""The states of what waits to land (contract, section 11), and what follows from how it went."""

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any


class EntryState(StrEnum):
    QUEUED = "queued"
    BUILDING = "building"
    VERIFYING = "verifying"
    LANDING = "landing"
    MERGED = "merged"
    CONFLICT = "conflict"
    RED = "red"
    PARKED = "parked"
    """It waits for a cause that may pass, or for a person."""
    WITHDRAWN = "withdrawn"


class EntryKind(StrEnum):
    SUBMISSION = "submission"
    REVERT = "revert"
    """Takes back what another entry has landed."""


AT_WORK = frozenset({EntryState.QUEUED, EntryState.BUILDING, EntryState.VERIFYING, EntryState.LANDING})
"""The queue has it in hand; the file scope of its task is in use."""
OPEN = AT_WORK | {EntryState.PARKED}
SENT_BACK = frozenset({EntryState.CONFLICT, EntryState.RED})

MOST_SENT_BACK = 3
"""So often in a row the work of a task comes back to its agent before a person is asked."""
MOST_MOVED = 10
"""So often in a row the target may move under a candidate before the entry is parked for a while."""
KEPT = timedelta(minutes=10)
"""So long a task that came back is kept for the agent that submitted it."""
WAITS, PASSED = "waits", "passed"
"""`review` of an entry: it stays queued until its review has passed, or that has; None where none was asked."""
UNVERIFIED = "unverified"
"""`verified` of what no command has judged; else `verified`."""
VERIFIED = "verified"

Entry = Mapping[str, Any]
"""A row of `merge_entries`."""

_PRIORITIES = ("critical", "high", "medium", "low")


def in_order(waiting: Iterable[tuple[Entry, str, float]]) -> list[Entry]:
    """Entries with the priority and score of their tasks, the next one first: what is half-way, what takes something back, then
    by priority, score and age."""

    def place(one: tuple[Entry, str, float]) -> tuple[bool, bool, int, float, int]:
        entry, priority, score = one
        begun = entry["state"] != EntryState.LANDING
        return (begun, entry["kind"] != EntryKind.REVERT, _PRIORITIES.index(priority), -score, entry["seq"])

    return [entry for entry, _, _ in sorted(waiting, key=place)]


def begins_with(built_on: Iterable[Entry]) -> tuple[list[str], list[str]]:
    """Of the entries that a task builds on: the commits that the target does not have, and the commits by which it has the
    others. A landing may be another commit than what was submitted, and must not be joined with that."""
    bases, landed = list[str](), list[str]()
    for entry in built_on:
        if entry["state"] == EntryState.MERGED:
            landed.append(entry["landed_sha"])
        else:
            bases.append(entry["commit_sha"])
    return bases, landed


def sent_back_in_a_row(entries: Iterable[Entry]) -> int:
    """How often the work of a task came back since it last landed or a person was asked (`asked` in the findings);
    `entries` newest first."""
    count = 0
    for entry in entries:
        if entry["state"] == EntryState.MERGED or json.loads(entry["findings"]).get("asked"):
            break
        count += entry["state"] in SENT_BACK
    return count
