"""`wvo-mcp trust`: a person accepts what the project's files make us run or call."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.catalogue import Catalogue
from wvo_mcp.domain.providers.trust import FIELDS, Parts, held_back, parts_of
from wvo_mcp.domain.redaction import redact
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.trust import PROVIDERS, Trust
from wvo_mcp.faces.cli.output import command, print_json, visible
from wvo_mcp.faces.cli.session import Compose, settings_or_usage


def trust_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        settings = settings_or_usage()
        compose().cli_caller(settings).admit(Role.ADMIN, "trust")
        trust = Trust(os.environ, settings.root)
        catalogue = read(settings.state_dir / "providers.yaml") or defaults()
        stated, changes = parts_of(catalogue), _changes(catalogue, trust.accepted(PROVIDERS))
        if not as_json:
            _show(changes)
        asked = not as_json and sys.stdin.isatty()
        agreed = bool(changes) and (given["yes"] or (asked and click.confirm("Accept this?")))
        digest = trust.accept(PROVIDERS, stated) if agreed else None
        if as_json:
            print_json({"changes": changes, "accepted": agreed, "sha256": digest, "file": str(trust.file)})
        elif agreed:
            click.echo(f"Accepted, as {trust.file} now says. Servers use it within seconds.")
        elif changes:
            click.echo("Nothing was accepted; wvo-mcp trust --yes accepts it.")

    return command(
        "trust",
        run,
        "Review and accept what state/providers.yaml makes wvo-mcp run or call (commands, addresses, keys). Changes take"
        " effect once a person accepts them; until then the last accepted version is used. Accepted values are kept outside"
        " of the project.",
        [click.Option(["--yes"], is_flag=True, help="No confirmation.")],
        short="Accept commands and addresses in state/providers.yaml.",
    )


def _changes(catalogue: Catalogue, accepted: Mapping[str, Parts]) -> list[dict[str, Any]]:
    shipped, stated = parts_of(defaults()), parts_of(catalogue)
    known = {**shipped, **accepted}
    return [
        {"provider": name, "field": field, "accepted": before.get(field), "stated": stated[name][field]}
        for name in held_back(catalogue, accepted, shipped)[1]
        for before in (known.get(name, {}),)
        for field in FIELDS
        if stated[name][field] != before.get(field) and (stated[name][field] or before.get(field))
    ]


def _show(changes: list[dict[str, Any]]) -> None:
    if not changes:
        click.echo("Everything that state/providers.yaml makes this program run or call is accepted.")
    for change in changes:
        click.secho(f"{visible(change['provider'])}: {change['field']}", bold=True)
        for sign, key, colour in (("-", "accepted", "red"), ("+", "stated", "green")):
            if change[key]:
                click.secho(f"  {sign} {visible(redact(json.dumps(change[key], ensure_ascii=False)))}", fg=colour)
