"""Waiting between tasks is a directed graph without cycles."""

from collections.abc import Iterable, Mapping


def find_cycle(waits: Mapping[str, Iterable[str]]) -> list[str] | None:
    """One cycle of the graph `waits` (task -> tasks it waits for) as a closed path, or None. Takes O(nodes + edges)."""
    done: set[str] = set()
    for start in waits:
        if start in done:
            continue
        path: list[str] = [start]
        on_path: dict[str, int] = {start: 0}
        stack = [iter(waits.get(start, ()))]
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                left = path.pop()
                del on_path[left]
                done.add(left)
            elif following in on_path:
                return [*path[on_path[following] :], following]
            elif following not in done:
                on_path[following] = len(path)
                path.append(following)
                stack.append(iter(waits.get(following, ())))
    return None


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
