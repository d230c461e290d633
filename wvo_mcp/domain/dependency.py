"""Waiting between tasks is a directed graph without cycles."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from math import inf
from typing import TypeVar

N = TypeVar("N", bound=Hashable)


def find_cycle(waits: Mapping[N, Iterable[N]]) -> list[N] | None:
    """One cycle of the graph `waits` (task -> tasks it waits for) as a closed path, or None. Takes O(nodes + edges)."""
    try:
        TopologicalSorter(waits).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))  # it names each node before those that wait for it
    return None


def path_between(
    start: N, goal: N, leaving: Callable[[Sequence[N]], Iterable[tuple[N, N]]], most: float = inf
) -> list[N] | None:
    """A shortest path with both its ends, or None; `leaving` gives the edges (from, to) that leave some nodes. No further
    step is made once `most` nodes are known."""
    came_from: dict[N, N | None] = {start: None}
    frontier = [start]
    while frontier and goal not in came_from and len(came_from) < most:
        reached: list[N] = []
        for source, target in leaving(frontier):
            if target not in came_from:
                came_from[target] = source
                reached.append(target)
        frontier = reached
    if goal not in came_from:
        return None
    path = [goal]
    while (before := came_from[path[-1]]) is not None:
        path.append(before)
    return path[::-1]


def in_order(waits: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes of an acyclic graph, each after those it waits for; ties keep the order given."""
    out: list[str] = []
    state: dict[str, int] = {}
    for start in waits:
        stack = [(start, iter(waits.get(start, ())))]
        if state.get(start):
            continue
        state[start] = 1
        while stack:
            node, rest = stack[-1]
            following = next((n for n in rest if n in waits and not state.get(n)), None)
            if following is None:
                stack.pop()
                out.append(node)
            else:
                state[following] = 1
                stack.append((following, iter(waits.get(following, ()))))
    return out


def in_batches(waits: Mapping[str, Iterable[str]], size: int) -> list[list[str]]:
    """The nodes as `in_order` has them, cut after `size` or as soon after it as no node waits for one of a later batch:
    what waits in a circle stays together."""
    order = in_order(waits)
    number = {node: index for index, node in enumerate(order)}
    batches: list[list[str]] = [[]]
    needed = 0
    for index, node in enumerate(order):
        batches[-1].append(node)
        needed = max(needed, *(number.get(other, 0) for other in waits[node]), 0)
        if needed <= index and len(batches[-1]) >= size:
            batches.append([])
    return [batch for batch in batches if batch]


def knotted(sources: Sequence[int], targets: Sequence[int]) -> dict[int, list[int]]:
    """What is left of a graph (`sources[i]` waits for `targets[i]`) when whatever waits for nothing is taken out, again and
    again: tasks on cycles and behind them, with what they wait for. Empty for a graph without cycles. Takes O(nodes +
    edges)."""
    sorter = TopologicalSorter[int]()
    for source, target in zip(sources, targets, strict=True):
        sorter.add(source, target)
    with suppress(CycleError):
        sorter.prepare()
    free: set[int] = set()
    while ready := sorter.get_ready():
        free.update(ready)
        sorter.done(*ready)
    left: dict[int, list[int]] = {source: [] for source in sources if source not in free}
    for source, target in zip(sources, targets, strict=True):
        if source in left and target in left:
            left[source].append(target)
    return left
