"""What is worth remembering at the start of a task, and on request."""

from wvo_mcp.domain.memory import ContextEntry, within
from wvo_mcp.domain.task import Task
from wvo_mcp.ports import Transaction

CLAIM_TOKENS = 1_500
_CLAIM_ENTRIES = 8


async def for_claim(tx: Transaction, task: Task) -> list[ContextEntry]:
    """What was written for the task and its epic, then what reads like it, newest
    version of each topic, within 1,500 tokens."""
    if not await tx.memory.anything():
        return []
    own = await tx.memory.for_task(task, _CLAIM_ENTRIES)
    alike = await tx.memory.search(" ".join((task.title, *task.labels)), None, _CLAIM_ENTRIES, recent_only=True)
    mine = newest(own)
    topics = {entry.topic for entry in mine}  # a note of the task itself is not displaced by another's of that name
    others = [entry for entry in newest(alike) if entry.topic not in topics]
    return within([*mine, *others][:_CLAIM_ENTRIES], CLAIM_TOKENS)


def newest(entries: list[ContextEntry]) -> list[ContextEntry]:
    """One entry a topic, of those given the newest, in the order in which the topics first appear."""
    best: dict[str, ContextEntry] = {}
    for entry in entries:
        known = best.get(entry.topic)
        if known is None or entry.version > known.version:
            best[entry.topic] = entry
    return list(best.values())
