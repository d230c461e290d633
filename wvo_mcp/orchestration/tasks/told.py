"""What the next holder of a task begins with."""

from wvo_mcp.domain.task import Task
from wvo_mcp.ports import Transaction

_SUMMARY = 16_000


async def told_first(tx: Transaction, task: Task, answer: str) -> str:
    """The answer stands before the last checkpoint, in one of its own; its id."""
    last = await tx.memory.last_checkpoint(task.id)
    summary = answer if last is None else f"{answer}\n\n{last.summary}"
    left = (None, None, ()) if last is None else (last.next_steps, last.progress, last.files)
    return (await tx.memory.add_checkpoint(task.id, summary[:_SUMMARY], *left)).id
