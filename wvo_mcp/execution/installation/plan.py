"""What `wvo-mcp init` would do to a project: a list of changes, nothing written."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvo_mcp.errors import Conflict
from wvo_mcp.execution.installation.document import Document
from wvo_mcp.execution.installation.draft import Change, Draft, shown
from wvo_mcp.execution.installation.entry import COMMAND, SERVER, is_ours
from wvo_mcp.execution.installation.providers import providers_text
from wvo_mcp.execution.installation.sections import HASH, MARKDOWN, with_section

SAMPLES = Path(__file__).parent.parent / "samples"
STOP_HOOK = f"{COMMAND} stop-hook"
ALLOW_RULE = f"mcp__{SERVER}"

AGENT_SECTION = """\
The tasks of this project are kept by the MCP server `wvo`: pull work from it (`claim_task`) and follow its instructions.
If that server is not connected, say so; do not pick tasks from files or from memory.
"""
"""What the server says itself when a client connects is the one place for the rest."""

IGNORED = ("state.db*", "sessions/", "backups/", "telemetry/", "analytics/")
"""What a machine writes into the state directory; what people write there (roadmap.yaml, providers.yaml) stays tracked."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asked for. `user_wide`: Codex for all projects of this user; `replace`: put our entry where another
    program's stands."""

    claude: bool = False
    codex: bool = False
    gemini: bool = False
    user_wide: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Foreign:
    """An entry named like ours that starts something else."""

    shown: str
    entry: Any


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are written. `codex_home` is Codex's own directory of this user; `search` where programs are searched
    for, as PATH has it; None: PATH."""

    root: Path
    state_dir: Path
    codex_home: Path
    search: str | None = None

    def in_state(self, name: str) -> tuple[Path, str]:
        """Base and relative path of a file in the state folder."""
        if self.state_dir.is_relative_to(self.root):
            return self.root, (self.state_dir.relative_to(self.root) / name).as_posix()
        return self.state_dir, name


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes that make the wishes true; none when they are. `foreign` stands in the way; `notes` are for people."""

    changes: list[Change]
    foreign: list[Foreign]
    notes: list[str]

    def check(self) -> None:
        """Raises Conflict while a foreign entry stands in the way."""
        if self.foreign:
            first = self.foreign[0]
            raise Conflict(
                f"{first.shown} has an entry {SERVER!r} that starts something else. Nothing was written.",
                hint="Look at the entry and rename or remove it; wvo-mcp init --help tells what else a person can do.",
                path=first.shown,
                entry=first.entry,
            )


def codex_home(environ: Mapping[str, str]) -> Path:
    """CODEX_HOME, else `~/.codex`."""
    given = environ.get("CODEX_HOME")
    return Path(given).expanduser() if given else Path(environ.get("HOME") or Path.home()) / ".codex"


def plan(places: Places, wishes: Wishes) -> Plan:
    """Raises InvalidInput, Forbidden, StoreUnavailable when a file that must change cannot be read or edited safely."""
    work = _Planning(places, wishes)
    work.project()
    if wishes.claude:
        work.claude()
    if wishes.codex:
        work.codex()
    if wishes.gemini:
        work.gemini()
    return Plan(work.draft.changes(), work.foreign, work.notes)


