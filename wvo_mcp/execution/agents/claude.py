"""Claude Code, driven over stream-json both ways, with its permission requests on stdio (measured with 2.1.329)."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status, Use
from wvo_mcp.domain.providers.catalogue import ProviderKind
from wvo_mcp.domain.providers.signals.output import run_of
from wvo_mcp.domain.providers.signals.sentences import items, part, tokens, words
from wvo_mcp.execution.agents.lines import LineRun, Message, shown, stopped
from wvo_mcp.ports.agents import Answer, Launch

_FILES = frozenset({"Write", "Edit", "MultiEdit", "NotebookEdit"})
_LOOKS = "Read,Grep,Glob"
"""The only tools of one that only reads."""
_PATHS = ("file_path", "notebook_path")
_REMEMBERED = 8
"""Messages of subagents come between the parts of one."""


class ClaudeRun(LineRun):
    name = "claude"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._signals = run_of(ProviderKind.CLAUDE, datetime.now(UTC))
        self._open: dict[str, Mapping[str, Any]] = {}
        """Inputs of the calls that wait for an answer, by request."""
        self._session = launch.session
        self._asked = 0
        self._counted: dict[str, Sequence[int]] = {}
        """Tokens of the last messages, by id: each part of a message repeats its usage, which grows."""

    def command(self) -> Sequence[str]:
        launch = self.launch
        command = [*(launch.program or ("claude",)), "-p", "--verbose"]
        command += ["--input-format", "stream-json", "--output-format", "stream-json"]
        # Nothing of the person or of the project but what is in the worker's own home.
        command += ["--permission-prompt-tool", "stdio", "--setting-sources", "user", "--strict-mcp-config"]
        if launch.server is None:
            command += ["--tools", _LOOKS]
        else:
            command += ["--mcp-config", str(launch.home / "mcp.json"), "--allowedTools", "mcp__wvo"]
        for option, value in (
            ("--model", launch.model),
            ("--effort", launch.effort),
            ("--resume", launch.session),
            ("--max-budget-usd", launch.budget),
        ):
            command += [] if value is None else [option, str(value)]
        return [*command, *(word for folder in launch.folders for word in ("--add-dir", str(folder)))]

    def environment(self) -> Mapping[str, str]:
        home, server = self.launch.home, self.launch.server
        if server is not None:
            entry = {"type": "stdio", "command": server.argv[0], "args": server.argv[1:], "env": dict(server.env)}
            config = home / "mcp.json"
            config.touch(mode=0o600)
            config.write_text(json.dumps({"mcpServers": {"wvo": entry}}), "utf-8")
        return {
            "CLAUDE_CONFIG_DIR": str(home),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
        }

    async def begin(self) -> None:
        await self._control({"subtype": "initialize", "hooks": None})
        await self.say(self.launch.prompt)

    async def say(self, text: str) -> None:
        self._in_turn = True
        content = {"role": "user", "content": text}
        await self.send({"type": "user", "message": content, "parent_tool_use_id": None, "session_id": "default"})

    async def interrupt(self) -> None:
        await self._control({"subtype": "interrupt"})

    async def answer(self, request_id: str, answer: Answer) -> None:
        given = self._open.pop(request_id, None)
        if given is None:
            return
        response: Message = {"behavior": "allow", "updatedInput": given}
        if not answer.allowed:
            response = {"behavior": "deny", "message": answer.reason or "This is not allowed here."}
            response |= {"interrupt": True} if answer.ends_turn else {}
        inner = {"subtype": "success", "request_id": request_id, "response": response}
        await self.send({"type": "control_response", "response": inner})

    async def _control(self, request: Message) -> None:
        self._asked += 1
        await self.send({"type": "control_request", "request_id": f"wvo-{self._asked}", "request": request})

    def read(self, message: Message) -> Iterable[AgentEvent]:
        limit = self._signals.limit
        self._signals.event(message)
        match message.get("type"):
            case "system" if message.get("subtype") == "init":
                self._session = words(message.get("session_id")) or self._session
                yield AgentEvent(EventKind.STARTED, session=self._session)
            case "assistant":
                yield from self._said(message)
            case "user":
                for block in items(part(message, "message").get("content")):
                    if part(block).get("type") == "tool_result":
                        status = Status.FAILED if part(block).get("is_error") is True else Status.DONE
                        yield AgentEvent(
                            EventKind.TOOL_CALL, call_id=words(part(block).get("tool_use_id")), status=status
                        )
            case "control_request" if part(message, "request").get("subtype") == "can_use_tool":
                yield self._asks(message)
            case "control_response" if (refused := part(message, "response")).get("subtype") == "error":
                self.lacks = f"this claude has no control of its turns ({words(refused.get('error')) or 'refused'})"
                yield AgentEvent(EventKind.NOISE, self.lacks)
            case "control_cancel_request":
                self._open.pop(words(message.get("request_id")), None)
            case "result" if "is_error" in message or "subtype" in message:
                yield from self._result(message)
            case "rate_limit_event" if self._signals.limit is not None and self._signals.limit is not limit:
                yield AgentEvent(EventKind.LIMIT, self._signals.limit.message, signal=self._signals.limit)
            case _:
                pass

    def _said(self, message: Message) -> Iterable[AgentEvent]:
        yield from self._used(part(message, "message"))
        for block in items(part(message, "message").get("content")):
            one = part(block)
            match one.get("type"):
                case "text":
                    yield AgentEvent(EventKind.MESSAGE, words(one.get("text")))
                case "thinking":
                    yield AgentEvent(EventKind.THOUGHT, words(one.get("thinking")))
                case "tool_use":
                    name, call = words(one.get("name")), words(one.get("id"))
                    kind = EventKind.PLAN if name == "TodoWrite" else EventKind.TOOL_CALL
                    yield AgentEvent(kind, shown(part(one, "input")), call_id=call, tool=name, status=Status.RUNNING)
                case _:
                    pass

    def _used(self, said: Message) -> Iterable[AgentEvent]:
        """Before the turn's result gives the sum: a cap on money must hold within a turn."""
        usage, name = part(said, "usage"), words(said.get("id"))
        keys = ("input_tokens", "cache_creation_input_tokens", "output_tokens", "cache_read_input_tokens")
        now = [tokens(usage.get(key)) for key in keys]
        before = self._counted.get(name, (0, 0, 0, 0))
        fresh, written, out, cached = (max(0, a - b) for a, b in zip(now, before, strict=True))
        if name and fresh + written + out + cached:
            self._counted = {**dict(list(self._counted.items())[-_REMEMBERED:]), name: now}
            model = words(said.get("model")) or None
            yield AgentEvent(EventKind.USAGE, use=Use(fresh + written, out, cached, model=model, sums=False))

    def _asks(self, message: Message) -> AgentEvent:
        request, request_id = part(message, "request"), words(message.get("request_id"))
        given, tool = part(request, "input"), words(request.get("tool_name"))
        self._open[request_id] = given
        path = next((words(given.get(name)) for name in _PATHS if given.get(name)), "")
        asked = PermissionRequest(
            request_id,
            tool,
            words(request.get("tool_use_id")) or None,
            words(given.get("command")) if tool == "Bash" else None,
            None,
            (path,) if tool in _FILES and path else (),
            given,
        )
        return AgentEvent(EventKind.PERMISSION_REQUEST, tool, request=asked, tool=tool)

    def _result(self, message: Message) -> Iterable[AgentEvent]:
        reading = self._signals.reading(None)
        used = reading.usage
        if used is not None:
            use = Use(used.tokens_in, used.tokens_out, used.tokens_cached, used.cost, used.model)
            yield AgentEvent(EventKind.USAGE, use=use)
        signal = None if reading.finished else reading.signal
        status = Status.DONE if reading.finished else Status.FAILED
        errors = "\n".join(words(one) for one in items(message.get("errors")))
        yield from stopped(words(message.get("result")) or errors, status, self._session, signal)
