"""From the tree of a roadmap to its epics, milestones and tasks, judging each value on its own line."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from wvo_mcp.domain.roadmap import (
    EPIC_KEYS,
    MILESTONE_KEYS,
    TASK_KEYS,
    RoadmapEpic,
    RoadmapMilestone,
    RoadmapTask,
)
from wvo_mcp.domain.roadmap_check import Finding
from wvo_mcp.domain.task import Priority, TaskType
from wvo_mcp.domain.text import TEXT_CHARACTERS, TITLE_CHARACTERS, is_id
from wvo_mcp.execution.yaml import values
from wvo_mcp.execution.yaml.fields import Pairs, YamlFields
from wvo_mcp.execution.yaml.tree import (
    AliasNode,
    Lines,
    MappingNode,
    Node,
    ScalarNode,
    SequenceNode,
    Unreadable,
    resolved,
)

ROUTE = ("epics", "tasks")
MAX_CHARACTERS = 64 * 2**20
"""Of all values together; only aliases can make them longer than the file."""

TASK_VALUES: dict[str, values.Reader] = {
    "id": values.name,
    "title": values.text(TITLE_CHARACTERS),
    "description": values.text(TEXT_CHARACTERS, blank=True),
    "type": values.choice(tuple(TaskType)),
    "priority": values.choice(tuple(Priority)),
    "complexity": values.whole(1, 10),
    "business_value": values.number(20),
    "depends_on": values.listed(values.name, 500),
    "milestone": values.name,
    "parent": values.name,
    "labels": values.listed(values.text(100), 50),
    "files": values.listed(values.text(300), 200),
    "capabilities": values.listed(values.text(100), 50),
    "acceptance": values.listed(values.text(2_000), 100),
    "requires_approval": values.flag,
    "not_before": values.instant,
    "max_attempts": values.whole(1, 100),
    "status": values.status,
}
EPIC_VALUES = {"id": values.name, "title": values.text(TITLE_CHARACTERS), "wip_limit": values.whole(1, 1_000)}
MILESTONE_VALUES = {"id": values.name, "title": values.text(TITLE_CHARACTERS), "due": values.day}

MAX_WARNINGS = 100

GONE = ScalarNode(0, 0, None, "", False, "")
"""Stands where an epic or a task was that has been read."""
_OWN = {key: f"expected {key} of its own; this merge would repeat ids" for key in ("tasks", "milestones")} | {"id": ""}


@dataclass(frozen=True, slots=True)
class Spots:
    """Where a task and its references stand, for what is found only once the whole file is known."""

    path: str
    id: int
    milestone_id: int
    parent_id: int
    depends_on: tuple[int, ...]


class RoadmapFields(YamlFields):
    """Collects what `compose` hands over."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(lines)
        self.epics: list[RoadmapEpic] = []
        self.milestones: list[RoadmapMilestone] = []
        self.tasks: list[RoadmapTask] = []
        self.warnings: list[str] = []
        self._of_epic: list[dict[str, Any]] = []
        self._task_spots: list[Spots] = []
        self._epic_spots: list[tuple[str, int]] = []
        self._milestone_spots: list[tuple[str, int]] = []
        self._given: dict[frozenset[str], frozenset[str]] = {}
        self._characters = 0

    def found(self, finding: Finding) -> None:
        """Put what was found between the parts on its line."""
        if finding.kind == "epic":
            path, offset = self._epic_spots[finding.index]
        elif finding.kind == "milestone":
            path, offset = self._milestone_spots[finding.index]
        else:
            spots = self._task_spots[finding.index]
            path = spots.path
            offset = spots.depends_on[finding.item] if finding.item is not None else getattr(spots, finding.field)
        item = "" if finding.item is None else f"[{finding.item}]"
        self.report(offset, f"{path}.{finding.field.removesuffix('_id')}{item}", finding.message)

    def take(self, indexes: tuple[int, ...], node: Node) -> Node:
        """For `compose` with ROUTE: reads one task, or one epic whose tasks came before."""
        path = f"epics[{indexes[0]}]"
        if len(indexes) == 1:
            self._epic(node, path)
        else:
            self._task(node, f"{path}.tasks[{indexes[1]}]")
        return GONE

    def root(self, node: Node | None) -> None:
        """The outermost mapping, when all epics have been taken."""
        if node is not None and not values.is_null(node):
            pairs = self._pairs(node, "", ("epics",), "expected 'epics:' with a list of epics")
            self._parts(pairs or {}, "", "epics")

    def _epic(self, node: Node, path: str) -> None:
        tasks, self._of_epic = self._of_epic, []
        pairs = self._pairs(node, path, (*EPIC_KEYS, "milestones", "tasks"), "expected an epic with 'id:' and 'title:'")
        if pairs is None:
            return
        fields = self._values(node, pairs, path, EPIC_VALUES)
        epic_id = fields.get("id", "")
        self._parts(pairs, path, "tasks")
        for index, each in enumerate(self._parts(pairs, path, "milestones")):
            self._milestone(each, f"{path}.milestones[{index}]", epic_id)
        if epic_id:
            self._epic_spots.append((path, pairs["id"].start))
            limit, line = fields.get("wip_limit"), self.line(node)
            self.epics.append(RoadmapEpic(id=epic_id, title=fields.get("title", ""), wip_limit=limit, line=line))
        self.tasks += [RoadmapTask(epic_id=epic_id, **each) for each in tasks]

    def _milestone(self, node: Node, path: str, epic_id: str) -> None:
        pairs = self._pairs(node, path, MILESTONE_KEYS, "expected a milestone with 'id:', 'title:' and 'due:'")
        if pairs is None:
            return
        fields = self._values(node, pairs, path, MILESTONE_VALUES)
        if "id" in fields:
            self._milestone_spots.append((path, pairs["id"].start))
            title, due = fields.get("title", ""), fields.get("due")
            milestone = RoadmapMilestone(
                id=fields["id"], title=title, epic_id=epic_id, due_at=due, line=self.line(node)
            )
            self.milestones.append(milestone)

    def _task(self, node: Node, path: str) -> None:
        pairs = self._pairs(node, path, TASK_KEYS, "expected a task with 'id:' and 'title:'")
        if pairs is None:
            return
        read = self._values(node, pairs, path, TASK_VALUES)
        if "id" not in read:
            return
        read.setdefault("title", "")
        self._warn_of_split(pairs.get("acceptance"), read["id"])
        fields = {TASK_KEYS[key]: value for key, value in read.items()}
        given = frozenset(fields)
        # A roadmap has few different sets of keys; sharing them saves megabytes in a large one.
        self._of_epic.append({**fields, "given": self._given.setdefault(given, given), "line": self.line(node)})
        start = node.start
        at = {key: pairs[key].start if key in pairs else start for key in ("id", "milestone", "parent")}
        dependencies: tuple[int, ...] = ()
        listed = resolved(pairs["depends_on"]) if "depends_on" in read else None
        if isinstance(listed, SequenceNode):
            right = [item for item in listed.items if _is_name(item)]
            same_place = isinstance(pairs["depends_on"], AliasNode)
            dependencies = tuple(pairs["depends_on"].start if same_place else item.start for item in right)
        self._task_spots.append(Spots(path, at["id"], at["milestone"], at["parent"], dependencies))

    def _warn_of_split(self, node: Node | None, task_id: str) -> None:
        """In [] a comma within a criterion, or in a number, makes two of it."""
        if (
            not isinstance(node, SequenceNode)
            or not node.flow
            or len(node.items) < 2
            or len(self.warnings) >= MAX_WARNINGS
        ):
            return
        if any(isinstance(item, ScalarNode) and item.plain for item in node.items):
            self.warnings.append(
                f"line {self.line(node)}: acceptance of {task_id} is {len(node.items)} criteria, split at each comma;"
                " write one a line ('- ...'), or quote each"
            )

    def _pairs(self, node: Node, path: str, known: Collection[str], expected: str) -> Pairs | None:
        """The values of the known keys; what else is there is reported. None when it is no mapping."""
        if isinstance(node, AliasNode):
            repeats = isinstance(node.target, MappingNode)
            self.report(node.start, path, "expected no alias here; it would repeat an id" if repeats else expected)
            return None
        return self.pairs(node, path, known, expected, _OWN)

    def _values(self, node: Node, pairs: Pairs, path: str, readers: dict[str, values.Reader]) -> dict[str, Any]:
        """Key -> value of every pair that has a reader and a right value; `id` and `title` must be there."""
        read = self.read(node, pairs, path, readers, ("id", "title"))
        for key, value in read.items():
            self._count(pairs[key].start, value)
        return read

    def _count(self, offset: int, value: Any) -> None:
        if isinstance(value, str):
            self._characters += len(value)
        elif isinstance(value, tuple):
            texts = cast("tuple[str, ...]", value)
            self._characters += 8 * len(texts) + sum(map(len, texts))
        if self._characters > MAX_CHARACTERS:
            raise Unreadable(offset, f"expected aliases that stand for at most {MAX_CHARACTERS:,} characters in all")

    def _parts(self, pairs: Pairs, path: str, key: str) -> list[Node]:
        node = pairs.get(key)
        if node is None or values.is_null(node):
            return []
        if isinstance(node, SequenceNode):
            return node.items
        found = "an alias, which would repeat ids" if isinstance(node, AliasNode) else "something else"
        self.report(node.start, f"{path}.{key}" if path else key, f"expected a list of {key}, found {found}")
        return []


def _is_name(node: Node) -> bool:
    value = resolved(node)
    return isinstance(value, ScalarNode) and is_id(value.text)
