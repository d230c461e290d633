"""What `wvo-mcp doctor` looks at: the machine, the folders of a project, what people write there, and which coding agents
are wired to this program."""

import json
import os
import platform
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePath
from typing import Any, cast
from urllib.parse import urlsplit

import anyio

from wvo_mcp.domain.finding import Finding, Outcome, fail, ok, warn
from wvo_mcp.domain.providers.trust import held_back, parts_of, waits
from wvo_mcp.errors import InvalidInput, NotFound, WvoError
from wvo_mcp.execution.directives import DirectiveFiles
from wvo_mcp.execution.installation.document import Document, value_at
from wvo_mcp.execution.installation.pieces import ALLOW_RULE, COMMAND, SERVER, STOP_HOOK, is_ours
from wvo_mcp.execution.installation.plan import codex_home
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.providers.presence import check_all
from wvo_mcp.execution.roadmap.source import read_roadmap
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.project import Project, WrongSetting

LITTLE_BYTES = 1_000_000_000
TOO_LITTLE_BYTES = 100_000_000
NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "afpfs", "ceph", "glusterfs", "lustre", "webdav", "davfs")
)  # fmt: skip
"""File systems on which the memory that WAL shares between processes does not work across machines."""


def python() -> Finding:
    return ok("python", f"Python {platform.python_version()} at {sys.executable}")


def workspace(root: Path, reason: str) -> Finding:
    found = f"{root} (chosen by: {reason})"
    if root.is_dir():
        return ok("workspace", found)
    return fail("workspace", f"{found} is not a folder", "Set ROOT to the folder of the project, or leave it unset.")


