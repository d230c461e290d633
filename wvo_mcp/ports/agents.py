"""Coding agents as programs: started, watched, answered, ended."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from wvo_mcp.domain.agents import AgentEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """One process of an agent. `session`: resume this one. `server` is the entry of our MCP server: command, arguments and
    environment, with the worker's key. `home` is a folder of its own, which the driver fills. `budget` in US dollars.
    `program`: command and arguments as providers.yaml has them; empty: the driver's own. `folders` are open to it besides
    the workspace."""

    workspace: Path
    home: Path
    program: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    prompt: str
    model: str | None = None
    effort: str | None = None
    session: str | None = None
    server: tuple[tuple[str, ...], Mapping[str, str]]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    max_turns: int | None = None
    budget: float | None = None
    deadline: float = 3_600.0
    output: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Answer:
    """To a permission request; `reason` is for the model, when it is not allowed."""

    allowed: bool
    reason: str = ""


class AgentRun(Protocol):
    """A process that runs. Its end is the end of `events`."""

    @property
    def pid(self) -> int: ...

    def events(self) -> AsyncIterator[AgentEvent]:
        """In order, for one reader. Whatever the program prints, it ends when the program has ended; the last event is a
        stop, once for each turn."""
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
    """It asks for permission through its own channel. False: give it no shell."""
    answers: bool
    """It has no tools and calls nobody: the text of its last event is its answer (JSON, `domain.review.Answer`), with
    which the pool ends the task. It is given the whole of what it judges in its prompt, and its `pid` is not a process of its
    own."""

    def start(self, launch: Launch) -> AbstractAsyncContextManager[AgentRun]:
        """Leaving the block ends the process and all that it started. Raises NotStarted."""
        ...
