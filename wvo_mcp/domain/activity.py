"""What a worker is doing, derived from what it did last (WORK-10): nobody has to say so, and a hang is seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.worker import WorkerState

QUIET_SECONDS = 30.0
"""So long nothing may be heard within a turn before the worker is called idle."""
REPEATED = 5
"""The same call so often in a row, with the same words, is a loop."""
_ACT_CHARACTERS = 160

_SAID = {
    EventKind.MESSAGE: "says",
    EventKind.THOUGHT: "thinks",
    EventKind.PLAN: "plans",
    EventKind.FINDING: "found",
    EventKind.MILESTONE: "reached",
    EventKind.BLOCKER: "is blocked by",
}


@dataclass(frozen=True, slots=True)
class Activity:
    """`since` is of the state; `heard` when anything happened last; `calls` are open, by their ids; `repeats` counts the
    same call in a row."""

    state: WorkerState
    reason: str
    since: datetime
    heard: datetime
    act: str | None = None
    turn: bool = False
    asks: bool = False
    calls: Mapping[str, str] = field(default_factory=dict[str, str])
    last_call: str = ""
    repeats: int = 0

    @classmethod
    def began(cls, now: datetime) -> "Activity":
        return cls(WorkerState.STARTING, "its program starts", now, now, turn=True)

    def after(self, event: AgentEvent, now: datetime) -> "Activity":
        """Something happened. Noise is no sign of life."""
        if event.kind is EventKind.NOISE:
            return self
        heard = replace(self, heard=now, asks=False)
        match event.kind:
            case EventKind.STARTED:
                return heard._as(WorkerState.WORKING, "its session began", now, turn=True)
            case EventKind.TOOL_CALL if event.status is Status.RUNNING or event.status is None:
                return heard._called(event, now)
            case EventKind.TOOL_CALL:
                calls = {key: name for key, name in self.calls.items() if key != event.call_id}
                return replace(heard, calls=calls)._as(WorkerState.WORKING, "a call ended", now)
            case EventKind.PERMISSION_REQUEST:
                return replace(heard, asks=True, act=_act("asks for", event.tool or event.text))._as(
                    WorkerState.WORKING, "asks for permission", now
                )
            case EventKind.USAGE:
                return heard
            case EventKind.STOP:
                return replace(heard, calls={}, turn=False)._as(WorkerState.IDLE, "its turn is over", now)
            case EventKind.LIMIT | EventKind.CAPACITY | EventKind.AUTH | EventKind.REFUSAL:
                return heard._as(heard.state, event.text[:_ACT_CHARACTERS] or event.kind.value, now)
            case _:
                verb = _SAID.get(event.kind, event.kind.value)
                return replace(heard, act=_act(verb, event.text))._as(WorkerState.WORKING, verb, now, turn=True)

    def told(self, now: datetime) -> "Activity":
        """It was told something, or was answered: from now on it is to be heard again."""
        return replace(self, heard=now, turn=True, asks=False)

    def at(self, now: datetime) -> "Activity":
        """As it is now, when nothing has happened since."""
        if not self.turn or self.calls or self.asks or self.state is WorkerState.STUCK:
            return self
        silent = (now - self.heard).total_seconds()
        if silent < QUIET_SECONDS or self.state is WorkerState.IDLE:
            return self
        return self._as(WorkerState.IDLE, "nothing was heard of it", self.heard + timedelta(seconds=QUIET_SECONDS))

    def silent_seconds(self, now: datetime) -> float:
        """How long it has been silent without an excuse: while a call is open, a permission is awaited or no turn runs, it
        has one."""
        return 0.0 if not self.turn or self.calls or self.asks else (now - self.heard).total_seconds()

    @property
    def loops(self) -> bool:
        return self.repeats >= REPEATED

    def _called(self, event: AgentEvent, now: datetime) -> "Activity":
        call = f"{event.tool or 'a tool'} {event.text}".strip()
        repeats = self.repeats + 1 if call == self.last_call else 1
        calls = {**self.calls, event.call_id or call: call[:_ACT_CHARACTERS]}
        changed = replace(self, calls=calls, last_call=call, repeats=repeats, act=_act("calls", call))
        return changed._as(WorkerState.WORKING, f"calls {event.tool or 'a tool'}", now, turn=True)

    def _as(self, state: WorkerState, reason: str, now: datetime, *, turn: bool | None = None) -> "Activity":
        if state is WorkerState.WORKING and self.loops:
            state, reason = WorkerState.STUCK, "it calls the same over and over"
        since = self.since if state is self.state else now
        return replace(self, state=state, reason=reason, since=since, turn=self.turn if turn is None else turn)


def _act(verb: str, text: str) -> str:
    return f"{verb} {' '.join(text.split())}"[:_ACT_CHARACTERS]
