"""What `wvo-mcp init` and `init --remove` would do to a project: a list of changes, nothing written."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.execution.installation.changes import File, Plan
from wvo_mcp.execution.installation.detection import proposal
from wvo_mcp.execution.installation.pieces import COMMAND, SERVER, ClaudeSettings, Entry, Piece, Rules, Sample, Section
from wvo_mcp.execution.providers.parse import packaged_text
from wvo_mcp.execution.safety import policy_file

SAMPLES = Path(__file__).parent.parent / "samples"

AGENT_SECTION = """\
The tasks of this project are kept by the MCP server `wvo`: pull work from it (`claim_task`) and follow its instructions.
If that server is not connected, say so; do not pick tasks from files or from memory.
"""
"""The rest is in one place, the instructions that the server sends when a client connects."""

IGNORED = ("state.db*", "sessions/", "backups/", "telemetry/", "analytics/")
"""What a machine writes into the state directory; what people write there (roadmap.yaml, providers.yaml) stays tracked."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person asked for. `user_wide`: Codex for all projects of this user; `replace`: put our entry in the place of
    another program's."""

    claude: bool = False
    codex: bool = False
    gemini: bool = False
    user_wide: bool = False
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are written. `codex_home` is Codex's own directory of this user; `search` where programs are searched
    for, as PATH has it; None: PATH."""

    root: Path
    state_dir: Path
    codex_home: Path
    search: str | None = None

    def file(self, name: str) -> File:
        """Of the project."""
        return File(self.root, name, name)

    def of_codex(self, *, user_wide: bool) -> File:
        """Its configuration. Its own directory may be a link, wherever it lies, also below the project."""
        if user_wide:
            return File(self.codex_home, "config.toml", str(self.codex_home / "config.toml"))
        return self.file(".codex/config.toml")

    def of_state(self, name: str) -> File:
        if self.state_dir.is_relative_to(self.root):
            return self.file((self.state_dir.relative_to(self.root) / name).as_posix())
        return File(self.state_dir, name, str(self.state_dir / name))

    @property
    def state(self) -> str | None:
        """The state folder as a path in the project; None elsewhere."""
        folder, root = self.state_dir.resolve(), self.root.resolve()
        return folder.relative_to(root).as_posix() if folder.is_relative_to(root) and folder != root else None


def codex_home(environ: Mapping[str, str]) -> Path:
    """CODEX_HOME, else `~/.codex`."""
    given = environ.get("CODEX_HOME")
    return Path(given).expanduser() if given else Path(environ.get("HOME") or Path.home()) / ".codex"


def plan(places: Places, wishes: Wishes) -> Plan:
    """Raises InvalidInput, Forbidden, StoreUnavailable when a file that must change cannot be read or edited safely."""
    made = Plan()
    for piece in (*_wiring(places, wishes), *_state(places)):
        made.write(piece.file, piece.put(made.read(piece.file), made), piece.what)
    below = places.state
    ignored = {line.strip().strip("/") for line in (made.read(places.file(".gitignore")) or "").splitlines()}
    if below is not None and ignored & {below, f"{below}/**"}:
        made.notes.append(
            f".gitignore leaves out all of {below}/: its roadmap.yaml and providers.yaml will not be tracked by git."
        )
    if wishes.codex and not wishes.user_wide:
        made.notes.append(
            "Codex reads .codex/config.toml in a project that you trust: it asks when you start it there."
        )
    return made


def removal(places: Places, *, user_wide: bool = False) -> Plan:
    """Removes what init wrote and was not changed since. `user_wide`: Codex's own configuration of this user too. What
    another program put in our place stays.

    Raises InvalidInput, Forbidden, StoreUnavailable when a file cannot be read or edited safely.
    """
    made = Plan()
    pieces = [*_wiring(places, Wishes(claude=True, codex=True, gemini=True))]
    user = _codex(places, Wishes(user_wide=True))
    text = made.read(user.file) or ""
    if user_wide:
        pieces.append(user)
    elif user.take(text, made) != text:
        made.notes.append(
            f"{user.file.shown} has the server {SERVER} for all your projects: add --global to remove that too."
        )
    folder = places.state_dir
    if any(found for pattern in IGNORED for found in folder.glob(pattern.rstrip("/"))):
        # All of it stays, and git goes on ignoring what a machine writes.
        made.notes.append(f"{folder} stays: it has the work of this project. To delete it: rm -r {folder}")
    else:
        pieces += _state(places)
    for piece in pieces:
        text = made.read(piece.file)
        if text is not None and (left := piece.take(text, made)) != text:
            made.write(piece.file, left if left.strip() else None, f"without {piece.what}")
    return made


def _wiring(places: Places, wishes: Wishes) -> Iterator[Piece]:
    def server(name: str, **more: Any) -> Entry:
        entry: dict[str, Any] = {"command": COMMAND, "args": [], **more}
        return Entry(places.file(name), f"the server {SERVER}", "mcpServers", entry, wishes.replace)

    def section(name: str) -> Section:
        return Section(places.file(name), "how agents pull work, between two marks", AGENT_SECTION)

    yield server(".mcp.json")
    for sample in sorted((SAMPLES / "directives").glob("*.md")):
        file, text = places.file(f"directives/{sample.name}"), sample.read_text(encoding="utf-8")
        yield Sample(file, "how agents recover and do research", text)
    if wishes.claude:
        yield ClaudeSettings(
            places.file(".claude/settings.json"),
            "the allow rule for our tools, the stop hook and the hook that checks commands",
        )
        yield section("CLAUDE.md")
    if wishes.codex:
        yield _codex(places, wishes)
        yield section("AGENTS.md")
    if wishes.gemini:
        yield server(".gemini/settings.json", trust=True)
        yield section("GEMINI.md")


def _codex(places: Places, wishes: Wishes) -> Entry:
    file = places.of_codex(user_wide=wishes.user_wide)
    return Entry(file, f"the server {SERVER}", "mcp_servers", {"command": COMMAND}, wishes.replace)


def _state(places: Places) -> Iterator[Piece]:
    roadmap = (SAMPLES / "roadmap.yaml").read_text(encoding="utf-8")
    limits = "what agents may run and write, besides what ships with wvo-mcp"
    yield Sample(places.of_state("policy.yaml"), limits, policy_file.default_text())
    yield Sample(places.of_state("policy.schema.json"), "its schema, for editors", policy_file.schema_text())
    found = proposal(places.root)
    yield Rules(places.of_state("roadmap.yaml"), "a roadmap, with how work is prepared and checked", roadmap, found)
    if found.include:
        needed = "files that git ignores and a worktree needs"
        text = f"# {needed[0].upper()}{needed[1:]}, as .gitignore has them.\n" + "".join(
            f"/{name}\n" for name in found.include
        )
        yield Sample(places.file(".worktreeinclude"), needed, text)
    models = "which models there are, for which tasks, within which limits"
    providers = packaged_text()
    for kind in (ProviderKind.CLAUDE, ProviderKind.CODEX, ProviderKind.GEMINI, ProviderKind.OLLAMA):
        if shutil.which(kind.value, path=places.search) is None:
            line = f"    kind: {kind}\n"
            off = f"{line}    enabled: false   # not found on this machine; take this line out when it is there\n"
            providers = providers.replace(line, off, 1)
    yield Sample(places.of_state("providers.yaml"), models, providers)
    below = places.state
    if below is not None and any((folder / ".git").exists() for folder in (places.root, *places.root.parents)):
        rules = "\n".join(f"/{below}/{name}" for name in IGNORED)
        marks = ("# wvo-mcp:start", "# wvo-mcp:end")
        yield Section(places.file(".gitignore"), "rules that keep out of git what a machine writes", rules, marks)
