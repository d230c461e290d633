"""A plan that a program or an agent writes for a goal: data that is checked before any of it becomes a task (WORK-4)."""

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from wvo_mcp.domain.dependency import find_cycle
from wvo_mcp.domain.files import beginning, counted_overlap, leads_out
from wvo_mcp.domain.providers.crew import Part
from wvo_mcp.domain.text import FileGlob, Id, Prose, Text, Title

MOST_TASKS = 60
_NAMED = 20
"""Findings of one plan."""
_MOST_ID = 48
"""Characters of an id, before which that of the plan is put."""
_MOST_STATES = 1_000_000
"""Looked at to compare the files of a plan: a second or so, in which nobody else writes to the store."""
_Begun = Sequence[tuple[str, str]]
"""Globs in the order of their beginnings, which stand before them."""

AIMED = {Part.DESIGN: (40, 50), Part.IMPLEMENTATION: (40, 50), Part.REVIEW: (10, 20)}
"""Per cent of the complexity of all tasks. Aimed at; outside of it a planner is asked once more, and nothing is refused."""


class Planned(BaseModel):
    """One task of it. `verify`: commands that prove it, beside those of the project."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Id = Field(description="Short and unique: at most 48 characters.")
    title: Title = Field(description="One line.")
    part: Part = Field(description="Who does it: design, implementation or review.")
    description: Text = Field(default="", description="What and why.")
    complexity: int = Field(default=5, ge=1, le=10, description="Size.")
    depends_on: Annotated[tuple[Id, ...], Field(max_length=MOST_TASKS)] = Field(
        default=(), description="Ids of tasks of this plan that come first."
    )
    files: Annotated[tuple[FileGlob, ...], Field(max_length=50)] = Field(
        default=(),
        description="Globs of the files that it changes; none: it changes nothing. Implementation names some.",
    )
    acceptance: Annotated[tuple[Prose, ...], Field(min_length=1, max_length=20)] = Field(
        description="How somebody else sees that it is done."
    )
    verify: Annotated[tuple[Prose, ...], Field(max_length=10)] = Field(
        default=(), description="Commands that prove it: of the project's, or new ones, which a person accepts."
    )


class Plan(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    summary: Prose = Field(description="How the goal is reached, in some sentences.")
    tasks: Annotated[tuple[Planned, ...], Field(min_length=1, max_length=MOST_TASKS)]


@dataclass(frozen=True, slots=True)
class Checked:
    """`wrong`: sentences for who wrote it; with any of them it cannot be begun. `new`: commands that the project does not have,
    by task. `shares`: per cent of the complexity."""

    wrong: list[str]
    new: Mapping[str, Sequence[str]]
    shares: Mapping[Part, int]

    @property
    def outside(self) -> list[str]:
        """What of the shares is not as it is aimed at."""
        return [
            f"{part} is {self.shares[part]} % of the complexity; {low} to {high} % is aimed at"
            for part, (low, high) in AIMED.items()
            if not low <= self.shares[part] <= high
        ]


def check(plan: Plan, project: Collection[str], taken: Collection[str] = ()) -> Checked:
    """`project`: its commands of `verify`; `taken`: ids that are not free."""
    wrong = [*_ids(plan, taken)]
    if not wrong:  # the others need to know which task is meant
        wrong = [*_order(plan)] or [*_collisions(plan)]
    wrong += [*_files(plan), *_proofs(plan, project)]
    new = {one.id: fresh for one in plan.tasks if (fresh := [each for each in one.verify if each not in project])}
    return Checked(wrong[:_NAMED], new, shares(plan))


def shares(plan: Plan) -> dict[Part, int]:
    size = {part: sum(one.complexity for one in plan.tasks if one.part is part) for part in Part}
    return {part: round(100 * of / sum(size.values())) for part, of in size.items()}


def _ids(plan: Plan, taken: Collection[str]) -> Iterator[str]:
    known = [one.id for one in plan.tasks]
    for name in dict.fromkeys(name for name in known if known.count(name) > 1):
        yield f"the id {name} is given to {known.count(name)} tasks"
    for name in known:
        if name in taken:
            yield f"there is a task with the id {name} already: take another"
    for one in plan.tasks:
        if len(one.id) > _MOST_ID:
            yield f"the id {one.id} has more than {_MOST_ID} characters"
        for name in one.depends_on:
            if name not in known:
                yield f"{one.id} depends on {name}, which is no task of the plan"


def _order(plan: Plan) -> Iterator[str]:
    if cycle := find_cycle({one.id: one.depends_on for one in plan.tasks}):
        yield f"no task of this circle can be first: {' -> '.join(cycle)}"


def _collisions(plan: Plan) -> Iterator[str]:
    """Tasks that could run at once, and change the same files."""
    before = _before(plan)
    begun = {one.id: sorted((beginning(glob), glob) for glob in set(one.files)) for one in plan.tasks}
    left = _MOST_STATES
    for one, other in combinations(plan.tasks, 2):
        if one.id in before[other.id] or other.id in before[one.id]:
            continue
        met, states = _met(begun[one.id], begun[other.id], left)
        left -= states
        if left <= 0:
            yield f"the files of {one.id} and {other.id} are too many, or too much alike, to be compared: name fewer"
            return
        if met is not None:
            where = met[0] if met[0] == met[1] else " and ".join(met)
            yield (
                f"{one.id} and {other.id} could run at once and both change {where}: let one depend on the other, or"
                " divide the files"
            )


def _met(some: _Begun, others: _Begun, most: int) -> tuple[tuple[str, str] | None, int]:
    """The first globs of two tasks that overlap, and what it took to find that: of two that do, one begins as the other."""
    states = 0
    for short, long in ((some, others), (others, some)):
        for start, glob in short:
            for longer, other in islice(long, bisect_left(long, (start, "")), None):
                if states >= most or not longer.startswith(start):
                    break
                met, more = counted_overlap(glob, other)
                states += more + 1
                if met:
                    return (glob, other) if short is some else (other, glob), states
    return None, states


def _before(plan: Plan) -> dict[str, set[str]]:
    """All that comes before each task; there is no circle."""
    direct = {one.id: one.depends_on for one in plan.tasks}
    found: dict[str, set[str]] = {}

    def of(name: str) -> set[str]:
        if name not in found:
            found[name] = set().union(*({other} | of(other) for other in direct[name]))
        return found[name]

    for name in direct:
        of(name)
    return found


def _files(plan: Plan) -> Iterator[str]:
    """What names none lands nothing, and words alone would say that it is done."""
    for one in plan.tasks:
        if one.part is Part.IMPLEMENTATION and not one.files:
            yield f"{one.id} is implementation, and names no files that it changes"
        for glob in filter(leads_out, one.files):
            yield f"{one.id} names {glob}, which is not in the project"
    if not any(one.files for one in plan.tasks):
        yield "no task changes a file: nothing of it could land or be verified"


def _proofs(plan: Plan, project: Collection[str]) -> Iterator[str]:
    for one in plan.tasks:
        if one.files and not one.verify and not project:
            yield f"{one.id} changes files, and no command proves it: the project has no `verify`, so name one"


def schema() -> dict[str, Any]:
    """What a planner is shown."""
    return Plan.model_json_schema()
