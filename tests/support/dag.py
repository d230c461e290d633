"""Random graphs of work, and questions about graphs."""

import random
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def random_tasks(count: int, *, seed: int, epics: Sequence[str], breadth: int = 60) -> list[dict[str, Any]]:
    """Items of create_tasks: each depends on up to three of the `breadth` tasks before it, so that many are ready at once
    and the graph is still deep."""
    chance = random.Random(seed)
    tasks: list[dict[str, Any]] = []
    for place in range(count):
        near = range(max(0, place - breadth), place)
        chosen = chance.sample(near, min(len(near), chance.choice((0, 1, 1, 2, 3))))
        tasks.append(
            {
                "id": f"T{place}",
                "title": f"Step {place}",
                "depends_on": [f"T{other}" for other in sorted(chosen)],
                "priority": chance.choice(("critical", "high", "medium", "low")),
                "complexity": chance.randint(1, 10),
                **({"epic_id": chance.choice(epics)} if chance.random() < 0.6 else {}),
            }
        )
    return tasks


def order(waits: Mapping[str, Collection[str]]) -> list[str] | None:
    """The nodes, each behind all that it waits for; None when there is a circle."""
    missing = {node: len(on) for node, on in waits.items()}
    dependents: dict[str, list[str]] = {node: [] for node in waits}
    for node, on in waits.items():
        for other in on:
            dependents[other].append(node)
    ordered = [node for node, count in missing.items() if count == 0]
    for node in ordered:
        for dependent in dependents[node]:
            missing[dependent] -= 1
            if missing[dependent] == 0:
                ordered.append(dependent)
    return ordered if len(ordered) == len(missing) else None
