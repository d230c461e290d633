"""Graphs of waiting tasks."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.dependency import find_cycle, in_batches, in_order, path_between

pytestmark = pytest.mark.requirement("TASK-3")

nodes = st.sampled_from("ABCDEFGH")
graphs = st.dictionaries(nodes, st.lists(nodes, max_size=4), max_size=8)


def reaches(waits: dict[str, list[str]], start: str, goal: str) -> bool:
    seen: set[str] = set()
    todo = list(waits.get(start, []))
    while todo:
        node = todo.pop()
        if node == goal:
            return True
        if node not in seen:
            seen.add(node)
            todo += waits.get(node, [])
    return False


@given(graphs)
def test_a_cycle_is_found_exactly_when_some_task_waits_for_itself(waits: dict[str, list[str]]) -> None:
    cycle = find_cycle(waits)

    assert (cycle is not None) == any(reaches(waits, node, node) for node in waits)
    if cycle is not None:
        assert cycle[0] == cycle[-1]
        assert all(after in waits[before] for before, after in itertools.pairwise(cycle))


@given(graphs)
def test_an_order_puts_each_task_behind_what_it_waits_for(waits: dict[str, list[str]]) -> None:
    if find_cycle(waits) is not None:
        return
    order = in_order(waits)

    assert sorted(order) == sorted(waits)
    place = {node: at for at, node in enumerate(order)}
    assert all(place[other] < place[node] for node in waits for other in waits[node] if other in waits)


def test_a_chain_of_a_hundred_thousand_needs_no_recursion() -> None:
    chain = {str(n): [str(n + 1)] for n in range(100_000)}

    assert find_cycle(chain) is None
    assert in_order(chain)[0] == "99999"


@given(graphs, nodes, nodes)
def test_a_path_is_a_shortest_one_and_found_exactly_when_there_is_one(
    waits: dict[str, list[str]], start: str, goal: str
) -> None:
    def leaving(some: Sequence[str]) -> list[tuple[str, str]]:
        return [(node, other) for node in some for other in waits.get(node, [])]

    path = path_between(start, goal, leaving)

    steps, seen = 0, {start}
    while goal not in seen and seen != (further := seen | {other for _, other in leaving([*seen])}):
        steps, seen = steps + 1, further
    assert (path is not None) == (goal in seen)
    if path is not None:
        assert (path[0], path[-1], len(path)) == (start, goal, steps + 1)
        assert all(after in waits[before] for before, after in itertools.pairwise(path))


def test_a_walk_ends_when_it_knows_more_nodes_than_it_may() -> None:
    asked: list[int] = []

    def leaving(some: Sequence[int]) -> list[tuple[int, int]]:
        asked.extend(some)
        return [(node, node + 1) for node in some]

    assert path_between(0, 1_000, leaving, 10) is None
    assert asked == list(range(9))


@given(st.dictionaries(st.sampled_from("ABCDEFGHIJ"), st.lists(st.sampled_from("ABCDEFGHIJK"), max_size=3)))
def test_no_batch_waits_for_a_later_one_and_none_is_larger_than_circles_make_it(waits: dict[str, list[str]]) -> None:
    batches = in_batches(waits, 2)

    number = {name: index for index, batch in enumerate(batches) for name in batch}
    assert sorted(number) == sorted(waits)
    assert all(number[other] <= number[name] for name in waits for other in waits[name] if other in waits)
    if find_cycle(waits) is None:
        assert [len(batch) for batch in batches[:-1]] == [2] * (len(batches) - 1)
