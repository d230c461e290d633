"""The scores of a store against the contract's rule, written out a second time and by brute force."""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

PRIORITIES = {"critical": 15.0, "high": 10.0, "medium": 5.0, "low": 1.0}
SETTLED = ("done", "cancelled")

Row = Mapping[str, Any]


def own_value(row: Row) -> float:
    return PRIORITIES[row["priority"]] if row["business_value"] is None else row["business_value"]


def misranked(
    tasks: Iterable[Row],
    edges: Iterable[tuple[str, str]],
    waits: Iterable[tuple[str, str]],
    *,
    step: int,
    weights: Callable[[Row], Collection[float]] = lambda row: [own_value(row)],
    told: bool = False,
) -> Iterator[str]:
    """What is wrong with the kept columns of open tasks. `weights` are those that a task may have been scored with, none where
    that is unknown; `told`: no completion has changed a bundle without telling it upward."""
    rows = {row["id"]: row for row in tasks}
    users: dict[str, set[str]] = {task_id: set() for task_id in rows}
    awaits = dict.fromkeys(rows, 0)
    blocked = [(a, b) for a, b in waits if rows[a]["status"] == "blocked"]
    for user, other in [*edges, *blocked]:
        users[other].add(user)
        awaits[user] += rows[other]["status"] != "done"
    for row in rows.values():
        if row["parent_id"] is not None:
            users[row["id"]].add(row["parent_id"])
            awaits[row["parent_id"]] += row["status"] not in SETTLED
    still_open = {task_id for task_id, row in rows.items() if row["status"] not in SETTLED}
    for task_id in still_open:
        row = rows[task_id]
        below = [rows[user] for user in users[task_id] & still_open]
        kept = (row["bundle_value"], row["bundle_size"])
        expected = [bundle_of(value, row["complexity"], below, awaits) for value in weights(row)]
        if expected and not any(close(kept, one) for one in expected):
            yield f"{task_id} has the bundle {kept}, expected {expected[-1]}"
        tail = min(1000, row["complexity"] + max((one["tail"] for one in below), default=0))
        if row["tail"] != tail:
            yield f"{task_id} has the tail {row['tail']}, expected {tail}"
        path = row["score"] - row["bundle_value"] / row["bundle_size"]
        if row["unmet_deps"] == 0 and abs(path - min(10, 4 * row["tail"] ** 2 * 2.0**step)) > 1e-4:
            yield f"{task_id} has the score {row['score']} with {path} for its path at the step {step}"
        elif not -1e-4 < path < 10.0001:
            yield f"{task_id} has the score {row['score']} for {kept}"
        heard = (row["heard_value"], row["heard_size"])
        if told and any(abs(now - then) > 0.05 * then for now, then in zip(kept, heard, strict=True)):
            yield f"{task_id} has the bundle {kept} and told {heard}"


def bundle_of(value: float, size: float, below: Iterable[Row], awaits: Mapping[str, int]) -> tuple[float, float]:
    for other in sorted(below, key=lambda one: (-one["heard_value"] / one["heard_size"], one["seq"])):
        if awaits[other["id"]] > 64:
            continue
        part = 1 / 2 ** math.ceil(math.log2(awaits[other["id"]]))
        if other["heard_value"] / other["heard_size"] <= value / size or size + other["heard_size"] * part > 60:
            break
        value, size = value + other["heard_value"] * part, size + other["heard_size"] * part
    return value, size


def close(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return all(abs(a - b) < 1e-3 for a, b in zip(one, other, strict=True))
