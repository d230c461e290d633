"""`wvo-mcp autopilot`: its flags."""

import asyncio
import gc
import math
from typing import Any, cast

import click

from wvo_mcp.domain.autopilot import AutopilotOptions
from wvo_mcp.domain.lease import Role
from wvo_mcp.faces.cli.output import command
from wvo_mcp.faces.cli.running import Lines, Runner, Screen, drive
from wvo_mcp.faces.cli.session import Compose, settings_or_usage
from wvo_mcp.project import WrongSetting

PAGE_PORT = 8737
"""As of `serve`."""
PORT = click.IntRange(0, 65_535)


class Dollars(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        amount = super().convert(value, param, ctx)
        return amount if math.isfinite(amount) else self.fail(f"{value} is not an amount of money", param, ctx)


def autopilot_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        gc.enable()  # this command may live for days
        screen, application = Lines() if as_json else Screen(), cast("Runner", compose())
        page, port = given.pop("page"), given.pop("port")
        given["page"] = port if port is not None else PAGE_PORT if page else None
        if given.pop("demo"):
            from wvo_mcp.faces.cli.demo import show_demo  # a project of its own

            raise click.exceptions.Exit(show_demo(application, given["page"], as_json=as_json, screen=screen))
        settings = settings_or_usage()
        application.cli_caller(settings).admit(Role.OPERATOR, "autopilot")
        dry_run = given.pop("dry_run")
        if dry_run:
            given["page"] = None
        options = AutopilotOptions(wait=not given.pop("no_wait"), **given)
        try:
            code = asyncio.run(drive(application, settings, options, screen, dry_run=dry_run))
        except WrongSetting as error:
            raise click.ClickException(str(error)) from None
        if code:
            raise click.exceptions.Exit(code)

    return command(
        "autopilot",
        run,
        "Run coding agents on the tasks of this project until nothing is left to do: each in a worktree of its own, within"
        " the limits of providers.yaml and the policy. Shows first what it may spend. Ctrl-C finishes what runs; twice"
        " stops it. Finished work is pinned under refs/wvo/submit/.",
        [
            click.Option(["--agents"], type=click.IntRange(1, 64), help="Workers at once.  [default: 3]"),
            click.Option(["--max-tasks"], type=click.IntRange(min=1), help="Tasks to begin at most."),
            click.Option(["--max-cost"], type=Dollars(min=0, min_open=True), metavar="USD", help="Cost of the run."),
            click.Option(["--task"], metavar="ID", help="Only this task."),
            click.Option(["--once"], is_flag=True, help="One worker, then end."),
            click.Option(["--no-wait"], is_flag=True, help="End without waiting for resets and people."),
            click.Option(["--strict"], is_flag=True, help="Exit code 1 when a task that it began failed or is blocked."),
            click.Option(["--dry-run"], is_flag=True, help="Show what would be run and spent; run nothing."),
            click.Option(["--page"], is_flag=True, help="Serve the page on this machine while it runs; a link signs you in."),
            click.Option(["--port"], type=PORT, help="Of the page, which it turns on; 0 takes a free one.  [default: 8737]"),
            click.Option(["--demo"], is_flag=True, help="Show it in a temporary project, with scripted agents; no account."),
        ],
        short="Run coding agents on the tasks of this project.",
    )  # fmt: skip
