"""What a worker starts with: a configuration home of its own, a login made for workers, an environment."""

# pyright: reportReturnType=false

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from wvo_mcp.domain.finding import Finding
from wvo_mcp.domain.providers.catalogue import Provider
from wvo_mcp.ports.agents import ServerEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeAsk:
    """`slot` counts from 0 and has its own caches; None: the home has its own. `key` is the secret of the worker's connection;
    None: it gets no server of ours. `keep` names variables
    of the person that a worker gets all the same (the roadmap's `env`)."""

    provider: Provider
    task_id: str
    slot: int | None
    key: str | None
    session: str | None = None
    keep: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """For a `Launch`. `session`: the one that was asked for, if it can go on in this home; else the worker starts afresh."""

    path: Path
    env: Mapping[str, str]
    server: ServerEntry | None
    session: str | None = None


class HomeFailed(Exception):
    """A worker of this provider cannot be launched; `remedy` says what a person does. `busy`: only now, for others have its
    logins."""

    def __init__(self, message: str, remedy: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.busy = busy


class Homes(Protocol):
    """The person's own configuration, history and credential files are neither read, linked nor changed."""

    def open(self, ask: HomeAsk) -> AbstractAsyncContextManager[Home]:
        """For one launch. The home of a task and provider is kept, with its sessions. Raises HomeFailed."""

    def busy(self, provider: Provider) -> str | None:
        """Why no further worker of this provider can be launched while those run that do; None: one can."""

    async def kept(self) -> list[str]:
        """The tasks that have homes."""
        ...

    async def forget(self, task_id: str) -> None:
        """The task is settled: remove its homes."""

    async def missing(self, providers: Sequence[Provider]) -> dict[str, Finding]:
        """By provider, what keeps a worker of it from being launched, with the remedy; those that have all are not in it.
        Runs their programs to ask for their versions."""
