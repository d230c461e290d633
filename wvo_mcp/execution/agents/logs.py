"""What a worker did, read from the raw stream that its log holds: a line for each act, or as the program printed it."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import anyio.to_thread

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.redaction import redact
from wvo_mcp.errors import Forbidden, NotFound
from wvo_mcp.execution.replacement import disk_errors
from wvo_mcp.ports.workers import LogPage

EventsOf = Callable[[bytes], Iterable[AgentEvent]]
"""What a line of a program means; no process is needed for it."""

_LEFT_OUT = re.compile(rb'\{"wvo":\s?"left out","bytes":(\d{1,15})\}')
_HEAD = b'{"wvo": "log"'
_PART = 64 << 10
"""Bytes that are read at once; a longer line comes in pieces."""
_SHOWN = 12_000
"""Characters of a page, so that a result holds it."""
_LINE = 400
_MARKS = {
    EventKind.THOUGHT: "~ ",
    EventKind.PLAN: "plan: ",
    EventKind.PERMISSION_REQUEST: "asks: ",
    EventKind.FINDING: "finding: ",
    EventKind.MILESTONE: "milestone: ",
    EventKind.BLOCKER: "blocked: ",
    EventKind.LIMIT: "limit: ",
    EventKind.CAPACITY: "no capacity: ",
    EventKind.AUTH: "login: ",
    EventKind.REFUSAL: "refused: ",
}


class WorkerLogFiles:
    """Implements `ports.workers.WorkerLogs`: logs below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, log: str, after: int | None, *, raw: bool) -> LogPage:
        return await anyio.to_thread.run_sync(self._read, log, after, raw)

    def _read(self, log: str, after: int | None, raw: bool) -> LogPage:
        path = Path(log)
        if not path.resolve().is_relative_to(self._folder.resolve()):
            raise Forbidden(f"{log} is not a log of this project.", path=log)
        lines: list[str] = []
        with disk_errors(path):
            try:
                with path.open("rb") as file:
                    reader = None if raw else _reader_of(_driver(file.readline(1_000)))
                    size = file.seek(0, 2)
                    at = after if after is not None and after <= size else max(0, size - _PART)
                    file.seek(at)
                    part = file.read(_PART)
            except FileNotFoundError:
                hint = "Logs are on the host that ran the worker, and go with its worktree."
                raise NotFound("log", log, (), field="worker_id", hint=hint) from None
        if after is None and at:  # in the middle of a line
            cut = part.find(b"\n") + 1
            at, part = at + cut, part[cut:]
        room = _SHOWN
        for line in part.splitlines(keepends=True):
            if not line.endswith(b"\n") and len(line) < _PART:
                break  # it is being written
            shown = [line.decode(errors="replace").rstrip("\n")] if raw else list(readable(line, reader))
            shown = [redact(one)[: _SHOWN if raw else _LINE] for one in shown]
            length = sum(map(len, shown))
            if lines and length > room:
                break
            lines += shown
            room, at = room - length, at + len(line)
        return LogPage(lines, at, at < size and bool(lines))


def _driver(first: bytes) -> str:
    try:
        head = json.loads(first)
        return str(head["driver"]) if head["wvo"] == "log" else ""
    except (ValueError, RecursionError, TypeError, KeyError):
        return ""


def _reader_of(driver: str) -> EventsOf | None:
    from wvo_mcp.execution.agents.drivers import drivers  # what starts no worker needs none, until a log is read
    from wvo_mcp.execution.agents.scripted import scripted

    known = (*drivers().values(), scripted({}))
    return next((one.meaning for one in known if one.name == driver), None)


def readable(line: bytes, reader: EventsOf | None) -> Iterator[str]:
    """A line for each act that it says; nothing for what tells a person nothing."""
    if left_out := _LEFT_OUT.match(line):
        yield f"[{int(left_out[1]):,} bytes were left out here]"
    elif line.startswith(_HEAD):
        return
    elif reader is None:
        yield line.decode(errors="replace").strip()
    else:
        for event in reader(line.rstrip(b"\r\n")):
            yield from _acts(event)


def _acts(event: AgentEvent) -> Iterator[str]:
    text = " ".join(event.text[:4_000].split())
    match event.kind:
        case EventKind.USAGE:
            return
        case EventKind.STARTED:
            yield f"-- session {event.session or 'begins'}"
        case EventKind.TOOL_CALL:
            mark = {Status.FAILED: "  failed: ", Status.DONE: "  done "}.get(event.status or Status.RUNNING, "> ")
            yield f"{mark}{event.tool or ''} {text}".rstrip()
        case EventKind.PERMISSION_REQUEST if event.request is not None:
            yield f"asks: {event.request.tool} {event.request.command or ', '.join(event.request.paths)}".rstrip()
        case EventKind.STOP:
            yield f"-- {event.status or 'ended'}{': ' + text if text else ''}"
        case _ if text:
            yield f"{_MARKS.get(event.kind, '')}{text}"
        case _:
            return
