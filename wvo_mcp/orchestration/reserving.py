"""Files that an agent keeps for itself (CLAIM-6): refused where they overlap, in the transaction that takes them."""

import json
from collections.abc import Collection, Sequence
from datetime import timedelta

from wvo_mcp.domain.files import InUse, scopes_overlap
from wvo_mcp.domain.instant import iso
from wvo_mcp.domain.lease import Policy
from wvo_mcp.errors import Conflict, Forbidden, NotFound, ReservationConflict
from wvo_mcp.orchestration.queue import claims
from wvo_mcp.orchestration.tasks import lifecycle
from wvo_mcp.ports import Row, Transaction

MOST = 1_000
"""Live ones of an agent."""
LONGEST = 86_400
_SECONDS = 3_600
_HINT = "Wait until then, work on other files, or ask who has them (message_send)."


async def reserve(
    tx: Transaction,
    policy: Policy,
    patterns: Sequence[str],
    mode: str,
    seconds: int | None,
    task_id: str | None,
    lease_token: int | None,
) -> list[Row]:
    """One for each pattern, or none. With a task they end with its lease.

    Raises ReservationConflict, Conflict (too many), NotFound, StaleLease.
    """
    agent_id, token = tx.caller.agent_id, None
    if task_id is not None:
        task = await lifecycle.held(tx, policy, task_id, lease_token)
        agent_id, token = task.assigned_to or agent_id, task.lease_token
    await claims.reap(tx, policy)  # a lease that is over keeps nothing
    await tx.reservations.lapse()
    if len(await tx.reservations.live(agent_id, MOST)) + len(patterns) > MOST:
        raise Conflict(
            f"{agent_id} has {MOST} reservations at most.", hint="Call files_release for what is not needed."
        )
    await _check(tx, agent_id, patterns, exclusive=mode == "exclusive")
    lasting = seconds or (LONGEST if task_id is not None else _SECONDS)
    until = tx.now + timedelta(seconds=lasting)
    fields = {"agent_id": agent_id, "task_id": task_id, "lease_token": token, "mode": mode, "expires_at": until}
    rows = [await tx.reservations.add({**fields, "pattern": pattern}) for pattern in dict.fromkeys(patterns)]
    data = {"reservations": [row["reservation_id"] for row in rows], "patterns": list(patterns)[:20], "mode": mode}
    await tx.events.append("files.reserved", task_id, {**data, "agent": agent_id, "until": iso(until)})
    return rows


async def _check(tx: Transaction, agent_id: str, patterns: Sequence[str], *, exclusive: bool) -> None:
    """Exclusive ones overlap with whatever others have, and with the files of their tasks in progress; shared ones only with
    exclusive ones. Raises ReservationConflict."""
    for row in await tx.reservations.near(agent_id, patterns, exclusive=not exclusive):
        if files := scopes_overlap(patterns, [row["pattern"]]):
            known, by, until = row["reservation_id"], row["agent_id"], row["expires_at"]
            said = f"{files[0]} overlaps with {row['pattern']}, which {by} has reserved until {until} ({known})."
            raise ReservationConflict(said, hint=_HINT, files=files, by=by, until=until, **{"with": known})
    if not exclusive:
        return
    for row in await tx.queue.scopes():
        task = await tx.tasks.get(row["id"])
        if task.assigned_to == agent_id:
            continue
        if conflict := InUse([(task.id, json.loads(row["files"]))]).conflict(patterns):
            said = f"{conflict[1][0]} overlaps with the files of {task.id}, which {task.assigned_to} works on."
            raise ReservationConflict(said, hint=_HINT, files=conflict[1], by=task.assigned_to, **{"with": task.id})


async def release(tx: Transaction, ids: Collection[str] | None) -> list[str]:
    """End these, or all of the caller's; those that were live. A person may end anybody's. Raises NotFound, Forbidden."""
    if ids is None:
        live = [str(row["reservation_id"]) for row in await tx.reservations.live(tx.caller.agent_id, MOST)]
    else:
        live = list[str]()
        for known in dict.fromkeys(ids):
            row = await tx.reservations.get(known)
            if row is None:
                raise NotFound("reservation", known, field="reservation_ids", hint="files_reserve answers the ids.")
            own = row["agent_id"] == tx.caller.agent_id or row["agent_id"].startswith(f"{tx.caller.agent_id}.")
            if not own and not tx.caller.person:
                raise Forbidden(f"{known} is {row['agent_id']}'s.", hint="Ask its agent to release it (message_send).")
            live += [known] if row["ended_at"] is None and row["expires_at"] > iso(tx.now) else []
    await tx.reservations.end(live)
    if live:
        await tx.events.append("files.released", None, {"reservations": live[:50], "count": len(live)})
    return live
