"""The tree of commands: the registry's operations and what installs and checks this program."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from wvo_mcp.project import installed_version

if TYPE_CHECKING:
    from wvo_mcp.faces.cli.session import Compose
    from wvo_mcp.operations.operation import Operation

HELP = """\
The control plane for coding agents: one task list, claimed by one agent at a time.

Without a command, serve MCP on stdio. Every MCP tool is also a command. Results are text on a terminal, and JSON
otherwise or with --json. Exit codes: 0 success, 1 an error with a code, 2 wrong usage.
"""

_HEADINGS = {"core": "Work", "plan": "Plan", "ops": "Operations", "health": "Health"}
"""Headings of the help page, by toolset; one that is not named here gets its own name."""
_PEOPLE = "For people only"
_INSTALLATION = "Installation"

_GROUPS = {
    "backup": ("list", "List, make and restore backups of the store. One is made every hour."),
    "budget": ("show", "Show token budgets, or raise one for a while. The limits are set in state/providers.yaml."),
    "merge": ("queue", "Show what waits to land, or retry, park and take back a submission."),
    "store": ("", "Copy the database to another one."),
    "token": ("list", "List, make and revoke tokens for the HTTP server."),
    "worker": ("", "Show what a worker did, or stop it. wvo-mcp workers lists them."),
}
"""Groups of the operations GROUP_VERB: the verb that runs where none is given, and the help."""

_OTHERS = {
    "init": "init.init_command",
    "doctor": "doctor.doctor_command",
    "backup restore": "backup.restore_command",
    "stop-hook": "stop_hook.stop_hook_command",
    "store copy": "store_copy.copy_command",
    "serve": "serve.serve_command",
    "simulate": "simulate.simulate_command",
    "trust": "trust.trust_command",
    "autopilot": "autopilot.autopilot_command",
    "orchestrate": "orchestrate.orchestrate_command",
    "run": "run.run_command",
}
"""Commands that are no operations: the function that makes each, imported when it is called."""


def build_cli(compose: "Compose") -> click.Group:
    """The whole command line over the registry."""
    return _Root(compose)


class _Operations(click.Group):
    """The operations of a group as commands, and others."""

    def __init__(self, compose: "Compose", name: str, group: str = "", **settings: Any) -> None:
        super().__init__(name, **settings)
        self._compose = compose
        self._group = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        start = f"{self._group}-" if self._group else ""
        names = [name.replace("_", "-") for name in _registry()]
        others = [name.split() for name in _OTHERS]
        return [name.removeprefix(start) for name in names if name.startswith(start)] + [
            name for *group, name in others if "".join(group) == self._group
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = _OTHERS.get(f"{self._group} {cmd_name}".strip())
        if place is not None:
            module, _, function = place.partition(".")
            return getattr(import_module(f"wvo_mcp.faces.cli.{module}"), function)(self._compose)
        from wvo_mcp.operations import named  # late, as below: the other commands start without the registry

        op = named(f"{self._group}_{cmd_name}".strip("_").replace("-", "_"))
        if op is None:
            return None
        from wvo_mcp.faces.cli.commands import command_of

        return command_of(op, self._compose, cmd_name.replace("_", "-"))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        default = _GROUPS.get(self._group, ("",))[0]
        alone = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, [default, *args] if default and alone else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)


class _Root(_Operations):
    def __init__(self, compose: "Compose") -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        settings = {"help_option_names": ["-h", "--help"], "color": False if plain else None}
        version = click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version."
        )
        super().__init__(compose, "wvo-mcp", help=HELP, context_settings=settings, params=[version])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [
            *(
                name
                for name in super().list_commands(ctx)
                if not name.startswith(("budget-", "merge-", "token-", "worker-"))
            ),
            *_GROUPS,
        ]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _GROUPS:
            return super().get_command(ctx, cmd_name)
        text = _GROUPS[cmd_name][1]
        return _Operations(self._compose, cmd_name, cmd_name, help=text, short_help=text.split(". ")[0] + ".")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        names = self.list_commands(ctx)
        width = max(map(len, names))
        further = [heading for heading in map(_heading, names) if heading not in (_PEOPLE, _INSTALLATION)]
        for heading in dict.fromkeys((*_HEADINGS.values(), *further, _PEOPLE, _INSTALLATION)):
            rows = [
                (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                for name in names
                if _heading(name) == heading and (command := self.get_command(ctx, name)) is not None
            ]
            with formatter.section(heading):
                formatter.write_dl(rows)


def _registry() -> "dict[str, Operation]":
    from wvo_mcp.operations import ALL  # init, doctor, stop-hook and --version start without the registry

    return ALL


def _heading(command: str) -> str:
    op = _registry().get(command.replace("-", "_"))
    if op is None:
        return {
            "simulate": "Plan",
            "autopilot": _PEOPLE,
            "run": _PEOPLE,
            "budget": _PEOPLE,
            "merge": _PEOPLE,
            "token": _PEOPLE,
            "trust": _PEOPLE,
            "worker": _PEOPLE,
        }.get(command, _INSTALLATION)
    return _PEOPLE if op.audience == "people" else _HEADINGS.get(op.toolset, op.toolset.capitalize())


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    click.echo(f"wvo-mcp {installed_version()}")
    ctx.exit()
