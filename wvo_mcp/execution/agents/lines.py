"""What all drivers share: a program below a warden that speaks JSON, one message a line, both ways.

A new program is a subclass: what it is started with, what its messages mean, how it is answered. docs/drivers.md has one of
a hundred lines.
"""

import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import anyio.to_thread

from wvo_mcp.domain.agents import AgentEvent, EventKind, Status
from wvo_mcp.domain.providers.signals.reading import FailureKind, Signal
from wvo_mcp.domain.providers.signals.sentences import words
from wvo_mcp.execution.agents.rawlog import RawLog
from wvo_mcp.ports.agents import AgentNotStarted, Answer, Launch, ServerEntry
from wvo_mcp.processes import Child, Ended, NotStarted, Program, started

LONGEST_LINE = 16 << 20
"""Bytes; a longer line is the result of some tool, and of no interest."""
_NOISE_SHOWN = 200
_GRACE_SECONDS = 5.0
"""The warden needs up to four to end a tree that does not want to."""
_WARDEN = Path(__file__).with_name("warden.py")
_OF_A_TURN = {EventKind.MESSAGE, EventKind.THOUGHT, EventKind.TOOL_CALL, EventKind.PERMISSION_REQUEST}
Message = dict[str, Any]


_TOLD = {
    FailureKind.RATE_LIMIT: EventKind.LIMIT,
    FailureKind.QUOTA: EventKind.LIMIT,
    FailureKind.CAPACITY: EventKind.CAPACITY,
    FailureKind.AUTH: EventKind.AUTH,
    FailureKind.REFUSAL: EventKind.REFUSAL,
}


def stopped(
    said: str, status: Status, session: str | None, signal: Signal | None, exit_code: int | None = None
) -> Iterable[AgentEvent]:
    """The end of a turn; what its provider failed with comes first."""
    if signal is not None and signal.kind in _TOLD:
        yield AgentEvent(_TOLD[signal.kind], signal.message, session=session, signal=signal)
    yield AgentEvent(EventKind.STOP, said, session=session, status=status, signal=signal, exit_code=exit_code)


def shown(given: Mapping[str, Any]) -> str:
    """What a call is about, on which two calls can be told apart."""
    for name in ("command", "file_path", "notebook_path"):
        if words(given.get(name)):
            return words(given.get(name))
    return json.dumps(given, sort_keys=True)[:1_000] if given else ""


class LineRun(ABC):
    """One process. A subclass says what its messages mean, and writes with `send`."""

    name: ClassVar[str]

    def __init__(self, launch: Launch) -> None:
        self.launch = launch
        self._child: Child | None = None
        self._log: RawLog | None = None
        self.lacks: str | None = None
        self._in_turn = True
        """A turn has begun, by what is said to it or by itself, and has not ended."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The program with its arguments; never the prompt, which everybody on the machine could read there."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Its own variables. The files of its home are written here."""

    @abstractmethod
    async def begin(self) -> None:
        """Greet it, and give it the prompt."""

    @abstractmethod
    def read(self, message: Message) -> Iterable[AgentEvent]:
        """What a message means."""

    @abstractmethod
    async def answer(self, request_id: str, answer: Answer) -> None: ...

    @abstractmethod
    async def say(self, text: str) -> None: ...

    @abstractmethod
    async def interrupt(self) -> None: ...

    async def after(self) -> None:  # noqa: B027 - most have put nothing off
        """Sends what was put off while messages were read."""

    def over(self, ended: Ended) -> Iterable[AgentEvent]:
        """The process has ended within a turn."""
        said = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        code, limit = (ended.code, None) if ended.limit is None else (None, ended.limit.value)
        why = f"it was ended: {limit}" if code is None else f"it ended with code {code}"
        text = f"{why}: {said[:_NOISE_SHOWN]}" if said else why
        yield AgentEvent(EventKind.STOP, text, status=Status.FAILED, exit_code=code, limit=limit)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def _process(self) -> Child:
        if self._child is None:
            raise RuntimeError("it has not been started")
        return self._child

    async def send(self, message: Message) -> None:
        self._process.write(json.dumps(message, ensure_ascii=False).encode(errors="replace") + b"\n")

    async def events(self) -> AsyncIterator[AgentEvent]:
        async for line in self._process.lines(LONGEST_LINE):
            if self._log is not None:
                self._log.write(line.text)
            for event in self.meaning(line.text, cut=line.cut):
                if event.kind is EventKind.STOP:
                    if not self._in_turn:
                        continue
                    self._in_turn = False
                elif event.kind in _OF_A_TURN:
                    self._in_turn = True  # it went on by itself
                yield event
            await self.after()
        ended = await self._process.ended()
        if self._in_turn:
            self._in_turn = False
            for event in self.over(ended):
                yield event

    def meaning(self, line: bytes, *, cut: bool = False) -> Iterable[AgentEvent]:
        """Of one line: noise, when it is no message."""
        if not line.strip():
            return
        try:
            message: object = None if cut else json.loads(line)
        except (ValueError, RecursionError):
            message = None
        if isinstance(message, dict):
            yield from self.read(cast("Message", message))
        else:
            yield AgentEvent(EventKind.NOISE, line[:_NOISE_SHOWN].decode(errors="replace"))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self]:
        """Leaving the block ends the whole tree. Raises AgentNotStarted."""
        launch = self.launch
        reading, writing = os.pipe()
        try:
            program = Program(
                argv=(sys.executable, "-I", "-S", str(_WARDEN), str(reading), *self.command()),
                env={**launch.env, **self.environment()},
                cwd=launch.workspace,
                deadline=launch.deadline,
                output=launch.output,
                grace=_GRACE_SECONDS,
                interactive=True,
                inherits=(reading,),
            )
            async with started(program) as self._child:
                os.close(reading)
                reading = -1
                if launch.log is not None:
                    self._log = RawLog(launch.log, self.name)
                await self.begin()
                yield self
        except NotStarted as error:
            raise AgentNotStarted(f"{self.name}: {error}") from None
        finally:
            for fd in (reading, writing):
                if fd >= 0:
                    os.close(fd)
            if self._log is not None:
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(self._log.close)


class LineDriver:
    """`ports.AgentDriver` by the class of its runs."""

    asks = True
    answers = False

    def __init__(self, run: type[LineRun]) -> None:
        self.name = run.name
        self._run = run

    @asynccontextmanager
    async def start(self, launch: Launch) -> AsyncGenerator[LineRun]:
        async with self._run(launch).running() as run:
            yield run

    def meaning(self, line: bytes) -> Iterable[AgentEvent]:
        return self._reader.meaning(line)

    @cached_property
    def _reader(self) -> LineRun:
        return self._run(NOWHERE)


NOWHERE = Launch(workspace=Path(), home=Path(), prompt="", server=ServerEntry(argv=(), env={}), env={})
"""For a run that only reads."""
