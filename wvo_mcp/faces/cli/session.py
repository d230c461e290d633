"""What a command needs of the composition root, which stands above the faces and is therefore handed in; and a store opened
for one command."""

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from wvo_mcp.errors import WvoError
from wvo_mcp.faces.cli.output import shown
from wvo_mcp.operations.container import Container
from wvo_mcp.operations.operation import Effect, Operation
from wvo_mcp.orchestration.background import refresh_unled, roadmap_problem, sync_first
from wvo_mcp.ports import RoadmapFiles, WatchedStore
from wvo_mcp.ports.providers import Providers
from wvo_mcp.project import Project, WrongSetting
from wvo_mcp.settings import Settings, settings_of

if TYPE_CHECKING:
    # Commands that open no store start without these.
    from wvo_mcp.domain.access import Doors
    from wvo_mcp.domain.lease import Caller
    from wvo_mcp.ports.backend import Backend
    from wvo_mcp.ports.workers import Violation

_OF_THE_FILE = frozenset({"roadmap_sync", "roadmap_export"})
_ROUTED = frozenset({"claim_task", "route_task"})
"""What decides by which providers are here. A server looks for them by itself."""

Ask = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]


class Application(Protocol):
    def opened(self, settings: Settings) -> "AbstractAsyncContextManager[Container]":
        """The services over an open store, without background loops."""
        ...

    def backend_of(self, settings: Settings) -> "Backend":
        """The database; nothing of it is opened, and it may be in any state. Raises WrongSetting."""
        ...

    def backend_at(self, url: str | None, state_dir: Path) -> "Backend":
        """The same where the settings cannot be used."""
        ...

    async def sync(self, settings: Settings) -> "dict[str, int] | None":
        """Merge the roadmap into the store; {created, updated}, or None without a roadmap."""
        ...

    async def count_transcript(self, settings: Settings, agent_id: str, transcript: Path) -> int:
        """Count what a session of Claude Code used into the budgets, each message once; tokens counted now. Makes no
        store."""
        ...

    async def record_violation(self, settings: Settings, agent_id: str, violation: "Violation") -> None:
        """What the policy said to an agent that a person started. Makes no store."""
        ...

    async def serve_http(
        self,
        settings: Settings,
        host: str,
        port: int,
        on_line: Callable[[str], None],
        doors: "Doors",
        *,
        runs: bool = True,
    ) -> int:
        """The whole life of the HTTP server; `on_line` gets its address, and then how to sign in. The exit code."""
        ...

    async def serve_projects(
        self,
        projects: "Mapping[str, Settings]",
        host: str,
        port: int,
        on_line: Callable[[str], None],
        doors: "Doors",
        *,
        runs: bool = True,
    ) -> int:
        """The same for several projects, by their names."""
        ...

    def cli_caller(self, settings: Settings) -> "Caller":
        """Who a command works as: the durable session `cli:AGENT`."""
        ...


Compose = Callable[[], Application]
"""Gives the application; called only by commands that need it, so that the others start without its imports."""


@asynccontextmanager
async def calling(
    op: Operation, compose: Compose, folder: str | None = None
) -> AsyncGenerator[tuple[Ask, Callable[[float], Awaitable[bool]]]]:
    """While the store of this workspace, or of the one around `folder`, is open: a function that calls the operation, and
    one that waits for a possible write, at most so many seconds."""
    application = compose()
    settings = settings_or_usage(folder)
    caller = application.cli_caller(settings)
    async with AsyncExitStack() as stack:
        try:
            services = await stack.enter_async_context(application.opened(settings))
        except WrongSetting as error:
            raise click.ClickException(str(error)) from None

        store = services.get(WatchedStore)

        async def ask(arguments: Mapping[str, Any]) -> dict[str, Any]:
            if not caller.restricted and op.name not in _OF_THE_FILE and not arguments.get("dry_run"):
                await sync_first(store, services.get(RoadmapFiles), caller)
            if op.name in _ROUTED:
                await services.get(Providers).look()
            if not op.long:
                answer = await op(services, caller, arguments)
                if op.name == "status":
                    problem = await roadmap_problem(store, services.get(RoadmapFiles), caller)
                    if problem is not None:
                        click.echo(f"Warning: the roadmap is not merged. {problem}", err=True)
                if op.effect is not Effect.READ and not arguments.get("dry_run"):
                    with suppress(WvoError):  # what was asked for is done
                        await refresh_unled(store, caller)
                return answer
            with shown(op.name.replace("_", "-")) as report:
                return await op(services, caller, arguments, report)

        yield ask, store.wait_for_change


def settings_or_usage(folder: str | None = None) -> Settings:
    """Those of the project here, or around `folder`, whatever project the environment names. Raises ClickException (exit
    code 2) with the line that names the setting; a misspelt one is a line on stderr."""
    environ = os.environ if folder is None else {**os.environ, "ROOT": "", "CLAUDE_PROJECT_DIR": ""}
    try:
        project = Project(environ, str(Path.cwd() / (folder or "")))
        settings = settings_of(project)
        if settings.toolsets != frozenset({"core"}):
            from wvo_mcp.operations import tools  # declares all of them, where a command needs one

            settings.enabled(frozenset(op.toolset for op in tools()))
    except WrongSetting as error:
        raise click.ClickException(str(error)) from None
    for warning in project.warnings():
        click.echo(f"Warning: {warning}", err=True)
    return settings
