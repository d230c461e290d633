"""Gemini CLI, one process for each turn, driven over stream-json (measured with 0.61.0).

Its stream has no permission requests: a BeforeTool hook in the worker's own settings asks us before each tool that is more
than a look at files (`turns.py`). Settings of the project are stronger than these, and root's alone would be stronger still,
so nothing is started where they could go round the hook: its name cannot be guessed, a project that sets hooks or tools
of its own is refused, and a process whose first hook did not ask us is ended before its model is.
"""

import json
import os
import re
import secrets
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, cast

import anyio

from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status, Use
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import run_of
from wvo_mcp.domain.providers.signals.reading import FailureKind, signal
from wvo_mcp.domain.providers.signals.sentences import number, part, words
from wvo_mcp.errors import InvalidInput
from wvo_mcp.execution.agents.lines import LineRun, Message, shown, stopped
from wvo_mcp.execution.replacement import read_at_most, write_whole
from wvo_mcp.ports.agents import Answer, Launch

_TURNS = Path(__file__).with_name("turns.py")
_LOOKS = (
    *("read_file", "read_many_files", "list_directory", "glob", "grep_search", "search_file_content"),
    *("write_todos", "update_topic", "mcp_wvo_.*"),
)
_ASKED = f"^(?!(?:{'|'.join(_LOOKS)})$)"
"""Names of tools that need leave: all but our own server's, and looks at files, which it keeps in its workspace itself."""
_FILES = frozenset({"write_file", "replace"})
_KNOWN_AS = {"google_web_search": "WebSearch", "web_fetch": "WebFetch"}
_NEVER_MS = 2**31 - 1
"""A hook that takes longer than its time counts as a consent: the longest that there is."""
_FIRST = '"type":"init"'
"""Of its first line, which comes after the hooks of a session's start, and before the model is asked."""
_STRONGER = frozenset(
    {"hooks", "hooksConfig", "tools", "security", "advanced", "admin", "policyPaths", "adminPolicyPaths", "extensions"}
    | {"what cannot be understood"}
)
"""Settings of a project that could run something beside the hook, or turn it off."""
_WHY_REFUSED = "with that, workers could act without being asked. Take it out, or give this task to another provider."
_COMMENT = re.compile(r'("(?:[^"\\\n]|\\.)*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_MOST_SETTINGS = 1 << 20
_INTERRUPTED = 130
_LAST_WORDS = 20_000


class GeminiRun(LineRun):
    name = "gemini"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._session = launch.session
        self._folder = Path()
        self._signals = run_of(ProviderKind.GEMINI, datetime.now(UTC))
        self._used = Use()
        """Of all turns."""
        self._words = ""
        self._running = False
        self._interrupted = False
        self._next: list[str] = []
        """What was said while a turn ran: it takes nothing in the middle of one."""
        self._open: set[str] = set()
        self._finished = False
        self._greeted: int | None = None
        self._refused: str | None = None
        self._server = "wvo" if "wvo" not in part(self._projects(), "mcpServers") else "wvo_worker"
        """The project's entry of that name would take the place of the worker's."""
        if launch.server is None:
            self._server = f"none-{secrets.token_hex(8)}"

    @property
    def _socket(self) -> str:
        return str(self._folder / "ask")

    def command(self) -> Sequence[str]:
        return (sys.executable, "-I", "-S", str(_TURNS), "serve", self._socket)

    def environment(self) -> Mapping[str, str]:
        write_whole(self.launch.home / ".gemini/settings.json", json.dumps(self._settings(), indent=1).encode(), 0o600)
        return {
            "GEMINI_CLI_HOME": str(self.launch.home),
            "GEMINI_CLI_TRUST_WORKSPACE": "true",
            "GEMINI_CLI_NO_RELAUNCH": "true",
        }

    def _settings(self) -> Message:
        server, launch = self.launch.server, self.launch
        ask = shlex.join((sys.executable, "-I", "-S", str(_TURNS), "ask", self._socket))
        # Whatever ends the hook but an answer is a refusal; without a text on stderr it would be taken for a consent.
        command = f"{ask} || {{ echo 'This could not be judged, so it is not allowed.' >&2; exit 2; }}"
        hook = {"type": "command", "name": f"wvo-{secrets.token_hex(16)}", "command": command, "timeout": _NEVER_MS}
        cloud = "vertex-ai" if launch.env.get("GOOGLE_GENAI_USE_VERTEXAI") else "gemini-api-key"
        found: Message = {
            "security": {"auth": {"selectedType": cloud}},
            # It waits in silence for what the breakers should know of: one more attempt is enough.
            "general": {"enableAutoUpdate": False, "enableAutoUpdateNotification": False, "maxAttempts": 2},
            "privacy": {"usageStatisticsEnabled": False},
            "hooksConfig": {"enabled": True, "notifications": False},
            "hooks": {"SessionStart": [{"hooks": [hook]}], "BeforeTool": [{"matcher": _ASKED, "hooks": [hook]}]},
        }
        if server is None:
            return {**found, "tools": {"core": [name for name in _LOOKS if "*" not in name]}}
        entry = {"command": server.argv[0], "args": server.argv[1:], "env": dict(server.env), "trust": True}
        return {**found, "mcpServers": {self._server: entry}}

    async def begin(self) -> None:
        await self.say(self.launch.prompt)

    async def say(self, text: str) -> None:
        if self._running:
            self._next.append(text)
            return
        launch = self.launch
        argv = [*(launch.program or ("gemini",)), "--output-format", "stream-json", "--approval-mode", "yolo"]
        argv += ["--allowed-mcp-server-names", self._server]
        for option, value in (("--model", launch.model), ("--resume", self._session)):
            argv += [] if value is None else [option, value]
        argv += [word for folder in launch.folders for word in ("--include-directories", str(folder))]
        self._signals, self._words = run_of(ProviderKind.GEMINI, datetime.now(UTC)), ""
        self._running, self._interrupted, self._in_turn = True, False, True
        if stronger := sorted(_STRONGER & self._projects().keys()):
            self._refused = f"the project's .gemini/settings.json sets {', '.join(stronger)}: {_WHY_REFUSED}"
            argv = ["false"]
        await self.send({"turn": {"argv": argv, "text": text, "guard": _FIRST}})

    def _projects(self) -> Message:
        """The project's settings as the program would read them."""
        path = self.launch.workspace / ".gemini/settings.json"
        if not os.path.lexists(path):
            return {}
        try:
            text = (read_at_most(path, _MOST_SETTINGS, "settings", path.name) or b"").decode()
            found: object = json.loads(_COMMENT.sub(lambda found: found[1] or " ", text))
        except (InvalidInput, ValueError, RecursionError):
            found = None
        return cast("Message", found) if isinstance(found, dict) else {"what cannot be understood": None}

    async def interrupt(self) -> None:
        if self._running:
            self._interrupted = True
            self._next.clear()
            await self.send({"interrupt": True})

    async def answer(self, request_id: str, answer: Answer) -> None:
        if request_id in self._open:
            self._open.discard(request_id)
            output: Message = {"decision": "allow"}
            if not answer.allowed:
                output = {"decision": "deny", "reason": answer.reason or "This is not allowed here."}
            await self.send({"answer": {"id": int(request_id), "output": output}})

    async def after(self) -> None:
        if self._greeted is not None:
            await self.send({"answer": {"id": self._greeted, "output": {}}})
            self._greeted = None
        if self._finished:
            self._finished = False
            await self.send({"finish": True})
        if self._next and not self._running:
            text = "\n\n".join(self._next)
            self._next.clear()
            await self.say(text)

    def read(self, message: Message) -> Iterable[AgentEvent]:
        self._signals.event(message)
        match message.get("wvo", message.get("type")):
            case "init":
                self._session = words(message.get("session_id")) or self._session
                yield AgentEvent(EventKind.STARTED, session=self._session)
            case "message" if message.get("role") == "assistant":
                said = words(message.get("content"))
                self._words = (self._words + said)[-_LAST_WORDS:] if message.get("delta") is True else said
                yield AgentEvent(EventKind.MESSAGE, said)
            case "tool_use":
                self._words = ""
                name, given = words(message.get("tool_name")), part(message, "parameters")
                kind = EventKind.PLAN if name == "write_todos" else EventKind.TOOL_CALL
                call = words(message.get("tool_id")) or None
                yield AgentEvent(kind, shown(given), call_id=call, tool=name, status=Status.RUNNING)
            case "tool_result":
                status = Status.DONE if message.get("status") == "success" else Status.FAILED
                yield AgentEvent(EventKind.TOOL_CALL, call_id=words(message.get("tool_id")) or None, status=status)
            case "asks" if part(message, "input").get("hook_event_name") == "SessionStart":
                self._greeted = int(number(message.get("id")) or 0)
            case "asks":
                yield self._asks(message)
            case "result":
                self._finished = True
            case "over":
                yield from self._over(message)
            case _:
                pass

    def _asks(self, message: Message) -> AgentEvent:
        asked, request_id = part(message, "input"), str(int(number(message.get("id")) or 0))
        given, tool = part(asked, "tool_input"), words(asked.get("tool_name"))
        self._open.add(request_id)
        path, shell = words(given.get("file_path")), tool == "run_shell_command"
        request = PermissionRequest(
            request_id,
            _KNOWN_AS.get(tool, tool),
            None,
            words(given.get("command")) if shell else None,
            words(given.get("dir_path")) or None,
            (path,) if tool in _FILES and path else (),
            given,
        )
        return AgentEvent(EventKind.PERMISSION_REQUEST, tool, request=request, tool=request.tool)

    def _over(self, message: Message) -> Iterable[AgentEvent]:
        code, stderr = int(number(message.get("code")) or 0), words(message.get("stderr"))
        for line in stderr.splitlines():
            self._signals.line(line)
        reading, used = self._signals.reading(code), self._signals.usage
        if used is not None:
            self._used = Use(
                self._used.tokens_in + used.tokens_in,
                self._used.tokens_out + used.tokens_out,
                self._used.tokens_cached + used.tokens_cached,
                model=self._signals.model,
            )
            yield AgentEvent(EventKind.USAGE, use=self._used)
        self._running, self._finished = False, False
        self._open.clear()
        if self._interrupted or code == _INTERRUPTED:
            yield AgentEvent(EventKind.STOP, self._words, session=self._session, status=Status.INTERRUPTED)
        elif self._refused is not None:
            refusal = signal(FailureKind.PERMISSION, self._refused)
            yield from stopped(self._refused, Status.FAILED, self._session, refusal)
        elif reading.finished:
            # What it was not allowed on this machine may be why it came to no end.
            yield from stopped(self._words, Status.DONE, self._session, reading.signal)
        else:
            last, found = stderr.strip().rpartition("\n")[2][:500], reading.signal
            why = f"it ended with code {code}{f': {last}' if last else ''}"
            said = why if found is None or found.message.startswith("exit ") else found.message
            yield from stopped(said, Status.FAILED, self._session, found, code)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        # Short, for a socket's name has no room for more; and for its owner alone.
        self._folder = Path(tempfile.mkdtemp(prefix="wvo-"))
        try:
            async with super().running():
                yield self
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(lambda: shutil.rmtree(self._folder, ignore_errors=True))
