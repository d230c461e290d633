import pytest
from hypothesis import given
from hypothesis import strategies as st

from wvo_mcp.domain.workload import OpenTask, Workload, critical_path, workload
from wvo_mcp.errors import DependencyCycle


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Workload, list[float]]:
    """Up to 12 tasks; each waits for some of those before it in a drawn order."""
    size = draw(st.integers(1, 12))
    ranks = draw(st.permutations(range(size)))
    edges = [
        (f"t{ranks[late]}", f"t{ranks[early]}")
        for late in range(size)
        for early in range(late)
        if draw(st.integers(0, 3)) == 0
    ]
    tasks = [OpenTask(f"t{place}", draw(st.integers(1, 10))) for place in range(size)]
    return workload(tasks, edges, []), [float(draw(st.integers(0, 50))) for _ in range(size)]


def _longest(work: Workload, seconds: list[float], place: int) -> float:
    return seconds[place] + max((_longest(work, seconds, other) for other in work.waits[place]), default=0.0)


@pytest.mark.requirement("SCHED-5")
@given(graphs())
def test_the_critical_path_is_the_longest_chain_and_has_no_slack(given_: tuple[Workload, list[float]]) -> None:
    work, seconds = given_
    chain = critical_path(work, seconds)

    assert chain.total == max(_longest(work, seconds, place) for place in range(len(seconds)))
    assert sum(seconds[place] for place in chain.path) == chain.total
    assert all(early in work.waits[late] for early, late in zip(chain.path, chain.path[1:], strict=False))
    assert all(chain.slack(place) == 0 for place in chain.path)
    for place in chain.earliest:
        # A task that begins as late as it may leaves the whole as it is; a moment later it does not.
        assert chain.earliest[place] <= chain.latest[place]
        tail = _tail(work, seconds, place)
        assert chain.latest[place] + tail == chain.total


def _tail(work: Workload, seconds: list[float], place: int) -> float:
    return seconds[place] + max((_tail(work, seconds, other) for other in work.below[place]), default=0.0)


@pytest.mark.requirement("SCHED-5")
@given(graphs(), st.data())
def test_a_scope_holds_what_the_target_needs_and_nothing_else(
    given_: tuple[Workload, list[float]], data: st.DataObject
) -> None:
    work, seconds = given_
    target = data.draw(st.integers(0, len(seconds) - 1))
    chain = critical_path(work, seconds, [target])

    assert set(chain.earliest) == work.needed_for([target])
    assert chain.total == _longest(work, seconds, target)


@pytest.mark.requirement("SCHED-5")
def test_a_circle_made_by_hand_is_named() -> None:
    tasks = [OpenTask(name, 1) for name in ("a", "b", "c", "d")]
    with pytest.raises(DependencyCycle) as caught:
        critical_path(workload(tasks, [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")], []), [1.0] * 4)
    assert set(caught.value.details["path"]) == {"b", "c"}


@pytest.mark.requirement("SCHED-5")
def test_a_circle_elsewhere_does_not_keep_what_needs_none_of_it_from_its_path() -> None:
    tasks = [OpenTask(name, 1) for name in ("a", "b", "c", "d", "e")]
    work = workload(tasks, [("a", "b"), ("c", "d"), ("d", "c"), ("d", "b"), ("e", "c")], [])

    chain = critical_path(work, [1.0] * 5, [0])

    assert (chain.path, chain.total) == ([1, 0], 2.0)
    with pytest.raises(DependencyCycle) as caught:
        critical_path(work, [1.0] * 5, [4])
    assert set(caught.value.details["path"]) == {"c", "d"}
