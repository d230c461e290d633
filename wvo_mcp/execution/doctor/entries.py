"""Whether a client that is wired gets to our server, and whether that server looks at the store that commands look at."""

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from wvo_mcp.domain.finding import Finding, warn
from wvo_mcp.execution.installation.plan import codex_home
from wvo_mcp.project import Project, WrongSetting

_CHANGED_BY_CLIENT = {
    "claude": re.compile(r"\$\{(\w+)(?::-([^}]*))?\}"),
    "gemini": re.compile(r"\$\{?(\w+)\}?()"),
}
"""What a client puts a variable's value in the place of, in its entry; Codex has nothing of the kind."""


def stray(client: str, shown: str, entry: Mapping[str, Any], project: Project) -> list[Finding]:
    """A warning when the server of this entry would use another project or store than a command in the project does."""
    check = f"store of {client}"
    given = _given(client, entry, project.given)
    try:
        theirs = Project(given, project.root)
    except WrongSetting as error:
        return [warn(check, f"{shown}: its server cannot start: {error}", _remedy(client))]
    pairs = {"project": (theirs.root, project.root), "store": (_store(theirs), _store(project))}
    for what, (there, here) in pairs.items():
        if there != here:
            return [warn(check, f"{shown}: its server uses the {what} {there}, a command here {here}", _remedy(client))]
    return []


def _given(client: str, entry: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """What the client starts the server with."""
    passed: Any = environ
    if client == "codex":  # it passes nothing of ours on but what the entry names
        names: Any = entry.get("env_vars")
        kept = {"HOME", *(cast("list[Any]", names) if isinstance(names, list) else ())}
        passed = {name: value for name, value in environ.items() if name in kept}
    own: Any = entry.get("env")
    given = dict(cast("Mapping[str, str]", passed))
    if isinstance(own, dict):
        for name, value in cast("dict[str, Any]", own).items():
            given[name] = _expanded(client, str(value), environ)
    return given


def _expanded(client: str, value: str, environ: Mapping[str, str]) -> str:
    pattern = _CHANGED_BY_CLIENT.get(client)
    if pattern is None:
        return value
    return pattern.sub(lambda found: environ.get(found[1]) or found[2] or "", value)


def _store(project: Project) -> str:
    """Which store it is, without a password."""
    url = project.environ.get("WVO_DATABASE_URL")
    if not url:
        return str(Path(project.state_dir).resolve() / "state.db")
    try:
        parts = urlsplit(url)
        return f"postgresql://{parts.hostname or ''}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "of a wrong WVO_DATABASE_URL"


def _remedy(client: str) -> str:
    where = (
        "Take it out of the entry and set it in state/settings.yaml, as database_url: ${NAME}, which all of ours read."
    )
    return f'{where} Codex passes NAME on when the entry has env_vars = ["NAME"].' if client == "codex" else where


def trust(client: str, shown: str, root: Path, environ: Mapping[str, str]) -> list[Finding]:
    """A warning when the client does not trust the folder yet: it then leaves out what the project's files say."""
    check = f"trust of {client}"
    if client == "claude" and not _trusted_by_claude(root, environ):
        return [
            warn(
                check,
                f"Claude Code does not trust {root} yet: headless runs (claude -p) are refused our tools",
                "Start claude there once and accept the folder.",
            )
        ]
    if client == "codex" and Path(shown).is_relative_to(root) and not _trusted_by_codex(root, environ):
        return [
            warn(
                check,
                f"Codex does not trust {root} yet: it does not read {shown}",
                "Start codex there once and trust the folder, or wvo-mcp init --codex --global.",
            )
        ]
    return []


def _trusted_by_claude(root: Path, environ: Mapping[str, str]) -> bool:
    file = Path(environ.get("CLAUDE_CONFIG_DIR") or environ.get("HOME") or Path.home()) / ".claude.json"
    try:
        projects = json.loads(file.read_bytes())["projects"]
        return any(
            projects[str(folder)]["hasTrustDialogAccepted"] is True
            for folder in (root, *root.parents)
            if str(folder) in projects and "hasTrustDialogAccepted" in projects[str(folder)]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _trusted_by_codex(root: Path, environ: Mapping[str, str]) -> bool:
    try:
        config = tomllib.loads((codex_home(environ) / "config.toml").read_text(encoding="utf-8"))
        return config["projects"][str(root.resolve())]["trust_level"] == "trusted"
    except (OSError, ValueError, KeyError, TypeError):
        return False
