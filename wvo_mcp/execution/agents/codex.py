"""Codex CLI, driven over `codex app-server`: JSON-RPC without its version field, a message a line (the schema of 0.169)."""

import json
import posixpath
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio

from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status, Use
from wvo_mcp.domain.judging.known import programs
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.providers.signals.sentences import (
    from_text,
    items,
    kind_of_answer,
    number,
    part,
    signal_of,
    status_in,
    tokens,
    words,
)
from wvo_mcp.execution.agents.lines import LineRun, Message, stopped
from wvo_mcp.ports.agents import Answer, Launch, ServerEntry

_K = FailureKind
_KINDS = {
    "usageLimitExceeded": _K.QUOTA,
    "rateLimitExceeded": _K.RATE_LIMIT,
    "serverOverloaded": _K.CAPACITY,
    "sessionBudgetExceeded": _K.QUOTA,
    "contextWindowExceeded": _K.CONTEXT,
    "unauthorized": _K.AUTH,
    "internalServerError": _K.OUTAGE,
    "httpConnectionFailed": _K.OUTAGE,
    "responseStreamConnectionFailed": _K.OUTAGE,
    "responseStreamDisconnected": _K.OUTAGE,
    "cyberPolicy": _K.REFUSAL,
    "sandboxError": _K.PERMISSION,
}
_SHELLS = ("bash", "sh", "zsh", "dash", "ksh")
_STATUS = {"completed": Status.DONE, "interrupted": Status.INTERRUPTED, "failed": Status.FAILED}
_LONG = 100_000
_NO_METHOD = -32601
_BUSY = -32001
_BUSY_TIMES, _BUSY_SECONDS = 6, 0.2
"""So often a request is made again, after so long; twice as long each time."""
_NO_MOMENT = 1e11
"""Seconds of the epoch that no calendar has."""
_TO_THE_MINUTE = timedelta(minutes=1)
"""Its texts name the minute in which a limit ends: before the end of it, it may not be over."""
_BASE_URL = "https://api.openai.com/v1"
_APPROVALS = ("item/commandExecution/requestApproval", "item/fileChange/requestApproval")
_WIDER = "item/permissions/requestApproval"
_OF_THE_TURN = ("threadId", "turnId", "itemId", "approvalId", "startedAtMs", "reason")
"""Of a request for permission: they differ when the same is asked for again."""


