"""How the open work went down: from the events that open and end tasks, by index, whatever the store's size."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from wvo_mcp.domain.instant import instant
from wvo_mcp.domain.task import SETTLED
from wvo_mcp.ports import Transaction

READ = 20_000
"""Events of each kind that are read; a window that would need more begins later."""
BY_HOUR_DAYS = 3
"""Windows up to so long are shown by the hour, longer ones by the day."""
_CREATED, _COMPLETED, _CANCELLED = "task.created", "task.completed", "task.cancelled"
_AGAIN = ("task.restored", "task.reopened")


@dataclass(frozen=True, slots=True, kw_only=True)
class BurnDown:
    """One entry for each stretch, from its begin in `times`, oldest first, up to now. `open` is at its end; `added` were
    created, restored or reopened. `cut`: more happened than is read, so the window is shorter than asked for."""

    hourly: bool
    times: Sequence[datetime]
    open: Sequence[int]
    added: Sequence[int]
    completed: Sequence[int]
    cancelled: Sequence[int]
    cut: bool


async def burn_down(tx: Transaction, days: int) -> BurnDown:
    hourly = days <= BY_HOUR_DAYS
    step = timedelta(hours=1) if hourly else timedelta(days=1)

    def begun(at: datetime) -> datetime:
        hour = at.replace(minute=0, second=0, microsecond=0)
        return hour if hourly else hour.replace(hour=0)

    last = begun(tx.now)
    begin = last - timedelta(days=days) + step
    came: dict[str, dict[str, int]] = {}
    cut = False
    for kind in (_CREATED, _COMPLETED, _CANCELLED, *_AGAIN):
        came[kind] = await tx.events.by_hour(kind, begin, READ)
        if sum(came[kind].values()) >= READ:
            oldest = instant(f"{min(came[kind])}:00:00Z")
            # The first stretch of what was read is not whole: its begin is not known.
            begin, cut = max(begin, begun(oldest) + step), True
    begin = min(begin, last)
    times = [begin + step * number for number in range(int((last - begin) / step) + 1)]

    def series(*kinds: str) -> list[int]:
        found = [0] * len(times)
        for kind in kinds:
            for hour, n in came[kind].items():
                place = int((instant(f"{hour}:00:00Z") - begin) // step)
                if place >= 0:
                    found[min(place, len(found) - 1)] += n
        return found

    added, completed, cancelled = series(_CREATED, *_AGAIN), series(_COMPLETED), series(_CANCELLED)
    counts = await tx.tasks.counts()
    left = sum(n for name, n in counts.items() if name != "ready" and name not in SETTLED)
    open_at: list[int] = []
    for place in reversed(range(len(times))):
        open_at.append(max(0, left))
        left += completed[place] + cancelled[place] - added[place]
    open_at.reverse()
    # Before the first task there was nothing to show.
    empty = next((place for place in range(len(times)) if open_at[place] or added[place]), 0)
    skip = min(max(0, empty - 1), len(times) - 1)
    return BurnDown(
        hourly=hourly,
        times=times[skip:],
        open=open_at[skip:],
        added=added[skip:],
        completed=completed[skip:],
        cancelled=cancelled[skip:],
        cut=cut,
    )
