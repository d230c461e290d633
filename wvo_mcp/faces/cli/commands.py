"""A command per operation: parse the flags, call the operation, print what it gives."""

import asyncio
from typing import Any

import click

from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.flags import arguments, parameters
from wvo_mcp.faces.cli.live import LIVE
from wvo_mcp.faces.cli.output import json_option, print_json, reported, wants_json
from wvo_mcp.faces.cli.session import calling
from wvo_mcp.operations.operation import Operation


def command_of(op: Operation, compose: Compose) -> click.Command:
    """The command of an operation: `plan_next` becomes `plan-next`."""
    live = LIVE.get(op.name)

    def run(**given: Any) -> None:
        with reported(as_json=wants_json(given["json"])) as as_json:
            if live is not None and live.wanted(given):
                live.run(op, compose, given, as_json)
                return
            asked = arguments(op, given)
            if op.name == "events" and not as_json and "after" not in asked:
                asked["last"] = True  # a person looks for what has just happened
            result = asyncio.run(_once(op, compose, asked))
            if as_json:
                print_json(result)
            else:
                _show(op, result)

    return click.Command(
        op.name.replace("_", "-"),
        help=op.summary,
        short_help=op.summary.split(". ")[0].rstrip(".") + ".",
        params=[*parameters(op), *(live.options() if live is not None else []), json_option()],
        callback=run,
    )


async def _once(op: Operation, compose: Compose, asked: dict[str, Any]) -> dict[str, Any]:
    async with calling(op, compose) as (ask, _):
        return await ask(asked)


def _show(op: Operation, result: dict[str, Any]) -> None:
    from wvo_mcp.faces.cli.views import show  # rich costs a tenth of a second and serves terminals only

    show(op.name, result)
