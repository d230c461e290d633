"""`wvo-mcp budget raise` and `wvo-mcp budget show`: the token budgets in people's hands."""

from typing import Any

import click

from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.commands import command_of
from wvo_mcp.faces.cli.output import json_option
from wvo_mcp.operations import named
from wvo_mcp.operations.providers.budgets import BudgetScope

VERBS = {"raise": "budget_raise", "show": "budget_show"}


def budget_group(compose: Compose) -> click.Group:
    def alone(**given: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            context.invoke(group.commands["show"], **given)

    group = click.Group(
        "budget",
        help="Show token budgets, or raise one for a while. Without a command it shows them. The limits are set in"
        " state/providers.yaml.",
        short_help="Show token budgets, or raise one for a while.",
        invoke_without_command=True,
        params=[json_option()],
        callback=alone,
    )
    for verb, name in VERBS.items():
        operation = named(name)
        assert operation is not None  # noqa: S101 - the registry has it
        command = command_of(operation, compose)
        command.name = verb
        group.add_command(command)
    raising = group.commands["raise"]
    scopes = click.Choice([scope.value for scope in BudgetScope])
    raising.params.insert(0, click.Argument(["scope_argument"], required=False, type=scopes, metavar="[SCOPE]"))
    for option in raising.params:
        if option.name == "duration":
            option.opts = ["--for", *option.opts]
    return group