class CodexRun(LineRun):
    name = "codex"

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._thread = launch.session
        self._turn: str | None = None
        self._number = 0
        self._open: dict[str, Any] = {}
        """Permission requests, by our name for them: the id that the program gave, a number or a text."""
        self._items: dict[str, Message] = {}
        self._later: list[Message] = []
        self._waiting: dict[int, Message] = {}
        self._refusals = 0
        """For being busy, in a row."""
        self._last = ""
        self._past: tuple[int, int, int] | None = None if launch.session else (0, 0, 0)

    def command(self) -> Sequence[str]:
        return (*(self.launch.program or ("codex",)), "app-server")

    def environment(self) -> Mapping[str, str]:
        launch, server = self.launch, self.launch.server
        lines = ["check_for_update_on_startup = false"]
        if not (launch.home / "auth.json").exists():
            lines.append('model_provider = "wvo"')
        lines += ['web_search = "disabled"'] if server is None else _server(server)
        lines += ["[model_providers.wvo]", 'name = "wvo"', 'wire_api = "responses"', 'env_key = "OPENAI_API_KEY"']
        address = launch.base_url or launch.env.get("OPENAI_BASE_URL") or _BASE_URL
        lines.append(f"base_url = {_quoted(address)}")
        config = launch.home / "config.toml"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n", "utf-8")
        return {"CODEX_HOME": str(launch.home)}

    async def begin(self) -> None:
        client = {"name": "wvo-mcp", "title": "wvo-mcp", "version": "1"}
        await self._ask("initialize", {"clientInfo": client})
        await self.send({"method": "initialized"})
        launch = self.launch
        # Everything is asked, and judged by our policy; the sandbox is codex's own.
        sandbox = "read-only" if launch.server is None else "workspace-write"
        params: Message = {"cwd": str(launch.workspace), "approvalPolicy": "untrusted", "sandbox": sandbox}
        params |= {"model": launch.model} if launch.model else {}
        if launch.folders and launch.server is not None:
            roots = [str(folder) for folder in launch.folders]
            params["config"] = {"sandbox_workspace_write": {"writable_roots": roots}}
        if launch.session is None:
            await self._ask("thread/start", params)
        else:
            await self._ask("thread/resume", {**params, "threadId": launch.session, "excludeTurns": True})

    async def say(self, text: str) -> None:
        self._in_turn = True
        given = [{"type": "text", "text": text}]
        if self._turn is not None:
            await self._ask("turn/steer", {"threadId": self._thread, "expectedTurnId": self._turn, "input": given})
        else:
            await self._ask("turn/start", self._first_turn(text))

    def _first_turn(self, text: str) -> Message:
        effort = {} if self.launch.effort is None else {"effort": self.launch.effort}
        return {"threadId": self._thread, "input": [{"type": "text", "text": text}], **effort}

    async def interrupt(self) -> None:
        if self._turn is not None:
            await self._ask("turn/interrupt", {"threadId": self._thread, "turnId": self._turn})

    async def answer(self, request_id: str, answer: Answer) -> None:
        if request_id in self._open:
            # A refusal has no place for a reason: the agent is told by steering the turn.
            decision = "accept" if answer.allowed else "decline"
            await self.send({"id": self._open.pop(request_id), "result": {"decision": decision}})
            if not answer.allowed and answer.reason:
                await self.say(answer.reason)

    async def after(self) -> None:
        if self._later and self._refusals:
            await anyio.sleep(_BUSY_SECONDS * 2 ** (self._refusals - 1))
        for message in self._later:
            await self.send(message)
        self._later.clear()

    async def _ask(self, method: str, params: Message) -> None:
        self._number += 1
        self._waiting[self._number] = {"method": method, "params": params}
        await self.send({"id": self._number, "method": method, "params": params})

    def _put_off(self, method: str, params: Message) -> None:
        self._number += 1
        self._waiting[self._number] = {"method": method, "params": params}
        self._later.append({"id": self._number, "method": method, "params": params})

    def read(self, message: Message) -> Iterable[AgentEvent]:
        method, params = words(message.get("method")), part(message, "params")
        if not method:
            yield from self._replied(message)
        elif method in _APPROVALS and "id" in message:
            yield self._asks(method, message["id"], params)
        elif method == _WIDER:  # its sandbox stays as it is: nothing is granted
            self._later.append({"id": message.get("id"), "result": {"permissions": {}}})
        elif "id" in message:  # a question that only a person's screen could answer
            self._later.append({"id": message["id"], "error": {"code": _NO_METHOD, "message": "not supported"}})
        else:
            yield from self._told(method, params)

    def _replied(self, message: Message) -> Iterable[AgentEvent]:
        asked = self._waiting.pop(int(number(message.get("id")) or 0), None)
        if asked is None:
            return
        error, result, method = part(message, "error"), part(message, "result"), words(asked["method"])
        if error:
            yield from self._refused(asked, error)
            return
        self._refusals = 0
        match method:
            case "thread/start" | "thread/resume":
                self._thread = words(part(result, "thread").get("id")) or self._thread
                yield AgentEvent(EventKind.STARTED, session=self._thread)
                if self.launch.confirm_quota:
                    self._put_off("account/rateLimits/read", {})
                else:
                    self._put_off("turn/start", self._first_turn(self.launch.prompt))
            case "turn/start":
                self._turn = words(part(result, "turn").get("id")) or self._turn
            case "account/rateLimits/read":
                yield from self._has_quota(result)
            case _:
                pass

    def _refused(self, asked: Message, error: Message) -> Iterable[AgentEvent]:
        method, is_busy = words(asked["method"]), error.get("code") == _BUSY
        if is_busy and self._refusals < _BUSY_TIMES:
            self._refusals += 1
            self._put_off(method, asked["params"])
        elif method == "account/rateLimits/read":
            self._put_off("turn/start", self._first_turn(self.launch.prompt))
        elif method in ("turn/steer", "turn/interrupt") and _is_unknown(error):
            self.lacks = f"this codex does not know {method}"
            yield AgentEvent(EventKind.NOISE, self.lacks)
        elif method in ("initialize", "thread/start", "thread/resume", "turn/start"):
            said = words(error.get("message")) or f"{method} was refused"
            signal = signal_of(_K.CAPACITY, said, datetime.now(UTC)) if is_busy else None
            yield from stopped(said, Status.FAILED, self._thread, signal)

    def _has_quota(self, result: Message) -> Iterable[AgentEvent]:
        """Is there any, before the first turn?"""
        limits = part(result, "rateLimits")
        windows = [part(limits, name) for name in ("primary", "secondary")]
        full = [window for window in windows if (number(window.get("usedPercent")) or 0) >= 100]
        reached = limits.get("rateLimitReachedType") is not None or limits.get("spendControlReached") is True
        if not full and not reached:
            self._put_off("turn/start", self._first_turn(self.launch.prompt))
            return
        resets = [at for window in full if 0 < (at := number(window.get("resetsAt")) or 0) < _NO_MOMENT]
        until = datetime.fromtimestamp(max(resets), UTC) if resets else None
        found = replace(signal_of(_K.QUOTA, "the limit still holds", datetime.now(UTC)), resets_at=until)
        yield from stopped("the limit still holds", Status.FAILED, self._thread, found)

    def _told(self, method: str, params: Message) -> Iterable[AgentEvent]:
        match method:
            case "turn/started":
                self._turn = words(part(params, "turn").get("id"))
            case "item/started" | "item/completed":
                yield from self._item(part(params, "item"), method == "item/completed")
            case "item/fileChange/patchUpdated":
                self._items.setdefault(words(params.get("itemId")), {})["changes"] = params.get("changes")
            case "turn/plan/updated":
                steps = "\n".join(words(part(one).get("step")) for one in items(params.get("plan")))
                yield AgentEvent(EventKind.PLAN, steps)
            case "thread/tokenUsage/updated":
                yield from self._used(part(params, "tokenUsage", "total"))
            case "turn/completed":
                yield from self._ended(part(params, "turn"))
            case _:
                pass

    def _used(self, total: Message) -> Iterable[AgentEvent]:
        """The thread's sums. Before the first turn of a resumed one they are what was used in the past."""
        cached = tokens(total.get("cachedInputTokens"))
        sums = (max(0, tokens(total.get("inputTokens")) - cached), tokens(total.get("outputTokens")), cached)
        if self._turn is None and self._past is None:
            self._past = sums
            return
        fresh, out, read = (max(0, now - before) for now, before in zip(sums, self._past or (0, 0, 0), strict=True))
        yield AgentEvent(EventKind.USAGE, use=Use(fresh, out, read, model=self.launch.model))

    def _item(self, item: Message, done: bool) -> Iterable[AgentEvent]:
        kind, call = words(item.get("type")), words(item.get("id"))
        match kind:
            case "agentMessage" if done:
                self._last = words(item.get("text"))
                yield AgentEvent(EventKind.MESSAGE, self._last)
            case "reasoning" if done:
                yield AgentEvent(EventKind.THOUGHT, "\n".join(map(str, items(item.get("summary")))))
            case "commandExecution" | "fileChange" | "mcpToolCall" | "dynamicToolCall" | "webSearch":
                self._items[call] = item
                failed = item.get("status") in ("failed", "declined")
                status = Status.RUNNING if not done else Status.FAILED if failed else Status.DONE
                name = words(item.get("tool")) or kind
                text = words(item.get("command")) or words(item.get("query"))
                yield AgentEvent(EventKind.TOOL_CALL, text, call_id=call, tool=name, status=status)
            case _:
                pass

    def _asks(self, method: str, given: object, params: Message) -> AgentEvent:
        request_id, call = f"codex-{given}", words(params.get("itemId"))
        self._open[request_id] = given
        item = self._items.get(call, {})
        asks = {name: value for name, value in params.items() if name not in _OF_THE_TURN}
        paths = [words(params.get("grantRoot"))]
        if changes := items(item.get("changes")):  # they are not in the request itself
            asks["changes"] = changes
        for one in map(part, changes):
            kind = part(one, "kind")
            paths += [words(one.get("path")), words(kind.get("move_path")), words(kind.get("movePath"))]
        command = _inner(words(params.get("command")) or words(item.get("command")))
        tool = method.split("/")[1]
        asked = PermissionRequest(
            request_id,
            tool,
            call,
            command or None,
            words(params.get("cwd")) or None,
            tuple(filter(None, paths)),
            asks,
        )
        return AgentEvent(EventKind.PERMISSION_REQUEST, command, tool=tool, call_id=call, request=asked)

    def _ended(self, turn: Message) -> Iterable[AgentEvent]:
        self._turn = None
        status = _STATUS.get(words(turn.get("status")), Status.FAILED)
        error = part(turn, "error")
        said = words(error.get("message")) or self._last
        yield from stopped(said, status, self._thread, _signal(error) if error else None)


