"""The reader for a text: by name, or by what it looks like."""

import json
from typing import Any, cast

from wvo_mcp.domain.imports import jsonl, markdown, taskmaster
from wvo_mcp.domain.imports.draft import Reading, text_of

READERS = {
    "markdown": markdown.read,
    "jsonl": jsonl.read,
    "taskmaster": taskmaster.read,
    "beads": jsonl.read_beads,
}


def read(raw: bytes | str, format_: str = "auto") -> Reading:
    """Raises InvalidInput that names the line."""
    text = text_of(raw)
    return READERS[looks_like(text) if format_ == "auto" else format_](text)


def looks_like(text: str) -> str:
    """What begins with a brace is JSON: an object on the first line is one of many, else the whole is one."""
    start = text.lstrip()
    if not start.startswith("{"):
        return "markdown"
    try:
        first: Any = json.loads(start.split("\n", 1)[0])
    except (ValueError, RecursionError):
        # Not even the first line of a broken tasks.json is an object by itself.
        return "taskmaster" if start[1:2] in ("\n", "\r", " ", "") or '"tasks"' in start[:500] else "jsonl"
    keys = cast("dict[str, Any]", first)
    if "issue_type" in keys or "_type" in keys or (isinstance(keys.get("priority"), int) and "created_at" in keys):
        return "beads"
    tagged = any(isinstance(v, dict) and "tasks" in cast("dict[str, Any]", v) for v in keys.values())
    if isinstance(keys.get("tasks"), list) or tagged:
        return "taskmaster"
    return "jsonl"
