"""Results as people read them on a terminal. Only a command that prints to a terminal imports this package."""

import json
import re
import tomllib
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType

from wvo_mcp.faces.cli.views import autopilot, status
from wvo_mcp.faces.cli.views.plain import rendered

SCREENS: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("screens.toml").read_text("utf-8"))
"""What differs from the generic view; the notation is explained in the file."""

_UNBROKEN = frozenset({"worker_log", "token_create", "login_link"})
"""What people copy, and what a program printed: no line of it is broken."""

_FONTS = re.compile(r"@font-face \{.*?\}", re.DOTALL)


class _Whole(dict[str, Any]):
    """An object of a result; what was left out of it because it is empty reads as None."""

    def __missing__(self, key: str) -> None:
        return None


def view(name: str, result: dict[str, Any], *, watched: bool = False) -> RenderableType:
    """The result of the operation `name`, for people; `watched` when it is drawn again and again."""
    whole = json.loads(json.dumps(result), object_hook=_Whole)
    if name == "status":
        return status.Screen(whole, SCREENS["status"], watched)
    if name == "workers":
        return autopilot.Listed(whole)
    if name == "worker_log":
        return autopilot.log(whole)
    of_a_job = {"handle", "state"} <= result.keys()
    default = SCREENS["_task"] if set(result) == {"task"} else {}
    return rendered(whole, {} if of_a_job else SCREENS.get(name, default))


def show(name: str, result: dict[str, Any], svg: Path | None = None, *, quiet: bool = False) -> None:
    """Print it, unless `quiet`, and write it to `svg`. Raises OSError."""
    record = svg is not None
    console = Console(highlight=False, record=record, file=StringIO() if quiet else None, width=150 if record else None)
    console.print(view(name, result), soft_wrap=name in _UNBROKEN)
    if svg is not None:
        # What it shows must not be fetched from elsewhere.
        svg.write_text(_FONTS.sub("", console.export_svg(title=f"wvo-mcp {name}")))
