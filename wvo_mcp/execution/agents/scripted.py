"""An agent without a model: it does the steps that it is given. For `autopilot --demo` and for tests; no account is needed.

`scripts` has for each task the steps of each attempt; "review T1" has those of who reviews T1, "review R-2" of that
review. A step is one of

    {"say": TEXT}                           {"write": PATH, "text": TEXT}
    {"call": TOOL, "with": {...}}           a tool of our server; task_id is put in
    {"run": COMMAND}                        asks first, and runs it when that is allowed
    {"use": {"in": N, "out": N, "cost": X}} what was used so far
    {"touch": PATH}                         {"until": PATH}         waits, in a call, for a file to be there
    {"wait": SECONDS}                       {"print": LINE}         {"exit": CODE}
    {"limit": SECONDS}                      the turn ends: its provider gives nothing for so long
    {"stop": TEXT}                          the turn ends; the rest follows when it is asked to go on
    {"fail": KIND}                          the turn ends: its provider fails so (capacity, auth, outage, context, ...)

The program (`scripted_program.py`) keeps what is left of them with its session, and goes on there when it is resumed.
"""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

from wvo_mcp.domain.agents import AgentEvent, EventKind, PermissionRequest, Status, Use
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.providers.signals.sentences import dollars, number, tokens, words
from wvo_mcp.execution.agents.lines import LineDriver, LineRun, Message, stopped
from wvo_mcp.ports.agents import Answer, Launch

Steps = Sequence[Mapping[str, Any]]
Scripts = Mapping[str, Sequence[Steps]]

_PROGRAM = Path(__file__).with_name("scripted_program.py")
_TASK = re.compile(r"^(?:# (\S+): |Review (\S+) of the task (\S+),)", re.MULTILINE)


class ScriptedRun(LineRun):
    name = "scripted"
    scripts: ClassVar[Scripts] = {}

    def __init__(self, launch: Launch) -> None:
        super().__init__(launch)
        self._session = launch.session

    def command(self) -> Sequence[str]:
        return self.launch.program or (sys.executable, "-I", "-S", str(_PROGRAM))

    def environment(self) -> Mapping[str, str]:
        return {}

    async def begin(self) -> None:
        found = _TASK.search(self.launch.prompt)
        names = [] if found is None else [found[1] or f"review {found[2]}", f"review {found[3]}"]
        task_id = next((name for name in names if name in self.scripts), "")
        entry = self.launch.server
        await self.send(
            {
                "home": str(self.launch.home),
                "session": self.launch.session,
                "task_id": task_id,
                "attempts": [list(steps) for steps in self.scripts.get(task_id, ())],
                "server": None if entry is None else {"argv": [*entry.argv], "env": {**self.launch.env, **entry.env}},
            }
        )

    async def say(self, text: str) -> None:
        await self.send({"say": text})

    async def interrupt(self) -> None:
        await self.send({"interrupt": True})

    async def answer(self, request_id: str, answer: Answer) -> None:
        await self.send({"answer": request_id, "allowed": answer.allowed, "reason": answer.reason})

    def read(self, message: Message) -> Iterable[AgentEvent]:
        text, call, tool = (words(message.get(name)) for name in ("text", "call", "tool"))
        match message.get("kind"):
            case "started":
                self._session = words(message.get("session")) or self._session
                yield AgentEvent(EventKind.STARTED, session=self._session)
            case "message":
                yield AgentEvent(EventKind.MESSAGE, text)
            case "tool_call":
                yield AgentEvent(EventKind.TOOL_CALL, text, call_id=call, tool=tool, status=_status(message))
            case "permission":
                request_id = words(message.get("id"))
                asked = PermissionRequest(request_id, "Bash", command=text, input={"command": text})
                yield AgentEvent(EventKind.PERMISSION_REQUEST, text, request=asked, tool="Bash")
            case "usage":
                use = Use(tokens(message.get("in")), tokens(message.get("out")), cost=dollars(message.get("cost")))
                yield AgentEvent(EventKind.USAGE, use=use)
            case "stop":
                yield from stopped(text, _status(message), self._session, _signal(message))
            case _:
                yield AgentEvent(EventKind.NOISE, str(message)[:200])


def _status(message: Message) -> Status:
    given = words(message.get("status"))
    return Status(given) if given in set(Status) else Status.FAILED


def _signal(message: Message) -> Signal | None:
    seconds, failure = number(message.get("limit")), words(message.get("failure"))
    if seconds is not None:
        resets_at = datetime.now(UTC) + timedelta(seconds=min(seconds, 1e8))
        return Signal(FailureKind.RATE_LIMIT, "the script says that the limit is reached", resets_at=resets_at)
    return Signal(FailureKind(failure), f"the script says {failure}") if failure in set(FailureKind) else None


def scripted(scripts: Scripts) -> LineDriver:
    """A driver whose agents do these."""
    return LineDriver(type("ScriptedRun", (ScriptedRun,), {"scripts": scripts}))
