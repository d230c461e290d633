"""Plans of many shapes, drawn by seed: which task waits for which, what each is worth, how large it is, when it is due.

A graph is a list: for each task, in the order of creation, the tasks that it waits for. A parent waits for its children.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from tests.support.clock import START

Graph = list[list[int]]

PRIORITIES = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Drawn:
    waits: Graph
    priorities: list[str]
    sizes: list[int]
    due: list[datetime | None]
    parents: dict[int, int]
    """Child to parent; the parent's waits have it too."""


def drawn(shape: str, seed: int, *, dated: bool) -> Drawn:
    """With `dated`, every other task is due before or shortly after two agents could have done everything."""
    chance = Random(f"{shape}:{seed}")
    parents: dict[int, int] = {}
    waits = TREES[shape](chance, parents) if shape in TREES else GRAPHS[shape](chance)
    sizes = [chance.randint(1, 10) for _ in waits]
    days = sum(sizes) * 1_000 / 2 / 86_400
    due = [
        START + timedelta(days=days * chance.uniform(0.1, 1.2)) if dated and chance.random() < 0.5 else None
        for _ in waits
    ]
    return Drawn(waits, [chance.choice(PRIORITIES) for _ in waits], sizes, due, parents)


def _layered(chance: Random) -> Graph:
    graph: Graph = []
    above: list[int] = []
    for _ in range(chance.randint(5, 9)):
        layer = range(len(graph), len(graph) + chance.randint(6, 12))
        graph += [chance.sample(above, min(len(above), chance.randint(1, 3))) for _ in layer]
        above = list(layer)
    return graph


def _chains(chance: Random) -> Graph:
    links = [chain for chain in range(chance.randint(8, 12)) for _ in range(chance.randint(3, 10))]
    chance.shuffle(links)
    graph: Graph = []
    last: dict[int, int] = {}
    for place, chain in enumerate(links):
        graph.append([last[chain]] if chain in last else [])
        last[chain] = place
    return graph


def _out_tree(chance: Random) -> Graph:
    return [[], *([chance.randrange(max(0, place - 30), place)] for place in range(1, chance.randint(50, 90)))]


def _in_tree(chance: Random) -> Graph:
    size = chance.randint(50, 90)
    graph: Graph = [[] for _ in range(size)]
    for place in range(size - 1):
        graph[chance.randrange(place + 1, min(size, place + 31))].append(place)
    return graph


def _fork_join(chance: Random) -> Graph:
    graph: Graph = []
    for _ in range(chance.randint(4, 7)):
        fork = len(graph)
        graph.append([fork - 1] if fork else [])
        arms = range(fork + 1, fork + 1 + chance.randint(6, 12))
        graph += [[fork] for _ in arms]
        graph.append(list(arms))
    return graph


def _independent(chance: Random) -> Graph:
    return [[] for _ in range(chance.randint(50, 90))]


def _linked(most: int, breadth: int) -> Callable[[Random], Graph]:
    def made(chance: Random) -> Graph:
        near = [range(max(0, place - breadth), place) for place in range(chance.randint(50, 90))]
        return [chance.sample(those, min(len(those), chance.randint(0, most))) for those in near]

    return made


def _epics(chance: Random, parents: dict[int, int]) -> Graph:
    """A tracker as teams use it: epics as parents of loosely linked work, single defects between them."""
    graph: Graph = []
    for _ in range(chance.randint(6, 9)):
        epic = len(graph)
        graph.append([])
        earlier = [*parents]
        for child in range(epic + 1, epic + 1 + chance.randint(4, 12)):
            siblings = range(epic + 1, child)
            near = [chance.choice(siblings)] if siblings and chance.random() < 0.3 else []
            far = [chance.choice(earlier)] if earlier and chance.random() < 0.08 else []
            graph.append(near + far)
            parents[child] = epic
            graph[epic].append(child)
        graph += [[] for _ in range(chance.randint(0, 3))]
    return graph


def _subtasks(chance: Random, parents: dict[int, int]) -> Graph:
    """A specification taken apart by a model: tasks that wait for earlier ones, each with steps, most of them in a row."""
    graph: Graph = []
    tasks: list[int] = []
    for _ in range(chance.randint(12, 18)):
        task = len(graph)
        graph.append(chance.sample(tasks, min(len(tasks), chance.randint(0, 2))))
        for step in range(task + 1, task + 1 + chance.randint(0, 6)):
            graph.append([step - 1] if step - 1 > task and chance.random() < 0.6 else [])
            parents[step] = task
            graph[task].append(step)
        tasks.append(task)
    return graph


GRAPHS: dict[str, Callable[[Random], Graph]] = {
    "layered": _layered,
    "chains": _chains,
    "in-tree": _in_tree,
    "out-tree": _out_tree,
    "fork-join": _fork_join,
    "independent": _independent,
    "dense": _linked(6, 14),
    "sparse": _linked(1, 40),
}
TREES: dict[str, Callable[[Random, dict[int, int]], Graph]] = {"epics": _epics, "subtasks": _subtasks}
"""These have parents."""
SHAPES = (*GRAPHS, *TREES)
