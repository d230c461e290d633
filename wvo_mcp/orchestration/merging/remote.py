"""What we pushed to a remote beside the target is removed once nobody needs it there. What is not ours is never touched."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.merging import OPEN, EntryState
from wvo_mcp.domain.rules import MergeMode
from wvo_mcp.ports import Clock, Store, Transaction
from wvo_mcp.ports.merging import NotNow, RefKind, RemoteRef, Repository
from wvo_mcp.ports.rules import ProjectRules

logger = logging.getLogger(__name__)
Row = dict[str, Any]

LANDED_KEPT, OTHERS_KEPT = timedelta(days=1), timedelta(days=30)
"""Other hosts may be at work with what landed a moment ago; people may want back what did not land."""
_PAUSE = 3_600.0
_LOOKED_AT = 200


@dataclass(kw_only=True)
class RemoteRefs:
    """Looked at once an hour, by any runner: a ref is removed only as long as it leads where it led."""

    store: Store
    caller: Callable[[], Caller]
    repository: Repository
    rules: ProjectRules
    clock: Clock
    _next: float | None = None

    async def look(self) -> None:
        """If it is time. Raises what the store raises."""
        now = self.clock.steady()
        if self._next is not None and now < self._next:
            return
        self._next = now + _PAUSE
        merge = self.rules.current().merge
        if merge is not None and merge.mode is not MergeMode.LOCAL:
            await self.tidied()

    async def tidied(self) -> None:
        """Raises what the store raises."""
        rows = await self.store.read(
            self.caller(), lambda tx: tx.submissions.changed_last(frozenset(EntryState), _LOOKED_AT)
        )
        for target in dict.fromkeys(row["target"] for row in rows):
            try:
                found = await self.repository.remote_refs(target)
                if over := await self.store.read(self.caller(), lambda tx, refs=found: _over(tx, refs)):
                    await self.repository.forget(target, over)
            except NotNow as error:
                logger.info("refs of the remote of %s were not tidied: %s", target, error)


async def _over(tx: Transaction, refs: Iterable[RemoteRef]) -> list[RemoteRef]:
    by_task: dict[str, dict[int, list[RemoteRef]]] = {}
    for one in refs:
        by_task.setdefault(one.task_id, {}).setdefault(one.number, []).append(one)
    found: list[RemoteRef] = []
    for task_id, numbers in by_task.items():
        entries = {entry["number"]: entry for entry in await tx.submissions.of_task(task_id)}
        for number in numbers.keys() & entries.keys():
            found += needless(entries[number], numbers[number], tx.now)
    return found


def needless(entry: Row, refs: Iterable[RemoteRef], now: datetime) -> list[RemoteRef]:
    """Of refs that have the entry's number, those that are its own and over. Another store may use the same names, and people
    push to our branches: a ref is ours where it leads to what we pushed."""
    if entry["state"] in OPEN:
        return []
    all_ = list(refs)
    records = [one for one in all_ if one.kind is RefKind.RECORD and one.of == entry["commit_sha"][:16]]
    pushed = {one.commit for one in records}
    branches = [one for one in all_ if one.kind is RefKind.BRANCH and one.commit in pushed]
    pins = [one for one in all_ if one.kind is RefKind.PIN and one.commit == entry["commit_sha"]]
    landed = entry["state"] == EntryState.MERGED
    rests = now - instant(entry["updated_at"]) > (LANDED_KEPT if landed else OTHERS_KEPT)
    if landed and not rests:
        return []
    if not rests:  # without its branch the forge closes the pull request: nobody is to merge what came back
        return branches
    # A record goes when its branch is gone: by it that is known to be ours, and the remote may keep it.
    return [*branches, *pins, *([] if branches else records)]
