"""The tree of commands: the registry's operations and what installs and checks this program."""

import os
from importlib import import_module
from typing import TYPE_CHECKING

import click

from wvo_mcp.faces.cli.application import Compose

if TYPE_CHECKING:
    from wvo_mcp.operations.operation import Operation

GROUPS = {"core": "Work", "plan": "Plan", "ops": "Operations", "health": "Health", "people": "For people only"}
"""Headings of the help page; a toolset that is not named here gets its own name."""

INSTALLATION = "Installation"

HELP = """\
The control plane for coding agents: one task list, claimed by one agent at a time.

Without a command, serve MCP on stdio. Every MCP tool is also a command. Results are text on a terminal, and JSON
otherwise or with --json. Exit codes: 0 success, 1 an error with a code, 2 wrong usage.
"""


def build_cli(compose: Compose) -> click.Group:
    """The whole command line over the registry."""
    return _Tree(compose)


class _Tree(click.Group):
    def __init__(self, compose: Compose) -> None:
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        settings = {"help_option_names": ["-h", "--help"], "color": False if plain else None}
        super().__init__("wvo-mcp", help=HELP, context_settings=settings)
        self.params.append(
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_version,
                help="Show the version.",
            )
        )
        self._compose = compose

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = (name.replace("_", "-") for name in _operations() if name not in _IN_GROUPS)
        return [*names, *_INSTALLATION]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _INSTALLATION:
            module, name = _INSTALLATION[cmd_name]
            return getattr(import_module(f"wvo_mcp.faces.cli.{module}"), name)(self._compose)
        # Both late: installation commands start without the registry.
        from wvo_mcp.operations import named

        op = named(cmd_name.replace("-", "_"))
        if op is None:
            return None
        from wvo_mcp.faces.cli.commands import command_of

        return command_of(op, self._compose)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, click.Command]]] = {
            GROUPS[name]: [] for name in ("core", "plan", "ops", "health")
        }
        groups |= {heading: [] for heading in (*_headings(), GROUPS["people"], INSTALLATION)}
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                groups[_heading(name)].append((name, command))
        width = max(len(name) for commands in groups.values() for name, _ in commands)
        for heading, commands in groups.items():
            if commands:
                with formatter.section(heading):
                    rows = [
                        (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                        for name, command in commands
                    ]
                    formatter.write_dl(rows)


def _operations() -> "dict[str, Operation]":
    from wvo_mcp.operations import ALL  # init, doctor, stop-hook and --version start without the registry

    return ALL


def _headings() -> list[str]:
    """Headings of further toolsets, in the order of the registry."""
    return [_heading(name) for name, op in _operations().items() if op.toolset not in GROUPS]


def _heading(command: str) -> str:
    if command in _INSTALLATION:
        return _HEADINGS.get(command, INSTALLATION)
    op = _operations()[command.replace("-", "_")]
    return GROUPS["people"] if op.audience == "people" else GROUPS.get(op.toolset, op.toolset.capitalize())


def _version(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
    if not wanted:
        return
    from importlib.metadata import version  # twenty milliseconds that only this needs

    click.echo(f"wvo-mcp {version('wvo-mcp')}")
    ctx.exit()


_INSTALLATION = {
    "init": ("init", "init_command"),
    "doctor": ("doctor", "doctor_command"),
    "backup": ("backup", "backup_command"),
    "budget": ("budget", "budget_group"),
    "stop-hook": ("stop_hook", "stop_hook_command"),
    "store": ("store_copy", "store_group"),
    "serve": ("serve", "serve_command"),
    "simulate": ("simulate", "simulate_command"),
    "trust": ("trust", "trust_command"),
}
"""Commands about this program itself, and groups of commands: (module, function), each imported when it is called."""

_HEADINGS = {"simulate": GROUPS["plan"], "budget": GROUPS["people"], "trust": GROUPS["people"]}
_IN_GROUPS = frozenset({"budget_raise", "budget_show"})
"""Operations that are shown as `budget raise` and `budget show`."""