def state_folder(state_dir: Path) -> Finding:
    """The folder can be read and written, or can be made."""
    check = "state folder"
    if state_dir.is_dir():
        if os.access(state_dir, os.R_OK | os.W_OK | os.X_OK):
            return ok(check, str(state_dir))
        return fail(check, f"{state_dir} is not writable", f"Give this user the rights: chmod u+rwx {state_dir}")
    if state_dir.exists():
        remedy = "Move that file away, or set WVO_STATE_DIR to another folder."
        return fail(check, f"{state_dir} is not a folder", remedy)
    above = next(folder for folder in state_dir.parents if folder.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return warn(check, f"{state_dir} does not exist yet", "Run wvo-mcp init; a server creates it as well.")
    found = f"{state_dir} cannot be created: {above} is not a writable folder"
    return fail(check, found, "Fix the permissions of that folder, or set WVO_STATE_DIR to another one.")


def disk(state_dir: Path) -> Finding:
    folder = next(folder for folder in (state_dir, *state_dir.parents) if folder.exists())
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return warn("disk", f"the free space is unknown: {error.strerror}", "Look with df.")
    found = f"{free / 1e9:.1f} GB free"
    if free < TOO_LITTLE_BYTES:
        return fail("disk", found, "Free some space: a full disk stops every write (store_unavailable).")
    if free < LITTLE_BYTES:
        return warn("disk", found, "Free some space before it runs out.")
    return ok("disk", found)


def file_system(state_dir: Path, mounts: str | None = None) -> Finding:
    """`mounts` is the text of /proc/self/mountinfo, read when it is not given."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text()
        except OSError:
            return ok("file system", "its kind is unknown; keep the state folder on a local disk")
    kind, longest, path = "unknown", -1, state_dir.resolve()
    for line in mounts.splitlines():  # that of the longest mount point above it
        fields, separator, rest = line.partition(" - ")
        words = fields.split()
        point = words[4].encode().decode("unicode_escape") if separator and len(words) > 4 else ""
        if point and path.is_relative_to(point) and len(point) >= longest:
            kind, longest = rest.split()[0], len(point)
    if kind in NETWORK or kind.startswith("fuse.ssh"):
        remedy = "Set WVO_STATE_DIR to a local disk: processes of several machines on one SQLite file can damage it."
        return warn("file system", f"{state_dir} is on {kind}, a network file system", remedy)
    return ok("file system", kind)


def roadmap(path: Path, known_ids: Callable[[Iterable[str]], set[str]]) -> Finding:
    """The file parses and its references lead somewhere; `known_ids` finds the ids that the store has."""
    try:
        parsed = read_roadmap(path, known_ids)
    except NotFound:
        remedy = "Run wvo-mcp init for a sample, or write one; tasks can also be added."
        return warn("roadmap", f"there is no {path}", remedy)
    except WvoError as error:
        return fail("roadmap", error.message, error.hint)
    if parsed.warnings:
        first, *others = parsed.warnings
        more = f" (and {len(others)} more)" if others else ""
        return warn("roadmap", f"{path}, {first}{more}", "Correct it if that is not what you meant.")
    if not parsed.tasks:
        remedy = "Write one, or restore the file; wvo-mcp alerts shows what waits for it."
        return warn("roadmap", f"no tasks in {path}", remedy)
    return ok("roadmap", f"{len(parsed.tasks)} tasks in {path}")


def directives(root: Path) -> Finding:
    files = DirectiveFiles(root)
    names = files.names()
    for name in names:
        try:
            files.read(name)
        except WvoError as error:
            return fail("directives", f"{name}: {error.message}", "Fix or remove that file.")
    if not (root / "directives").is_dir():
        remedy = "Run wvo-mcp init; until then the packaged ones are used."
        return warn("directives", f"{root} has no directives of its own", remedy)
    return ok("directives", ", ".join(names) or "none")


def providers(path: Path, environ: Mapping[str, str], trust: Trust | None = None) -> list[Finding]:
    """One finding for the file, and one for each provider that it turns on. Runs their programs, as far as a person has
    accepted them. Without a file those that are here are shown: no person asked for the others."""
    try:
        given = read(path)
    except InvalidInput as error:
        remedy = "Fix that line. Until then the last good version is used; a server that starts now assigns no tasks."
        return [fail("providers", error.message, remedy)]
    catalogue = given or defaults()
    named = ", ".join(one.name for one in catalogue.providers if one.enabled)
    if given is None:
        file = ok("providers", f"there is no {path}: defaults are used, without limits (wvo-mcp init writes one)")
    elif named:
        file = ok("providers", f"{named} in {path}")
    else:
        off = f"every provider in {path} is turned off: agents that you start work, the autopilot cannot"
        file = warn("providers", off, "Install the program of one, then take out its line 'enabled: false'.")
    findings = [file]
    if trust is not None:
        catalogue, waiting = held_back(catalogue, trust.accepted(PROVIDERS), parts_of(defaults()))
        if unaccepted := waits(waiting):
            findings.append(warn("trust", unaccepted, "Look at the difference, then accept it: wvo-mcp trust"))
    enabled = [one for one in catalogue.providers if one.enabled]
    checked = anyio.run(check_all, enabled, environ)
    for provider in enabled:
        check, found = f"provider {provider.name}", checked[provider.name]
        known = f"{found.version or 'version unknown'} at {found.program}; {found.how}"
        if found.program is None and given is not None:
            remedy = f"Install or start it, or set enabled: false for {provider.name} in providers.yaml."
            findings.append(warn(check, found.how, remedy))
        elif found.logged_in is False and given is not None:
            remedy = f"Log in with it, or set {provider.key_env or 'its key'} where servers and clients are started."
            findings.append(warn(check, known, remedy))
        elif found.program is not None:
            findings.append(ok(check, known))
    return findings


Entries = list[tuple[str, Any]]
"""(file, our entry in it): None without one, a WvoError where the file cannot be understood."""

_VARIABLES = {
    "claude": re.compile(r"\$\{(\w+)(?::-([^}]*))?\}"),
    "gemini": re.compile(r"\$\{?(\w+)\}?()"),
}
"""How a client's entry refers to a variable; Codex has nothing of the kind."""


def clients(project: Project) -> list[Finding]:
    """One finding for the command that their entries start, one for each client, and what keeps a wired one from working."""
    root, environ = Path(project.root), project.given
    home, path = _home(environ), environ.get("PATH")
    where, remedy = shutil.which(COMMAND, path=path), "Put its folder on PATH; docs/install.md has the ways."
    findings = [ok("command", where) if where else warn("command", f"{COMMAND} is not on PATH", remedy)]
    theirs = _loaded(home / ".claude.json")
    scopes = (value_at(theirs, *scope, "mcpServers", SERVER) for scope in (("projects", str(root)), ()))
    local = next((entry for entry in scopes if entry), None)
    wiring: dict[str, Entries] = {
        "claude": [_entry(root / ".mcp.json"), (str(home / ".claude.json"), local)],
        "codex": [_entry(folder / "config.toml") for folder in (root / ".codex", codex_home(environ))],
        "gemini": [_entry(folder / ".gemini" / "settings.json") for folder in (root, home)],
    }
    for client, entries in wiring.items():
        found = _client(client, entries, path)
        findings.append(found)
        file, entry = next((one for one in entries if is_ours(one[1])), ("", None))
        if found.outcome is not Outcome.OK or entry is None:
            continue
        findings += stray(client, file, entry, project)
        if client == "claude":
            findings.append(_claude_settings(root))
        if shutil.which(client, path=path) is not None:
            findings += trust(client, file, root, environ)
    return findings


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or Path.home())


def _client(client: str, entries: Entries, path: str | None) -> Finding:
    check, init = f"client {client}", f"{COMMAND} init --{client}"
    wired = [(file, entry) for file, entry in entries if entry is not None]
    for file, entry in wired:
        if isinstance(entry, WvoError):
            return fail(check, entry.message.removesuffix(" Nothing was written."), "Fix that file.")
        if not is_ours(entry):
            return warn(check, f"{file}: the entry {SERVER!r} starts something else", f"Look at it; {init} --replace")
    if not wired:
        return ok(check, f"not wired; {init} does it")
    file, entry = wired[0]
    command = str(entry.get("command"))
    if shutil.which(command, path=path) is None:
        remedy = "Install it, or correct the entry's command."
        return fail(check, f"{file}: the command {command!r} is not found", remedy)
    if PurePath(command).name in ("uvx", "uv", "pipx"):
        remedy = f"Let the entry start the installed {COMMAND}: clients begin without the tools of slow servers."
        return warn(check, f"wired in {file} through {command}, which adds one to two seconds to the start", remedy)
    return ok(check, f"wired in {file}")


