"""`wvo-mcp trust`: a person accepts what the project's files make us run, call or allow."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import click

from wvo_mcp.domain.lease import Role
from wvo_mcp.domain.providers.trust import FIELDS, held_back, parts_of
from wvo_mcp.domain.redaction import redact
from wvo_mcp.domain.rules import Difference
from wvo_mcp.execution.providers.parse import defaults, read
from wvo_mcp.execution.roadmap.rules import open_differences as differences_of_roadmap
from wvo_mcp.execution.safety.policy_file import open_differences as differences_of_policy
from wvo_mcp.execution.trust import POLICY, PROVIDERS, ROADMAP, Trust
from wvo_mcp.faces.cli.output import command, print_json, visible
from wvo_mcp.faces.cli.session import Application, Compose, settings_or_usage
from wvo_mcp.settings import Settings

if TYPE_CHECKING:
    from wvo_mcp.ports.places import Places

REPOSITORY = "repository"

Part = Callable[[Settings, Trust], tuple[Mapping[str, Any], list[Difference]]]
"""What a file states, and what of it no person has accepted. Raises InvalidInput, StoreUnavailable."""


def trust_command(compose: Compose) -> click.Command:
    def run(given: dict[str, Any], as_json: bool) -> None:
        settings = settings_or_usage()
        application = compose()
        application.cli_caller(settings).admit(Role.ADMIN, "trust")
        trust = Trust(os.environ, settings.root)
        found = {name: part(settings, trust) for name, part in _PARTS.items()}
        waiting = {name: differences for name, (_, differences) in found.items() if differences}
        if changed := asyncio.run(_repository(application, settings, accept=False)):
            waiting[REPOSITORY] = [Difference(line, None, None) for line in changed]
        if not as_json:
            _show(waiting)
        asked = not as_json and sys.stdin.isatty()
        agreed = bool(waiting) and (given["yes"] or (asked and click.confirm("Accept this?")))
        digests = {name: trust.accept(name, found[name][0]) for name in waiting if name in found} if agreed else {}
        if agreed and REPOSITORY in waiting:
            asyncio.run(_repository(application, settings, accept=True))
        if as_json:
            changes = [
                {"part": name, "field": one.name, "accepted": one.accepted, "stated": one.stated}
                for name, differences in waiting.items()
                for one in differences
            ]
            print_json({"changes": changes, "accepted": agreed, "sha256": digests, "file": str(trust.file)})
        elif agreed:
            click.echo(f"Accepted, as {trust.file} now says. Servers use it within seconds.")
        elif waiting:
            click.echo("Nothing was accepted; wvo-mcp trust --yes accepts it.")

    return command(
        "trust",
        run,
        "Review and accept what the project's files make wvo-mcp run, call or allow: commands and addresses in"
        " state/providers.yaml, `project` and `verify` in state/roadmap.yaml, what state/policy.yaml allows; and what"
        " was changed of git's own files (config, hooks, info) while workers had worktrees. Changes take effect once a person"
        " accepts them; until then the last accepted version is used. Accepted values are kept outside of the project.",
        [click.Option(["--yes"], is_flag=True, help="No confirmation.")],
        short="Accept what the project's files make wvo-mcp run, call or allow.",
    )


async def _repository(application: Application, settings: Settings, *, accept: bool) -> list[str]:
    """What somebody changed of git's own files; `accept`: and it is taken as it is now."""
    if not application.backend_of(settings).exists():
        return []
    async with application.opened(settings) as services:
        places = cast("Places", services.part("wvo_mcp.ports.places.Places"))
        return await (places.accept() if accept else places.suspected())


def _providers(settings: Settings, trust: Trust) -> tuple[Mapping[str, Any], list[Difference]]:
    catalogue, accepted = read(settings.state_dir / "providers.yaml") or defaults(), trust.accepted(PROVIDERS)
    shipped, stated = parts_of(defaults()), parts_of(catalogue)
    known = {**shipped, **accepted}
    return stated, [
        Difference(f"{name}.{field}", before.get(field), stated[name][field])
        for name in held_back(catalogue, accepted, shipped)[1]
        for before in (known.get(name, {}),)
        for field in FIELDS
        if stated[name][field] != before.get(field) and (stated[name][field] or before.get(field))
    ]


_PARTS: Mapping[str, Part] = {
    PROVIDERS: _providers,
    ROADMAP: lambda settings, trust: differences_of_roadmap(settings.roadmap, trust),
    POLICY: lambda settings, trust: differences_of_policy(settings.state_dir / "policy.yaml", trust),
}


def _show(waiting: Mapping[str, list[Difference]]) -> None:
    if not waiting:
        click.echo("Everything that the project's files make this program run, call or allow is accepted.")
    for part, differences in waiting.items():
        for one in differences:
            click.secho(f"{part}: {visible(one.name)}", bold=True)
            for sign, value, colour in (("-", one.accepted, "red"), ("+", one.stated, "green")):
                if value:
                    click.secho(f"  {sign} {visible(redact(json.dumps(value, ensure_ascii=False)))}", fg=colour)
