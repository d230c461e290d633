"""Checklists as people write them: `- [ ] title`, nested by indentation, below headings.

A heading is an epic for the items below it; an indented item is a part of the one above it; an indented line without a
box is description, or says `priority:`, `complexity:`, `depends on:`, `files:`, `labels:` or `acceptance:`. The title may
have an id (`T1: ...`, `**T1** ...`, `... {#T1}`), `(high)`, `!high`, `[P1]`, `#label`, `(depends on T1, T2)`.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from wvo_mcp.domain.imports.draft import MAX_DEPTH, Problems, Reading, State, lines_of, made_id, prose, short, slug
from wvo_mcp.domain.text import ID_PATTERN as _ID

_ITEM = re.compile(r"^(?P<indent>[ \t]*)(?:[-*+]|\d{1,9}[.)])[ \t]+\[(?P<box>[ xX~/>-])\](?:[ \t]+(?P<text>.*))?$")
_HEADING = re.compile(r"^ {0,3}(?P<marks>#{1,6})[ \t]+(?P<text>.*?)[ \t]*#*$")
_FENCE = re.compile(r"^[ \t]*(```|~~~)")
_LONG = 2_000
"""Characters; a longer line is neither a heading nor a title."""
_NAMED = re.compile(
    rf"^(?:\*\*(?P<bold>{_ID})\*\*:?|`(?P<code>{_ID})`:?|\[(?P<square>{_ID})\]:?|(?P<plain>{_ID}):)[ \t]+(?P<rest>\S.*)$"
)
_ANCHOR = re.compile(rf"[ \t]*\{{#({_ID})\}}")
_WORDS = {"critical": "critical", "highest": "critical", "urgent": "critical", "high": "high", "medium": "medium",
          "normal": "medium", "low": "low", "lowest": "low", "p0": "critical", "p1": "high", "p2": "medium",
          "p3": "low", "p4": "low"}  # fmt: skip
_PRIORITY = re.compile(rf"[ \t]*(?:!|\(|\[)(?:priority:[ \t]*)?({'|'.join(_WORDS)})(?:\)|\]|(?=\s|$))", re.IGNORECASE)
_DEPENDS = re.compile(
    r"[ \t]*[(\[]?\b(?:depends on|blocked by|after):?[ \t]+"
    rf"(?P<ids>#?{_ID}(?:(?:,[ \t]*|[ \t]+and[ \t]+)#?{_ID})*)[)\]]?[ \t]*$",
    re.IGNORECASE,
)
_LABEL = re.compile(r"(?:^|(?<=\s))#([A-Za-z][\w/-]{0,60})(?=\s|$)")
_SAYS = re.compile(
    r"^[ \t]*(?:[-*+][ \t]+)?\**(?P<name>priority|complexity|depends on|blocked by|files|labels|acceptance|id|business value)"
    r"\**:\**[ \t]*(?P<value>.+)$",
    re.IGNORECASE,
)
_BOXES = {" ": State.OPEN, "x": State.DONE, "X": State.DONE, "~": State.DROPPED, "-": State.DROPPED,
          "/": State.OPEN, ">": State.BLOCKED}  # fmt: skip


@dataclass(slots=True)
class _Draft:
    line: int
    indent: int
    state: State
    path: tuple[str, ...]
    """The headings and items above it, outermost first: they make its id its own."""
    parent: "_Draft | None"
    given: dict[str, Any]
    notes: list[str] = field(default_factory=list[str])


def read(text: str) -> Reading:
    """Raises InvalidInput that names the line."""
    reading = Reading("markdown")
    problems = reading.problems
    drafts: list[_Draft] = []
    open_items: list[_Draft] = []
    headings: list[tuple[int, str]] = []
    titles: dict[str, str] = {}
    fenced = False
    for number, line in lines_of(text):
        if _FENCE.match(line):
            fenced = not fenced
            continue
        indent = sum(4 if letter == "\t" else 1 for letter in line[: len(line) - len(line.lstrip())])
        found = None if fenced else _ITEM.match(line)
        heading = None if fenced or found or len(line) > _LONG else _HEADING.match(line)
        if heading is not None:
            level = len(heading["marks"])
            headings = [each for each in headings if each[0] < level] + [(level, heading["text"].strip())]
            titles[slug(headings[-1][1])] = headings[-1][1]
            open_items = []
        elif found is not None:
            open_items = [each for each in open_items if each.indent < indent]
            # Blanks are folded first: the patterns below would try each run of them again and again.
            title = " ".join((found["text"] or "").split())
            if len(open_items) >= MAX_DEPTH:
                problems.add(number, f"is nested deeper than {MAX_DEPTH}")
            elif len(title) > _LONG:
                problems.add(number, f"a title has at most 500 characters, this one {len(title):,}")
            else:
                path = tuple(name for _, name in headings) + tuple(each.given["title"] for each in open_items)
                given = {**_fields(title), "epic_id": slug(headings[-1][1]) if headings else None}
                if not given["title"]:
                    problems.add(number, "has a box, but no title")
                parent = open_items[-1] if open_items else None
                drafts.append(_Draft(number, indent, _BOXES[found["box"]], path, parent, given))
                open_items.append(drafts[-1])
        elif open_items and line.strip() and indent > open_items[0].indent:
            # It belongs to the innermost item that it is indented under.
            _note(next(each for each in reversed(open_items) if each.indent < indent), line, problems, number)
        elif line.strip() and not line.startswith((" ", "\t")):
            open_items = []
    _add(reading, drafts)
    used = {each.fields.epic_id for each in reading.items if each.state in (State.OPEN, State.BLOCKED)}
    reading.epics = {name: {"title": short(title)} for name, title in titles.items() if name in used}
    return reading.finished()


def _fields(text: str) -> dict[str, Any]:
    """What a title says, and what is left of it as the title."""
    given: dict[str, Any] = {}
    anchor = _ANCHOR.search(text)
    if anchor is not None:
        given["id"] = anchor[1]
        text = text.replace(anchor[0], "", 1)
    # What a task depends on is told from prose by a digit or a sign in each id.
    while (depends := _DEPENDS.search(text)) and all(re.search(r"[\d._-]", name) for name in _ids(depends["ids"])):
        given.setdefault("depends_on", []).extend(_ids(depends["ids"]))
        text = text[: depends.start()].rstrip(" \t,;-")
    named = _NAMED.match(text)
    if named is not None:
        name = named["bold"] or named["code"] or named["square"] or named["plain"]
        # `Note: do this` names nothing; ids have a digit.
        if name.lower() not in _WORDS and re.search(r"\d", name):
            given.setdefault("id", name)
            text = named["rest"]
    priority = _PRIORITY.search(text)
    if priority is not None:
        given["priority"] = _WORDS[priority[1].lower()]
        text = text[: priority.start()] + text[priority.end() :]
    labels = _LABEL.findall(text)
    if labels:
        given["labels"] = list(dict.fromkeys(labels))
        text = _LABEL.sub("", text)
    return {**given, "title": " ".join(text.split())}


def _ids(listed: str) -> list[str]:
    return [name.strip().lstrip("#`").rstrip("`.") for name in re.split(r",|\s+and\s+", listed) if name.strip()]


def _note(draft: _Draft, line: str, problems: Problems, number: int) -> None:
    """A line below an item: a field of it, or description."""
    said = _SAYS.match(line)
    if said is None:
        draft.notes.append(line.strip())
        return
    name, value = said["name"].lower().replace(" ", "_"), said["value"].strip()
    if name in ("depends_on", "blocked_by"):
        draft.given.setdefault("depends_on", []).extend(_ids(value))
    elif name in ("files", "labels"):
        draft.given.setdefault(name, []).extend(part.strip().strip("`") for part in value.split(",") if part.strip())
    elif name == "acceptance":
        draft.given.setdefault(name, []).append(value)
    elif name in ("complexity", "business_value"):
        try:
            draft.given[name] = int(value) if name == "complexity" else float(value)
        except ValueError:
            problems.add(number, f"{name}: expected a number, found {value[:40]!r}")
    else:
        draft.given[name] = _WORDS.get(value.lower(), value) if name == "priority" else value


def _add(reading: Reading, drafts: list[_Draft]) -> None:
    seen: Counter[tuple[str, ...]] = Counter()
    ids: dict[int, str] = {}
    for draft in drafts:
        key = (*draft.path, draft.given["title"])
        seen[key] += 1
        # The same words twice in one place are two tasks.
        again = (str(seen[key]),) if seen[key] > 1 else ()
        ids[draft.line] = str(draft.given.get("id") or made_id("md", draft.given["title"], *draft.path, *again))
    for draft in drafts:
        given = {
            **draft.given,
            "id": ids[draft.line],
            "description": prose("\n".join(draft.notes)),
            "parent_id": None if draft.parent is None else ids[draft.parent.line],
            "depends_on": list(dict.fromkeys(draft.given.get("depends_on", []))),
        }
        if draft.given["title"]:
            reading.add(
                draft.line, given, draft.state, "put off in the checklist" if draft.state is State.BLOCKED else None
            )
