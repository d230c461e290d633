"""Files of a workspace go back: who works there is paused, told what became of its files, and goes on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from wvo_mcp.domain.lease import Caller
from wvo_mcp.domain.messages import MessageKind
from wvo_mcp.domain.rollbacks import BASE, Extent, RollbackAsk, Rolled
from wvo_mcp.domain.task import BlockAuthor, Status
from wvo_mcp.domain.validation import Finding, shown
from wvo_mcp.orchestration import messages
from wvo_mcp.orchestration.tasks import breaches, lifecycle
from wvo_mcp.orchestration.workspaces import pausing
from wvo_mcp.ports import Transaction, WatchedStore
from wvo_mcp.ports.checkpoints import NoRollback, Rollbacks

ROLLED_BACK, FAILED = "workspace.rolled_back", "workspace.rollback_failed"
_ALLOWED = 2
"""Files of one lease go back so often because of what the policy forbids, or that fails so often; then a person has to look."""
_LOOKED_AT = 200
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Reverted:
    """`forced`: somebody worked there and did not acknowledge the pause."""

    rolled: Rolled
    forced: bool


async def revert(
    store: WatchedStore, caller: Caller, rollbacks: Rollbacks, ask: RollbackAsk, reason: str, *, by_policy: bool = False
) -> Reverted | None:
    """None where the task has no worktree here, or no such checkpoint. Raises NoRollback; Conflict while another does it."""
    ask = await _without_undone(store, caller, ask)
    async with pausing.paused(store, caller, ask.task_id, reason) as pause:
        try:
            rolled = await rollbacks.roll_back(ask)
        except NoRollback as error:
            failed = {"reason": str(error), "by_policy": by_policy}
            await store.write(caller, lambda tx: tx.events.append(FAILED, ask.task_id, failed))
            raise
        if rolled is None:
            return None
        if rolled.reverted:
            await store.write(caller, lambda tx: _told(tx, ask, rolled, reason, pause, by_policy))
    return Reverted(rolled, pause.forced)


async def _told(
    tx: Transaction, ask: RollbackAsk, rolled: Rolled, reason: str, pause: pausing.Pause, by_policy: bool
) -> None:
    files = [*map(shown, rolled.reverted)]
    data = {
        "mode": ask.extent.value,
        "to": rolled.to,
        "undo": rolled.undo,
        "files": files[:100],
        "files_changed": len(files),
        "reason": reason,
        "forced": pause.forced,
        "by_policy": by_policy,
    }
    await tx.events.append(ROLLED_BACK, ask.task_id, data)
    if pause.holder is not None:
        # Whoever wrote on meanwhile does not know of it: people hear soon if that stays so.
        within = timedelta(seconds=pausing.FORCED_SECONDS) if pause.forced else messages.ANSWER_WITHIN
        said = _sentence(rolled, files, reason)
        await messages.about_files(tx, ask.task_id, MessageKind.ROLLBACK, said, within=within)


def _sentence(rolled: Rolled, files: Sequence[str], reason: str) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    at = "the beginning of the workspace" if rolled.to == BASE else f"checkpoint {rolled.to}"
    undo = f" Checkpoint {rolled.undo} has what was there." if rolled.undo is not None else ""
    what = f"{', '.join(files[:_NAMED])}{more}: your files are as in {at} again ({reason})."
    return f"{what}{undo} Read them again before you go on."


async def critical(
    store: WatchedStore, caller: Caller, rollbacks: Rollbacks, task_id: str, number: int, found: Sequence[Finding]
) -> Reverted | None:
    """The files that the policy forbids go back; the third time within a lease, or when that fails so often, the task waits
    for a person. `number`: the checkpoint that has them. Raises as `revert`."""
    reason = " ".join(one.message for one in found[:_NAMED])
    if await store.write(caller, lambda tx: _too_often(tx, task_id, number, found, reason)):
        return None
    names = [*dict.fromkeys(one.path for one in found)]
    ask = RollbackAsk(task_id=task_id, to=None, extent=Extent.PARTIAL, names=names)
    return await revert(store, caller, rollbacks, ask, f"the policy forbids it: {reason}", by_policy=True)


async def _too_often(tx: Transaction, task_id: str, number: int, found: Sequence[Finding], reason: str) -> bool:
    """Was the task blocked?"""
    task = await tx.tasks.get(task_id)
    events = await tx.events.of_task(task_id, _LOOKED_AT)
    begun = max((at for at, one in enumerate(events) if one.kind == "task.claimed"), default=0)
    times = sum(one.kind in (ROLLED_BACK, FAILED) and bool(one.data.get("by_policy")) for one in events[begun:])
    if times < _ALLOWED or task.status is not Status.IN_PROGRESS:
        return False
    why = f"its files went back {times} times, and it does it again: {reason}"
    await lifecycle.block(tx, task, why[:2_000], [], BlockAuthor.POLICY)
    hint = "Look at its workspace (workspace-diff), then unblock or cancel it."
    text = f"{task_id} waits for a person: {why} {hint}"
    await breaches.found(tx, task_id, "critical", text, number, found)
    return True


async def tried(
    store: WatchedStore, caller: Caller, rollbacks: Rollbacks, ask: RollbackAsk, diff: int
) -> Rolled | None:
    """What it would do, with so many characters of the diff. Raises NoRollback."""
    return await rollbacks.roll_back(await _without_undone(store, caller, ask), dry_run=True, diff=diff)


async def _without_undone(store: WatchedStore, caller: Caller, ask: RollbackAsk) -> RollbackAsk:
    """What was rolled back is no checkpoint to go back to, unless it is named."""
    if ask.to is not None:
        return ask
    events = await store.read(caller, lambda tx: tx.events.of_task(ask.task_id, _LOOKED_AT))
    return replace(ask, skipped={one.data["undo"] for one in events if one.kind == ROLLED_BACK})
