"""What clients asked and what they were answered, as JSON lines: one when a call begins, one when its answer came.

A call whose answer never came has only the first: nobody knows whether it happened. Times are seconds of the steady
clock of the machine on which the clients run, whichever hosts the servers are on.
"""

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stdio_client import Refused


@dataclass(slots=True)
class Call:
    """One call. `end` is infinite while no answer is known; then both `result` and `error` are None."""

    client: str
    agent: str
    tool: str
    arguments: dict[str, Any]
    begin: float
    end: float = float("inf")
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    place: str = field(default="", compare=False)

    @property
    def acknowledged(self) -> bool:
        return self.result is not None

    def __str__(self) -> str:
        return f"{self.place} {self.agent}: {self.tool}({json.dumps(self.arguments)[:120]})"


class Recorder:
    """Writes the history of one client, which one thread uses. Lines are whole even when the process is killed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def call(
        self, agent: str, tool: str, arguments: Mapping[str, Any], ask: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `ask` gives, or raises; Refused is an answer, anything else is none."""
        self._count += 1
        number = self._count
        self._tell({"call": number, "agent": agent, "tool": tool, "arguments": dict(arguments)})
        try:
            result = ask()
        except Refused as refused:
            self._tell({"answer": number, "error": {"code": refused.code, "details": refused.details}})
            raise
        self._tell({"answer": number, "result": result})
        return result

    def _tell(self, line: dict[str, Any]) -> None:
        os.write(self._sink, json.dumps({**line, "at": time.monotonic()}).encode() + b"\n")

    def close(self) -> None:
        os.close(self._sink)


def recorded(paths: Iterable[Path]) -> list[Call]:
    """The calls of all clients, by their beginnings."""
    calls: list[Call] = []
    for path in paths:
        mine: dict[int, Call] = {}
        for number, text in enumerate(path.read_text().splitlines(), 1):
            line = json.loads(text)
            if "call" in line:
                call = Call(path.stem, line["agent"], line["tool"], line["arguments"], line["at"])
                call.place = f"{path.name}:{number}"
                mine[line["call"]] = call
            else:
                call = mine[line["answer"]]
                call.end, call.result, call.error = line["at"], line.get("result"), line.get("error")
        calls += mine.values()
    return sorted(calls, key=lambda call: call.begin)
