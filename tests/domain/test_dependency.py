"""Graphs of waiting tasks."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.dependency import find_cycle, in_order

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
