"""The command of an operation: parse the flags, call it, print its result. And what goes on until it is stopped:
`status --watch`, `events --follow`, `worker-log --follow`, `claim-task --wait`, `serve`."""

import asyncio
import gc
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from wvo_mcp.faces.cli.flags import arguments, parameters
from wvo_mcp.faces.cli.output import command, print_line, print_result
from wvo_mcp.faces.cli.session import Ask, Compose, calling
from wvo_mcp.operations.operation import Operation

_BREATH = 0.05
"""Minimum seconds between two reads, however much happens."""
_AGAIN = 2.0
"""Seconds after which a claim is tried again even if no change was seen."""


@dataclass(frozen=True, slots=True)
class Live:
    """A command's other way to run: its further flags, those that switch to it, and what is done then."""

    flags: tuple[str, ...]
    options: list[click.Option]
    run: Callable[[Operation, Compose, Mapping[str, Any], bool], None]

    def wanted(self, given: Mapping[str, Any]) -> bool:
        return any(given[flag] not in (None, False) for flag in self.flags)


def _watch(op: Operation, compose: Compose, given: Mapping[str, Any], as_json: bool) -> None:
    asked = arguments(op, given)
    if as_json:

        async def print_state(ask: Ask) -> None:
            print_line(await ask(asked))

        _until_stopped(op, compose, given, print_state)
        return
    from rich.live import Live as Screen  # costs a tenth of a second and serves terminals only

    from wvo_mcp.faces.cli.views import view

    # A terminal must get its cursor and its own screen back, also when the process is asked to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Screen(screen=True, auto_refresh=False) as screen:

        async def redraw(ask: Ask) -> None:
            screen.update(view(op.name, await ask(asked), watched=True), refresh=True)

        _until_stopped(op, compose, given, redraw)


def _follow(op: Operation, compose: Compose, given: Mapping[str, Any], as_json: bool) -> None:
    """The end of a log or of the trail, then what comes; of a worker until it has ended."""
    asked, lines = arguments(op, given), as_json or given.get("jsonl")
    if op.name == "events" and given["follow"] and "after" not in asked:
        asked["last"] = True

    async def print_new(ask: Ask) -> bool:
        while True:
            page = await ask(asked)
            for event in page.get("events", ()):
                print_line(event) if lines else click.echo(event_line(event))
            for line in page.get("lines", ()):
                print_line({"line": line}) if lines else click.echo(printable(line))
            asked["after"] = page["next_after"]
            asked.pop("last", None)
            if not page["more"]:
                return page.get("state") == "ended"

    _until_stopped(op, compose, given if given["follow"] else {**given, "count": 1}, print_new)


def printable(line: str) -> str:
    from wvo_mcp.faces.cli.views.cells import clean  # brings rich, which serves terminals only

    return clean(line)


def event_line(event: Mapping[str, Any]) -> str:
    """An event on one line, for people."""
    from wvo_mcp.faces.cli.views.cells import clean, local  # brings rich, which serves terminals only

    data = ", ".join(f"{name}={value}" for name, value in event.get("data", {}).items())
    who = event.get("agent_id", "-")
    at, task = local(event["at"], seconds=True), event.get("task_id", "-")
    return clean(f"{event['seq']:>7}  {at}  {event['kind']:<18} {task:<12} {who}  {data}")


def _until_stopped(
    op: Operation, compose: Compose, given: Mapping[str, Any], step: Callable[[Ask], Awaitable[bool | None]]
) -> None:
    """Repeat the step at the interval, on one open store, until it says that it was the last; Ctrl-C is how a person ends
    it, and no error."""

    gc.enable()  # this command may live for days

    async def repeat() -> None:
        async with calling(op, compose) as (ask, changed):
            reads = 0
            while True:
                last = await step(ask)
                reads += 1
                if last or reads == given["count"]:
                    return
                await changed(given["interval"])
                await asyncio.sleep(_BREATH)

    try:
        asyncio.run(repeat())
    except KeyboardInterrupt:
        return


def _claim_waiting(op: Operation, compose: Compose, given: Mapping[str, Any], as_json: bool) -> None:
    asked = arguments(op, given)

    async def claim() -> dict[str, Any]:
        async with calling(op, compose) as (ask, changed):
            until = time.monotonic() + given["wait"]
            while True:
                await changed(0)
                result = await ask(asked)
                left = until - time.monotonic()
                if result["task"] is not None or left <= 0:
                    return result
                await asyncio.sleep(_BREATH)
                await changed(min(_AGAIN, left))

    print_result(op.name, asyncio.run(claim()), as_json=as_json)


def _interval(seconds: float) -> click.Option:
    text = "Seconds between refreshes when nothing changes."
    kind = click.FloatRange(min=0.05)
    return click.Option(["--interval"], type=kind, default=seconds, show_default=True, help=text)


_COUNT = "Number of reads to stop after; default: until Ctrl-C."
_WATCH = "Live view; a line of JSON for each refresh when stdout is not a terminal."
_WAIT = "Seconds to wait for a task when there is nothing to claim."
_FOLLOW_LOG = "The end of the log, then new lines as they come, until the worker has ended."
_count = click.Option(["--count"], type=click.IntRange(min=1), help=_COUNT)

LIVE = {
    "claim_task": Live(("wait",), [click.Option(["--wait"], type=click.FloatRange(min=0), help=_WAIT)], _claim_waiting),
    "status": Live(("watch",), [click.Option(["--watch"], is_flag=True, help=_WATCH), _interval(2.0), _count], _watch),
    "worker_log": Live(
        ("follow",),
        [click.Option(["--follow", "-f"], is_flag=True, help=_FOLLOW_LOG), _interval(1.0), _count],
        _follow,
    ),
    "events": Live(
        ("follow", "jsonl"),
        [
            click.Option(["--follow"], is_flag=True, help="Newest events, then new ones as they come, a line each."),
            click.Option(["--jsonl"], is_flag=True, help="All events after --after, one JSON object a line."),
            _interval(1.0),
            _count,
        ],
        _follow,
    ),
}


_PROJECT = "Folder of the project, as if the command ran there; default: this one."
_project = click.Option(["--project"], type=click.Path(exists=True, file_okay=False), help=_PROJECT)
_ELSEWHERE = {name: [_project] for name in ("token_create", "token_list", "token_revoke", "login_link")}
"""What a server of several projects needs a person to do for each of them."""


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

        async def once() -> dict[str, Any]:
            async with calling(op, compose, given.get("project")) as (ask, _):
                return await ask(params)

        print_result(op.name, asyncio.run(once()), as_json=as_json)

    options = [*parameters(op), *(live.options if live is not None else []), *_ELSEWHERE.get(op.name, ())]
    return command(name.replace("_", "-"), run, op.summary, options)
