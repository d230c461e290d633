"""The changes of an export, made in the text of a roadmap.

What the file shall say is computed first, as entries. Then the text is edited and read again until it says just that:
the second look also settles what an edit changes elsewhere, such as tasks that merge the edited one (`<<: *name`).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wvo_mcp.domain.instant import instant, iso
from wvo_mcp.domain.roadmap import EPIC_KEYS, MILESTONE_KEYS, TASK_KEYS, Entry, Roadmap, RoadmapChanges, end_of_day
from wvo_mcp.domain.roadmap_check import near
from wvo_mcp.errors import Conflict, InvalidInput, NotFound
from wvo_mcp.execution.roadmap.fields import ROUTE
from wvo_mcp.execution.roadmap.parse import parse
from wvo_mcp.execution.yaml.edit import Item, Unfit, YamlEditor
from wvo_mcp.execution.yaml.render import Bare, Value, field_lines, inline
from wvo_mcp.execution.yaml.tree import MappingNode, Node, ScalarNode, SequenceNode, compose, resolved

MAX_ROUNDS = 5
Entries = dict[str, Entry]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Id -> what the file shall say of it, and the ids that were there before."""

    tasks: Entries
    epics: Entries
    milestones: Entries


def edited(text: str, name: str, changes: RoadmapChanges) -> str:
    """The text with the changes; the very same text when it says so already.

    Raises NotFound for ids that are not in the file, Conflict for added ids that are, InvalidInput when the outcome
    would be no sound roadmap or the layout of the file does not allow a change.
    """
    now = _read(text, name)
    wanted = _wanted(now, changes)
    left = _difference(wanted, now)
    for _ in range(MAX_ROUNDS):
        if left is None:
            return text
        try:
            text = _edit(text, left)
        except Unfit:
            break
        left = _difference(wanted, _read(text, name))
    if left is None:
        return text
    ids = ", ".join([*left.tasks, *left.epics, *left.milestones, *(each["id"] for each in left.added)][:5])
    raise InvalidInput(
        "roadmap", f"the layout of {name} does not allow to change {ids} in place; edit the file by hand"
    )


def _read(text: str, name: str) -> Roadmap:
    draft = parse(text.encode(), f"{name} (as it would be written)")
    return draft.checked(draft.references())


def _wanted(before: Roadmap, changes: RoadmapChanges) -> Wanted:
    tasks = {task.id: task.entry() for task in before.tasks}
    epics = {epic.id: epic.entry() for epic in before.epics}
    milestones = {milestone.id: milestone.entry() for milestone in before.milestones}
    for entry in changes.added:
        if entry["id"] in tasks:
            raise Conflict(f"Task {entry['id']} is in the roadmap already.", id=entry["id"])
        tasks[entry["id"]] = {}
        _set(tasks, "task", entry["id"], entry)
    for name, fields in changes.tasks.items():
        _set(tasks, "task", name, fields)
    for entry in tasks.values():
        epics.setdefault(entry["epic_id"], {"id": entry["epic_id"], "title": entry["epic_id"]})
    for name, fields in changes.epics.items():
        _set(epics, "epic", name, fields)
    for name, fields in changes.milestones.items():
        _set(milestones, "milestone", name, fields)
    return Wanted(tasks, epics, milestones)


def _set(entries: Entries, kind: str, name: str, fields: Mapping[str, Any]) -> None:
    if name not in entries:
        raise NotFound(kind, name, near(name, entries), field="roadmap")
    entry = entries[name]
    for field, value in fields.items():
        if value is None and field in ("id", "title", "epic_id"):
            raise InvalidInput("roadmap", f"the {field} of {name} cannot be taken out of the file")
        if value is None:
            entry.pop(field, None)
        elif field == "due_at":
            entry[field] = iso(end_of_day(instant(value).date()))
        elif field == "depends_on":
            # A set in the database: what the file lists already keeps its place there, and its comment.
            kept = [each for each in entry.get(field, ()) if each in value]
            entry[field] = kept + [each for each in value if each not in kept]
        elif isinstance(value, float):
            entry[field] = round(value, 9)
        else:
            entry[field] = [*value] if isinstance(value, tuple) else value


def _difference(wanted: Wanted, now: Roadmap) -> RoadmapChanges | None:
    """What is left to change; None when nothing is."""
    tasks = {task.id: task.entry() for task in now.tasks}
    added = tuple(entry for name, entry in wanted.tasks.items() if name not in tasks)
    left = RoadmapChanges(
        tasks=_changed(wanted.tasks, tasks),
        epics=_changed(wanted.epics, {epic.id: epic.entry() for epic in now.epics}, missing=True),
        milestones=_changed(wanted.milestones, {each.id: each.entry() for each in now.milestones}),
        added=added,
    )
    return left if left.tasks or left.epics or left.milestones or left.added else None


def _changed(wanted: Entries, now: Entries, *, missing: bool = False) -> dict[str, Entry]:
    out: dict[str, Entry] = {}
    for name, entry in wanted.items():
        present = now.get(name)
        if present is None:
            if missing:
                out[name] = entry
        elif entry != present:
            fields = [*entry, *(field for field in present if field not in entry)]
            out[name] = {field: entry.get(field) for field in fields if entry.get(field) != present.get(field)}
    return out


@dataclass(slots=True)
class _Sheet:
    """One round: the text as an editor, and the nodes that this round needs, by id."""

    editor: YamlEditor
    root: MappingNode | None
    epics: dict[str, MappingNode]
    milestones: dict[str, MappingNode]
    tasks: dict[str, tuple[MappingNode, SequenceNode]]
    nested: int
    end: int