def _entry(file: Path) -> tuple[str, Any]:
    return str(file), _setting(file, "mcp_servers" if file.suffix == ".toml" else "mcpServers", SERVER)


def _setting(file: Path, *path: str) -> Any:
    """What the file has at `path`: None without it or without a file, a WvoError where the file cannot be understood."""
    try:
        return Document(file.read_text(encoding="utf-8"), str(file)).get(*path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        return WvoError(f"{file} cannot be read: {error}.")
    except WvoError as error:
        return error


def _loaded(file: Path) -> Any:
    """A client's own file, whose content is the client's business: None where it cannot be understood."""
    try:
        text = file.read_text(encoding="utf-8")
        return tomllib.loads(text) if file.suffix == ".toml" else json.loads(text)
    except (OSError, ValueError, RecursionError):
        return None


def _claude_settings(root: Path) -> Finding:
    """The allow rule and the stop hook of the project, which make an agent pull by itself."""
    check, name, init = "claude settings", ".claude/settings.json", f"{COMMAND} init --claude"
    allowed, hooks = (_setting(root / name, *path) for path in (("permissions", "allow"), ("hooks", "Stop")))
    if isinstance(allowed, WvoError):
        return fail(check, allowed.message.removesuffix(" Nothing was written."), f"Fix {root / name}.")
    missing = [] if isinstance(allowed, list) and ALLOW_RULE in allowed else [f"the allow rule {ALLOW_RULE}"]
    if STOP_HOOK not in json.dumps(hooks):
        missing.append("the stop hook")
    if len(missing) == 2:  # init writes both or, without --claude, neither
        return ok(check, f"without allow rule and stop hook, Claude Code asks a person; {init} adds them")
    if missing:
        return warn(check, f"{name} lacks {' and '.join(missing)}", f"{init} adds it.")
    return ok(check, f"allow rule and stop hook in {name}")


def stray(client: str, file: str, entry: Mapping[str, Any], project: Project) -> list[Finding]:
    """A warning when the server of this entry would use another project or store than a command in the project does."""
    remedy = (
        "Take it out of the entry and set it in state/settings.yaml, as database_url: ${NAME}, which all of ours read."
    )
    if client == "codex":
        remedy += ' Codex passes NAME on when the entry has env_vars = ["NAME"].'
    try:
        theirs = Project(_given(client, entry, project.given), project.root)
    except WrongSetting as error:
        return [warn(f"store of {client}", f"{file}: its server cannot start: {error}", remedy)]
    pairs = {"project": (theirs.root, project.root), "store": (_store(theirs), _store(project))}
    return [
        warn(f"store of {client}", f"{file}: its server uses the {what} {there}, a command here {here}", remedy)
        for what, (there, here) in pairs.items()
        if there != here
    ][:1]


def _given(client: str, entry: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    """What the client starts the server with."""
    given, own, pattern = dict(environ), entry.get("env"), _VARIABLES.get(client)
    if client == "codex":  # it passes nothing of ours on but what the entry names
        names = entry.get("env_vars")
        kept = {"HOME", *(cast("list[Any]", names) if isinstance(names, list) else ())}
        given = {name: value for name, value in environ.items() if name in kept}
    for name, value in cast("dict[str, Any]", own if isinstance(own, dict) else {}).items():
        given[name] = str(value)
        if pattern is not None:
            given[name] = pattern.sub(lambda found: environ.get(found[1]) or found[2] or "", str(value))
    return given


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


def trust(client: str, file: str, root: Path, environ: Mapping[str, str]) -> list[Finding]:
    """A warning when the client does not trust the folder yet: it then leaves out what the project's files say."""
    check = f"trust of {client}"
    if client == "claude":
        config = _loaded(Path(environ.get("CLAUDE_CONFIG_DIR") or _home(environ)) / ".claude.json")
        marks = (value_at(config, "projects", str(one), "hasTrustDialogAccepted") for one in (root, *root.parents))
        if not any(mark is True for mark in marks):
            found = f"Claude Code does not trust {root} yet: headless runs (claude -p) are refused our tools"
            return [warn(check, found, "Start claude there once and accept the folder.")]
    if client == "codex" and Path(file).is_relative_to(root):
        config = _loaded(codex_home(environ) / "config.toml")
        if value_at(config, "projects", str(root.resolve()), "trust_level") != "trusted":
            found = f"Codex does not trust {root} yet: it does not read {file}"
            remedy = "Start codex there once and trust the folder, or wvo-mcp init --codex --global."
            return [warn(check, found, remedy)]
    return []
