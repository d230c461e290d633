"""Which coding agents are wired to this program."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, cast

from wvo_mcp.domain.finding import Finding, Outcome, fail, ok, warn
from wvo_mcp.errors import WvoError
from wvo_mcp.execution.doctor.entries import stray, trust
from wvo_mcp.execution.installation.document import Document
from wvo_mcp.execution.installation.pieces import ALLOW_RULE, COMMAND, SERVER, STOP_HOOK, is_ours
from wvo_mcp.execution.installation.plan import codex_home
from wvo_mcp.project import Project


def clients(project: Project) -> list[Finding]:
    """One finding for the command that their entries start, one for each client, and what keeps a wired one from working."""
    root, environ = Path(project.root), project.given
    home = Path(environ.get("HOME") or Path.home())
    findings = [_command(environ.get("PATH"))]
    for name, places in (
        ("claude", _claude_places(root, home)),
        ("codex", _codex_places(root, environ)),
        ("gemini", _gemini_places(root, home)),
    ):
        found = _client(name, places, f"{COMMAND} init --{name}", environ.get("PATH"))
        findings.append(found)
        wired = [(shown, entry) for shown, entry in places if is_ours(entry)]
        if found.outcome is not Outcome.OK or not wired:
            continue
        shown, entry = wired[0]
        findings += stray(name, shown, entry, project)
        if name == "claude":
            findings.append(_claude_settings(root))
        if shutil.which(name, path=environ.get("PATH")) is not None:
            findings += trust(name, shown, root, environ)
    return findings


def _command(path: str | None) -> Finding:
    where = shutil.which(COMMAND, path=path)
    if where is None:
        return warn("command", f"{COMMAND} is not on PATH", "Put its folder on PATH; docs/install.md has the ways.")
    return ok("command", where)


Places = list[tuple[str, Any]]
"""(file, entry or WvoError) of each file that exists."""


def _client(name: str, places: Places, remedy: str, path: str | None) -> Finding:
    check = f"client {name}"
    for _, entry in places:
        if isinstance(entry, WvoError):
            return fail(check, entry.message.removesuffix(" Nothing was written."), "Fix that file.")
    wired = [(shown, entry) for shown, entry in places if entry is not None]
    if not wired:
        return ok(check, f"not wired; {remedy} does it")
    for shown, entry in wired:
        if not is_ours(entry):
            return warn(
                check, f"{shown}: the entry {SERVER!r} starts something else", f"Look at it; {remedy} --replace"
            )
    shown, entry = wired[0]
    command = str(entry.get("command"))
    if shutil.which(command, path=path) is None:
        return fail(
            check, f"{shown}: the command {command!r} is not found", "Install it, or correct the entry's command."
        )
    if PurePath(command).name in ("uvx", "uv", "pipx"):
        remedy = f"Let the entry start the installed {COMMAND}: clients begin without the tools of slow servers."
        return warn(check, f"wired in {shown} through {command}, which adds one to two seconds to the start", remedy)
    return ok(check, f"wired in {shown}")


def _claude_places(root: Path, home: Path) -> Places:
    places = [_setting(root / ".mcp.json", "mcpServers", SERVER)]
    user = home / ".claude.json"
    try:
        content: Any = json.loads(user.read_bytes())
    except (OSError, ValueError):
        return places  # the client's own file: what it holds is the client's business
    if isinstance(content, dict):
        fields = cast("dict[str, Any]", content)
        project = _child(_child(fields, "projects"), str(root))
        entry = _child(_child(project, "mcpServers"), SERVER) or _child(_child(fields, "mcpServers"), SERVER)
        places.append((str(user), entry or None))
    return places


def _child(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _gemini_places(root: Path, home: Path) -> Places:
    name = ".gemini/settings.json"
    return [_setting(root / name, "mcpServers", SERVER), _setting(home / name, "mcpServers", SERVER)]


def _codex_places(root: Path, environ: Mapping[str, str]) -> Places:
    files = (root / ".codex" / "config.toml", codex_home(environ) / "config.toml")
    return [_setting(file, "mcp_servers", SERVER) for file in files]


def _setting(file: Path, *path: str) -> tuple[str, Any]:
    """What the file has at `path`: None without it or without a file, a WvoError where the file cannot be understood."""
    try:
        return str(file), Document(file.read_text(encoding="utf-8"), str(file)).get(*path)
    except (FileNotFoundError, NotADirectoryError):
        return str(file), None
    except (OSError, UnicodeDecodeError) as error:
        return str(file), WvoError(f"{file} cannot be read: {error}.")
    except WvoError as error:
        return str(file), error


def _claude_settings(root: Path) -> Finding:
    """The allow rule and the stop hook of the project, which make an agent pull by itself."""
    name = ".claude/settings.json"
    shown, allowed = _setting(root / name, "permissions", "allow")
    _, hooks = _setting(root / name, "hooks", "Stop")
    if isinstance(allowed, WvoError):
        return fail("claude settings", allowed.message.removesuffix(" Nothing was written."), f"Fix {shown}.")
    missing = [
        what
        for what, there in (
            (f"the allow rule {ALLOW_RULE}", isinstance(allowed, list) and ALLOW_RULE in allowed),
            ("the stop hook", STOP_HOOK in json.dumps(hooks)),
        )
        if not there
    ]
    if len(missing) == 2:  # init writes both or, without --claude, neither
        return ok(
            "claude settings",
            f"without allow rule and stop hook, Claude Code asks a person; {COMMAND} init --claude adds them",
        )
    if missing:
        return warn("claude settings", f"{name} lacks {' and '.join(missing)}", f"{COMMAND} init --claude adds it.")
    return ok("claude settings", f"allow rule and stop hook in {name}")
