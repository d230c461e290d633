"""How many lines of a worker's stream a driver reads in a second, from the pipe to its events, beside json.loads alone."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio

from scripts.benchmarks.figures import Figure, Floor, Report, Target
from wvo_mcp.domain.agents import EventKind
from wvo_mcp.execution.agents.claude import ClaudeRun
from wvo_mcp.execution.agents.codex import CodexRun
from wvo_mcp.execution.agents.lines import LineDriver, LineRun
from wvo_mcp.ports.agents import Launch, ServerEntry

_TEXT = "x" * 400
_ITEM = {"type": "agentMessage", "id": "m", "text": _TEXT}
_CALL = {"type": "commandExecution", "id": "c", "command": "make test", "status": "inProgress"}
_STREAMS: Mapping[type[LineRun], list[dict[str, Any]]] = {
    ClaudeRun: [
        {"type": "assistant", "message": {"id": "m", "content": [{"type": "text", "text": _TEXT}]}},
        {"type": "assistant", "message": {"id": "n", "content": [{"type": "tool_use", "id": "c", "name": "Bash"}]}},
        {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "c", "content": _TEXT}]}},
    ],
    CodexRun: [
        {"method": "item/completed", "params": {"threadId": "t", "item": _ITEM}},
        {"method": "item/started", "params": {"threadId": "t", "item": _CALL}},
        {"method": "item/completed", "params": {"threadId": "t", "item": {**_CALL, "status": "completed"}}},
    ],
}


def measure(report: Report, *, quick: bool) -> None:
    lines = 6_000 if quick else 60_000
    for kind, messages in _STREAMS.items():
        text = "\n".join(json.dumps(messages[number % len(messages)]) for number in range(lines)) + "\n"
        with TemporaryDirectory(prefix="wvo-bench-") as folder:
            seconds = anyio.run(_read, kind, Path(folder), text)
        begun = time.perf_counter()
        for line in text.splitlines():
            json.loads(line)
        floors = [Floor("json.loads", lines / (time.perf_counter() - begun))]
        targets = [Target(10_000, at_least=True)]
        name = f"stream of {kind.name}"
        report.add(Figure(name, "lines/s", lines / seconds, floors=floors, targets=targets, samples=lines))


async def _read(kind: type[LineRun], place: Path, text: str) -> float:
    """Seconds from the first event to the end of the stream, which is kept as the log of a worker."""
    (place / "stream").write_text(text)
    launch = Launch(
        workspace=place,
        home=place,
        prompt="",
        server=ServerEntry(argv=("wvo-mcp",), env={}),
        env={"PATH": os.environ["PATH"]},
        program=("/bin/sh", "-c", f"exec cat {place}/stream"),
        log=place / "log",
    )
    begun = 0.0
    async with LineDriver(kind).start(launch) as run:
        async for event in run.events():
            begun = begun or time.perf_counter()
            if event.kind is EventKind.STOP:
                break
        return time.perf_counter() - begun
