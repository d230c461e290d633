"""From the bytes of a roadmap to a checked `Roadmap`, or to one error that holds every problem with its line."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from wvo_mcp.domain.roadmap import (
    ROADMAP_STATUSES,
    TASK_KEYS,
    Roadmap,
    RoadmapEpic,
    RoadmapMilestone,
    RoadmapTask,
    check,
    references,
)
from wvo_mcp.domain.rules import OFF, MergeMode, MergePolicy, MergeRules, Review
from wvo_mcp.domain.task import Priority, TaskType
from wvo_mcp.domain.text import TEXT_CHARACTERS, TITLE_CHARACTERS
from wvo_mcp.execution.yaml import reading
from wvo_mcp.execution.yaml.reading import Report, is_null, listed, node_at, record, text
from wvo_mcp.execution.yaml.tree import MappingNode, Node, ScalarNode, SequenceNode

MAX_BYTES = 32 * 2**20
MAX_WARNINGS = 100
_MANY = 1_000_000
_BRANCH = re.compile(r"[A-Za-z0-9._/+#@-]{1,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_Fields = dict[str, Any]

_criteria = listed(text(2_000), 100)


def _acceptance(node: Node, report: Report) -> tuple[str, ...] | None:
    """In [] a comma within a criterion, or in a number, splits it: that is a warning."""
    items = node.items if isinstance(node, SequenceNode) and node.flow else []
    if len(items) > 1 and any(isinstance(item, ScalarNode) and item.plain for item in items):
        report.warnings.append(
            f"line {report.line(node)}: {report.path} has {len(items)} criteria, split at each comma;"
            " write one a line ('- ...'), or quote each"
        )
    return _criteria(node, report)


def _located(reader: reading.Reader) -> reading.Reader:
    """What it reads, with its node and its path."""

    def read(node: Node, report: Report) -> _Fields | None:
        found = reader(node, report)
        return found if found is None else {**found, "node": node, "path": report.path}

    return read


_command = text(2_000)
_commands = listed(_command, 50, "a list of commands, one a line ('- npm test')")
_MERGE = record(
    {
        "policy": reading.choice(MergePolicy),
        "mode": reading.choice(MergeMode),
        "max_waiting": reading.whole(1, 1_000),
    },
    "'off', or 'policy:', 'mode:' and 'max_waiting:'",
)


def _merge(node: Node, report: Report) -> MergeRules | str | None:
    if isinstance(node, ScalarNode) and node.text == OFF:
        return OFF
    found = _MERGE(node, report)
    return None if found is None else MergeRules(**found)


def _branch(text: str) -> str | None:
    """What git takes for a branch, and nothing that a command could take for a flag."""
    parts = text.split("/")
    wrong = any(not part or part.startswith((".", "-")) or part.endswith((".", ".lock")) for part in parts)
    return text if _BRANCH.fullmatch(text) and ".." not in text and not wrong else None


_PROJECT = record(
    {
        "target": reading.scalar("the name of a branch, like main", _branch),
        "setup": _command,
        "verify": _commands,
        "verify_timeout": reading.whole(1, 86_400),
        "env": listed(
            reading.scalar(
                "the name of a variable; its value stays where it is",
                lambda text: text if _VARIABLE.fullmatch(text) else None,
            ),
            100,
            "a list of variables, like [CI_TOKEN]",
        ),
        "merge": _merge,
        "review": reading.choice(Review),
    },
    "'target:', 'setup:', 'verify:' and others",
)
_HEAD = {"id": reading.name, "title": text(TITLE_CHARACTERS)}
_TASK = record(
    {
        **_HEAD,
        "description": text(TEXT_CHARACTERS, blank=True),
        "type": reading.choice(TaskType),
        "priority": reading.choice(Priority),
        "complexity": reading.whole(1, 10),
        "business_value": reading.number(20),
        "depends_on": listed(reading.name, 500),
        "milestone": reading.name,
        "parent": reading.name,
        "labels": listed(text(100), 50),
        "files": listed(text(300), 200),
        "capabilities": listed(text(100), 50),
        "acceptance": _acceptance,
        "requires_approval": reading.flag,
        "not_before": reading.instant,
        "max_attempts": reading.whole(1, 100),
        "verify": _commands,
        "status": reading.scalar(
            "pending (to reopen), blocked or cancelled; the database keeps progress",
            {status.value: status for status in ROADMAP_STATUSES}.get,
        ),
    },
    "a task with 'id:' and 'title:'",
    _HEAD,
)
_MILESTONE = record({**_HEAD, "due": reading.day}, "a milestone with 'id:', 'title:' and 'due:'", _HEAD)
_EPIC = record(
    {
        **_HEAD,
        "wip_limit": reading.whole(1, 1_000),
        "verify": _commands,
        "milestones": listed(_located(_MILESTONE), _MANY, "a list of milestones", partly=True),
        "tasks": listed(_located(_TASK), _MANY, "a list of tasks", partly=True),
    },
    "an epic with 'id:' and 'title:'",
    _HEAD,
)
_ROADMAP = record(
    {"project": _PROJECT, "epics": listed(_located(_EPIC), _MANY, "a list of epics", partly=True)},
    "'epics:' with a list of epics",
)


class RoadmapDraft:
    """A parsed roadmap whose values were judged one by one; whether the tasks that it refers to exist is open."""

    def __init__(self, name: str, digest: str, root: Node | None, report: Report) -> None:
        self.root = root
        self.epics: list[RoadmapEpic] = []
        self.milestones: list[RoadmapMilestone] = []
        self.tasks: list[RoadmapTask] = []
        self.places: dict[str, list[tuple[str, MappingNode]]] = {"epic": [], "milestone": [], "task": []}
        """Path and node of each, in the same order."""
        self._name = name
        self._digest = digest
        self._report = report
        given: dict[frozenset[str], frozenset[str]] = {}
        read: _Fields = {} if root is None or is_null(root) else _ROADMAP(root, report) or {}
        self.project: _Fields = read.get("project", {})
        for epic in read.get("epics", ()):
            milestones, tasks, epic_id = epic.pop("milestones", ()), epic.pop("tasks", ()), epic.get("id", "")
            for part in self._identified("epic", [epic]):
                self.epics.append(RoadmapEpic(**part))
            for part in self._identified("milestone", milestones):
                self.milestones.append(RoadmapMilestone(epic_id=epic_id, due_at=part.pop("due", None), **part))
            for part in self._identified("task", tasks):
                line = part.pop("line")
                fields = {TASK_KEYS[key]: value for key, value in part.items()}
                # A roadmap has few different sets of keys; sharing them saves megabytes in a large one.
                stated = given.setdefault(frozenset(fields), frozenset(fields))
                self.tasks.append(RoadmapTask(epic_id=epic_id, given=stated, line=line, **fields))

    def _identified(self, kind: str, parts: Iterable[_Fields]) -> Iterator[_Fields]:
        """Parts without an id are left out, for that is a problem already."""
        for part in parts:
            place = part.pop("path"), part.pop("node")
            if "id" in part:
                self.places[kind].append(place)
                yield {"title": "", "line": self._report.line(place[1]), **part}

    def references(self) -> set[str]:
        """Ids of tasks that are referred to and not in the file: they must exist in the store."""
        return references(self.tasks)

    def checked(self, known_ids: set[str]) -> Roadmap:
        """The roadmap. `known_ids` are those of `references` that exist. Raises InvalidInput with every problem."""
        for finding in check(self.epics, self.milestones, self.tasks, known_ids):
            path, node = self.places[finding.kind][finding.index]
            item = "" if finding.item is None else f"[{finding.item}]"
            inner = f".{finding.field.removesuffix('_id')}{item}"
            self._report.add(node_at(node, inner).start, path + inner, finding.message)
        if self._report.wrong:
            raise self._report.refusal("roadmap", self._name)
        warnings = tuple(self._report.warnings[:MAX_WARNINGS])
        return Roadmap(
            tuple(self.epics), tuple(self.milestones), tuple(self.tasks), self._digest, warnings, self.project
        )


def parse(data: bytes, name: str, loader: Any = None) -> RoadmapDraft:
    """`name` stands for the file in messages. An empty file is an empty roadmap. Raises InvalidInput for what is not
    YAML; other problems come with `checked`."""
    content = reading.decoded(data, MAX_BYTES, "roadmap", name)
    report = Report(content)
    root = reading.parsed(content, report, "roadmap", name, loader)
    return RoadmapDraft(name, hashlib.sha256(data).hexdigest(), root, report)
