"""A store opened for one command, and the name that the command works under."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import click

from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.operations.operation import Operation
from wvo_mcp.settings import Settings, WrongSetting, load


@asynccontextmanager
async def calling(
    op: Operation, compose: Compose
) -> AsyncGenerator[Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]]:
    """A function that calls the operation, while the store of this workspace is open."""
    application = compose()
    settings = settings_or_usage()
    caller = application.cli_caller(settings)
    async with application.opened(settings) as services:

        async def ask(arguments: Mapping[str, Any]) -> dict[str, Any]:
            return await op(services, caller, arguments)

        yield ask


def settings_or_usage() -> Settings:
    """Raises ClickException (exit code 2) with the line that names the variable."""
    try:
        return load()
    except WrongSetting as error:
        raise click.ClickException(str(error)) from None