class _Planning:
    def __init__(self, places: Places, wishes: Wishes) -> None:
        self.draft = Draft(places.root)
        self.foreign: list[Foreign] = []
        self.notes: list[str] = []
        self._places = places
        self._root = places.root
        self._wishes = wishes

    def project(self) -> None:
        self._entry(self._root, ".mcp.json", ("mcpServers", SERVER), {"command": COMMAND, "args": []})
        base, name = self._places.in_state("roadmap.yaml")
        self._sample(base, name, SAMPLES / "roadmap.yaml", "a roadmap to begin with")
        base, name = self._places.in_state("providers.yaml")
        if self.draft.read(base, name) is None:
            text = providers_text(self._places.search)
            self.draft.write(base, name, text, "which models there are, for which tasks, within which limits")
        for directive in sorted((SAMPLES / "directives").glob("*.md")):
            self._sample(self._root, f"directives/{directive.name}", directive, "how agents recover and do research")
        self._ignore()

    def claude(self) -> None:
        name = ".claude/settings.json"
        document = Document(self.draft.read(self._root, name) or "", name)
        document.append(("permissions", "allow"), ALLOW_RULE)
        document.append(("enabledMcpjsonServers",), SERVER)
        if not _mentions(document.get("hooks", "Stop"), STOP_HOOK):
            hook = {"hooks": [{"type": "command", "command": STOP_HOOK, "timeout": 10}]}
            document.append(("hooks", "Stop"), hook)
        self.draft.write(self._root, name, document.text, "allows our tools, and reminds an agent of the task it holds")
        for refusal in ("deny", "ask"):
            if _mentions(document.get("permissions", refusal), ALLOW_RULE):
                self.notes.append(f"{name} also lists {ALLOW_RULE} under permissions.{refusal}, which is stronger.")
        if _mentions(document.get("disabledMcpjsonServers"), SERVER):
            self.notes.append(f"{name} lists {SERVER!r} under disabledMcpjsonServers: Claude Code will not start it.")
        self._section("CLAUDE.md")

    def codex(self) -> None:
        base, name = self._root, ".codex/config.toml"
        if self._wishes.user_wide:
            base, name = self._places.codex_home, "config.toml"
        self._entry(base, name, ("mcp_servers", SERVER), {"command": COMMAND})
        if base == self._root:
            self.notes.append(
                "Codex reads .codex/config.toml in a project that you trust: it asks when you start it there."
            )
        self._section("AGENTS.md")

    def gemini(self) -> None:
        entry: dict[str, Any] = {"command": COMMAND, "args": [], "trust": True}
        self._entry(self._root, ".gemini/settings.json", ("mcpServers", SERVER), entry)
        self._section("GEMINI.md")

    def _entry(self, base: Path, name: str, path: tuple[str, ...], entry: dict[str, Any]) -> None:
        file = shown(self._root, base, name)
        document = Document(self.draft.read(base, name) or "", file)
        present = document.get(*path)
        if present is None or self._may_replace(file, present):
            document.put(path, entry)
            self.draft.write(base, name, document.text, f"the server {SERVER}")

    def _may_replace(self, file: str, entry: Any) -> bool:
        if is_ours(entry):
            return False
        if not self._wishes.replace:
            self.foreign.append(Foreign(file, entry))
        return self._wishes.replace

    def _section(self, name: str) -> None:
        text = self.draft.read(self._root, name) or ""
        self.draft.write(
            self._root,
            name,
            with_section(text, AGENT_SECTION, MARKDOWN, name),
            "how agents pull work, between two marks",
        )

    def _sample(self, base: Path, name: str, sample: Path, reason: str) -> None:
        if self.draft.read(base, name) is None:
            self.draft.write(base, name, sample.read_text(encoding="utf-8"), reason)

    def _ignore(self) -> None:
        state_dir = self._places.state_dir.resolve()
        root = self._root.resolve()
        if not _in_git(root) or not state_dir.is_relative_to(root) or state_dir == root:
            return
        below = state_dir.relative_to(root).as_posix()
        text = self.draft.read(root, ".gitignore") or ""
        body = "\n".join(f"/{below}/{name}" for name in IGNORED)
        self.draft.write(
            root, ".gitignore", with_section(text, body, HASH, ".gitignore"), "what a machine writes is not tracked"
        )
        theirs = {line.strip().strip("/") for line in text.splitlines()}
        if below in theirs or f"{below}/**" in theirs:
            self.notes.append(
                f".gitignore leaves out all of {below}/: its roadmap.yaml and providers.yaml will not be tracked by git."
            )


def _in_git(root: Path) -> bool:
    return any((folder / ".git").exists() for folder in (root, *root.parents))


def _mentions(value: Any, text: str) -> bool:
    """True when a string anywhere in the value contains the text."""
    return text in json.dumps(value)
