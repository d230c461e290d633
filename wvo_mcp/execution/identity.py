"""Who calls: the agent, its session and its provider, from the environment, the client and the processes above."""

import os
import pwd
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wvo_mcp.domain.agent import short
from wvo_mcp.domain.lease import Caller, Role, WorkerPass
from wvo_mcp.domain.text import as_id
from wvo_mcp.settings import Settings


@dataclass(frozen=True, slots=True)
class Process:
    """`started_at` is an opaque mark: with its id it names one process for good. `environ` is what it was started with,
    `program` the name of its file, or of the script that node runs; empty where that may not be read."""

    pid: int
    started_at: str
    environ: dict[str, str]
    program: str = ""
    warden: bool = False
    """Does it run a worker? Whatever that starts is below it, however it detaches itself. True of the autopilot too."""


def lineage(pid: int) -> Iterator[Process]:
    """The process, its parent, and so on; nothing where there is no /proc."""
    for _ in range(100):
        try:
            parent, started_at = _stat(pid)
        except (OSError, IndexError):
            return
        pairs = (entry.partition("=") for entry in _entries(pid, "environ"))
        words = _entries(pid, "cmdline")
        environ = {name: value for name, _, value in pairs if name}
        yield Process(pid, started_at, environ, _program(words), _runs_agents_work(words))
        pid = parent


_WARDEN = "/wvo_mcp/execution/agents/warden.py"
"""Of the program that is above each worker (`execution/agents/lines.py` starts it): python -I -S warden.py FD PROGRAM."""


def _runs_agents_work(words: list[str]) -> bool:
    """Of the words of a command: does it run what agents wrote? So does the autopilot itself, by a project's setup."""
    if any(word.endswith(_WARDEN) for word in words[1:4]):
        return True
    if words and Path(words[0]).name.startswith("python"):
        words = [word for word in words[1:] if not word.startswith("-")]
    names = [Path(word).name for word in words[:2]]
    return len(names) == 2 and names[0] in ("wvo-mcp", "wvo_mcp") and names[1] in ("autopilot", "orchestrate")


def below_warden(pid: int) -> bool:
    """Does the process, or one above it, run a worker or a project's setup?"""
    for _ in range(100):
        try:
            if _runs_agents_work(_entries(pid, "cmdline")):
                return True
            pid = _stat(pid)[0]
        except (OSError, IndexError):
            return False
    return False


def speaks_below_warden(theirs: int, ours: int) -> bool:
    """Is the program at the other end of a connection of this machine below a warden? By its port and ours; false where there
    is no /proc, and of programs of other users."""
    try:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return False
    if not any(_runs_agents_work(_entries(pid, "cmdline")) for pid in pids):
        return False
    sockets = _sockets(theirs, ours)
    return any(sockets & _sockets_of(pid) and below_warden(pid) for pid in pids)


def _sockets(local: int, remote: int) -> set[str]:
    """As the links in /proc/PID/fd name them."""
    found: set[str] = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            ports = [int(words[at].rpartition(":")[2], 16) for at in (1, 2)]
            if ports == [local, remote] and words[9] != "0":
                found.add(f"socket:[{words[9]}]")
    return found


def _sockets_of(pid: int) -> set[str]:
    found: set[str] = set()
    with suppress(OSError):  # it has ended, or is another user's
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(entry.readlink()))
    return found


def _stat(pid: int) -> tuple[int, str]:
    # The 4th and the 22nd field; the second one, a name in parentheses, may contain spaces.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), fields[19]


def _entries(pid: int, file: str) -> list[str]:
    try:
        return os.fsdecode(Path(f"/proc/{pid}/{file}").read_bytes()).split("\0")
    except OSError:
        return []


def _program(words: list[str]) -> str:
    names = [os.path.basename(word) for word in words]  # noqa: PTH119 - text, not a file
    if names and names[0] == "node":
        names = [name for name in names[1:] if not name.startswith("-")]
    return names[0] if names else ""


def parent_started_at() -> str:
    """As `Process.started_at`; `0` if unknown."""
    parent = os.getppid()
    try:
        return _stat(parent)[1]
    except (OSError, IndexError):
        pass
    # Only where there is no /proc: all other starts go without these.
    from concurrent.futures import ThreadPoolExecutor

    from wvo_mcp.processes import NotStarted, Program, run_blocking

    ps = Program(argv=("ps", "-o", "lstart=", "-p", str(parent)), env=os.environ, deadline=2.0)
    try:
        with ThreadPoolExecutor(1) as apart:  # there may be an event loop in this thread
            shown = apart.submit(run_blocking, ps).result()
    except NotStarted:
        return "0"
    return "".join(char for char in shown.stdout.decode(errors="replace") if char.isalnum()) or "0"


SHELLS: Mapping[str, tuple[str, ...]] = {
    "claude-code": ("CLAUDE_CODE_SESSION_ID", "CLAUDECODE"),
    "codex-mcp-client": ("CODEX_THREAD_ID", "CODEX_SESSION_ID", "CODEX_CI"),
    "gemini-cli-mcp-client": ("GEMINI_CLI",),
}
"""What clients set in the shells that they run for an agent, by the name that they give themselves as MCP clients
(claude 2.1.329, codex 0.169.0, gemini 0.61.0). Variables that end in _ID name the agent's session."""

