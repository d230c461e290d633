"""Coding agents as programs: started, watched, answered, ended."""

# pyright: reportReturnType=false

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from wvo_mcp.domain.agents import AgentEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEntry:
    """Our MCP server, as it stands in the worker's own configuration; `env` has the worker's key."""

    argv: tuple[str, ...]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One process of an agent. `session`: resume this one. `home` is a configuration folder of its own, which the driver
    fills; `env` all that its programs get; `folders` what it may reach besides its workspace. `budget` in US dollars,
    `deadline` in seconds, `output` in bytes of its whole stream. `log`: its raw stream is kept there. `confirm_quota`: ask
    the provider before the first turn whether there is any, where it can be asked. `program`: command and arguments as
    providers.yaml has them; empty: the driver's own. Without `server` it only reads and answers: its tools write and run
    nothing, whoever allows it. `schema` is of the answer that is asked for: who has no tools is held to it."""

    workspace: Path
    home: Path
    program: tuple[str, ...] = ()
    prompt: str
    server: ServerEntry | None
    env: Mapping[str, str]
    model: str | None = None
    effort: str | None = None
    session: str | None = None
    folders: tuple[Path, ...] = ()
    budget: float | None = None
    deadline: float = 3_600.0
    output: int = 256 << 20
    log: Path | None = None
    confirm_quota: bool = False
    schema: Mapping[str, Any] | None = None
    base_url: str | None = None
    """Of the provider's API, where the workspace names another than the program's own."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To a permission request; `reason` is for the model, when it is not allowed. With `ends_turn` the model should not be
    asked what to do instead."""

    allowed: bool
    reason: str = ""
    ends_turn: bool = False


class AgentNotStarted(Exception):
    """The program of an agent cannot be run; the text says why."""


class AgentRun(Protocol):
    """A process that runs."""

    lacks: str | None
    """What it cannot do that taking part in its work needs, as a sentence about its program; None: it can be paused and told
    things while it works. What the program refuses is found out as it runs."""

    @property
    def pid(self) -> int: ...

    def events(self) -> AsyncIterator[AgentEvent]:
        """In order, for one reader, until the program has ended. Whatever it prints, each turn ends in one stop, which has a
        signal when a provider failed; a program that ends within a turn ends the turn as failed."""
        ...

    async def answer(self, request_id: str, answer: Answer) -> None:
        """Of a permission request; one that is no longer open is ignored."""
        ...

    async def say(self, text: str) -> None:
        """Steer the turn that runs, or begin another one in the same session."""
        ...

    async def interrupt(self) -> None:
        """End the turn that runs; a stop follows."""
        ...


class AgentDriver(Protocol):
    """One kind of program."""

    name: str
    asks: bool
    """It asks for permission through its own channel. False: it gets no shell."""
    answers: bool
    """It has no tools and calls nobody: the text of its last event is its answer (JSON), with which the pool ends the task. It
    is given the whole of what it judges in its prompt, and its `pid` is not a process of its own."""

    def start(self, launch: Launch) -> AbstractAsyncContextManager[AgentRun]:
        """Leaving the block ends the process and all that it started. Raises AgentNotStarted."""
        ...

    def meaning(self, line: bytes) -> Iterable[AgentEvent]:
        """What one line of its raw stream says, for people who read a log. Never fails."""
        ...
