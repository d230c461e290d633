"""The changes of an export, made in the text of a roadmap.

The wanted content is computed first, as entries. Then the text is edited and read again until it has just that.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from wvo_mcp.domain.roadmap import TASK_KEYS, Entry, Roadmap, RoadmapChanges
from wvo_mcp.domain.roadmap_check import near
from wvo_mcp.errors import Conflict, InvalidInput, NotFound
from wvo_mcp.execution.roadmap.parse import parse
from wvo_mcp.execution.yaml.edit import Unfit, YamlEditor, indented
from wvo_mcp.execution.yaml.render import Bare, Value, field_lines
from wvo_mcp.execution.yaml.tree import MappingNode, Node, ScalarNode, SequenceNode, compose

MAX_ROUNDS = 3
Entries = dict[str, Entry]


def edited(text: str, name: str, changes: RoadmapChanges) -> str:
    """The text with the changes; the same text when it has them already.

    Raises NotFound for ids that are not in the file, Conflict for added ids that are, InvalidInput when the outcome
    would be no sound roadmap or the layout of the file does not allow a change.
    """
    now = _read(text, name)
    wanted = _wanted(now, changes)
    left = _difference(wanted, now)
    why = "the edited file would read as something else"
    for _ in range(MAX_ROUNDS):
        if not left:
            return text
        try:
            text = _edit(text, wanted, left, changes.epics)
        except Unfit as unfit:
            why = str(unfit)
            break
        left = _difference(wanted, _read(text, name))
    if not left:
        return text
    raise InvalidInput(
        "roadmap",
        f"the layout of {name} does not allow to change {', '.join([*left][:5])} in place: {why}; edit the file by hand",
    )


def _read(text: str, name: str) -> Roadmap:
    draft = parse(text.encode(), f"{name} (as it would be written)")
    return draft.checked(draft.references())


def _wanted(before: Roadmap, changes: RoadmapChanges) -> Entries:
    """Id -> the wanted entry of the task."""
    tasks = {task.id: task.entry() for task in before.tasks}
    for entry in changes.added:
        if entry["id"] in tasks:
            raise Conflict(f"Task {entry['id']} is in the roadmap already.", id=entry["id"])
        tasks[entry["id"]] = _changed({}, entry)
    for name, fields in changes.tasks.items():
        if name not in tasks:
            raise NotFound("task", name, near(name, tasks), field="roadmap")
        tasks[name] = _changed(tasks[name], fields)
    return tasks


def _changed(entry: Entry, fields: Mapping[str, Any]) -> Entry:
    entry = dict(entry)
    for field, value in fields.items():
        if value is None and field in ("id", "title", "epic_id"):
            raise InvalidInput("roadmap", f"the {field} of {entry['id']} cannot be taken out of the file")
        if value is None:
            entry.pop(field, None)
        elif field == "depends_on":
            # A set in the database: what the file lists already keeps its place there, and its comment.
            kept = [each for each in entry.get(field, ()) if each in value]
            entry[field] = kept + [each for each in value if each not in kept]
        elif isinstance(value, float):
            entry[field] = round(value, 9)
        else:
            entry[field] = [*value] if isinstance(value, tuple) else value
    return entry


def _difference(wanted: Entries, now: Roadmap) -> Entries:
    """Id -> fields that are left to change, None for those to take out; the whole entry of a task that is missing."""
    present = {task.id: task.entry() for task in now.tasks}
    out: Entries = {}
    for name, entry in wanted.items():
        stated = present.get(name, {})
        if entry != stated:
            fields = [*entry, *(field for field in stated if field not in entry)]
            out[name] = {field: entry.get(field) for field in fields if entry.get(field) != stated.get(field)}
    return out


class _Layout:
    """One round: the text as an editor, and its nodes by id."""

    def __init__(self, text: str) -> None:
        self.editor = YamlEditor(text)
        self.epics: dict[str, MappingNode] = {}
        self.tasks: dict[str, tuple[MappingNode, SequenceNode]] = {}
        self.nested = 2
        self.root = compose(text)
        listed = _listed(self.root, "epics")
        if listed is None:
            return
        for epic in listed.items:
            if isinstance(epic, MappingNode):
                self.epics[_id(epic)] = epic
                tasks = _listed(epic, "tasks")
                if tasks is not None:
                    self.tasks |= {_id(each): (each, tasks) for each in tasks.items if isinstance(each, MappingNode)}
        if listed.items and not listed.flow and isinstance(self.root, MappingNode):
            self.nested = max(0, self.editor.dash_column(listed) - self.editor.column(self.root))


def _listed(node: Node | None, key: str) -> SequenceNode | None:
    entry = node.entries.get(key) if isinstance(node, MappingNode) else None
    return entry[1] if entry and isinstance(entry[1], SequenceNode) else None


def _id(node: MappingNode) -> str:
    entry = node.entries.get("id")
    return entry[1].text if entry and isinstance(entry[1], ScalarNode) else ""


def _edit(text: str, wanted: Entries, left: Entries, titles: Mapping[str, str]) -> str:
    layout = _Layout(text)
    editor = layout.editor
    moved = {name: fields["epic_id"] for name, fields in left.items() if name in layout.tasks and "epic_id" in fields}
    items: dict[str, list[list[str]]] = defaultdict(list)
    if moved and all(epic in layout.epics for epic in moved.values()):
        # And nothing else in this round: what moves is cut out as it is written.
        for name, epic in moved.items():
            node, listed = layout.tasks[name]
            items[epic].append(editor.cut(listed, node))
    else:
        for name, fields in left.items():
            if name not in layout.tasks:
                items[fields["epic_id"]].append(_item(_values(fields)))
                continue
            node, values = layout.tasks[name][0], _values(fields)
            if node.flow and values:
                editor.rewrite(node, [*_values(wanted[name]).items()])
                continue
            for key, value in values.items():
                editor.set_field(node, key, value, tuple(TASK_KEYS))
        for epic in moved.values():
            items.setdefault(epic, [])
    new = [
        _epic(name, titles.get(name, name), items.pop(name), layout) for name in [*items] if name not in layout.epics
    ]
    for name, tasks in ((name, tasks) for name, tasks in items.items() if tasks):
        editor.append(layout.epics[name], "tasks", tasks, layout.nested)
    if new and isinstance(layout.root, MappingNode):
        editor.append(layout.root, "epics", new, layout.nested)
    elif new:
        root = layout.root
        if not (root is None or (isinstance(root, ScalarNode) and root.start == root.end)):  # nothing behind `---`
            raise Unfit("it does not begin with 'epics:'")
        editor.add_lines(len(text) if root is None else root.end, ["epics:", *indented(new, " " * layout.nested)])
    return editor.result()


def _values(entry: Mapping[str, Any]) -> dict[str, Value]:
    """Key in the file -> value, of those fields of the entry that have a key."""
    out: dict[str, Value] = {}
    for key, field in TASK_KEYS.items():
        if field in entry:
            value = entry[field]
            if isinstance(value, str) and field == "not_before":
                value = Bare(value.replace(".000Z", "Z"))
            out[key] = (*value,) if isinstance(value, list) else value
    return out


def _item(values: Mapping[str, Value]) -> list[str]:
    """A new item of a list, its dash in the first column."""
    lines = [line for key, value in values.items() for line in field_lines(key, value, "  ")]
    return ["- " + lines[0][2:], *lines[1:]]


def _epic(name: str, title: str, tasks: Sequence[Sequence[str]], layout: _Layout) -> list[str]:
    lines = _item({"id": name, "title": title})
    return [*lines, "  tasks:", *indented(tasks, "  " + " " * layout.nested)] if tasks else lines
