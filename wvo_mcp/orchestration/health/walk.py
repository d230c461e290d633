"""The walk over the whole graph: are there cycles, does the table hold what the roadmap writes?

In slices, so that no other read waits for it, and only when an edge changed or the roadmap was read again. Product code lets no
cycle in; what this finds was written past it.
"""

import itertools
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread

from wvo_mcp.domain.dependency import find_cycle, knotted
from wvo_mcp.domain.health import Walk
from wvo_mcp.domain.lease import Caller
from wvo_mcp.orchestration.health.observe import WALKED, walked
from wvo_mcp.orchestration.leader import LeaderTerm
from wvo_mcp.orchestration.plan.roadmap import SYNCED
from wvo_mcp.ports import Store, Transaction

_EDGES = 2_000
_ENTRIES = 400


async def needed(store: Store, caller: Caller) -> bool:
    """Did anything change since the last walk began?"""

    async def moved(tx: Transaction) -> bool:
        last = await walked(tx)
        return last is None or (last.changes, last.digest) != await _state(tx)

    return await store.read(caller, moved)


async def walk(store: Store, caller: Caller) -> Walk:
    """What the store holds now; what changes meanwhile is a reason for the next walk."""
    changes, digest = await store.read(caller, _state)
    written = present = 0
    after: str | None = ""
    while after is not None:
        begin = after
        after, more, there = await store.read(caller, lambda tx, begin=begin: tx.health.written_links(begin, _ENTRIES))
        written, present = written + more, present + there
    path, number = await _cycle(store, caller)
    return Walk(changes, digest, written, present, tuple(path), number)


async def keep(term: LeaderTerm, found: Walk) -> None:
    """For the next cycles."""
    await term.write(term.caller, lambda tx: tx.state.put(WALKED, asdict(found)))


async def _state(tx: Transaction) -> tuple[int, str | None]:
    _, changes = await tx.health.edges()
    synced = await tx.state.get(SYNCED)
    return changes, None if synced is None else synced["digest"]


async def _cycle(store: Store, caller: Caller) -> tuple[list[str], int]:
    sources, targets = array("q"), array("q")
    last: tuple[str, str] = ("", "")
    while True:
        edges = await store.read(caller, lambda tx, last=last: tx.health.edges_behind(last, _EDGES))
        for _, _, a, b in edges:
            sources.append(a)
            targets.append(b)
        if len(edges) < _EDGES:
            break
        last = edges[-1][:2]
        await anyio.lowlevel.checkpoint()  # others of this server have waited
    left = await anyio.to_thread.run_sync(knotted, sources, targets)
    if not left:
        return [], 0
    path = find_cycle(left) or []
    return await store.read(caller, partial(_confirmed, path)), len(left)


async def _confirmed(path: Sequence[int], tx: Transaction) -> list[str]:
    """The ids, if every edge is there at one moment: the slices were read one after the other."""
    ids = await tx.health.ids(path)
    named = [ids[seq] for seq in path if seq in ids]
    for task_id, other in itertools.pairwise(named):
        if other not in {row["id"] for row in await tx.tasks.dependencies(task_id)}:
            return []
    return named
