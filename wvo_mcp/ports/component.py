"""The long-lived parts of a process: what each owes to the runner that starts and ends them (`app/components.py`)."""

from typing import Protocol

from anyio.abc import TaskGroup


class Component(Protocol):
    """A long-lived part of a process. Each method is called at most once, in this order, and never two components at the
    same time; one that has nothing to do inherits what stands here."""

    name: str
    """For the log."""

    async def start(self, tasks: TaskGroup) -> None:
        """Begin; what goes on runs in `tasks`, which is cancelled after the last `stop`. What it raises ends the process:
        it has then undone what it began, and is neither drained nor stopped."""

    async def ready(self) -> None:
        """Return when it serves: those declared after it are started then."""

    async def drain(self, deadline: float) -> None:
        """Begin nothing new, and return when what runs has ended. Cancelled at the deadline (`anyio.current_time`)."""

    async def stop(self) -> None:
        """End, whether it was drained or not. Not cancelled from outside: bounded by itself."""