def _edit(text: str, left: RoadmapChanges) -> str:
    sheet = _sheet(text, set(left.tasks))
    moved = {name: fields["epic_id"] for name, fields in left.tasks.items() if "epic_id" in fields}
    added: dict[str, list[Item]] = defaultdict(list)
    for entry in left.added:
        added[entry["epic_id"]].append(_item(_values(entry, TASK_KEYS)))
    if moved and all(epic in sheet.epics for epic in moved.values()):
        _move(sheet, moved)  # and nothing else in this round: what moves is cut out as it stands
        return sheet.editor.result()
    for name, fields in left.tasks.items():
        for key, value in _values(fields, TASK_KEYS).items():
            sheet.editor.set_field(sheet.tasks[name][0], key, value, tuple(TASK_KEYS))
    for name, fields in left.milestones.items():
        for key, value in _values(fields, MILESTONE_KEYS).items():
            sheet.editor.set_field(sheet.milestones[name], key, value, tuple(MILESTONE_KEYS))
    fresh: list[Item] = []
    for name, fields in left.epics.items():
        values = _values(fields, EPIC_KEYS)
        if name in sheet.epics:
            for key, value in values.items():
                sheet.editor.set_field(sheet.epics[name], key, value, tuple(EPIC_KEYS))
        else:
            fresh.append(_item(values, added.pop(name, []), sheet.nested))
    for name, items in added.items():
        sheet.editor.append(sheet.epics[name], "tasks", items, sheet.nested)
    if fresh and sheet.root is not None:
        sheet.editor.append(sheet.root, "epics", fresh, sheet.nested)
    elif fresh:
        lines = [line for item in fresh for line in item.block(" " * sheet.nested)]
        sheet.editor.add_lines(sheet.end, ["epics:", *lines])
    return sheet.editor.result()


def _sheet(text: str, needed: set[str]) -> _Sheet:
    def lean(indexes: tuple[int, ...], node: Node) -> Node:
        # Of a task that stays as it is only the place matters; but other tasks may yet merge an anchored one.
        if len(indexes) > 1 and isinstance(node, MappingNode) and node.anchor is None and _id(node) not in needed:
            node.entries.clear()
        return node

    root = compose(text, ROUTE, lean).root
    editor = YamlEditor(text)
    sheet = _Sheet(editor, None, {}, {}, {}, 2, len(text))
    if root is None:
        return sheet
    if isinstance(root, ScalarNode) and root.start == root.end:  # nothing behind `---`
        sheet.end = root.end
        return sheet
    if not isinstance(root, MappingNode):
        raise Unfit
    sheet.root = root
    for epic in _parts(root, "epics"):
        sheet.epics[_id(epic)] = epic
        sheet.milestones |= {_id(each): each for each in _parts(epic, "milestones")}
        tasks = epic.entries.get("tasks")
        listed = tasks[1] if tasks else None
        if isinstance(listed, SequenceNode):
            sheet.tasks |= {_id(each): (each, listed) for each in _parts(epic, "tasks") if _id(each) in needed}
    epics = root.entries.get("epics")
    if epics and isinstance(epics[1], SequenceNode) and epics[1].items and not epics[1].flow:
        sheet.nested = max(0, editor.dash_column(epics[1]) - editor.column(root))
    return sheet


def _parts(node: MappingNode, key: str) -> list[MappingNode]:
    entry = node.entries.get(key)
    items = entry[1].items if entry and isinstance(entry[1], SequenceNode) else []
    return [item for item in items if isinstance(item, MappingNode)]


def _id(node: MappingNode) -> str:
    entry = node.entries.get("id")
    value = resolved(entry[1]) if entry else None
    return value.text if isinstance(value, ScalarNode) else ""


def _values(entry: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Value]:
    """Key in the file -> value, of those fields of the entry that have a key."""
    out: dict[str, Value] = {}
    for key, field in keys.items():
        if field in entry:
            value = entry[field]
            if isinstance(value, str) and field == "due_at":
                value = Bare(value[:10])
            elif isinstance(value, str) and field == "not_before":
                value = Bare(value.replace(".000Z", "Z"))
            out[key] = (*value,) if isinstance(value, list) else value
    return out


def _item(values: Mapping[str, Value], tasks: Sequence[Item] = (), nested: int = 2) -> Item:
    """A new task, or a new epic with its tasks."""
    pairs = [f"{key}: {inline(value, flow=True)}" for key, value in values.items()]
    if tasks:
        pairs.append("tasks: [" + ", ".join(task.flow for task in tasks) + "]")

    def block(indent: str) -> list[str]:
        inner = indent + "  "
        lines = [line for key, value in values.items() for line in field_lines(key, value, inner)]
        if tasks:
            lines += [f"{inner}tasks:", *(line for task in tasks for line in task.block(inner + " " * nested))]
        return [f"{indent}- {lines[0].lstrip()}", *lines[1:]]

    return Item("{" + ", ".join(pairs) + "}", block)


def _move(sheet: _Sheet, moved: Mapping[str, str]) -> None:
    items: dict[str, list[Item]] = defaultdict(list)
    for name, epic in moved.items():
        node, listed = sheet.tasks[name]
        items[epic].append(sheet.editor.cut(listed, node))
    for epic, cut in items.items():
        sheet.editor.append(sheet.epics[epic], "tasks", cut, sheet.nested)
