"""Who waits for changes of a store, and which of them each has been told of."""

import asyncio
from weakref import WeakKeyDictionary


class Waiters:
    """Several tasks of a process may wait: a change that one of them was told of is still news to the others."""

    def __init__(self) -> None:
        self._changes = 0
        self._seen: WeakKeyDictionary[asyncio.Task[object], int] = WeakKeyDictionary()

    def changed(self) -> None:
        self._changes += 1

    def news(self) -> bool:
        """Was there a change since this task was last told of one? True at its first call: it knows nothing yet."""
        task = asyncio.current_task()
        if task is None:
            return True
        known = self._seen.get(task) == self._changes
        self._seen[task] = self._changes
        return not known