def _is_unknown(error: Message) -> bool:
    """The installed version has no such method; other refusals are about the turn."""
    return error.get("code") == _NO_METHOD or "unknown variant" in words(error.get("message"))


def _inner(command: str) -> str:
    """What a shell of the system is started for: codex names its commands as `/bin/bash -lc '...'`. A program elsewhere
    that only has a shell's name stays in sight of the judge and of people."""
    try:
        program, option, text = shlex.split(command) if len(command) < _LONG else [command]
    except ValueError:
        return command
    folder, name = posixpath.split(program)
    shell = folder in programs("system") and name in _SHELLS and option in ("-lc", "-c")
    return text if shell else command


def _server(entry: ServerEntry) -> list[str]:
    lines = ["[mcp_servers.wvo]", f"command = {_quoted(entry.argv[0])}", "required = true"]
    lines += [f"args = [{', '.join(map(_quoted, entry.argv[1:]))}]", "[mcp_servers.wvo.env]"]
    return [*lines, *(f"{_quoted(name)} = {_quoted(value)}" for name, value in entry.env.items())]


def _quoted(text: str) -> str:
    """For TOML, which has no escapes in pairs and no bare DEL, unlike JSON."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _signal(error: Message) -> Signal | None:
    """By its own word for it, else by its text. It calls every answer that it did not expect a failed connection: then the
    status tells more."""
    now, said = datetime.now(UTC), words(error.get("message"))
    info = error.get("codexErrorInfo")
    word = words(info) or next(iter(part(info)), "")
    kind = _KINDS.get(word)
    if kind in (None, _K.OUTAGE):
        status = number(part(part(info), word).get("httpStatusCode")) or status_in(said)
        kind = (kind_of_answer(status, "", said) if status else None) or kind
    found = from_text(said, now) if kind is None else signal_of(kind, said or kind.value, now)
    if found is None or found.resets_at is None:
        return found
    return replace(found, resets_at=found.resets_at + _TO_THE_MINUTE)
