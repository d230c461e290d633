"""A command per operation: parse the flags, call the operation, print its result."""

import asyncio
from typing import Any

import click

from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.flags import arguments, parameters
from wvo_mcp.faces.cli.live import LIVE
from wvo_mcp.faces.cli.output import command, print_json
from wvo_mcp.faces.cli.session import calling
from wvo_mcp.operations.operation import Operation


def command_of(op: Operation, compose: Compose, name: str) -> click.Command:
    """The command of an operation: `plan_next` becomes `plan-next`."""
    live = LIVE.get(op.name)

    def run(given: dict[str, Any], as_json: bool) -> None:
        if live is not None and live.wanted(given):
            live.run(op, compose, given, as_json)
            return
        params = arguments(op, given)
        if op.name == "events" and not as_json and "after" not in params:
            params["last"] = True  # a person looks for what has just happened
        result = asyncio.run(_once(op, compose, params))
        if as_json:
            print_json(result)
            return
        from wvo_mcp.faces.cli.views import show  # rich costs a tenth of a second and serves terminals only

        show(op.name, result)

    options = [*parameters(op), *(live.options() if live is not None else [])]
    return command(name.replace("_", "-"), run, op.summary, options)


async def _once(op: Operation, compose: Compose, params: dict[str, Any]) -> dict[str, Any]:
    async with calling(op, compose) as (ask, _):
        return await ask(params)