PROGRAMS = {"claude": "claude-code", "codex": "codex-mcp-client", "gemini": "gemini-cli-mcp-client"}
"""The clients themselves: a shell that replaces itself by `env -i` leaves no marks above a command, but these."""


def agent_name(settings: Settings, client: str | None) -> str:
    """WVO_AGENT_ID; else client + CLAUDE_CODE_SESSION_ID; else client + parent process and its start, so that a respawned
    server is the same agent."""
    if settings.agent_id is not None:
        return settings.agent_id
    session = os.environ.get("CLAUDE_CODE_SESSION_ID")
    return as_id(f"{client or 'agent'}-{short(session) if session else f'{os.getppid()}-{parent_started_at()}'}")


def provider_of(settings: Settings, client: str | None) -> str | None:
    """WVO_PROVIDER; else the provider whose name is part of the client's."""
    if settings.provider is not None:
        return settings.provider
    return next((name for name in ("claude", "codex", "gemini") if client is not None and name in client.lower()), None)


def agent_shell(environ: Mapping[str, str], ancestors: Iterable[Process]) -> tuple[str, str] | None:
    """(client, session) of the agent in whose shell a process with this environment and these ancestors runs; None for a
    person's. A session without an id is that of the nearest process beyond the marks: the client itself."""
    client = _marked(environ)
    for process in ancestors:
        marked = _marked(process.environ)
        if client is None and marked is not None:
            client, environ = marked, process.environ
        elif marked is None:
            client = client or PROGRAMS.get(process.program)
            if client is not None:
                return client, _session(client, environ) or f"{process.pid}-{process.started_at}"
    return None if client is None else (client, _session(client, environ) or "shell")


def _marked(environ: Mapping[str, str]) -> str | None:
    return next((client for client, marks in SHELLS.items() if any(environ.get(mark) for mark in marks)), None)


def _session(client: str, environ: Mapping[str, str]) -> str | None:
    return next((environ[mark] for mark in SHELLS[client] if mark.endswith("_ID") and environ.get(mark)), None)


def cli_caller(settings: Settings) -> Caller:
    """The caller of a command: the agent in whose shell it runs, else a person. Commands of one agent share a durable
    session: it belongs to no process, so only its leases end."""
    above = list(lineage(os.getppid()))
    if any(process.warden for process in above):
        return _reader()
    shell = agent_shell(os.environ, above)
    try:  # the same in whatever environment
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    name = f"cli-{user}" if shell is None else f"{shell[0]}-{short(shell[1])}"
    agent_id = settings.agent_id or as_id(name)
    return Caller(
        agent_id=agent_id,
        session_id=f"cli:{agent_id}",
        provider=provider_of(settings, None if shell is None else shell[0]),
        client="cli",
        capabilities=settings.capabilities,
        durable=True,
        role=Role.ADMIN if shell is None else Role.AGENT,
        pooled=shell is not None or settings.agent_id is not None,
    )


_BELOW = "This process was started by a worker of the autopilot, or by its setup, and shows no key: it may only read."


def check_not_below_warden(what: str) -> None:
    """Raises Forbidden for a command that a worker gives, in whatever environment."""
    if below_warden(os.getppid()):
        _reader().admit(Role.ADMIN, what)


def as_reader(caller: Caller) -> Caller:
    """What a request of a worker is: it may only read."""
    return replace(caller, role=Role.VIEWER, refused=_BELOW)


def _reader() -> Caller:
    """A command of a worker: its task is written by the tools of its own server."""
    return Caller("worker", "cli:worker", client="cli", durable=True, role=Role.VIEWER, pooled=False, refused=_BELOW)


class Connection:
    """The one client of this process: which caller it is, once its name is known."""

    def __init__(self, settings: Settings, session_id: str) -> None:
        self._settings = settings
        self._session_id = session_id
        self._by_client: dict[str | None, Caller] = {}
        self._worker: dict[str, Any] = {}
        if settings.worker_key is None and below_warden(os.getppid()):
            self.refuse(_BELOW)
        self.caller = self.identify(None)

    def admit(self, agent_id: str, provider: str, admitted: WorkerPass) -> None:
        """It is a worker's, with the key of its launch."""
        self._become({"agent_id": agent_id, "provider": provider, "admitted": admitted})

    def refuse(self, why: str) -> None:
        """It may only read."""
        self._become({"role": Role.VIEWER, "refused": why})

    def _become(self, fields: dict[str, Any]) -> None:
        self._worker = fields
        self._by_client.clear()
        self.caller = self.identify(None)

    def identify(self, client: str | None) -> Caller:
        """Who asks by this name. A request without one does not make the connection's client unknown again."""
        if client not in self._by_client:
            self._by_client[client] = Caller(
                agent_id=agent_name(self._settings, client),
                session_id=self._session_id,
                provider=provider_of(self._settings, client),
                client=client,
                capabilities=self._settings.capabilities,
            )
            if self._worker:
                self._by_client[client] = replace(self._by_client[client], **self._worker)
        found = self._by_client[client]
        if client is not None:
            self.caller = found
        return found
