"""`wvo-mcp run`: lands what waits."""

import asyncio
import gc
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, cast

import anyio
import click

from wvo_mcp.domain.lease import Role
from wvo_mcp.faces.cli.output import command
from wvo_mcp.faces.cli.running import Lines, Screen
from wvo_mcp.faces.cli.session import Application, Compose, settings_or_usage
from wvo_mcp.project import WrongSetting
from wvo_mcp.settings import Settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class QueueRun(Protocol):
    async def work(self, *, once: bool) -> None:
        """Until cancelled; with `once` until nothing is left that can land now."""
        ...


class Runner(Application, Protocol):
    def run_queue(
        self, settings: Settings, on_news: Callable[[Mapping[str, Any]], None]
    ) -> AbstractAsyncContextManager[QueueRun]: ...


def run_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        gc.enable()  # this command may live for days
        screen, application = Lines() if as_json else Screen(), cast("Runner", compose())
        settings = settings_or_usage()
        application.cli_caller(settings).admit(Role.OPERATOR, "run")
        try:
            asyncio.run(_live(application, settings, screen, once=given["once"]))
        except WrongSetting as error:
            raise click.ClickException(str(error)) from None

    return command(
        "run",
        run,
        "Land the work that waits in the merge queue: each submission is built on the target, verified by the commands of the"
        " roadmap, and landed, or sent back with its reason. Runs until Ctrl-C. The autopilot and serve --http do the same.",
        [click.Option(["--once"], is_flag=True, help="End when nothing is left that can land now.")],
        short="Land the work that waits in the merge queue.",
    )


async def _live(application: Runner, settings: Settings, screen: Lines, *, once: bool) -> None:
    async with application.run_queue(settings, screen.news) as queue:
        if not once:
            screen.news({"event": "runs", "reason": "landing what waits; Ctrl-C ends it"})
        async with anyio.create_task_group() as tasks:
            loop = asyncio.get_running_loop()
            for number in _SIGNALS:
                loop.add_signal_handler(number, tasks.cancel_scope.cancel)
            try:
                await queue.work(once=once)
            finally:
                for number in _SIGNALS:
                    loop.remove_signal_handler(number)
