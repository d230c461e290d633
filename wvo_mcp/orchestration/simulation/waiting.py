"""Agents that ask again and again with nothing to do: told by arithmetic, not by an event for each asking.

Whoever is refused asks again after the same pause until something else is answered. Those of one kind that were given the same
reason and the same pause form a ring, sorted by when within the pause they ask; only the next asking that can be answered
otherwise has to happen.
"""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

Key = tuple[int, int, int, int]
"""Of what happens: when; askings (1) come behind all else (0); longer pauses first, for they began earlier; a number."""


@dataclass(slots=True)
class Ring(Generic[T]):
    """Milliseconds. Members are told apart by their numbers."""

    pause: int
    places: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """(when within the pause, number), sorted."""
    members: dict[int, tuple[T, int]] = field(default_factory=dict[int, tuple[T, int]])
    """Number -> (who, when last asked for real)."""
    wake: Key | None = None
    """The asking that is on the agenda."""
    soonest: bool = False
    """No asking can be nearer than that: whoever joins asks after all others."""

    def add(self, number: int, who: T, at: int) -> None:
        insort(self.places, (at % self.pause, number))
        self.members[number] = (who, at)

    def take(self, number: int, at: int) -> tuple[T, int]:
        """(who, how many askings before `at` were spared)."""
        who, since = self.members.pop(number)
        del self.places[bisect_left(self.places, (since % self.pause, number))]
        return who, max(0, (at - since - 1) // self.pause)

    def spared(self, until: int) -> int:
        """How many askings before `until` were spared in all."""
        return sum(max(0, (until - since - 1) // self.pause) for _, since in self.members.values())

    def next(self, key: Key, earliest: int) -> Key:
        """The first asking behind `key` that is not before `earliest`; somebody waits."""
        start, found = key[0], 0
        if earliest > start:
            start = earliest
            found = bisect_left(self.places, (start % self.pause, -1))
        elif (1, -self.pause) > key[1:3]:
            found = bisect_left(self.places, (start % self.pause, -1))
        elif (1, -self.pause) == key[1:3]:
            found = bisect_right(self.places, (start % self.pause, key[3]))
        else:
            start += 1
            found = bisect_left(self.places, (start % self.pause, -1))
        begin = start - start % self.pause
        while True:
            if found == len(self.places):
                found, begin = 0, begin + self.pause
            phase, number = self.places[found]
            if begin + phase > self.members[number][1]:
                return begin + phase, 1, -self.pause, number
            found += 1  # it has asked at this very moment, in another ring
