"""Refs of ours that nothing needs any more, and folders that git is not to show."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from anyio import to_thread

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.merging import OPEN, EntryState
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.execution.workspaces.proving import proven
from wvo_mcp.execution.workspaces.repository import Common, submit_ref
from wvo_mcp.ports import Store, Transaction

Row = dict[str, Any]
_PINS = "refs/wvo/submit"
_PIN_KEPT = timedelta(days=1)
_ARCHIVE_KEPT = timedelta(days=30)


def excluded(common: Common, folders: Sequence[Path]) -> list[str]:
    """Lines of `info/exclude` for our own folders, where they are below the person's checkout."""
    below = [one.relative_to(common.top) for one in folders if one.is_relative_to(common.top)]
    return ["/{}/".format(re.sub(r"([*?\[\\!#])", r"\\\1", one.as_posix())) for one in below]


async def tidied(common: Common, store: Store, caller: Caller) -> None:
    """Remove pins without an entry after a day, archives after thirty; and a day after a task is done, the pins of its
    entries: what is not proven to be in the target is archived first. Raises Tampered, GitFailed."""
    now = datetime.now(UTC)
    pins = await to_thread.run_sync(common.refs, _PINS)
    known, over = await store.read(caller, lambda tx: _submitted(tx, list(pins)))
    stale = [
        (name, commit)
        for name, (commit, at) in pins.items()
        if name not in known and now - datetime.fromtimestamp(at, UTC) > _PIN_KEPT
    ]
    day = (now - _ARCHIVE_KEPT).strftime("%Y%m%d")
    archived = await to_thread.run_sync(common.refs, "refs/wvo/archive")
    stale += [(name, one[0]) for name, one in archived.items() if name.rpartition("/")[2][:8] < day]
    for name, commit in stale:
        await to_thread.run_sync(common.unpin, name, commit)
    for name, entry in over.items():
        await to_thread.run_sync(_let_go, common, name, pins[name][0], entry, now.strftime("%Y%m%d"))


def _let_go(common: Common, name: str, commit: str, entry: Row, day: str) -> None:
    landed = entry["state"] == EntryState.MERGED and commit == entry["commit_sha"] and proven(common, entry)
    if not landed:
        common.archive(entry["task_id"], commit, day)
    common.unpin(name, commit)


async def _submitted(tx: Transaction, refs: list[str]) -> tuple[set[str], dict[str, Row]]:
    """Those of the refs that an entry has; and of these the ones that nothing needs any more, with their entries."""
    known, over = set[str](), dict[str, Row]()
    for task_id in {name.split("/")[3].replace("%2E", ".") for name in refs if name.count("/") == 4}:
        task = await tx.tasks.find(task_id)
        for entry in await tx.submissions.of_task(task_id):
            ref = submit_ref(task_id, entry["number"])
            known.add(ref)
            rests = entry["state"] not in OPEN and tx.now - instant(entry["updated_at"]) > _PIN_KEPT
            if rests and ref in refs and task is not None and task.status in SETTLED:
                over[ref] = entry
    return known, over
