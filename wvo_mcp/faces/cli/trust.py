"""`wvo-mcp trust`: a person accepts what the project's files make us run or call."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click

from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.trust import FIELDS, Parts, held_back, parts_of
from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.providers.file import defaults, read
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.faces.cli.application import Compose
from wvo_mcp.faces.cli.output import json_option, print_json, reported, visible, wants_json
from wvo_mcp.faces.cli.session import settings_or_usage


def trust_command(compose: Compose) -> click.Command:
    def run(**given: Any) -> None:
        with reported(as_json=wants_json(given["json"])) as as_json:
            settings = settings_or_usage()
            compose().cli_caller(settings).admit(Role.ADMIN, "trust")
            _trust(
                Trust(os.environ, settings.root), settings.state_dir / "providers.yaml", given["yes"], as_json=as_json
            )

    return click.Command(
        "trust",
        help="Review and accept what state/providers.yaml makes wvo-mcp run or call (commands, addresses, keys). Changes take"
        " effect once a person accepts them; until then the last accepted version is used. Accepted values are kept outside"
        " of the project.",
        short_help="Accept commands and addresses in state/providers.yaml.",
        params=[click.Option(["--yes"], is_flag=True, help="No confirmation."), json_option()],
        callback=run,
    )


def _trust(trust: Trust, path: Any, yes: bool, *, as_json: bool) -> None:
    given = read(path) or defaults()
    stated, accepted, shipped = parts_of(given), trust.accepted(PROVIDERS), parts_of(defaults())
    _, waiting = held_back(given, accepted, shipped)
    changes = list(_changes(waiting, stated, {**shipped, **accepted}))
    if not as_json:
        _show(changes)
    agreed = bool(changes) and (yes or (not as_json and sys.stdin.isatty() and click.confirm("Accept this?")))
    digest = trust.accept(PROVIDERS, stated) if agreed else None
    if as_json:
        print_json({"changes": changes, "accepted": agreed, "sha256": digest, "file": str(trust.file)})
    elif agreed:
        click.echo(f"Accepted, as {trust.file} now says. Servers take it up within seconds.")
    elif changes:
        click.echo("Nothing was accepted; wvo-mcp trust --yes accepts it.")


def _changes(
    waiting: Mapping[str, tuple[str, ...]], stated: Mapping[str, Parts], known: Mapping[str, Parts]
) -> Iterator[dict[str, Any]]:
    for name in waiting:
        before = known.get(name, {})
        for field in FIELDS:
            if stated[name][field] != before.get(field) and (stated[name][field] or before.get(field)):
                yield {"provider": name, "field": field, "accepted": before.get(field), "stated": stated[name][field]}


def _show(changes: list[dict[str, Any]]) -> None:
    if not changes:
        click.echo("Everything that state/providers.yaml makes this program run or call is accepted.")
    for change in changes:
        click.secho(f"{visible(change['provider'])}: {change['field']}", bold=True)
        for sign, key, colour in (("-", "accepted", "red"), ("+", "stated", "green")):
            if change[key]:
                click.secho(f"  {sign} {visible(redact(json.dumps(change[key], ensure_ascii=False)))}", fg=colour)
