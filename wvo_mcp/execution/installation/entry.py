"""What an entry of ours looks like in a client's configuration."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

SERVER = "wvo"
"""The name that clients know the server by; their tool names begin with it."""

COMMAND = "wvo-mcp"


def is_ours(entry: Any) -> bool:
    """True when the entry starts this program: by name, by path, with uv, or as a module. Other settings are free."""
    if not isinstance(entry, Mapping):
        return False
    fields = cast("Mapping[str, Any]", entry)
    args: Any = fields.get("args", [])
    words = [fields.get("command"), *(cast("Sequence[Any]", args) if isinstance(args, list) else ())]
    return any(isinstance(word, str) and PurePath(word).name in (COMMAND, "wvo_mcp") for word in words)
