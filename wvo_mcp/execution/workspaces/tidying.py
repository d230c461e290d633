"""Refs of ours that nothing needs any more, and folders that git is not to show."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from anyio import to_thread

from wvo_mcp.domain.lease import Caller
from wvo_mcp.execution.workspaces.repository import Common, submit_ref
from wvo_mcp.ports import Store, Transaction

_PIN_KEPT = timedelta(days=1)
_ARCHIVE_KEPT = timedelta(days=30)


def excluded(common: Common, folders: Sequence[Path]) -> list[str]:
    """Lines of `info/exclude` for our own folders, where they are below the person's checkout."""
    below = [one.relative_to(common.top) for one in folders if one.is_relative_to(common.top)]
    return ["/{}/".format(re.sub(r"([*?\[\\!#])", r"\\\1", one.as_posix())) for one in below]


async def tidied(common: Common, store: Store, caller: Caller) -> None:
    """Remove pins without an entry after a day, archives after thirty. Raises Tampered, GitFailed."""
    now = datetime.now(UTC)
    pins = await to_thread.run_sync(common.refs, "refs/wvo/submit")
    known = await store.read(caller, lambda tx: _submitted(tx, list(pins)))
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


async def _submitted(tx: Transaction, refs: list[str]) -> set[str]:
    """Those of the refs that an entry has."""
    tasks = {name.split("/")[3].replace("%2E", ".") for name in refs if name.count("/") == 4}
    return {submit_ref(task, entry["number"]) for task in tasks for entry in await tx.submissions.of_task(task)}
