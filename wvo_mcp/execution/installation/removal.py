"""What `wvo-mcp init --remove` would take back: what init wrote and nobody changed; nothing written."""

from pathlib import Path
from typing import Any, cast

from wvo_mcp.execution.installation.document import Document
from wvo_mcp.execution.installation.draft import Draft, shown
from wvo_mcp.execution.installation.entry import SERVER, is_ours
from wvo_mcp.execution.installation.plan import ALLOW_RULE, IGNORED, SAMPLES, STOP_HOOK, Places, Plan
from wvo_mcp.execution.installation.providers import providers_text
from wvo_mcp.execution.installation.sections import HASH, MARKDOWN, without_section


def removal(places: Places, *, user_wide: bool = False) -> Plan:
    """`user_wide`: Codex's own configuration of this user too. What another program put in our place stays.

    Raises InvalidInput, Forbidden, StoreUnavailable when a file cannot be read or edited safely.
    """
    work = _Removal(places)
    work.entries(user_wide)
    work.claude_settings()
    for name in ("CLAUDE.md", "AGENTS.md", "GEMINI.md"):
        work.section(name)
    work.samples()
    work.state()
    return Plan(work.draft.changes(), [], work.notes)


class _Removal:
    def __init__(self, places: Places) -> None:
        self.draft = Draft(places.root)
        self.notes: list[str] = []
        self._places = places
        self._root = places.root

    def entries(self, user_wide: bool) -> None:
        for name in (".mcp.json", ".gemini/settings.json"):
            self._entry(self._root, name, "mcpServers")
        self._entry(self._root, ".codex/config.toml", "mcp_servers")
        base, name = self._places.codex_home, "config.toml"
        if user_wide:
            self._entry(base, name, "mcp_servers")
        elif is_ours(self._document(base, name).get("mcp_servers", SERVER)):
            self.notes.append(
                f"{base / name} has the server {SERVER} for all your projects: add --global to remove that too."
            )

    def _entry(self, base: Path, name: str, servers: str) -> None:
        document = self._document(base, name)
        if is_ours(document.get(servers, SERVER)):
            document.remove(servers, SERVER)
            self._put(base, name, document.text, f"without the server {SERVER}")

    def claude_settings(self) -> None:
        name = ".claude/settings.json"
        document = self._document(self._root, name)
        document.remove_from(("permissions", "allow"), ALLOW_RULE)
        document.remove_from(("enabledMcpjsonServers",), SERVER)
        groups = document.get("hooks", "Stop")
        if isinstance(groups, list):
            left = [one for group in cast("list[Any]", groups) if (one := _without_hook(group)) is not None]
            document.put(("hooks", "Stop"), left) if left else document.remove("hooks", "Stop")
        self._put(self._root, name, document.text, "without the allow rule and the stop hook")

    def section(self, name: str) -> None:
        text = self.draft.read(self._root, name)
        if text is not None:
            self._put(self._root, name, without_section(text, MARKDOWN, name), "without our section")

    def samples(self) -> None:
        for directive in sorted((SAMPLES / "directives").glob("*.md")):
            self._unchanged(self._root, f"directives/{directive.name}", directive.read_text(encoding="utf-8"))

    def state(self) -> None:
        """The samples, where there is no work; else all of it stays, and git goes on ignoring what a machine writes."""
        folder = self._places.state_dir
        if any(found for pattern in IGNORED for found in folder.glob(pattern.rstrip("/"))):
            self.notes.append(f"{folder} stays: it has the work of this project. To delete it: rm -r {folder}")
            return
        base, name = self._places.in_state("roadmap.yaml")
        self._unchanged(base, name, (SAMPLES / "roadmap.yaml").read_text(encoding="utf-8"))
        base, name = self._places.in_state("providers.yaml")
        self._unchanged(base, name, providers_text(self._places.search))
        text = self.draft.read(self._root, ".gitignore")
        if text is not None:
            self._put(self._root, ".gitignore", without_section(text, HASH, ".gitignore"), "without our section")

    def _document(self, base: Path, name: str) -> Document:
        return Document(self.draft.read(base, name) or "", shown(self._root, base, name))

    def _put(self, base: Path, name: str, text: str, reason: str) -> None:
        """A file that holds nothing any more goes."""
        if text.strip():
            self.draft.write(base, name, text, reason)
        elif (self.draft.read(base, name) or "").strip():
            self.draft.remove(base, name, "nothing else was in it")

    def _unchanged(self, base: Path, name: str, sample: str) -> None:
        text = self.draft.read(base, name)
        if text == sample:
            self.draft.remove(base, name, "as init wrote it")
        elif text is not None:
            self.notes.append(f"{shown(self._root, base, name)} stays: it is not as init wrote it.")


def _without_hook(group: Any) -> Any:
    """The group of hooks without ours; None when nothing else was in it."""
    fields = cast("dict[str, Any]", group if isinstance(group, dict) else {})
    hooks = cast("list[Any]", listed if isinstance(listed := fields.get("hooks"), list) else [])
    left = [hook for hook in hooks if not _is_stop_hook(hook)]
    if len(left) == len(hooks):
        return cast("Any", group)
    return {**fields, "hooks": left} if left else None


def _is_stop_hook(hook: Any) -> bool:
    return isinstance(hook, dict) and cast("dict[str, Any]", hook).get("command") == STOP_HOOK
