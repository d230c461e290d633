"""The changes of an export, made in the text of a roadmap.

The wanted content is computed first, as entries. Then the text is edited and read again until it has just that.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from wvo_mcp.domain.roadmap import TASK_KEYS, Entry, Roadmap, RoadmapChanges
from wvo_mcp.domain.text import near
from wvo_mcp.errors import Conflict, InvalidInput, NotFound
from wvo_mcp.execution.roadmap.parse import RoadmapDraft, parse
from wvo_mcp.execution.yaml.edit import Bare, Unfit, Value, YamlEditor, field_lines, indented
from wvo_mcp.execution.yaml.tree import MappingNode, ScalarNode, SequenceNode

MAX_ROUNDS = 4
Entries = dict[str, Entry]


def edited(text: str, name: str, changes: RoadmapChanges) -> str:
    """The text with the changes; the same text when it has them already.

    Raises NotFound for ids that are not in the file, Conflict for added ids that are, InvalidInput when the outcome
    would be no sound roadmap or the layout of the file does not allow a change.
    """
    wanted: Entries | None = None
    left: Entries = {}
    why = "the edited file would read as something else"
    for _ in range(MAX_ROUNDS):
        draft = parse(text.encode(), f"{name} (as it would be written)")
        now = draft.checked(draft.references())
        wanted = wanted or _wanted(now, changes)
        left = _difference(wanted, now)
        if not left:
            return text
        try:
            text = _edit(text, draft, wanted, left, changes.epics)
        except Unfit as unfit:
            why = str(unfit)
            break
    raise InvalidInput(
        "roadmap",
        f"the layout of {name} does not allow to change {', '.join([*left][:5])} in place: {why}; edit the file by hand",
    )


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


def _edit(text: str, draft: RoadmapDraft, wanted: Entries, left: Entries, titles: Mapping[str, str]) -> str:
    editor = YamlEditor(text)
    root = draft.root
    epics = {epic.id: node for epic, (_, node) in zip(draft.epics, draft.places["epic"], strict=True)}
    tasks = {task.id: node for task, (_, node) in zip(draft.tasks, draft.places["task"], strict=True)}
    nested = 2
    listed = root.entries["epics"][1] if isinstance(root, MappingNode) and "epics" in root.entries else None
    if isinstance(root, MappingNode) and isinstance(listed, SequenceNode) and listed.items and not listed.flow:
        nested = max(0, editor.dash_column(listed) - editor.column(root))
    moved = {name: fields["epic_id"] for name, fields in left.items() if name in tasks and "epic_id" in fields}
    items: dict[str, list[list[str]]] = defaultdict(list)
    if moved and all(epic in epics for epic in moved.values()):
        # And nothing else in this round: what moves is cut out as it is written.
        home = {task.id: epics[task.epic_id].entries["tasks"][1] for task in draft.tasks if task.id in moved}
        for name, epic in moved.items():
            items[epic].append(editor.cut(home[name], tasks[name]))
    else:
        for name, fields in left.items():
            node, values = tasks.get(name), _values(fields)
            if node is None:
                items[fields["epic_id"]].append(_item(values))
            elif node.flow and values:
                editor.rewrite(node, [*_values(wanted[name]).items()])
            else:
                for key, value in values.items():
                    editor.set_field(node, key, value, tuple(TASK_KEYS))
        for epic in moved.values():
            items.setdefault(epic, [])
    new: list[list[str]] = []
    for name, added in items.items():
        if name not in epics:
            lines = _item({"id": name, "title": titles.get(name, name)})
            new.append([*lines, "  tasks:", *indented(added, "  " + " " * nested)] if added else lines)
        elif added:
            editor.append(epics[name], "tasks", added, nested)
    if new and isinstance(root, MappingNode):
        editor.append(root, "epics", new, nested)
    elif new:
        if not (root is None or (isinstance(root, ScalarNode) and root.start == root.end)):  # nothing behind `---`
            raise Unfit("it does not begin with 'epics:'")
        editor.insert(
            editor.line_after(len(text) if root is None else root.end), ["epics:", *indented(new, " " * nested)]
        )
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
